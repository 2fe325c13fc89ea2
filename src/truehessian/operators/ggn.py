"""The generalised Gauss-Newton matrix, and what all matrices JᵀWJ have in common."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.networks.losses.log_likelihood import NegativeLogLikelihood
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.autograd.layers import LayerRules
from truehessian.operators.closed_forms import Weigher
from truehessian.operators.diagnosis import ComputationError
from truehessian.operators.losses import name_of
from truehessian.operators.mean import Linearised, NetworkOperator

logger = logging.getLogger(__name__)


# Outputs of an example from which on the closed form of a loss is taken: it halves the memory of a
# product at 50,000 of them (docs/performance.md). Below there is little to save, differentiating
# twice is as fast, and the bits stay those of earlier results.
_LARGE = 2**14


class Graph(NamedTuple):
    """What a product needs: z, the product with a weight, and Jᵀ d of a dummy d."""

    outputs: Tensor
    weigh: Weigher
    dummy: Tensor
    pulled_back: list[Tensor]


class GaussNewton(NetworkOperator):
    """(1/N) sum_i J_iᵀ W_i J_i with the Jacobian J_i of the outputs z and some weight W_i."""

    semidefinite = True  # of the losses in use, which are convex in the outputs

    @abstractmethod
    def _weigher(self, outputs: Tensor, targets: Tree, how: ByDefinition) -> Weigher:
        """Give J v, shape (B, ..) -> its product with the weight of the mean over the examples."""

    def _rules(self) -> LayerRules:
        return LayerRules(self.dtype, self.device, weights=False)

    def _linearise(self, inputs: Tree, targets: Tree, how: ByDefinition) -> Linearised:
        outputs = self.loss.taken(self.network(inputs, how))
        if not isinstance(outputs, Tensor):
            raise ValueError(
                f"the {self.name} needs a network whose output is one tensor, and this one gives a "
                f"{type(outputs).__name__}; wrap it in a module that gives what the loss needs"
            )
        weigh = self._weigher(outputs, targets, how)
        if not outputs.requires_grad:  # none of these examples reaches the parameters
            nothing = [torch.zeros_like(leaf) for leaf in self.network.leaves]
            return Linearised(Graph(outputs, weigh, outputs, nothing), outputs)
        # Jᵀ d is linear in d, so its derivative by d along v is J v: forward mode out of two
        # reverse passes, which every layer supports that has second derivatives at all.
        dummy = torch.zeros_like(outputs, requires_grad=True)
        pulled_back = torch.autograd.grad(
            outputs,
            self.network.leaves,
            grad_outputs=dummy,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return Linearised(Graph(outputs, weigh, dummy, list(pulled_back)), outputs)

    def _of_leaves(self, graph: Graph, places: Sequence[int]) -> Graph:
        return graph._replace(pulled_back=[graph.pulled_back[place] for place in places])

    def _apply(self, graph: Graph, vector: list[Tensor], keep: bool) -> Sequence[Tensor]:
        pairs = [(g, v) for g, v in zip(graph.pulled_back, vector, strict=True) if g.requires_grad]
        if not pairs:
            return [torch.zeros_like(p) for p in self.network.leaves]
        (pushed,) = torch.autograd.grad(
            [g for g, _ in pairs],
            graph.dummy,
            grad_outputs=[v for _, v in pairs],
            retain_graph=True,
            allow_unused=True,  # as of a layer that the outputs do not depend on
            materialize_grads=True,
        )
        return torch.autograd.grad(
            graph.outputs,
            self.network.leaves,
            grad_outputs=graph.weigh(pushed),
            retain_graph=keep,
            allow_unused=True,
            materialize_grads=True,
        )


def slope_of(loss: Any, outputs: Tensor, targets: Tree, *, curved: bool) -> tuple[Tensor, Tensor]:
    """Give the outputs as a leaf, and dl/dz there, which is a function of it where `curved`."""
    leaf = outputs.detach().requires_grad_(True)
    value = loss(leaf, targets)
    loss.check_graph(value, leaf)
    # A loss that is linear in the outputs has a gradient that does not depend on them.
    (slope,) = torch.autograd.grad(
        value, leaf, create_graph=curved, allow_unused=True, materialize_grads=True
    )
    return leaf, slope


class GGN(GaussNewton):
    """G = (1/N) sum_i J_iᵀ (d²l_i / dz²) J_i with the Jacobian J_i of the outputs z.

    For cross-entropy it is the Fisher information matrix of the model. Where an example has
    16,384 outputs or more, the second derivative of the losses that are known (`networks.losses`,
    and PyTorch's of the same names) is taken in closed form. That of `nll_loss` by
    log-probabilities is zero, and the matrix is the one at their logits.

    References
    ----------
    Schraudolph (2002), Fast curvature matrix-vector products, Neural Computation 14, 1723-1738.
    """

    name = "ggn"
    goes_in_folds = True

    def _weigher(self, outputs: Tensor, targets: Tree, how: ByDefinition) -> Weigher:
        closed: Weigher | None = self.loss.weigher_at_the_logits(outputs, targets)
        if closed is not None:
            return closed
        if isinstance(how, LayerRules) and outputs.numel() >= _LARGE * trees.count(targets):
            closed = self.loss.weigher(outputs, targets)
            if closed is not None:
                return closed
        return partial(_differentiated, *slope_of(self.loss, outputs, targets, curved=True))

    def check_loss(self, outputs: Any, targets: Tree) -> None:
        """Say where the matrix is zero, or the one at the logits.

        Raises
        ------
        ValueError
            The loss takes log-probabilities, and the network gives something else.
        """
        if isinstance(self.loss.known, NegativeLogLikelihood):
            if self.loss.weigher_at_the_logits(outputs, targets) is None:
                raise ValueError(
                    f"the Gauss-Newton matrix of {name_of(self.loss.own)} is zero at its outputs, "
                    "in which it is linear, and is taken at the logits of a log_softmax; the "
                    "network's outputs are no log-probabilities: let it end in log_softmax, or "
                    "give logits to cross_entropy"
                )
            logger.info(
                "the Gauss-Newton matrix is taken at the logits: %s is linear in log-probabilities",
                name_of(self.loss.own),
            )
            return
        # Of outputs that fit perfectly the curvature may vanish by rounding, of small ones not.
        small = outputs.detach() / outputs.detach().abs().max().clamp(min=1e-30)
        if self._is_curved(outputs, targets) or self._is_curved(small, targets):
            return
        logger.warning(
            "the Gauss-Newton matrix of the first examples is zero, since the loss %s is linear in "
            "the network's outputs there; what is meant may be the matrix at the logits of a "
            "network that ends in log_softmax: let it give them, and take cross_entropy",
            name_of(self.loss.own),
        )

    def _is_curved(self, outputs: Tensor, targets: Tree) -> bool:
        """Whether the loss has a second derivative by the outputs, as far as it can be had."""
        try:
            return bool(self.loss.curvature(outputs, targets).any())
        except ComputationError:  # a loss that takes probabilities only
            return True


def _differentiated(leaf: Tensor, slope: Tensor, pushed: Tensor) -> Tensor:
    """Multiply with the derivative of a slope that is a function of a leaf."""
    if not slope.requires_grad:
        return torch.zeros_like(pushed)
    (weighted,) = torch.autograd.grad(
        slope,
        leaf,
        grad_outputs=pushed,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return weighted
