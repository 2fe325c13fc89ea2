"""The Hessian of the mean loss, by products that differentiate twice."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from truehessian.data.trees import Tree
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.mean import Linearised, NetworkOperator
from truehessian.operators.memory import is_out_of_memory

logger = logging.getLogger(__name__)


class Hessian(NetworkOperator):
    """H = (1/N) sum_i d²l_i / dw², exact products without finite differences.

    Parameters
    ----------
    model, data, **settings
        As of `NetworkOperator`.

    References
    ----------
    Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6, 147-160.
    """

    name = "hessian"
    goes_in_folds = True
    _compared = False  # whether several vectors at once have been compared with one

    def __init__(self, model: nn.Module, data: object, **settings: Any) -> None:
        super().__init__(model, data, **settings)
        # Whether all layers take several vectors at once. On a GPU PyTorch would go through
        # convolutions one by one all the same, and copy.
        self._vectorised = self.device.type == "cpu"

    def _linearise(self, inputs: Tree, targets: Tree, how: ByDefinition) -> Linearised:
        """Build the graph of the gradient; by rules only the graph is right, not all values."""
        outputs = self.loss.taken(self.network(inputs, how))
        loss = self.loss(outputs, targets, how)
        leaves = self.network.leaves
        if not loss.requires_grad:  # none of these examples reaches the parameters
            self.loss.check_graph(loss, outputs)
            return Linearised([torch.zeros_like(leaf) for leaf in leaves], outputs)
        # Parameters that the loss does not reach have a zero gradient and zero rows.
        gradient = torch.autograd.grad(
            loss, leaves, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return Linearised(list(gradient), outputs)

    def _of_leaves(self, graph: list[Tensor], places: Sequence[int]) -> list[Tensor]:
        return [graph[place] for place in places]

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

    def _apply_some(self, graph: Any, vectors: list[list[Tensor]], keep: bool, out: Tensor) -> None:
        """Pass several vectors through at once, which spares small kernels their start."""
        if len(vectors) == 1 or not self._vectorised or not isinstance(graph, list):
            super()._apply_some(graph, vectors, keep, out)
            return
        try:
            self._apply_at_once(graph, vectors, out)
            deviation = 0.0 if self._compared else self._deviation(graph, vectors[0], out[0])
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._pass_one_by_one(str(error))  # a layer without a rule for several
        else:
            if deviation <= 1e3 * torch.finfo(self.dtype).eps:
                self._compared = True
                return
            self._pass_one_by_one(f"they deviate by {deviation:.1e} together")
        super()._apply_some(graph, vectors, keep, out)

    def _pass_one_by_one(self, reason: str) -> None:
        self._vectorised = False
        logger.info("vectors are passed through one by one: %s", reason)

    def _deviation(self, graph: list[Tensor], vector: list[Tensor], product: Tensor) -> float:
        """Relative deviation of a product from the one that the same graph gives by itself."""
        alone = torch.empty_like(product)
        self.network.flatten(self._apply(graph, vector, True), alone)
        return ((product - alone).norm() / alone.norm().clamp(min=1e-30)).item()

    def _apply_at_once(self, graph: list[Tensor], vectors: list[list[Tensor]], out: Tensor) -> None:
        pairs = [
            (g, torch.stack(parts))
            for g, parts in zip(graph, zip(*vectors, strict=True), strict=True)
            if g.requires_grad
        ]
        if not pairs:
            out.zero_()
            return
        products = torch.autograd.grad(
            [g for g, _ in pairs],
            self.network.leaves,
            grad_outputs=[block for _, block in pairs],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
            is_grads_batched=True,
        )
        begin = 0
        for product in products:
            columns = out[:, begin : begin + product[0].numel()]
            columns.view(product.shape).copy_(product)
            begin += product[0].numel()
