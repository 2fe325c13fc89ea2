"""The twin of an operator: plain double differentiation of its first examples.

Whatever replaces plain differentiation (rules for layers, closed forms of losses, channels last) is
compared with it before the first product; so is what an operator takes for granted: outputs that
repeat, examples that do not influence each other, a symmetric product.
"""

import logging
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree, all_finite, cast, tensors_of
from truehessian.operators import causes, diagnosis
from truehessian.operators.enlivened import Enlivened
from truehessian.operators.examined import Examined
from truehessian.operators.memory import is_out_of_memory
from truehessian.operators.precision import arithmetic
from truehessian.operators.weights import that_count

logger = logging.getLogger(__name__)

# Relative deviations that rounding may cause. In a deep network single precision switches ReLUs
# whose input is nearly zero; what is above is looked at again in double precision.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}
_SEED = 20_231  # of the vectors of the comparison, which have no part in any result


class Sample(NamedTuple):
    """The first examples, and two directions in parameter space."""

    inputs: Tree
    targets: Tree
    directions: list[Tensor]  # two of shape (P,), standard normal

    @classmethod
    def of(cls, operator: Examined, inputs: Tree, targets: Tree) -> "Sample":
        """Take two examples that count, or the one that there is."""
        generator = torch.Generator().manual_seed(_SEED)
        directions = [
            torch.randn(operator.num_params, generator=generator, dtype=operator.dtype)
            for _ in range(2)
        ]
        first = that_count(operator.loss, targets, 2)
        examples = trees.rows(inputs, first), trees.rows(targets, first)
        return cls(*examples, [d.to(operator.device) for d in directions])

    def double(self) -> "Sample":
        """Give the same in float64."""
        inputs, targets, *directions = (
            cast(tree, torch.float64) for tree in (self.inputs, self.targets, *self.directions)
        )
        return Sample(inputs, targets, directions)


@arithmetic("float32")  # never in less than the operator's own, as TF32 would be
def examine(operator: Examined, inputs: Tree, targets: Tree) -> str:
    """Look at the first examples before the first product, and choose how products are made.

    Parameters
    ----------
    operator
        Its network is left in the memory format that is chosen.
    inputs, targets
        Of the first chunk, on the operator's device.

    Returns
    -------
    str
        Why there are no rules for layers; empty where there are.

    Raises
    ------
    ValueError
        There is no fixed symmetric matrix that is a mean over examples; the sentence says why.
    """
    sample = Sample.of(operator, inputs, targets)
    network = operator.network
    network.channels_last = False
    own, operator = operator, operator.with_loss(Enlivened(operator.loss))
    outputs, plain = _plainly(operator, sample)
    _check_dependence(operator, outputs)
    own.check_loss(outputs, sample.targets)
    if operator.batchnorm == "eval":
        _check_that_examples_are_apart(operator, sample, outputs)
    if not all_finite(plain):
        return ""  # for the product to complain about
    reason = _compare(operator, sample, outputs, plain)
    _check_symmetry(operator, sample, plain)
    if reason:
        network.put_channels_first()
        logger.warning("products are made by plain differentiation, since %s", reason)
    return reason


@arithmetic("float32")
def error_of_tf32(operator: Examined, inputs: Tree, targets: Tree, *, plain: bool) -> float:
    """Relative error that TF32 makes in a product of the first examples with a random vector.

    Parameters
    ----------
    operator, inputs, targets
        As of `examine`, after it.
    plain
        Whether products are made by plain differentiation.

    Returns
    -------
    float
        Norm of the difference from the product in float32, by that product's; zero on a CPU, which
        has no TF32.
    """
    sample = Sample.of(operator, inputs, targets)
    call = (sample.inputs, sample.targets, sample.directions[:1])
    _, (exact,) = operator.try_out(*call, plain=plain)
    with arithmetic("tf32"):
        _, (rounded,) = operator.try_out(*call, plain=plain)
    error: Tensor = (rounded.double() - exact.double()).norm() / exact.double().norm()
    return error.nan_to_num(0.0).item()


