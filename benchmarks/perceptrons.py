"""Perceptrons of one hidden layer whose Hessians are written out, for many samples at once.

Intervals are tried on thousands of samples of some tens of examples each. Automatic
differentiation spends most of its time there on what is not arithmetic; the closed forms below are
compared with it before they are used, see `check`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]


def _tanh_slope(inner: Tensor) -> Tensor:
    return 1 - torch.tanh(inner) ** 2


def _logistic_slope(inner: Tensor) -> Tensor:
    return torch.sigmoid(inner) * torch.sigmoid(-inner)


# The function and its first two derivatives.
ACTIVATIONS: dict[str, tuple[Function, Function, Function]] = {
    "relu": (torch.relu, lambda inner: (inner > 0).to(inner), torch.zeros_like),
    "tanh": (torch.tanh, _tanh_slope, lambda inner: -2 * torch.tanh(inner) * _tanh_slope(inner)),
    "softplus": (nn.functional.softplus, torch.sigmoid, _logistic_slope),
}


class Seen(NamedTuple):
    """What the layers make of samples, shapes (samples, n, width)."""

    inputs: Tensor
    hidden: Tensor
    slope: Tensor
    bend: Tensor
    probabilities: Tensor
    residuals: Tensor
    behind: Tensor  # residuals on the hidden units


class Moved(NamedTuple):
    """Directions as weights, and how the layers move along them."""

    first: Tensor
    second: Tensor
    inner: Tensor
    hidden: Tensor
    outputs: Tensor


class Perceptron:
    """Softmax of W2ᵀ f(W1ᵀ x + b1) + b2, with cross-entropy.

    Parameters
    ----------
    sizes
        Inputs, hidden units, classes.
    activation
        One of `ACTIVATIONS`.
    seed
        Of the initial weights.
    """

    def __init__(self, sizes: tuple[int, int, int], activation: str, seed: int) -> None:
        inputs, hidden, classes = sizes
        generator = torch.Generator().manual_seed(seed)
        gain = (1 if activation == "tanh" else 2) / inputs
        first = torch.randn(inputs, hidden, generator=generator) * gain**0.5
        second = torch.randn(hidden, classes, generator=generator) * hidden**-0.5
        self.sizes, self.activation = sizes, activation
        self.weights = [first, torch.zeros(hidden), second, torch.zeros(classes)]

    @property
    def num_params(self) -> int:
        """P."""
        return sum(part.numel() for part in self.weights)

    def outputs(self, inputs: Tensor, weights: list[Tensor] | None = None) -> Tensor:
        """Logits of examples."""
        first, first_bias, second, second_bias = weights or self.weights
        return ACTIVATIONS[self.activation][0](inputs @ first + first_bias) @ second + second_bias

    def look(self, inputs: Tensor, targets: Tensor) -> Seen:
        """Prepare samples of examples, (samples, n, inputs) and (samples, n)."""
        function, slope, bend = ACTIVATIONS[self.activation]
        first, first_bias, second, second_bias = self.weights
        inner = inputs @ first + first_bias
        hidden = function(inner)
        probabilities = torch.softmax(hidden @ second + second_bias, -1)
        residuals = probabilities - nn.functional.one_hot(targets, self.sizes[2]).to(hidden)
        behind = residuals @ second.T
        return Seen(inputs, hidden, slope(inner), bend(inner), probabilities, residuals, behind)

    def products(self, seen: Seen, weights: Tensor, vectors: Tensor) -> Tensor:
        """Multiply the weighted mean Hessian of each sample with a vector of its own.

        Shapes: weights (samples, n), vectors (samples, P).
        """
        moved = self._move(seen, vectors)
        along, own = seen.probabilities * moved.outputs, weights[..., None]
        outputs = (along - seen.probabilities * along.sum(-1, keepdim=True)) * own
        residuals = seen.residuals * own
        second = moved.hidden.mT @ residuals + seen.hidden.mT @ outputs
        inner = (outputs @ self.weights[2].T + residuals @ moved.second.mT) * seen.slope
        inner = inner + seen.behind * own * seen.bend * moved.inner
        first = seen.inputs.mT @ inner
        parts = (first.flatten(-2), inner.sum(-2), second.flatten(-2), outputs.sum(-2))
        return torch.cat(parts, -1)

    def quotients(self, seen: Seen, vectors: Tensor) -> Tensor:
        """Curvature uᵀ H_i u of every example of each sample along its vector, (samples, n)."""
        moved = self._move(seen, vectors)
        along = seen.probabilities * moved.outputs
        spread = (along * moved.outputs).sum(-1) - along.sum(-1) ** 2
        bent = 2 * (moved.hidden @ moved.second) + (seen.bend * moved.inner**2) @ self.weights[2]
        return spread + (seen.residuals * bent).sum(-1)

    def _move(self, seen: Seen, vectors: Tensor) -> Moved:
        inputs, hidden, classes = self.sizes
        split = vectors.split([inputs * hidden, hidden, hidden * classes, classes], -1)
        first = split[0].unflatten(-1, (inputs, hidden))
        second = split[2].unflatten(-1, (hidden, classes))
        inner = seen.inputs @ first + split[1][..., None, :]
        moved = seen.slope * inner
        outputs = moved @ self.weights[2] + seen.hidden @ second + split[3][..., None, :]
        return Moved(first, second, inner, moved, outputs)


def check(activation: str) -> None:
    """Compare products and quotients with automatic differentiation in float64.

    Raises
    ------
    ArithmeticError
        They differ by more than 1e-10.
    """
    generator = torch.Generator().manual_seed(1)
    model = Perceptron((5, 4, 3), activation, 0)
    model.weights = [part.double() for part in model.weights]
    inputs = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 3, (7,), generator=generator)
    vector = torch.randn(model.num_params, generator=generator, dtype=torch.float64)
    shapes = [part.shape for part in model.weights]

    def loss(flat: Tensor, chosen: slice) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        weights = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        return nn.functional.cross_entropy(model.outputs(inputs[chosen], weights), targets[chosen])

    flat = torch.cat([part.flatten() for part in model.weights])
    expected = [
        torch.autograd.functional.hessian(lambda weights, own=own: loss(weights, own), flat)
        for own in (slice(None), *(slice(i, i + 1) for i in range(7)))
    ]
    seen = model.look(inputs[None], targets[None])
    products = model.products(seen, torch.full((1, 7), 1 / 7, dtype=torch.float64), vector[None])[0]
    quotients = model.quotients(seen, vector[None])[0]
    errors = [(products - expected[0] @ vector).abs().max()]
    errors += [
        (quotient - vector @ own @ vector).abs()
        for quotient, own in zip(quotients, expected[1:], strict=True)
    ]
    if max(errors) > 1e-10:
        raise ArithmeticError(f"closed forms of {activation} are off by {max(errors):.1e}")
