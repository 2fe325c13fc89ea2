"""A copy of a network with fixed weights, as a function of some of its parameters."""

import copy
import glob
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.networks.parameters import TRAINABLE, are_chosen, can_vary, named, trainable
from truehessian.operators import copies, diagnosis
from truehessian.operators.autograd.bilinear import RulesDoNotHold
from truehessian.operators.autograd.definition import DONE_WITHOUT, ByDefinition
from truehessian.operators.memory import is_out_of_memory

logger = logging.getLogger(__name__)


class _Buffer:
    """A buffer of a module, and what it held at the beginning."""

    def __init__(self, module: nn.Module, name: str, tensor: Tensor, pristine: Tensor) -> None:
        self.module, self.name = module, name
        self.tensor, self.version = tensor, tensor._version
        self.pristine = pristine


class FrozenNetwork:
    """A copy of a module that nothing changes any more.

    Dropout is off. Layers are computed as `ByDefinition` says.

    Parameters
    ----------
    model
        Any module; the network within, where it is wrapped for several devices or compiled.
    batchnorm
        `eval` or `train`.
    parameters
        Patterns of names, as in ``fnmatch``, of the parameters to differentiate by, or `trainable`
        for those that require gradients in `model`; all by default.
    device, dtype
        Where and in which precision to compute.

    Attributes
    ----------
    parameters
        Leaves that require gradients, in the order of the model.
    is_restricted
        Whether parameters were chosen by patterns.
    channels_last
        Whether activations lie with channels last; None before the first example was seen.
    met
        What layers have been done without, in words; see `ByDefinition`.

    Raises
    ------
    TypeError
        `model` is no module, or `parameters` is not a sequence of patterns.
    ValueError
        An unknown mode, patterns that match no parameter, a complex parameter, or a network that
        cannot be copied or evaluated; see `copies.prepared`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        batchnorm: str,
        parameters: Sequence[str] | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if parameters == TRAINABLE:  # the copy is frozen as a whole
            parameters = trainable(copies.unwrapped(model))
        self._model = copies.prepared(model, batchnorm, device, dtype)
        self.parameters = _select(self._model, parameters)
        self._buffers = [
            _Buffer(module, name, tensor, tensor.clone())
            for module in self._model.modules()
            if not isinstance(module, torch.jit.ScriptModule)
            for name, tensor in module._buffers.items()
            if tensor is not None
        ]
        self.is_restricted = parameters is not None
        self.batchnorm = batchnorm
        self.device, self.dtype = device, dtype
        self.channels_last: bool | None = None
        self.met: set[str] = set()

    @property
    def num_params(self) -> int:
        """Number P of parameters to differentiate by."""
        return sum(p.numel() for p in self.parameters.values())

    @property
    def counts(self) -> dict[str, int]:
        """Number P of these parameters, and how many others there are where some were chosen."""
        own = {"num_parameters": self.num_params}
        if not self.is_restricted:
            return own
        everything = sum(p.numel() for _, p in named(self._model) if can_vary(p))
        return {**own, "num_left_out": everything - self.num_params}

    @property
    def names(self) -> list[tuple[str, ...]]:
        """All names of each parameter, in the order of `leaves`."""
        found = {id(parameter): names for names, parameter in named(self._model)}
        return [found[id(leaf)] for leaf in self.leaves]

    @property
    def leaves(self) -> list[Tensor]:
        """The parameters as a list."""
        return list(self.parameters.values())

    @property
    def module(self) -> nn.Module:
        """The copied network."""
        return self._model

    def __call__(self, inputs: Tree, how: ByDefinition | None = None) -> Any:
        """Map inputs to outputs; with rules for layers the graph serves products only.

        A mapping is given by its keys, and a tuple or list by position; see `trees.passed`.

        Raises
        ------
        ComputationError
            The network fails on these inputs.
        """
        if self.channels_last:
            inputs = trees.mapped(inputs, channels_last)
        how = how or self.by_definition()
        try:
            with how:
                outputs = trees.passed(self._model, inputs)
        except Exception as error:
            if isinstance(error, RulesDoNotHold) or is_out_of_memory(error):
                raise
            raise diagnosis.ComputationError(
                f"the network fails on {trees.described(inputs)}"
                f"{diagnosis.place_of(error, self._model)}: {diagnosis.words(error)}"
            ) from error
        finally:
            self._put_buffers_back()
        for met in sorted(how.met - self.met):
            logger.info("%s: %s", met, DONE_WITHOUT[met])
        self.met |= how.met
        return outputs

    def restricted(self, places: Sequence[int]) -> "FrozenNetwork":
        """Give the same network as a function of some of its `leaves`, by their places."""
        part = copy.copy(self)
        items = list(self.parameters.items())
        part.parameters = dict(items[place] for place in places)
        return part

    def by_definition(self) -> ByDefinition:
        """Make a context for a pass without any rules."""
        return ByDefinition(self.dtype, self.device)

    def double(self) -> "FrozenNetwork":
        """Copy the network in float64, channels first."""
        twin = FrozenNetwork(self._model, **{**self.settings, "dtype": torch.float64})
        twin.put_channels_first()
        return twin

    @property
    def settings(self) -> dict[str, Any]:
        """How a copy of the network is made that is the same function of the same parameters."""
        return {
            "batchnorm": self.batchnorm,
            "parameters": [glob.escape(name) for name in self.parameters],
            "device": self.device,
            "dtype": self.dtype,
        }

    def put_channels_last(self) -> bool:
        """Put channels last, which is faster for 2d convolutions in float32, if this may help."""
        if self.dtype == torch.float64 or not any(
            isinstance(module, nn.Conv2d) for module in self._model.modules()
        ):
            return False
        for parameter in self._model.parameters():
            parameter.data = channels_last(parameter.data)
        self.channels_last = True
        return True

    def put_channels_first(self) -> None:
        """Take `put_channels_last` back."""
        for parameter in self._model.parameters():
            parameter.data = parameter.data.contiguous()
        self.channels_last = False

    def flatten(self, tensors: Sequence[Tensor], out: Tensor) -> None:
        """Write tensors of the parameters' shapes into one vector `out` of shape (P,)."""
        torch.cat([tensor.reshape(-1) for tensor in tensors], out=out)

    def unflatten(self, vector: Tensor) -> list[Tensor]:
        """Cut a vector of shape (P,) into tensors of the parameters' shapes and memory format."""
        parts = self._parts(vector)
        return [channels_last(part) for part in parts] if self.channels_last else parts

    def _parts(self, vector: Tensor) -> list[Tensor]:
        parts = vector.split([p.numel() for p in self.leaves])
        return [part.view(p.shape) for part, p in zip(parts, self.leaves, strict=True)]

    def _put_buffers_back(self) -> None:
        """Undo what a forward pass has changed; the graph keeps the tensors that it has seen."""
        for buffer in self._buffers:
            now = buffer.module._buffers.get(buffer.name)
            if now is not buffer.tensor or now._version != buffer.version:
                buffer.tensor = buffer.pristine.clone()
                buffer.version = buffer.tensor._version
                buffer.module._buffers[buffer.name] = buffer.tensor

    def evaluate(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tree
    ) -> Any:
        """Map inputs to outputs as a function of everything, for `torch.func`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(self._model, (parameters, buffers), args, kwargs)

        return trees.passed(call, inputs)

    def buffers(self) -> dict[str, Tensor]:
        """Copy the network's buffers, by name."""
        return {name: buffer.clone() for name, buffer in self._model.named_buffers()}