def _plainly(operator: Examined, sample: Sample) -> tuple[Any, list[Tensor]]:
    """Multiply the examples' matrix with both directions by plain differentiation."""
    try:
        return operator.try_out(sample.inputs, sample.targets, sample.directions, plain=True)
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, ValueError | diagnosis.ComputationError):
            raise
        fault = causes.layer_at_fault(operator, sample.inputs, diagnosis.has_none)
        fault = fault or causes.loss_at_fault(operator, sample.inputs, sample.targets)
        raise NotImplementedError(
            f"the {operator.name} needs second derivatives, which "
            f"{fault or 'a layer of the network, or the loss,'} does not have: "
            f"{diagnosis.words(error)}"
        ) from error


def _check_that_examples_are_apart(operator: Examined, sample: Sample, outputs: Any) -> None:
    """Refuse networks whose outputs for an example depend on the others of its chunk."""
    together = tensors_of(outputs)
    if trees.count(sample.targets) < 2 or any(t.ndim == 0 or len(t) != 2 for t in together):
        return
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            alone = tensors_of(operator.network(trees.rows(sample.inputs, slice(0, 1))))
    except diagnosis.ComputationError as error:
        raise ValueError(
            "the network takes two examples and not one alone, as if it normalised by the "
            f"statistics of the batch, so that the matrix is no mean over examples ({error})"
        ) from error
    if len(alone) == len(together) and all(
        one.shape == both[:1].shape and _close(one, both[:1])
        for one, both in zip(alone, together, strict=True)
    ):
        return
    _check_repeats(operator, sample)
    raise ValueError(
        "the network's outputs for an example depend on the other examples of its chunk, as with "
        "a normalisation by the statistics of the batch, so that the matrix is no mean over "
        "examples; give the layer running statistics, or use batchnorm: train for BatchNorm"
    )


def _check_dependence(operator: Examined, outputs: Any) -> None:
    """Refuse a network that cuts its graph: all its derivatives would be zero."""
    if any(tensor.requires_grad for tensor in tensors_of(outputs)):
        return
    names = list(operator.network.parameters)
    sentence = (
        f"the network's outputs do not depend on {names[0]}{' ..' * (len(names) > 1)} by a graph, "
        "so that the matrix is zero"
    )
    if operator.network.is_restricted:  # as of a layer that is not used
        logger.warning("%s for the first examples", sentence)
        return
    raise ValueError(f"{sentence}; torch.no_grad, inference_mode or detach may be in the forward")


