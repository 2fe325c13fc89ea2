"""Predictions beside batches of small perceptrons whose Hessians are written down by example.

`python -m benchmarks.perceptrons FOLDER` writes FOLDER/{network}/tables/theory_vs_empirical.csv, as
a run of the workflow has it, and `python -m benchmarks.stated_errors FOLDER/*` sums them up.

The extremes of 80 batches of each size come from dense matrices, and their mean from these by a
control variate: the batch's quotient along the full eigenvector, whose mean is known. The
extrapolation sees 20 of the batches.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call, hessian, vmap
from torch.nn import functional as F

from truehessian.spectra.spectrum import ENDS
from truehessian.theory.predictions import PREDICTIONS, choice
from truehessian.theory.predictions.base import Draws, Known, MeasuredBatches, Variance
from truehessian.theory.predictions.noise import SubspaceNoise

NUM_EXAMPLES, GROUP_SIZE, RITZ, LEAKS = 512, 16, 5, 5  # the last two of each end
SIZES, FOLDS, SEEN = (16, 32, 64, 128), 80, 20
EPOCHS = (0, 2, 8, 25, 60)


class Case(NamedTuple):
    """A perceptron and how it is trained."""

    name: str
    activation: type[nn.Module]
    hidden: list[int]
    learning_rate: float
    batch_size: int
    seed: int


CASES = (
    Case("tanh-12", nn.Tanh, [12], 0.3, 16, 0),
    Case("relu-12", nn.ReLU, [12], 0.3, 16, 1),
    Case("relu-8-8", nn.ReLU, [8, 8], 0.1, 32, 2),
    Case("tanh-8-8", nn.Tanh, [8, 8], 0.3, 64, 3),
    Case("gelu-12", nn.GELU, [12], 0.1, 8, 4),
    Case("softmax", nn.Identity, [], 0.3, 32, 5),
)


class Seen(NamedTuple):
    """What is kept of an epoch.

    Attributes
    ----------
    values
        Outermost eigenvalues, shape (2 RITZ,): the largest inwards and then the smallest.
    projected, covariance
        Bᵀ H_i B, shape (N, K, K), and the mean of (H_i - H) b_a · (H_i - H) b_b, shape (K, K), for
        the eigenvectors and the leak directions B.
    order
        Examples in the order in which they make groups, shape (N,).
    isotropic
        P σ².
    batches
        By size: largest, smallest, and the quotients along both eigenvectors, shape (FOLDS, 4).
    """

    epoch: int
    values: NDArray
    projected: NDArray
    covariance: NDArray
    order: NDArray
    isotropic: float
    batches: dict[int, NDArray]


def trained(case: Case) -> Iterator[tuple[int, NDArray]]:
    """Train on digits of 4 x 4 pixels; yield epochs and the Hessians of all examples (N, P, P)."""
    images, labels = load_digits(return_X_y=True)
    pixels = F.avg_pool2d(torch.tensor(images).reshape(-1, 1, 8, 8) / 16, 2).reshape(-1, 16)
    torch.manual_seed(case.seed)
    chosen = torch.randperm(len(pixels))[:NUM_EXAMPLES]
    inputs, targets = pixels.double()[chosen] - 0.3, torch.tensor(labels)[chosen]
    layers: list[nn.Module] = []
    width = 16
    for hidden in case.hidden:
        layers += [nn.Linear(width, hidden), case.activation()]
        width = hidden
    network = nn.Sequential(*layers, nn.Linear(width, 10)).double()
    optimiser = torch.optim.SGD(network.parameters(), case.learning_rate, momentum=0.9)
    for epoch in range(EPOCHS[-1] + 1):
        if epoch in EPOCHS:
            yield epoch, hessians(network, inputs, targets)
        order = torch.randperm(NUM_EXAMPLES)
        for begin in range(0, NUM_EXAMPLES, case.batch_size):
            batch = order[begin : begin + case.batch_size]
            optimiser.zero_grad()
            F.cross_entropy(network(inputs[batch]), targets[batch]).backward()
            optimiser.step()


def hessians(network: nn.Module, inputs: Tensor, targets: Tensor) -> NDArray:
    """Write down the Hessian of every example, by differentiating twice."""
    parameters = dict(network.named_parameters())
    weights = torch.cat([value.detach().reshape(-1) for value in parameters.values()])

    def loss(flat: Tensor, example: Tensor, target: Tensor) -> Tensor:
        pieces = flat.split([value.numel() for value in parameters.values()])
        named = zip(parameters.items(), pieces, strict=True)
        values = {name: piece.view(like.shape) for (name, like), piece in named}
        return F.cross_entropy(functional_call(network, values, (example[None],)), target[None])

    of_many = vmap(hessian(loss), (None, 0, 0))
    parts = zip(inputs.split(64), targets.split(64), strict=True)
    found = [of_many(weights, *part).float().double() for part in parts]
    array: NDArray = torch.cat(found).numpy()
    return array


def seen(epoch: int, matrices: NDArray, generator: np.random.Generator) -> Seen:
    """Look at the Hessians of all examples from eigenvectors and leaks, and draw batches."""
    mean = matrices.mean(0)
    values, vectors = np.linalg.eigh(mean)
    places = [*range(-1, -1 - RITZ, -1), *range(RITZ)]
    ritz = np.concatenate([vectors[:, ::-1][:, :RITZ], vectors[:, :RITZ]], axis=1)
    order = generator.permutation(len(matrices))
    noise = (matrices - mean) @ ritz  # (N, P, 2 RITZ)
    groups = noise[order].reshape(-1, GROUP_SIZE, *noise.shape[1:]).mean(1)
    groups = groups - ritz @ (ritz.T @ groups)
    leaks = []
    for end in (slice(0, RITZ), slice(RITZ, 2 * RITZ)):
        rows = groups[:, :, end].transpose(0, 2, 1).reshape(-1, len(mean))
        leaks.append(np.linalg.svd(rows, full_matrices=False)[2][:LEAKS])
    away = np.concatenate(leaks).T
    away = np.linalg.qr(away - ritz @ (ritz.T @ away))[0]
    basis = np.concatenate([ritz, away], axis=1)
    leaving = (matrices - mean) @ basis
    covariance = np.einsum("npa,npb->ab", leaving, leaving) / len(matrices)
    quotients = np.einsum("pa,npa->na", ritz, noise)[:, [0, RITZ]]
    batches = {}
    for size in SIZES:
        drawn = []
        for _ in range(FOLDS):
            batch = generator.choice(len(matrices), size, replace=False)
            spectrum = np.linalg.eigvalsh(matrices[batch].mean(0))
            drawn.append((spectrum[-1], spectrum[0], *quotients[batch].mean(0)))
        batches[size] = np.array(drawn)
    projected = basis.T @ matrices @ basis
    isotropic = float(((matrices - mean) ** 2).sum() / len(matrices) / len(mean))
    return Seen(epoch, values[places], projected, covariance, order, isotropic, batches)


def rows(found: Seen, num_params: int) -> Iterator[dict[str, Any]]:
    """Set all predictions beside the batches, a row for each size and end."""
    projected = found.projected
    deviations = projected - projected.mean(0)
    within = np.einsum("nab,ncb->ac", deviations, deviations) / len(projected)
    leak = found.covariance - within
    leak[: 2 * RITZ, 2 * RITZ :] = leak[2 * RITZ :, : 2 * RITZ] = 0  # as the workflow has it
    groups = projected[found.order].reshape(-1, GROUP_SIZE, *projected.shape[1:]).mean(1)
    noise = SubspaceNoise(found.values, groups, leak, GROUP_SIZE, len(projected), projected.mean(0))
    for end, place, column in zip(ENDS, (0, RITZ), (0, 1), strict=True):
        for size, drawn in found.batches.items():
            others = [
                MeasuredBatches(other, values[:SEEN, column : column + 1], 0.0)
                for other, values in found.batches.items()
                if other != size
            ]
            known = Known(
                eigenvalues=found.values[place : place + 1],
                end=end,
                batch_size=size,
                num_examples=len(projected),
                num_parameters=num_params,
                isotropic=Variance(found.isotropic, 0.0),
                along=[Variance(float(found.covariance[place, place]), 0.0)],
                noise=noise,
                how=Draws(1, 300, 0, 10),
                measured=others,
            )
            origin = {"epoch": found.epoch, "batch_size": size, "end": end}
            yield origin | _measured(drawn[:, column], drawn[:, 2 + column]) | _predicted(known)


def _measured(extremes: NDArray, quotients: NDArray) -> dict[str, float]:
    """Mean of the extremes less what the quotients tell of the draw, and its standard error."""
    slope = np.cov(extremes, quotients)[0, 1] / quotients.var(ddof=1)
    values = extremes - slope * quotients
    error = values.std(ddof=1) / np.sqrt(len(values))
    return {"batch_mean": float(values.mean()), "batch_standard_error": float(error)}


def _predicted(known: Known) -> dict[str, Any]:
    entries = PREDICTIONS.entries()
    predicted = {name: entry.predict(known) for name, entry in entries.items()}
    expected = {
        name: choice.expected_error(entry, known, predicted[name])
        for name, entry in entries.items()
    }
    row: dict[str, Any] = {"full": float(known.eigenvalues[0])}
    for name, made in predicted.items():
        columns = {"": made.value, "_low": made.low, "_high": made.high}
        columns["_expected_error"] = expected[name]
        row |= {f"{name}{what}": float(values[0]) for what, values in columns.items()}
    (chosen,), errors = choice.chosen(known.eigenvalues, expected)
    return row | {"chosen": chosen, "chosen_expected_error": float(errors[0])}


def main(folder: str) -> None:
    for case in CASES:
        found: list[dict[str, Any]] = []
        for epoch, matrices in trained(case):
            generator = np.random.default_rng(100 * case.seed + epoch)
            found += rows(seen(epoch, matrices, generator), matrices.shape[1])
        path = Path(folder) / case.name / "tables/theory_vs_empirical.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(found).to_csv(path, index=False)


if __name__ == "__main__":
    main(sys.argv[1])
