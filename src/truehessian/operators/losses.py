"""A loss in the precision and on the device of an operator, which gives one number."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from truehessian.data import trees
from truehessian.data.trees import Tree, tensors_of
from truehessian.networks.losses.base import Loss, check_weights, logits_of, made, name_of
from truehessian.networks.losses.log_likelihood import NegativeLogLikelihood
from truehessian.networks.losses.recognition import Interpreted
from truehessian.operators import closed_forms, copies, diagnosis
from truehessian.operators.autograd.bilinear import RulesDoNotHold
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.memory import is_out_of_memory

__all__ = ["FrozenLoss", "Loss", "logits_of", "name_of"]


class FrozenLoss:
    """A loss whose own tensors have the operator's precision and device.

    Parameters
    ----------
    loss
        (outputs, targets) -> scalar, a mean over the examples given, or the name of one in
        `networks.losses.LOSSES`. A module is copied, and its own parameters are constants. Where
        it has a method `weights`, examples count by it; see `networks.losses.base.WeightedLoss`.
    device, dtype
        Of the operator.

    Attributes
    ----------
    known, taken
        As of `Interpreted`.

    Raises
    ------
    TypeError
        `loss` cannot be called.
    ValueError
        There is no loss of this name.
    """

    def __init__(self, loss: Loss | str, device: torch.device, dtype: torch.dtype) -> None:
        loss = made(loss) if isinstance(loss, str) else loss
        if not callable(loss):
            raise TypeError(
                "loss must be a name or a function of outputs and targets, such as "
                f"torch.nn.functional.cross_entropy, got {type(loss).__name__}"
            )
        self.own = loss
        self.device, self.dtype = device, dtype
        if isinstance(loss, nn.Module):
            loss = copies.prepared(loss, "train", device, dtype)
        self._loss = Interpreted(loss)
        self.known, self.taken = self._loss.known, self._loss.taken

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

    def curvature(self, outputs: Tensor, targets: Tree) -> Tensor:
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

    @property
    def has_weights(self) -> bool:
        """Whether examples may count with other weights than 1."""
        return self._loss.has_weights

    def weights(self, targets: Tree) -> Tensor | None:
        """Give the weight of each example, shape (B,), float64; None where all count alike.

        Raises
        ------
        ValueError
            The loss gives something else.
        """
        weights = self._loss.weights(targets)
        return None if weights is None else check_weights(self.own, weights, targets)

    def weigher(self, outputs: Tensor, targets: Tree) -> closed_forms.Weigher | None:
        """Give the product with the loss's Hessian by the outputs in closed form.

        Returns
        -------
        Callable or None
            A tensor of the outputs' shape -> its product; None where no closed form is known.
        """
        return closed_forms.weigher_of(self.known, outputs, targets)

    def weigher_at_the_logits(self, outputs: Tensor, targets: Tree) -> closed_forms.Weigher | None:
        """Give the weight of log-probabilities that stands for their logits'.

        Returns
        -------
        Callable or None
            As `weigher`; None where these are no log-probabilities, or the loss is another one.
        """
        if not isinstance(self.known, NegativeLogLikelihood):
            return None
        return closed_forms.at_the_logits(self.known, outputs, targets)

    def _slope(self, outputs: Tensor, targets: Tree) -> tuple[Tensor, Tensor]:
        """Give the outputs as a leaf, and the loss's slope by it with a graph."""
        leaf = outputs.detach().clone().requires_grad_(True)
        value = self(leaf, targets)
        self.check_graph(value, leaf)
        (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
        return leaf, slope

    def __call__(self, outputs: Any, targets: Tree, how: ByDefinition | None = None) -> Tensor:
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
                value = self._loss.function(outputs, targets)
        except Exception as error:
            if isinstance(error, RulesDoNotHold) or is_out_of_memory(error):
                raise
            kinds = ", ".join(str(target.dtype) for target in tensors_of(targets))
            raise diagnosis.ComputationError(
                f"the loss {name_of(self.own)} fails on outputs of shape {trees.shapes(outputs)} "
                f"({type(outputs).__name__}) and targets of shape {trees.shapes(targets)} and type "
                f"{kinds}: {diagnosis.words(error)}"
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


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype}"
    return type(value).__name__