def channels_last(tensor: Tensor) -> Tensor:
    """Lay the channels of images, or of a weight for them, last in memory; others as they are."""
    if tensor.ndim != 4:
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last)


def _select(model: nn.Module, patterns: Sequence[str] | None) -> dict[str, Tensor]:
    """Make leaves of the parameters wanted, in the order of the model.

    A parameter with several names is known by its first one, and found by any of them.
    """
    if isinstance(patterns, str):
        raise TypeError(
            f"parameters must be a sequence of patterns or {TRAINABLE!r}, got the text "
            f"{patterns!r}, whose characters would be patterns; write [{patterns!r}]"
        )
    if patterns is not None and not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(
            f"parameters must be patterns of names, such as ['head.*'], got {list(patterns)!r}"
        )
    known = named(model)
    chosen = {
        names[0]: tensor
        for names, tensor in known
        if can_vary(tensor) and are_chosen(names, patterns)
    }
    if not chosen:
        raise ValueError(
            f"no parameter matches {list(patterns or [])}; the model has "
            f"{', '.join(name for names, _ in known for name in names) or 'no parameters'}"
        )
    for name, leaf in chosen.items():
        if leaf.is_complex():
            raise ValueError(
                f"the parameter {name!r} is complex, and curvature by complex numbers is not "
                "defined here; keep real and imaginary parts as real parameters, or leave it out "
                "by `parameters`"
            )
        leaf.requires_grad_(True)
    return dict(chosen)
