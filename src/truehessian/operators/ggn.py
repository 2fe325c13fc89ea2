"""The generalised Gauss-Newton matrix, and what all matrices JᵀWJ have in common."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.autograd.layers import LayerRules
from truehessian.operators.diagnosis import ComputationError
from truehessian.operators.mean import Linearised, NetworkOperator

logger = logging.getLogger(__name__)


class Graph(NamedTuple):
    """What a product needs: z, dl/dz as a function of a detached z, and Jᵀ d of a dummy d."""

    outputs: Tensor
    detached: Tensor
    loss_gradient: Tensor
    dummy: Tensor
    pulled_back: list[Tensor]


class GaussNewton(NetworkOperator):
    """(1/N) sum_i J_iᵀ W_i J_i with the Jacobian J_i of the outputs z and some weight W_i."""

    semidefinite = True  # of the losses in use, which are convex in the outputs

    @abstractmethod
    def _weigh(self, graph: Graph, pushed: Tensor) -> Tensor:
        """Multiply J v, shape (B, ..), with the weight of the mean over the examples."""

    def _rules(self) -> LayerRules:
        return LayerRules(self.dtype, self.device, weights=False)

    def _linearise(self, inputs: Tensor, targets: Tensor, how: ByDefinition) -> Linearised:
        outputs = self.network(inputs, how)
        if not isinstance(outputs, Tensor):
            raise ValueError(
                f"the {self.name} needs a network whose output is one tensor, and this one gives a "
                f"{type(outputs).__name__}; wrap it in a module that gives what the loss needs"
            )
        detached = outputs.detach().requires_grad_(True)
        loss = self.loss(detached, targets)
        self.loss.check_graph(loss, detached)
        # A loss that is linear in the outputs has a gradient that does not depend on them.
        (loss_gradient,) = torch.autograd.grad(
            loss, detached, create_graph=True, allow_unused=True, materialize_grads=True
        )
        if not outputs.requires_grad:  # none of these examples reaches the parameters
            nothing = [torch.zeros_like(leaf) for leaf in self.network.leaves]
            return Linearised(Graph(outputs, detached, loss_gradient, detached, nothing), outputs)
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
        graph = Graph(outputs, detached, loss_gradient, dummy, list(pulled_back))
        return Linearised(graph, outputs)

    def _apply(self, graph: Graph, vector: list[Tensor], keep: bool) -> Sequence[Tensor]:
        pairs = [(g, v) for g, v in zip(graph.pulled_back, vector, strict=True) if g.requires_grad]
        if not pairs:
            return [torch.zeros_like(p) for p in self.network.leaves]
        (pushed,) = torch.autograd.grad(
            [g for g, _ in pairs],
            graph.dummy,
            grad_outputs=[v for _, v in pairs],
            retain_graph=True,
        )
        return torch.autograd.grad(
            graph.outputs,
            self.network.leaves,
            grad_outputs=self._weigh(graph, pushed),
            retain_graph=keep,
            allow_unused=True,
            materialize_grads=True,
        )


class GGN(GaussNewton):
    """G = (1/N) sum_i J_iᵀ (d²l_i / dz²) J_i with the Jacobian J_i of the outputs z.

    For cross-entropy it is the Fisher information matrix of the model.

    References
    ----------
    Schraudolph (2002), Fast curvature matrix-vector products, Neural Computation 14, 1723-1738.
    """

    name = "ggn"

    def _weigh(self, graph: Graph, pushed: Tensor) -> Tensor:
        if not graph.loss_gradient.requires_grad:
            return torch.zeros_like(pushed)
        (weighted,) = torch.autograd.grad(
            graph.loss_gradient,
            graph.detached,
            grad_outputs=pushed,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return weighted

    def check_loss(self, outputs: Any, targets: Tensor) -> None:
        """Say where the matrix is zero because the loss is linear in the outputs."""
        # Of outputs that fit perfectly the curvature may vanish by rounding, of small ones not.
        small = outputs.detach() / outputs.detach().abs().max().clamp(min=1e-30)
        if self._is_curved(outputs, targets) or self._is_curved(small, targets):
            return
        logger.warning(
            "the Gauss-Newton matrix of the first examples is zero, since the loss is linear in "
            "the network's outputs there; a network that ends in log_softmax should give its "
            "logits, with cross_entropy as the loss"
        )

    def _is_curved(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether the loss has a second derivative by the outputs, as far as it can be had."""
        try:
            return bool(self.loss.curvature(outputs, targets).any())
        except ComputationError:  # a loss that takes probabilities only
            return True
