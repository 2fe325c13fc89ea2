"""Networks within what trains them on several devices, or compiles them."""

from torch import nn

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(model: nn.Module) -> nn.Module:
    """Give the network within what trains it on several devices, or compiles it.

    Raises
    ------
    TypeError
        It is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    # torch.compile keeps the network as `_orig_mod`.
    within = getattr(model, "module" if isinstance(model, _WRAPPERS) else "_orig_mod", None)
    return unwrapped(within) if isinstance(within, nn.Module) else model
