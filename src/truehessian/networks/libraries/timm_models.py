"""Networks of timm, PyTorch Image Models."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from truehessian.networks.libraries import making

_WEIGHTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")


class Timm:
    """What `timm.create_model` makes."""

    def factory(self, name: str) -> Callable[..., nn.Module]:
        """Find what makes a network; it takes images with any number of channels."""
        timm = making.imported("timm", name)
        if not timm.is_model(name):  # which knows names with the tag of their weights as well
            making.check_known("timm", name, timm.list_models())

        def make(num_classes: int, input_shape: Sequence[int], **arguments: Any) -> nn.Module:
            full = f"timm:{name}"
            own = making.without_weights(full, arguments, _WEIGHTS)
            values = {"in_chans": input_shape[0], **own, "num_classes": num_classes}
            return making.made(
                full, lambda **how: timm.create_model(name, pretrained=False, **how), values
            )

        return make


TIMM = Timm()
