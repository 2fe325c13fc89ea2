"""Second moments of the gradients of single examples, uncentred and centred."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.operators import penalty
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.base import Operator
from truehessian.operators.closed_forms import Weigher
from truehessian.operators.ggn import GaussNewton, slope_of
from truehessian.operators.mean import Linearised, NetworkOperator
from truehessian.operators.precision import arithmetic


class EmpiricalFisher(GaussNewton):
    """F = (1/N) sum_i g_i g_iᵀ with the gradient g_i = J_iᵀ dl_i / dz of each example, uncentred.

    Examples that count with weights w_i do so here: sum_i w_i g_i g_iᵀ / sum_i w_i.

    Raises
    ------
    ValueError
        Batch statistics are on: then there is no gradient of a single example. Or there is a weight
        decay, which only matrices of second derivatives have.

    References
    ----------
    Kunstner, Balles & Hennig (2019), Limitations of the empirical Fisher approximation, NeurIPS,
    for what it is not: the Fisher information matrix.
    """

    name = "empirical_fisher"
    takes_weight_decay = False

    def __init__(self, model: nn.Module, data: object, **settings: Any) -> None:
        if settings.get("batchnorm", "eval") != "eval":
            raise ValueError(
                "with batch statistics there is no gradient of a single example; use "
                "batchnorm: eval"
            )
        penalty.refused(self.name, settings.get("weight_decay", 0))
        super().__init__(model, data, **settings)

    def _linearise(self, inputs: Tree, targets: Tree, how: ByDefinition) -> Linearised:
        made = super()._linearise(inputs, targets, how)
        check_rows(made.outputs, trees.count(targets))
        return made

    def _weigher(self, outputs: Tensor, targets: Tree, how: ByDefinition) -> Weigher:
        del how
        # The loss is a mean: W/w_i dl/dz is the gradient of each example's own loss by its outputs.
        slope = slope_of(self.loss, outputs, targets, curved=False)[1]
        weights = self.loss.weights(targets)
        if weights is None:
            weights = torch.ones(len(outputs), dtype=torch.float64, device=outputs.device)
        scale = (weights.sum() / weights).where(weights > 0, 1).to(outputs.dtype)  # W / w_i
        own = slope * scale.view(-1, *[1] * (outputs.ndim - 1))

        def weigh(pushed: Tensor) -> Tensor:
            slopes = (own * pushed).flatten(1).sum(1) / scale  # w_i / W g_i . v, shape (B,)
            return own * slopes.view(-1, *[1] * (outputs.ndim - 1))

        return weigh


def check_rows(outputs: Tensor, count: int) -> None:
    """Refuse outputs that are not one for each of `count` examples.

    Raises
    ------
    ValueError
        The first axis of `outputs` is not `count` long.
    """
    if outputs.ndim == 0 or len(outputs) != count:
        raise ValueError(
            f"the network gives outputs of shape {tuple(outputs.shape)} for {count} examples; the "
            "first axis must count examples, or there is no gradient of each"
        )


class GradientCovariance(Operator):
    """C = (1/N) sum_i (g_i - g)(g_i - g)ᵀ, the empirical Fisher matrix centred by the mean g.

    Parameters
    ----------
    model, data, **settings
        As of `EmpiricalFisher`.
    """

    name = "gradient_covariance"
    semidefinite = True

    def __init__(self, model: nn.Module, data: object, **settings: Any) -> None:
        self.fisher = EmpiricalFisher(model, data, **settings)
        super().__init__(self.fisher.num_params, self.fisher.dtype, self.fisher.device)

    @cached_property
    def mean_gradient(self) -> Tensor:
        """The mean gradient g, shape (P,), float64: one pass over the data."""
        return mean_gradient(self.fisher)

    def matmat(self, block: Tensor) -> Tensor:
        """Multiply with k vectors as rows (k, P); float64."""
        block = block.to(self.device)
        along = block.double() @ self.mean_gradient
        return self.fisher.matmat(block) - along[:, None] * self.mean_gradient

    def traits(self) -> list[str]:
        """As the empirical Fisher matrix."""
        return self.fisher.traits()

    def describe(self) -> dict[str, Any]:
        """As the empirical Fisher matrix."""
        return {**self.fisher.describe(), "operator": self.name}


def mean_gradient(operator: NetworkOperator) -> Tensor:
    """Mean gradient of an operator's loss over its examples.

    Returns
    -------
    Tensor
        Shape (P,), float64, on the operator's device.
    """
    network = operator.network
    total = torch.zeros(operator.num_params, dtype=torch.float64, device=operator.device)
    weights = operator.weights
    chunks = operator.data.chunks(operator.chunk_size, operator.dtype)
    for weight, (inputs, targets) in zip(weights.chunks, chunks, strict=True):
        if not weight:
            continue
        inputs, targets = (trees.moved(tree, operator.device) for tree in (inputs, targets))
        with arithmetic(operator.precision):
            gradient = torch.autograd.grad(
                operator.loss(operator.loss.taken(network(inputs)), targets),
                network.leaves,
                allow_unused=True,
                materialize_grads=True,
            )
        flat = torch.empty(operator.num_params, dtype=operator.dtype, device=operator.device)
        network.flatten(gradient, flat)
        total.add_(flat, alpha=weight / weights.total)
    return total
