"""Write images into folders, train torchvision's ResNet-18 on them, and keep its weights."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision.datasets import CIFAR100
from torchvision.models import resnet18
from torchvision.transforms.v2 import functional as transforms

SIZE = 32
MEAN = STD = 0.5  # of the normalisation, where 255 is 1


def prepare(folder: Path, data: str, root: Path, images: int, epochs: int) -> None:
    """Write `images/train/CLASS/NUMBER.png`, `images/test/...`, and `resnet18.pt`."""
    classes: dict[str, list[Image.Image]] = {}
    for image, name in cifar100(root) if data == "cifar100" else digits():
        classes.setdefault(name, []).append(image)
    own = images // len(classes)
    for name, found in classes.items():
        write(folder / "images" / "train" / name, found[:own])
        write(folder / "images" / "test" / name, found[own : own + max(own // 4, 1)])
    pixels, labels = read(folder / "images" / "train")
    model = trained(pixels, labels, epochs)
    torch.save({"state_dict": model.state_dict(), "epochs": epochs}, folder / "resnet18.pt")


def digits() -> Iterator[tuple[Image.Image, str]]:
    """Give the handwritten digits of scikit-learn as images, in random order."""
    found = load_digits()
    for number in np.random.default_rng(0).permutation(len(found.target)):
        grey = (found.images[number] * 15.9).astype("uint8")
        image = Image.fromarray(grey).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        yield image, f"digit-{found.target[number]}"


def cifar100(root: Path) -> Iterator[tuple[Image.Image, str]]:
    """Give the training images of CIFAR-100 in random order; they are downloaded if missing."""
    found = CIFAR100(root, train=True, download=not (root / "cifar-100-python").exists())
    for number in np.random.default_rng(0).permutation(len(found)):
        image, label = found[number]
        yield image, found.classes[label]


def write(folder: Path, images: list[Image.Image]) -> None:
    """Write the images of one class."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")


def read(folder: Path) -> tuple[Tensor, Tensor]:
    """Read all images, normalised, and the numbers of their classes in the order of the names."""
    names = sorted(path.name for path in folder.iterdir())
    images, labels = [], []
    for label, name in enumerate(names):
        for path in sorted((folder / name).iterdir()):
            images.append(transforms.pil_to_tensor(Image.open(path)))
            labels.append(label)
    return (torch.stack(images) / 255 - MEAN) / STD, torch.tensor(labels)


def trained(images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """Train with batches of 64 images."""
    torch.manual_seed(0)
    model = resnet18(num_classes=int(labels.max()) + 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimiser.step()
    return model.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/resnet18"))
    parser.add_argument("--data", choices=["digits", "cifar100"], default="digits")
    parser.add_argument("--root", type=Path, default=Path("data"), help="where CIFAR-100 lies")
    parser.add_argument("--images", type=int, default=1024, help="to train on")
    parser.add_argument("--epochs", type=int, default=5)
    prepare(**vars(parser.parse_args()))
