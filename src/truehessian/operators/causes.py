"""Which part of an operator is to blame where there is no matrix, as parts of sentences."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree, all_finite, tensors_of
from truehessian.operators import diagnosis
from truehessian.operators.examined import Examined
from truehessian.operators.losses import name_of
from truehessian.operators.precision import arithmetic


def layer_at_fault(operator: Examined, inputs: Tree, test: Callable[[diagnosis.Call], bool]) -> str:
    """Name the innermost layer that a test finds at fault with these inputs; "" for none."""
    network = operator.network
    try:
        with warnings.catch_warnings(action="ignore"):
            return diagnosis.culprit(network.module, lambda: network(inputs), test)
    except Exception:  # a sentence without the layer is better than another error
        return ""


def loss_at_fault(operator: Examined, inputs: Tree, targets: Tree) -> str:
    """Name the loss if it cannot be differentiated twice by the outputs."""
    with torch.no_grad():
        outputs = operator.loss.taken(operator.network(inputs))
    if not isinstance(outputs, Tensor):
        return ""
    try:
        operator.loss.curvature(outputs, targets)
    except RuntimeError:
        return f"the loss {name_of(operator.loss.own)}"
    return ""


@arithmetic("float32")
def why_not_finite(operator: Examined, inputs: Tree, targets: Tree) -> str:
    """Tell why the product of a chunk is not finite, as the end of a sentence."""
    network = operator.network
    for what, tensors in {
        "inputs": dict(trees.named(inputs)),
        "parameters": network.parameters,
        "buffers": network.buffers(),
    }.items():
        for name, tensor in tensors.items():
            if not all_finite([tensor]):
                return f": the {what} {name and repr(name) + ' '}do, before any computation"
    outputs = operator.loss.taken(network(inputs))
    if not all_finite(tensors_of(outputs)):
        return ", and so do the network's outputs: the weights may have diverged"
    loss = operator.loss(outputs, targets)
    if not all_finite([loss]):
        return ", and so does the loss, such as a mean over targets that are all ignored"
    gradient = torch.autograd.grad(loss, network.leaves, allow_unused=True, materialize_grads=True)
    if not all_finite(gradient):
        return ", and so does the gradient, at finite outputs"
    fault = layer_at_fault(operator, inputs, diagnosis.is_not_finite)
    return (
        f", at a finite gradient: {fault or 'a layer of the network, or the loss,'} has no second "
        "derivative there, such as a norm or a square root at zero; or numbers overflow, then try "
        "precision: float64"
    )
