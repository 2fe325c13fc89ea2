"""The Hessian by one compiled function, for long runs on a GPU."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.networks.layouts import channels_last_is_safe
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.graphs import GraphOperator
from truehessian.operators.hessian import Hessian
from truehessian.operators.mean import Linearised


class CompiledHessian(Hessian):
    """The Hessian whose products run as one function that `torch.compile` has made.

    Forward over reverse differentiation, fused over layers. Nothing is kept between products. The
    first product waits for the compiler, a minute or two for a deep network; chunks of another
    size than the first one, such as a short last one, are multiplied without it.

    Parameters
    ----------
    model, data, **settings
        As of `Hessian`.

    Raises
    ------
    ValueError
        Batch statistics are on.
    RuntimeError
        At the first product: the compiler is missing, cannot compile the network, or gives
        another product than plain differentiation.
    """

    goes_in_folds = False
    _of_leaves = GraphOperator._of_leaves  # there is no graph to take a part of

    def __init__(self, model: nn.Module, data: object, **settings: Any) -> None:
        if settings.get("batchnorm", "eval") != "eval":
            raise ValueError(
                "products with batch statistics are not compiled, because these layers change "
                "their buffers; use Hessian, or batchnorm: eval"
            )
        super().__init__(model, data, **settings)
        # The compiler would lay channels last by itself, whatever the kernels for it give.
        safe = channels_last_is_safe(self.network.module, self.device, self.dtype)
        self._product = torch.compile(
            self._forward_over_reverse, dynamic=False, options={"layout_optimization": safe}
        )
        self._compiled_size: int | None = None
        self._checked = False  # whether a compiled product has been compared with a plain one

    def describe(self) -> dict[str, Any]:
        """As the Hessian, and that it is compiled."""
        return {**super().describe(), "compiled": True}

    def _fits(self, bytes_per_example: float) -> bool:
        del bytes_per_example
        return False

    def _linearise(self, inputs: Tree, targets: Tree, how: ByDefinition) -> Linearised:
        if not self._settled:
            return super()._linearise(inputs, targets, how)
        self._compiled_size = self._compiled_size or trees.count(targets)
        if trees.count(targets) != self._compiled_size:
            return super()._linearise(inputs, targets, how)
        return Linearised((inputs, targets), None)

    def _apply(self, graph: Any, vector: list[Tensor], keep: bool) -> Sequence[Tensor]:
        if not isinstance(graph, tuple):
            return super()._apply(graph, vector, keep)
        network = self.network
        parameters = {name: p.detach() for name, p in network.parameters.items()}
        tangents = dict(zip(parameters, vector, strict=True))
        with sdpa_kernel(SDPBackend.MATH):
            products = list(self._product(parameters, tangents, network.buffers(), *graph).values())
        if not self._checked:
            self._check(graph, vector, products)
        return products

    def _check(self, graph: Any, vector: list[Tensor], products: list[Tensor]) -> None:
        """Compare the first compiled product with one that is not."""
        inputs, targets = graph
        how = self.network.by_definition()
        plain, _ = super()._linearise(inputs, targets, how)
        exact = super()._apply(plain, vector, False)
        error = sum((a - b).square().sum().item() for a, b in zip(products, exact, strict=True))
        size = sum(part.square().sum().item() for part in exact)
        # Deep networks in single precision deviate by thousandths: ReLUs near zero switch.
        limit = 1e-6 if self.dtype == torch.float64 else 2e-2
        if error > limit**2 * size:
            raise RuntimeError(
                f"the compiled product deviates by {(error / size) ** 0.5:.1e} from plain "
                "differentiation; use Hessian, and report this network to PyTorch"
            )
        self._checked = True

    def _forward_over_reverse(
        self,
        parameters: dict[str, Tensor],
        tangents: dict[str, Tensor],
        buffers: dict[str, Tensor],
        inputs: Tree,
        targets: Tree,
    ) -> dict[str, Tensor]:
        def loss(values: dict[str, Tensor]) -> Tensor:
            outputs = self.loss.taken(self.network.evaluate(values, buffers, inputs))
            return self.loss(outputs, targets)

        return torch.func.jvp(torch.func.grad(loss), (parameters,), (tangents,))[1]
