"""Which networks may have their channels laid last in memory without reaching a broken kernel."""

import torch
from torch import Tensor, nn
from torch.nn.modules import conv
from torch.nn.parameter import is_lazy

BLOCK = 16  # channels that oneDNN's widest kernels take together in float32; 8 without AVX-512
_OF_PYTORCH = [
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
]  # fmt: skip


def channels_last_is_safe(
    module: nn.Module, device: str | torch.device, dtype: torch.dtype
) -> bool:
    """Tell whether gradients of a network are right with channels last in memory.

    On processors with AVX2 and without AVX-512, oneDNN computes the weight gradient of 1x1
    convolutions with a stride above 1 in this layout by writing behind a workspace, if they have
    fewer input channels than it takes together: numbers are wrong, or the process dies. Channels
    first, stride 1, larger kernels and float64 are right.

    The answer follows from the network alone and not from the processor at hand, so that all
    processors take the same way, and it is cautious: groups and transposed convolutions count,
    and so does whatever cannot be seen but might be such a convolution.

    Parameters
    ----------
    module
        The network with all its layers. Of the weights that its code uses without a convolutional
        layer the shape decides; those that it computes or reshapes first cannot be seen.
    device
        Where it runs; other devices than the CPU have kernels of their own.
    dtype
        Of the products. Those in float64 never reach oneDNN.

    Returns
    -------
    bool
        False if a layer may reach the broken kernel, or a parameter has no shape yet.

    References
    ----------
    uxlfoundation/oneDNN#6035 on GitHub; PyTorch 2.15 bundles oneDNN 3.13.3.
    """
    if torch.device(device).type != "cpu" or dtype == torch.float64:
        return True
    layers = [layer for layer in module.modules() if isinstance(layer, conv._ConvNd)]
    if any(map(_is_strided_and_narrow, layers)):
        return False
    of_layers = {id(weight) for layer in layers for weight in layer.parameters()}
    return not any(
        is_lazy(weight) or (id(weight) not in of_layers and _is_narrow(weight))
        for weight in module.parameters()
    )


def _is_strided_and_narrow(layer: conv._ConvNd) -> bool:
    """Whether it is a 1x1 convolution with few input channels and, perhaps, a stride above 1."""
    if any(size > 1 for size in layer.kernel_size) or layer.in_channels // layer.groups >= BLOCK:
        return False
    return any(step > 1 for step in layer.stride) or not _runs_as_written(layer)


def _runs_as_written(layer: conv._ConvNd) -> bool:
    """Whether `forward` is PyTorch's own, which takes the stride that the layer names."""
    if vars(layer).keys() & {"forward", "_conv_forward"}:
        return False
    return any(
        all(getattr(type(layer), name) is getattr(kind, name) for name in _methods(kind))
        for kind in _OF_PYTORCH
        if isinstance(layer, kind)
    )


def _methods(kind: type[nn.Module]) -> list[str]:
    return [name for name in ("forward", "_conv_forward") if hasattr(kind, name)]


def _is_narrow(weight: Tensor) -> bool:
    """Whether it has the shape of a 1x1 convolution's weight with few input channels, not one."""
    return (
        weight.ndim > 2
        and all(size == 1 for size in weight.shape[2:])
        and 1 < weight.shape[1] < BLOCK
    )
