"""Networks by name, or by the import path of a user's own factory."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from truehessian.networks import NETWORKS, factories


def build(
    name: str,
    *,
    num_classes: int,
    input_shape: Sequence[int],
    seed: int | None = None,
    **arguments: Any,
) -> nn.Module:
    """Make a network.

    Parameters
    ----------
    name
        One of `NETWORKS` ("vgg", "preresnet", "mlp"), or an import path "package.module:factory".
        The factory is called with `num_classes` and `input_shape` (a tuple), if it takes them, and
        the arguments, and returns a module. Lazy layers get their shapes by a forward pass.
    num_classes
        Number of outputs.
    input_shape
        (channels, height, width).
    seed
        Of the initialisation; the global generators of PyTorch, NumPy and Python are then left as
        they were. None draws from them.
    **arguments
        Passed on; see the networks' own docstrings.

    Raises
    ------
    ValueError
        The name is unknown, an argument is unknown or missing, or a value is not allowed; or the
        import path leads to no module, to no attribute of one, or to something that does not make
        an `nn.Module`; or lazy layers cannot be given their shapes.
    """
    values = {"num_classes": num_classes, "input_shape": tuple(input_shape), **arguments}
    with factories.seeded(seed):
        model = factories.call(name, _factory(name), values)
        factories.materialise(name, model, input_shape)
    return model


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters: the order P of the Hessian."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def has_batch_norm(model: nn.Module) -> bool:
    """Tell whether any layer normalises over the batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def _factory(name: str) -> Callable[..., Any]:
    return factories.find(name) if ":" in name else NETWORKS.load(name)
