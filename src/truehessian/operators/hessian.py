"""The Hessian of the mean loss, by products that differentiate twice."""

import torch
from torch import Tensor

from truehessian.operators.network import NetworkOperator


class Hessian(NetworkOperator):
    """H = (1/N) sum_i d²l_i / dw², exact products without finite differences.

    References
    ----------
    Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6, 147-160.
    """

    name = "hessian"

    def _linearise(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Build the gradient together with its own graph."""
        loss = self.loss(self._forward(inputs, self._selected), targets)
        # Parameters that the loss does not reach have a zero gradient and zero rows.
        return list(
            torch.autograd.grad(
                loss,
                list(self._selected.values()),
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        )

    def _apply(self, graph: list[Tensor], vector: list[Tensor]) -> list[Tensor]:
        pairs = [(g, v) for g, v in zip(graph, vector, strict=True) if g.requires_grad]
        parameters = list(self._selected.values())
        if not pairs:
            return [torch.zeros_like(p) for p in parameters]
        return list(
            torch.autograd.grad(
                [g for g, _ in pairs],
                parameters,
                grad_outputs=[v for _, v in pairs],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        )
