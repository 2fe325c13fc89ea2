"""The Hessian of the mean loss, by products that differentiate twice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from truehessian.operators.layers import LayerRules
from truehessian.operators.network import NetworkOperator


class Hessian(NetworkOperator):
    """H = (1/N) sum_i d²l_i / dw², exact products without finite differences.

    References
    ----------
    Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6, 147-160.
    """

    name = "hessian"

    def _linearise(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Build the graph of the gradient; only the graph is right, not all of the values."""
        loss = self.loss(self.network(inputs, LayerRules()), targets)
        # Parameters that the loss does not reach have a zero gradient and zero rows.
        return list(
            torch.autograd.grad(
                loss,
                self.network.leaves,
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        )

    def _apply(self, graph: list[Tensor], vector: list[Tensor], keep: bool) -> Sequence[Tensor]:
        pairs = [(g, v) for g, v in zip(graph, vector, strict=True) if g.requires_grad]
        if not pairs:
            return [torch.zeros_like(p) for p in self.network.leaves]
        return torch.autograd.grad(
            [g for g, _ in pairs],
            self.network.leaves,
            grad_outputs=[v for _, v in pairs],
            retain_graph=keep,
            allow_unused=True,
            materialize_grads=True,
        )
