"""A copy of a network with fixed weights, as a function of some of its parameters."""

import copy
import fnmatch
import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from truehessian.operators.layers import LayerRules

logger = logging.getLogger(__name__)


class FrozenNetwork:
    """A copy of a module that nothing changes any more.

    Dropout is off. Attention is computed by its definition: the fused kernels have no second
    derivatives.

    Parameters
    ----------
    model
        Any module.
    batchnorm
        `eval` or `train`.
    parameters
        Patterns of names, as in ``fnmatch``, of the parameters to differentiate by; all by default.
    device, dtype
        Where and in which precision to compute.

    Attributes
    ----------
    parameters
        Leaves that require gradients, in the order of the model.
    channels_last
        Whether activations lie with channels last; None before the first example was seen.
    attention
        Whether the network has attention; False before the first example was seen.

    Raises
    ------
    ValueError
        An unknown mode, or patterns that match no parameter.
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
        self._model = _prepared(model, batchnorm).to(device=device, dtype=dtype)
        self.parameters = _select(self._model, parameters)
        self.channels_last: bool | None = None
        self.attention = False

    @property
    def num_params(self) -> int:
        """Number P of parameters to differentiate by."""
        return sum(p.numel() for p in self.parameters.values())

    @property
    def leaves(self) -> list[Tensor]:
        """The parameters as a list."""
        return list(self.parameters.values())

    def __call__(self, inputs: Tensor, rules: LayerRules | None = None) -> Tensor:
        """Map inputs to outputs; inside `rules` the graph serves products only."""
        if self.channels_last:
            inputs = _channels_last(inputs)
        if rules is None:
            return self._forward(inputs)
        with rules:
            outputs = self._forward(inputs)
        if rules.attention and not self.attention:
            self.attention = True
            logger.info("attention is computed by its definition, which has second derivatives")
        return outputs

    def settle(self, inputs: Tensor) -> None:
        """Look at the first examples: check that outputs repeat, and choose the memory format.

        Raises
        ------
        ValueError
            The network does not give the same outputs twice.
        """
        with torch.no_grad():
            first = self._forward(inputs)
            again = self._channels_last_forward(inputs)
            self.channels_last = again is not None
            # Formats may differ by more than rounding, in TF32: then one alone has to repeat.
            if again is None or not _close(first, again):
                self._check_repeats(inputs)

    def flatten(self, tensors: Sequence[Tensor], out: Tensor) -> None:
        """Write tensors of the parameters' shapes into one vector `out` of shape (P,)."""
        for tensor, part in zip(tensors, self._parts(out), strict=True):
            part.copy_(tensor)

    def unflatten(self, vector: Tensor) -> list[Tensor]:
        """Cut a vector of shape (P,) into tensors of the parameters' shapes and memory format."""
        parts = self._parts(vector)
        return [_channels_last(part) for part in parts] if self.channels_last else parts

    def _parts(self, vector: Tensor) -> list[Tensor]:
        parts = vector.split([p.numel() for p in self.leaves])
        return [part.view(p.shape) for part, p in zip(parts, self.leaves, strict=True)]

    def _forward(self, inputs: Tensor) -> Tensor:
        # Batch statistics update the running ones in place: let them do it to copies.
        buffers = self.buffers()
        with sdpa_kernel(SDPBackend.MATH):
            return self.evaluate(self.parameters, buffers, inputs)

    def evaluate(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor
    ) -> Tensor:
        """Map inputs to outputs as a function of everything, for `torch.func`."""
        outputs = torch.func.functional_call(self._model, (parameters, buffers), (inputs,))
        assert isinstance(outputs, Tensor)
        return outputs

    def buffers(self) -> dict[str, Tensor]:
        """Copy the network's buffers, by name."""
        return {name: buffer.clone() for name, buffer in self._model.named_buffers()}

    def _check_repeats(self, inputs: Tensor) -> None:
        if _close(self(inputs), self(inputs)):
            return
        seeded = []
        for _ in range(2):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                seeded.append(self(inputs))
        if _close(*seeded):
            raise ValueError(
                "the network draws random numbers in its forward pass, so that its curvature is "
                "no fixed matrix; dropout modules are off here, but something else is not, such "
                "as F.dropout without training=self.training, or noise"
            )
        raise ValueError(
            "the network gives other outputs for the same inputs at every call, so that its "
            "curvature is no fixed matrix; it may change a state of its own that is no buffer"
        )

    def _channels_last_forward(self, inputs: Tensor) -> Tensor | None:
        """Put channels last, which is faster for 2d convolutions in float32, if all layers can.

        Gives the outputs in this format, or None where channels stay first.
        """
        if inputs.ndim != 4 or inputs.dtype == torch.float64:
            return None
        if not any(isinstance(module, nn.Conv2d) for module in self._model.modules()):
            return None
        before = [parameter.data for parameter in self.leaves]
        for parameter in self.leaves:
            parameter.data = _channels_last(parameter.data)
        try:
            return self._forward(_channels_last(inputs))
        except RuntimeError:  # such as a `view` that merges channels with pixels
            for parameter, data in zip(self.leaves, before, strict=True):
                parameter.data = data
            return None


def _prepared(model: nn.Module, batchnorm: str) -> nn.Module:
    if batchnorm not in ("eval", "train"):
        raise ValueError(f"batchnorm must be 'eval' or 'train', got {batchnorm!r}")
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(batchnorm == "train")
    return model


def _select(model: nn.Module, patterns: Sequence[str] | None) -> dict[str, Tensor]:
    """Leaves that require gradients, in the order of the model, for the parameters wanted."""
    names = [
        name
        for name, _ in model.named_parameters()
        if patterns is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if not names:
        raise ValueError(
            f"no parameter matches {list(patterns or [])}; the model has "
            f"{', '.join(name for name, _ in model.named_parameters()) or 'no parameters'}"
        )
    return {name: model.get_parameter(name).detach().requires_grad_(True) for name in names}


def _close(outputs: Tensor, others: Tensor) -> bool:
    """Whether two outputs are equal but for the order of summation on a GPU."""
    # Outputs that are not finite are for the product to complain about.
    scale = outputs.abs().nan_to_num(0.0, posinf=0.0).max().item()
    tolerance = 1e3 * torch.finfo(outputs.dtype).eps * scale
    return torch.allclose(outputs, others, rtol=0.0, atol=tolerance, equal_nan=True)


def _channels_last(tensor: Tensor) -> Tensor:
    if tensor.ndim != 4:
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last)
