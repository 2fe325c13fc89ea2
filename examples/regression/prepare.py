"""Train a network on the diabetes data of scikit-learn, as anybody would, and keep its weights.

They are 442 patients: ten measurements each, and how far the disease had gone a year later.
Efron, Hastie, Johnstone & Tibshirani (2004), Least angle regression, Annals of Statistics 32(2).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from network import regressor
from sklearn.datasets import load_diabetes
from torch import nn

NUM_TEST = 89


def prepare(folder: Path, epochs: int) -> None:
    """Write `diabetes.npz` and the weights at the beginning, after a tenth and at the end."""
    inputs, targets = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(inputs))
    test, train = order[:NUM_TEST], order[NUM_TEST:]
    inputs = (inputs - inputs[train].mean(0)) / inputs[train].std(0)
    targets = (targets - targets[train].mean()) / targets[train].std()
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "diabetes.npz",
        train_inputs=inputs[train].astype("float32"),
        train_targets=targets[train].astype("float32"),
        test_inputs=inputs[test].astype("float32"),
        test_targets=targets[test].astype("float32"),
    )
    kept = {0, epochs // 10, epochs}
    data = [torch.from_numpy(part[train].astype("float32")) for part in (inputs, targets)]
    for epoch, model in enumerate(trained(*data, epochs)):
        if epoch in kept:
            torch.save(model.state_dict(), folder / f"{epoch}.pt")


def trained(inputs, targets, epochs):
    """Train with all data at once; give the network before the first epoch and after each."""
    torch.manual_seed(0)
    model = regressor()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.003)
    yield model
    for _ in range(epochs):
        optimiser.zero_grad()
        nn.functional.mse_loss(model(inputs)[:, 0], targets).backward()
        optimiser.step()
        yield model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/regression"))
    parser.add_argument("--epochs", type=int, default=300)
    prepare(**vars(parser.parse_args()))
