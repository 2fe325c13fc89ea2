"""Stochastic estimates of a trace, with the standard error of having few probes."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from truehessian import display, streams
from truehessian.operators import Operator

Method = Literal["hutchinson", "hutch++"]
# Vectors that go through the data at once: more take memory, fewer take more passes.
_BLOCK = 8


class TraceEstimate(NamedTuple):
    """The trace of a matrix of order P, estimated from random probes.

    Attributes
    ----------
    value
        tr A, the sum of the eigenvalues.
    standard_error
        Of the value, from the spread over the probes.
    num_params
        P.
    probes
        Products that it took.
    method
        `hutchinson` or `hutch++`.
    """

    value: float
    standard_error: float
    num_params: int
    probes: int
    method: str

    @property
    def mean_eigenvalue(self) -> float:
        """Tr A / P."""
        return self.value / self.num_params

    def __repr__(self) -> str:
        """Show value, standard error and how it was estimated."""
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()

    def _card(self) -> display.Card:
        row = [display.value(self.value), display.error(self.standard_error)]
        title = f"Trace by {self.method}: P = {self.num_params:,}, {self.probes} products"
        return display.Card(title, ("value", "standard error"), [row])


def estimate(operator: Operator, probes: int, method: Method, seed: int) -> TraceEstimate:
    """Estimate a trace; parameters are those of `one_call.trace`.

    Notes
    -----
    Hutchinson's estimate is the mean of vᵀ A v over random signs v, with the variance
    2 (|A|² - sum_i a_ii²) in the Frobenius norm. Hutch++ takes the trace on the span of a third
    of the products exactly and estimates only the rest, which is the better the more a few
    eigenvalues outweigh all others.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    least = 2 if method == "hutchinson" else 6
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < least:
        raise ValueError(
            f"probes must be a whole number from {least} on, or there is no standard error, got "
            f"{probes}"
        )
    exact, basis, drawn = 0.0, None, 0
    if method == "hutch++":
        sketch = min(probes // 3, operator.num_params)
        basis = _range(operator, sketch, seed)
        exact, drawn = float(_quotients(operator, basis).sum()), 2 * sketch
    signs = _signs(operator, probes - drawn, seed, "trace")
    if basis is not None:
        signs = signs - (signs @ basis.T) @ basis
    samples = _quotients(operator, signs)
    return TraceEstimate(
        exact + float(samples.mean()),
        float(samples.std()) / len(samples) ** 0.5,
        operator.num_params,
        probes,
        method,
    )


def _range(operator: Operator, count: int, seed: int) -> Tensor:
    """Span the images of random vectors: orthonormal rows, shape (count, P), float64."""
    images = [
        operator.matmat(rows) for rows in _blocks(_signs(operator, count, seed, "range"), operator)
    ]
    return torch.linalg.qr(torch.cat(images).T)[0].T


def _quotients(operator: Operator, vectors: Tensor) -> Tensor:
    """vᵀ A v for vectors as rows, shape (n,); summed in float64."""
    products = zip(vectors.split(_BLOCK), _blocks(vectors, operator), strict=True)
    return torch.cat([(rows * operator.matmat(block)).sum(1) for rows, block in products])


def _blocks(vectors: Tensor, operator: Operator) -> Iterator[Tensor]:
    return (rows.to(operator.dtype).contiguous() for rows in vectors.split(_BLOCK))


def _signs(operator: Operator, count: int, seed: int, purpose: str) -> Tensor:
    """Draw signs as rows, shape (count, P), float64; each depends on its own number only."""
    rows = [
        streams.generator(seed, f"signs: {purpose}", number).integers(2, size=operator.num_params)
        for number in range(count)
    ]
    return torch.stack([torch.from_numpy(row) for row in rows]).to(operator.device).double() * 2 - 1
