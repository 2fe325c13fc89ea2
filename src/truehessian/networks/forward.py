"""The forward passes of training: precision, memory format and compilation.

None of it has a part in products with curvature matrices.
"""

import logging
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.networks.layouts import channels_last_is_safe

logger = logging.getLogger(__name__)

Precision = Literal["float32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")

_BF16_CAPABILITY = (8, 0)  # of CUDA, from which on bfloat16 is computed and not emulated


class Forward:
    """A network's outputs during training, in float32 whatever its layers compute in.

    Weights, gradients and running statistics stay in the dtype of the model, and the loss is to be
    taken of float32 outputs. In bf16, layers that PyTorch holds to be safe for it, convolutions and
    matrix products above all, compute in bfloat16, forwards and backwards; normalisation takes
    bfloat16 in and gives it out, with statistics in float32. For TF32 see
    `devices.deterministic_algorithms`, inside which training runs.

    Parameters
    ----------
    model
        On `device`, and called by `trees.passed`; with `channels_last` its weights are laid out
        anew in place.
    device
        Where the inputs will be.
    precision
        `float32`, `tf32` or `bf16`. TF32 is float32 on a CPU.
    channels_last
        Whether images, activations and weights of convolutions lie in memory channel by channel
        for each pixel, which is faster where convolutions take the time and rounds differently.
        They do not, and a warning says so, where that would reach a kernel that is wrong on some
        processors; see `layouts.channels_last_is_safe`.
    compiled_size
        Batches of this size go through `torch.compile` while the model is in training mode; short
        ones, and evaluation, do without. None: nothing is compiled. The first batch waits for the
        compiler, a minute or more for a deep network.

    Attributes
    ----------
    memory_format
        What the inputs should have; others are taken as well.

    Raises
    ------
    ValueError
        `precision` is unknown, or bf16 on a GPU that cannot compute in it; or `channels_last` with
        convolutions that are not two-dimensional.
    RuntimeError
        At the first batch: there is no compiler, or it cannot compile the network.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device,
        *,
        precision: str = "float32",
        channels_last: bool = False,
        compiled_size: int | None = None,
    ) -> None:
        self.model = model
        self.device = torch.device(device)
        self.precision = precision
        _check_precision(precision, self.device)
        self.memory_format = torch.contiguous_format
        safe = channels_last_is_safe(model, self.device, torch.float32)
        if channels_last:
            _check_convolutions(model)
            if safe:
                self.memory_format = torch.channels_last
                model.to(memory_format=torch.channels_last)
            else:
                logger.warning(
                    "training.channels_last: channels stay first, because the network has 1x1 "
                    "convolutions with a stride and fewer than 16 channels, or may have them, "
                    "which some processors compute wrongly with channels last"
                )
        self._compiled_size = compiled_size
        self._compiled: Callable[..., Any] | None = None
        if compiled_size is not None:
            # No kernel is chosen by its time, so that a killed run resumes to the same bits. On a
            # CPU the compiler would lay channels last by itself.
            options: dict[str, str | int | bool | Callable[..., Any]] = {
                "deterministic": True,
                "layout_optimization": safe,
            }
            self._compiled = torch.compile(model, dynamic=False, options=options)

    def __call__(self, inputs: Tree) -> Any:
        """Map the inputs of B examples to outputs, real numbers in float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if self.model.training and trees.count(inputs) == self._compiled_size:
                outputs = self._run_compiled(inputs)
            else:
                outputs = trees.passed(self.model, inputs)
        return trees.cast(outputs, torch.float32)

    def _run_compiled(self, inputs: Tree) -> Any:
        assert self._compiled is not None
        try:
            return trees.passed(self._compiled, inputs)
        except RuntimeError as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise RuntimeError(
                "training.compile: torch.compile cannot compile the network "
                f"({' '.join(str(error).split())[:200]}); it needs a C++ compiler, and Triton on a "
                "GPU; install them or set training.compile: false"
            ) from error


def _check_precision(precision: str, device: torch.device) -> None:
    if precision not in PRECISIONS:
        raise ValueError(
            f"training.precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"
        )
    if precision == "bf16" and device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < _BF16_CAPABILITY:
            raise ValueError(
                "training.precision bf16 needs a GPU of compute capability 8.0 or newer, but "
                f"{device} has {capability[0]}.{capability[1]}; use float32"
            )


def _check_convolutions(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd) and not isinstance(
            module, nn.Conv2d | nn.ConvTranspose2d
        ):
            raise ValueError(
                "training.channels_last needs two-dimensional convolutions, but "
                f"{name or 'the network'} is a {type(module).__name__}; set it to false"
            )
