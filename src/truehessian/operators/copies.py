"""Copies of networks and losses that nothing changes any more."""

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from truehessian import devices
from truehessian.networks.wrappers import unwrapped


def prepared(
    model: nn.Module, batchnorm: str, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """Copy a network to a device, in evaluation mode, with all that is real in one precision.

    Raises
    ------
    ValueError
        The mode is unknown, the network cannot be copied, it has parameters without a shape or
        without memory, or its normalisations have no statistics to be evaluated with.
    """
    if batchnorm not in ("eval", "train"):
        raise ValueError(f"batchnorm must be 'eval' or 'train', got {batchnorm!r}")
    model = unwrapped(model)
    _check_memory(model)
    model = copied(model).eval()
    for parameter in model.parameters():  # `requires_grad_` of scripted modules refuses
        parameter.requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(batchnorm == "train")
            if batchnorm == "eval" and module.running_mean is None:
                raise ValueError(
                    f"the layer {name!r} ({type(module).__name__}) has no running statistics and "
                    "uses those of each batch in evaluation mode too, so that the matrix is no "
                    "mean over examples; use batchnorm: train, where chunks are part of the matrix"
                )
    return _cast(model, device, dtype)


def device_of(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """Choose a device, with its number, so that equal devices compare equal."""
    if device is not None:
        return devices.numbered(device)
    model = unwrapped(model)
    return next(itertools.chain(model.parameters(), model.buffers()), torch.empty(0)).device


def copied(module: nn.Module) -> nn.Module:
    """Copy a module, with tensors that it keeps of earlier passes as numbers without a graph.

    Raises
    ------
    ValueError
        Something in it cannot be copied.
    """
    try:
        with _Detaching(), torch.inference_mode(False), torch.no_grad():
            return copy.deepcopy(module)
    except Exception as error:
        raise ValueError(
            f"{_holder(module)} cannot be copied ({error}), so that the matrix would not stay as "
            "it is; keep it out of the module, or give it a __deepcopy__"
        ) from error


class _Detaching(TorchFunctionMode):
    """Copies of tensors that have a graph, which PyTorch refuses to make, leave it out."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            return args[0].detach().clone()
        return func(*args, **(kwargs or {}))


def _holder(module: nn.Module) -> str:
    """Name the attribute of a module that cannot be copied."""
    for name, child in module.named_modules():
        for attribute, value in vars(child).items():
            if attribute in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                with _Detaching():
                    copy.deepcopy(value)
            except Exception:
                layer = f"layer {name!r}" if name else "network"
                return f"the attribute {attribute!r} of the {layer} ({type(child).__name__})"
    return "the network"


def _check_memory(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise ValueError(
                f"{name!r} has no shape yet; pass one batch through the network beforehand"
            )
        if tensor.is_meta:
            raise ValueError(
                f"{name!r} lies on the meta device and has no numbers; load the weights first"
            )


def _cast(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a module; real tensors become `dtype`, complex ones the complex type of its precision.

    `Module.to` would drop imaginary parts. Tensors that were made in inference mode are copied,
    because autograd refuses them.
    """
    kinds = {True: dtype.to_complex(), False: dtype}
    done: dict[int, Tensor] = {}
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            module.to(device=device, dtype=dtype)
            continue
        if hasattr(module, "sparse") and isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.sparse = False
        kept: list[dict[str, Any]] = [module._parameters, module._buffers]
        for tensors in kept:
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in done:
                    real = tensor.is_floating_point() or tensor.is_complex()
                    wanted = kinds[tensor.is_complex()] if real else tensor.dtype
                    done[id(tensor)] = _moved(tensor, device, wanted)
                tensors[name] = done[id(tensor)]
    return model


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        data = tensor.detach()
        data = data.clone() if data.is_inference() else data
        data = data.to(device=device, dtype=dtype)
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(data, requires_grad=False)
        return data
