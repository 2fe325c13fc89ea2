"""How often intervals hold what they are of, where that is known.

    uv run python -m benchmarks.coverage estimates --root data
    uv run python -m benchmarks.coverage predictions results/*/tables/outliers.csv

The first lets random samples of many populations of examples play the data set: perceptrons on
CIFAR-100 and on digits at several epochs, on the examples that they were trained on and on as many
others. The mean over the population is the truth. The second reads the tables of runs.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks import perceptrons
from benchmarks.perceptrons import Perceptron
from truehessian.data import catalogue
from truehessian.report.tables import intervals
from truehessian.spectra.spectrum import ENDS
from truehessian.theory.estimates import cross_validation
from truehessian.theory.estimates.seen import Seen

EPOCHS = (0, 3, 20, 100)
RANKS, GROUPS, STEPS = 3, 16, 30
_TOGETHER = 1024  # examples whose products are taken at once
KEYS = ["network", "epoch", "examples", "num_examples"]


class Kind(NamedTuple):
    """A data set, the perceptron trained on it, and how many examples are a population."""

    data: str
    activation: str
    learning_rate: float
    population: int


KINDS = {
    "cifar-relu": Kind("cifar100", "relu", 0.05, 1000),
    "cifar-tanh": Kind("cifar100", "tanh", 0.05, 1000),
    "cifar-softplus": Kind("cifar100", "softplus", 0.05, 1000),
    "digits-tanh": Kind("digits", "tanh", 0.1, 800),
    "digits-relu": Kind("digits", "relu", 0.05, 800),
}


def examples_of(data: str, root: str) -> tuple[Tensor, Tensor, int]:
    """Load inputs (N, D), targets and the number of classes; CIFAR-100 in 8 x 8 pixels."""
    if data == "digits":
        images, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(1).permutation(len(images))
        inputs, targets = torch.tensor(images[order]), torch.tensor(labels[order])
        inputs = inputs.float() / 16
        return (inputs - inputs.mean()) / inputs.std(correction=0), targets, 10
    every = catalogue.fetch(data, root=root).train
    pixels, targets = every.inputs[:6000].float() / 255, every.targets[:6000]
    inputs = nn.functional.avg_pool2d(pixels, 4).flatten(1)
    return (inputs - inputs.mean(0)) / inputs.std(0, correction=0), targets, 100


def trained(kind: Kind, model: Perceptron, inputs: Tensor, targets: Tensor) -> Iterator[int]:
    """Train in batches of 50 with momentum, and stop at each of `EPOCHS`."""
    optimiser = torch.optim.SGD(model.weights, lr=kind.learning_rate, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(max(EPOCHS) + 1):
        if epoch in EPOCHS:
            yield epoch
        for part in torch.randperm(len(inputs), generator=generator).split(50):
            for weights in model.weights:
                weights.requires_grad_(True)
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model.outputs(inputs[part]), targets[part])
            loss.backward()
            optimiser.step()
        for weights in model.weights:
            weights.requires_grad_(False)


def outermost(
    multiply: Callable[[Tensor], Tensor], start: Tensor, steps: int
) -> tuple[NDArray, Tensor]:
    """Outermost eigenvalues of many matrices, (samples, 2 R), and vectors (samples, 2 R, P)."""
    samples, order = start.shape
    basis = torch.zeros(samples, steps + 1, order)
    diagonal, beside = torch.zeros(2, samples, steps, dtype=torch.float64)
    basis[:, 0] = start / start.norm(dim=1, keepdim=True)
    for step in range(steps):
        product = multiply(basis[:, step])
        diagonal[:, step] = (product * basis[:, step]).sum(1)
        known = basis[:, : step + 1]
        for _ in range(2):
            product = product - (known.mT @ (known @ product[..., None]))[..., 0]
        beside[:, step] = product.norm(dim=1)
        basis[:, step + 1] = product / beside[:, step].clamp_min(1e-12)[:, None].to(product)
    off = beside[:, :-1]
    jacobi = torch.diag_embed(diagonal) + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    values, coefficients = torch.linalg.eigh(jacobi)
    columns = [steps - 1 - rank for rank in range(RANKS)] + list(range(RANKS))
    vectors = (basis[:, :steps].mT @ coefficients[:, :, columns].to(basis)).mT
    return values[:, columns].numpy(), nn.functional.normalize(vectors, dim=-1)


def trials(
    model: Perceptron, inputs: Tensor, targets: Tensor, *, size: int, count: int,
    folds: Sequence[int], seed: int = 5,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield what `count` random samples of `size` examples show of a population, and the truth."""
    population = len(inputs)
    whole = model.look(inputs[None], targets[None])
    start = torch.randn(1, model.num_params, generator=torch.Generator().manual_seed(seed))
    start = nn.functional.normalize(start)
    alike = torch.full((1, population), 1 / population)
    truth, near = outermost(lambda block: model.products(whole, alike, block), start, 100)
    # Start vectors know the answer, which spares products and changes no converged result.
    begin = near[0].sum(0) + 0.3 * start[0]
    for chosen in _samples(population, size, count, seed).split(max(1, _TOGETHER // size)):
        seen = model.look(inputs[chosen], targets[chosen])
        masks = _masks(size, folds)  # (1 + folds.., n): all, and what each fold leaves
        each = len(masks)
        weights = (masks / masks.sum(1, keepdim=True)).repeat(len(chosen), 1)
        many = perceptrons.Seen(*(part.repeat_interleave(each, 0) for part in seen))
        values, vectors = outermost(
            lambda block, many=many, weights=weights: model.products(many, weights, block),
            begin.expand(len(weights), -1),
            STEPS,
        )
        curvatures = torch.stack(
            [model.quotients(many, vectors[:, place]) for place in range(2 * RANKS)], 1
        ).numpy()
        for values_of, curvatures_of in zip(
            values.reshape(len(chosen), each, -1),
            curvatures.reshape(len(chosen), each, 2 * RANKS, size),
            strict=True,
        ):
            yield from _rows(values_of, curvatures_of, masks.numpy(), folds, population, truth[0])


def _samples(population: int, size: int, count: int, seed: int) -> Tensor:
    """Positions of the examples of random samples, those of one partition disjoint."""
    generator, found = np.random.default_rng(seed), []
    while len(found) < count:
        order = generator.permutation(population)
        found += list(order[: population // size * size].reshape(-1, size))
    return torch.from_numpy(np.stack(found[:count]))


def _masks(size: int, folds: Sequence[int]) -> Tensor:
    parts = [part for number in folds for part in np.array_split(np.arange(size), number)]
    ones = torch.ones(size)
    return torch.stack([ones, *(ones.index_fill(0, torch.from_numpy(part), 0) for part in parts)])


def _rows(
    values: NDArray, curvatures: NDArray, masks: NDArray, folds: Sequence[int], population: int,
    truth: NDArray,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Give what a sample shows by each number of folds, and the estimate with its interval."""
    size, first = masks.shape[1], 1
    for number in folds:
        own = slice(first, first + number)
        first += number
        for place in range(2 * RANKS):
            seen = _seen(values[:, place], curvatures[own, place], masks[own], own, size)
            found = cross_validation.corrected(seen, population)
            yield {
                "folds": number,
                "end": ENDS[place // RANKS],
                "rank": place % RANKS + 1,
                "truth": truth[place],
                "naive": values[0, place],
                "estimate": found.value,
                "low": found.low,
                "high": found.high,
                "num_examples": size,
            }


def _seen(values: NDArray, curvatures: NDArray, masks: NDArray, own: slice, size: int) -> Seen:
    """As `calibration` sees a sample: moments of curvatures left out, from groups of examples."""
    folds, width = len(masks), max(1, size // GROUPS)
    left_out = [part[mask == 0] for part, mask in zip(curvatures, masks, strict=True)]
    crossed = float(np.mean([part.mean() for part in left_out]))
    squares, cubes, groups = [], [], 0
    for part in left_out:
        means = part[: len(part) // width * width].reshape(-1, width).mean(1)
        count = len(means)
        squares.append(width * means.var(ddof=1))
        third = ((means - means.mean()) ** 3).mean() * width**2
        cubes.append(third * count**2 / ((count - 1) * (count - 2)))
        groups += count
    deviation = math.sqrt(np.mean(squares))
    return Seen(
        num_examples=size,
        fitted=int(masks[0].sum()),
        value=float(values[0]),
        isotropic=math.nan,
        directional=math.nan,
        fitted_value=float(values[own].mean()),
        crossed=crossed,
        deviation=deviation,
        degrees_of_freedom=groups - folds,
        skewness=float(np.mean(cubes)) / deviation**3,
    )


def measured(name: str, root: str, sizes: Mapping[int, int], folds: Sequence[int]) -> pd.DataFrame:
    """Try the estimate on all populations of one perceptron."""
    kind = KINDS[name]
    perceptrons.check(kind.activation)
    inputs, targets, classes = examples_of(kind.data, root)
    model = Perceptron((inputs.shape[1], 16, classes), kind.activation, 0)
    count = kind.population
    halves = {"fitted": slice(0, count), "fresh": slice(count, 2 * count)}
    frames = []
    for epoch in trained(kind, model, inputs[:count], targets[:count]):
        for label, half in halves.items():
            if epoch == 0 and label == "fresh":
                continue  # no example has been fitted yet
            for size, number in sizes.items():
                rows = trials(
                    model, inputs[half], targets[half], size=size, count=number, folds=folds
                )
                frame = pd.DataFrame(rows)
                frames.append(frame.assign(network=name, epoch=epoch, examples=label))
                print(name, epoch, label, size, flush=True)
    return pd.concat(frames, ignore_index=True)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Coverage over all trials of an end and rank, and in the population where it is worst."""
    size = frame["truth"].abs()
    frame = frame.assign(
        holds=frame["truth"].between(frame["low"], frame["high"]),
        width=(frame["high"] - frame["low"]) / size,
        error=(frame["estimate"] - frame["truth"]) / size,
        naive_error=(frame["naive"] - frame["truth"]) / size,
    )
    rows = []
    for (rank, end, folds), group in frame.groupby(["rank", "end", "folds"]):
        cells = group.groupby(KEYS)
        holds = cells["holds"].mean()
        left = cells["error"].mean().abs() / cells["naive_error"].mean().abs()
        rows.append(
            {
                "rank": rank,
                "end": end,
                "folds": folds,
                "trials": len(group),
                "populations": len(holds),
                "coverage": group["holds"].mean(),
                "worst": holds.min(),
                "below 75 %": int((holds < 0.75).sum()),
                "median width": group["width"].median(),
                "bias left": left.median(),
            }
        )
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; `--output` keeps the trials that it is made of."""
    parser = argparse.ArgumentParser(description="How often intervals hold what they are of.")
    modes = parser.add_subparsers(dest="mode", required=True)
    of_tables = modes.add_parser("predictions")
    of_tables.add_argument("tables", nargs="+")
    of_trials = modes.add_parser("estimates")
    of_trials.add_argument("--root", default="data")
    of_trials.add_argument("--networks", nargs="+", default=list(KINDS))
    of_trials.add_argument("--sizes", type=int, nargs="+", default=[64, 200])
    of_trials.add_argument("--samples", type=int, nargs="+", default=[100, 50])
    of_trials.add_argument("--folds", type=int, nargs="+", default=[2, 4])
    of_trials.add_argument("--output")
    parsed = parser.parse_args(arguments)
    if parsed.mode == "predictions":
        tables = pd.concat(map(pd.read_csv, parsed.tables), ignore_index=True)
        print(intervals.prediction_coverage(tables).to_markdown(index=False, floatfmt=".3g"))
        return 0
    torch.set_num_threads(1)
    sizes = dict(zip(parsed.sizes, parsed.samples, strict=True))
    frames = [measured(name, parsed.root, sizes, parsed.folds) for name in parsed.networks]
    frame = pd.concat(frames, ignore_index=True)
    if parsed.output:
        frame.to_csv(parsed.output, index=False)
    print(summary(frame).to_markdown(index=False, floatfmt=".3g"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