def _compare(operator: Examined, sample: Sample, outputs: Any, plain: Sequence[Tensor]) -> str:
    """Set the rules beside plain differentiation; give what speaks against them."""
    network = operator.network
    images = any(tensor.ndim == 4 for tensor in tensors_of(sample.inputs))
    last = images and network.put_channels_last()
    reason = ""
    for layout in [True, False] if last else [False]:
        if last and not layout:
            network.put_channels_first()
        try:
            others, (ruled,) = operator.try_out(
                sample.inputs, sample.targets, sample.directions[:1], plain=False
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = f"the rules for layers do not hold ({diagnosis.words(error)})"
            continue
        if not _agree(outputs, others):
            _check_repeats(operator, sample)
        reason = _deviation(operator, sample, ruled, plain[0])
        if not reason:
            return ""
    return reason


def _deviation(operator: Examined, sample: Sample, ruled: Tensor, plain: Tensor) -> str:
    """Tell whether a product by the rules is another than the plain one by more than rounding."""
    apart = gap(operator, ruled, plain)
    if apart <= TOLERANCE[operator.dtype]:
        return ""
    if operator.dtype == torch.float64:
        return f"those of the faster rules deviate by {apart:.1e}"
    twin, exact = operator.double(), sample.double()
    layers = [twin.try_out(*exact[:2], exact.directions[:1], plain=p)[1][0] for p in (True, False)]
    apart = gap(twin, layers[1], layers[0])
    if apart > TOLERANCE[torch.float64]:
        return f"those of the faster rules deviate by {apart:.1e}"
    errors = [(product.double() - layers[0]).norm().item() for product in (ruled, plain)]
    if errors[0] > 10 * errors[1] + TOLERANCE[operator.dtype] * layers[0].norm().item():
        share = errors[0] / layers[0].norm().item()
        return f"the kernels of the faster ones deviate by {share:.1e} from double precision"
    return ""


def _check_symmetry(operator: Examined, sample: Sample, plain: Sequence[Tensor]) -> None:
    apart, tolerance = _asymmetry(sample, plain), TOLERANCE[operator.dtype]
    if apart > tolerance and operator.dtype != torch.float64:
        exact, tolerance = sample.double(), TOLERANCE[torch.float64]
        _, products = operator.double().try_out(*exact, plain=True)
        apart = _asymmetry(exact, products)
    if apart > tolerance:
        fault = causes.layer_at_fault(operator, sample.inputs, diagnosis.is_not_symmetric)
        raise ValueError(
            f"the {operator.name} product of the first examples is not symmetric (by {apart:.1e} "
            f"of its size): the derivative of {fault or 'a layer, or of the loss,'} is not the one "
            "of what it computes, or the second derivative is not that of the first"
        )


def _asymmetry(sample: Sample, products: Sequence[Tensor]) -> float:
    one, other = sample.directions
    sides = [(one.double() @ products[1].double()), (other.double() @ products[0].double())]
    scale = max(product.double().norm().item() for product in products)
    return abs((sides[0] - sides[1]).item()) / scale if scale else 0.0


def gap(operator: Examined, product: Tensor, exact: Tensor) -> float:
    """Largest relative deviation of a parameter's part; small parts count by the largest."""
    sizes = [leaf.numel() for leaf in operator.network.leaves]
    parts = exact.double().split(sizes)
    errors = (product.double() - exact.double()).split(sizes)
    norms = torch.stack([part.norm() for part in parts])
    floor = 1e-3 * norms.max()
    gaps = torch.stack([error.norm() for error in errors]) / norms.clamp(min=floor)
    return gaps.nan_to_num(nan=0.0 if not floor else float("inf")).max().item()


def _check_repeats(operator: Examined, sample: Sample) -> None:
    network, inputs = operator.network, sample.inputs
    with torch.no_grad():
        if _agree(network(inputs), network(inputs)):
            return
        seeded = []
        for _ in range(2):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                seeded.append(network(inputs))
    if _agree(*seeded):
        raise ValueError(
            "the network draws random numbers in its forward pass, so that its curvature is "
            "no fixed matrix; dropout modules are off here, but something else is not, such "
            "as F.dropout without training=self.training, or noise"
        )
    raise ValueError(
        "the network gives other outputs for the same inputs at every call, so that its "
        "curvature is no fixed matrix; it may change a state of its own that is no buffer"
    )


def _agree(outputs: Any, others: Any) -> bool:
    """Whether all tensors of two outputs are close."""
    mine, theirs = tensors_of(outputs), tensors_of(others)
    return len(mine) == len(theirs) and all(map(_close, mine, theirs))


def _close(outputs: Tensor, others: Tensor) -> bool:
    """Whether two outputs are equal but for the order of summation."""
    if not outputs.is_floating_point():
        return torch.equal(outputs, others)
    # Outputs that are not finite are for the product to complain about.
    scale = outputs.abs().nan_to_num(0.0, posinf=0.0).max().item() if outputs.numel() else 0.0
    tolerance = 1e3 * torch.finfo(outputs.dtype).eps * scale
    return torch.allclose(outputs, others, rtol=0.0, atol=tolerance, equal_nan=True)
