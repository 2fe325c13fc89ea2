"""A loss in the precision and on the device of an operator, which gives one number."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from truehessian.operators import closed_forms, copies, diagnosis
from truehessian.operators.autograd.bilinear import RulesDoNotHold
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.memory import is_out_of_memory
from truehessian.operators.trees import tensors_of

Loss = Callable[[Any, Tensor], Tensor]


class FrozenLoss:
    """A loss whose own tensors have the operator's precision and device.

    Parameters
    ----------
    loss
        (outputs, targets) -> scalar, a mean over the examples given. A module is copied, and its
        own parameters are constants.
    device, dtype
        Of the operator.

    Attributes
    ----------
    known
        The loss as one whose derivatives are written down, or None; see `closed_forms`.

    Raises
    ------
    TypeError
        `loss` cannot be called.
    """

    def __init__(self, loss: Loss, device: torch.device, dtype: torch.dtype) -> None:
        if not callable(loss):
            raise TypeError(
                "loss must be a function of outputs and targets, such as "
                f"torch.nn.functional.cross_entropy, got {type(loss).__name__}"
            )
        self.own = loss
        self.device, self.dtype = device, dtype
        if isinstance(loss, nn.Module):
            loss = copies.prepared(loss, "train", device, dtype)
        self._loss = loss
        self.known = closed_forms.known(loss)

    def double(self) -> "FrozenLoss":
        """Give the same loss in float64."""
        return FrozenLoss(self.own, self.device, torch.float64)

    def check_graph(self, value: Tensor, outputs: Any) -> None:
        """Refuse a loss that has left the graph of outputs that have one.

        Raises
        ------
        ValueError
            The loss does not depend on the outputs in a way that can be differentiated.
        """
        if value.requires_grad or not any(t.requires_grad for t in tensors_of(outputs)):
            return
        raise ValueError(
            f"the loss {name_of(self.own)} does not depend on the network's outputs by a graph; "
            "detach, .item(), argmax or NumPy may be in its way"
        )

    def curvature(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Multiply the loss's Hessian by the outputs with a direction that has no zeros.

        Returns
        -------
        Tensor
            As the outputs.
        """
        leaf, slope = self._slope(outputs, targets)
        if not slope.requires_grad:
            return torch.zeros_like(leaf)
        direction = torch.linspace(1, 2, slope.numel()).view_as(slope).to(slope)
        (curved,) = torch.autograd.grad(
            slope, leaf, direction, allow_unused=True, materialize_grads=True
        )
        return curved

    def is_linear(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether the loss's slope is the same at all outputs, near and far, and not zero.

        A loss that is linear in parts only, as absolute differences are, has other slopes far away;
        one that leaves these examples out has none.
        """
        try:
            slope = self._slope(outputs, targets)[1]
            afar = torch.linspace(-1, 1, slope.numel() + 1)[1:].view_as(slope).to(slope)
            others = [sign * afar * 10.0**power for power in range(-2, 9) for sign in (1, -1)]
            return bool(slope.any()) and all(
                torch.equal(self._slope(other, targets)[1], slope) for other in others
            )
        except diagnosis.ComputationError:  # a loss that does not take all numbers
            return False

    def weigher(self, outputs: Tensor, targets: Tensor) -> closed_forms.Weigher | None:
        """Give the product with the loss's Hessian by the outputs in closed form.

        Returns
        -------
        Callable or None
            A tensor of the outputs' shape -> its product; None where no closed form is known.
        """
        return None if self.known is None else self.known.weigher(outputs, targets)

    def _slope(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Give the outputs as a leaf, and the loss's slope by it with a graph."""
        leaf = outputs.detach().clone().requires_grad_(True)
        value = self(leaf, targets)
        self.check_graph(value, leaf)
        (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
        return leaf, slope

    def __call__(self, outputs: Any, targets: Tensor, how: ByDefinition | None = None) -> Tensor:
        """Compute the loss.

        Raises
        ------
        ComputationError
            The loss fails.
        ValueError
            It is not one real number that PyTorch has computed.
        """
        try:
            with how or ByDefinition(self.dtype, self.device), _InPrecision(self):
                value = self._loss(outputs, targets)
        except Exception as error:
            if isinstance(error, RulesDoNotHold) or is_out_of_memory(error):
                raise
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors_of(outputs))
            raise diagnosis.ComputationError(
                f"the loss {name_of(self.own)} fails on outputs of shape {shapes or 'unknown'} "
                f"({type(outputs).__name__}) and targets of shape {tuple(targets.shape)} and type "
                f"{targets.dtype}: {diagnosis.words(error)}"
            ) from error
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise ValueError(
                f"the loss {name_of(self.own)} must give a tensor with one real number, the mean "
                f"over the examples; it gives {_kind(value)}"
            )
        if value.numel() != 1:
            raise ValueError(
                f"the loss {name_of(self.own)} must give one number, the mean over the examples; "
                f"it gives a tensor of shape {tuple(value.shape)}: take its mean, as "
                "reduction='mean' does"
            )
        return value.reshape(())


class _InPrecision(TorchFunctionMode):
    """Tensors that a loss holds, such as weights of classes, join in the operator's precision."""

    def __init__(self, loss: FrozenLoss) -> None:
        super().__init__()
        self.device, self.dtype = loss.device, loss.dtype

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = {name: self._joined(value) for name, value in (kwargs or {}).items()}
        return func(*[self._joined(value) for value in args], **kwargs)

    def _joined(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        if value.device != self.device and value.ndim:
            value = value.to(self.device)
        return value.to(self.dtype) if value.dtype.itemsize < self.dtype.itemsize else value


def name_of(loss: Loss) -> str:
    """Call a loss by its name."""
    return getattr(loss, "__name__", type(loss).__name__)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype}"
    return type(value).__name__
