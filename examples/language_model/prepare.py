"""Train a small language model on the help texts that come with Python, and keep its weights."""

import argparse
import textwrap
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import torch
from network import Language
from safetensors.torch import save_file
from torch import Tensor, nn

LENGTH = 64  # characters of a line; shorter lines are padded
CHARACTERS = 95  # that are told apart; the rest is one more


def prepare(folder: Path, examples: int, steps: int) -> None:
    """Write `text.safetensors`, and the weights at the beginning and at the end of training."""
    tokens, mask = lines(examples * 5 // 4)
    targets = tokens.masked_fill(mask == 0, -100)
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))
    splits = {"train": order[:examples], "test": order[examples:]}
    arrays = {}
    for split, chosen in splits.items():
        arrays[f"{split}_inputs.input_ids"] = tokens[chosen]
        arrays[f"{split}_inputs.attention_mask"] = mask[chosen]
        arrays[f"{split}_targets"] = targets[chosen]
    folder.mkdir(parents=True, exist_ok=True)
    save_file(arrays, folder / "text.safetensors")
    train = splits["train"]
    for step, model in enumerate(trained(tokens, mask, targets, train, steps)):
        if step in (0, steps):
            torch.save({"model": model.state_dict(), "step": step}, folder / f"{step}.pt")


def lines(count: int) -> tuple[Tensor, Tensor]:
    """Cut the texts into lines; give tokens (N, T), 0 for none, and where there are some (N, T)."""
    texts = sorted(topics.values())
    found = [line.strip() for text in texts for line in textwrap.wrap(text, LENGTH)][:count]
    frequent = Counter("".join(found)).most_common(CHARACTERS)
    number = {character: place + 2 for place, (character, _) in enumerate(frequent)}
    tokens = torch.zeros(len(found), LENGTH, dtype=torch.int64)
    for row, line in zip(tokens, found, strict=True):
        row[: len(line)] = torch.tensor([number.get(character, 1) for character in line])
    return tokens, (tokens > 0).long()


def trained(tokens: Tensor, mask: Tensor, targets: Tensor, train: Tensor, steps: int):
    """Train with batches of 64 lines; give the network before the first step and after each."""
    torch.manual_seed(0)
    model = Language(int(tokens.max()) + 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.003)
    yield model
    for _ in range(steps):
        chosen = train[torch.randint(len(train), (64,))]
        logits = model(tokens[chosen], mask[chosen])["logits"]
        loss = nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), targets[chosen][:, 1:].flatten()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/language_model"))
    parser.add_argument("--examples", type=int, default=512, help="lines to train on")
    parser.add_argument("--steps", type=int, default=500)
    prepare(**vars(parser.parse_args()))
