"""Networks of torchvision for the classification of images."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from truehessian.networks.libraries import making

_WEIGHTS = ("weights", "weights_backbone", "pretrained", "progress")


class Torchvision:
    """What `torchvision.models` registers itself, without detection, segmentation and the like."""

    def factory(self, name: str) -> Callable[..., nn.Module]:
        """Find the function that makes a network; it takes images with three channels."""
        models = making.imported("torchvision", name).models
        making.check_known("torchvision", name, models.list_models(module=models))

        def make(num_classes: int, input_shape: Sequence[int], **arguments: Any) -> nn.Module:
            full = f"torchvision:{name}"
            own = making.without_weights(full, arguments, _WEIGHTS)
            values = {**own, "num_classes": num_classes, "weights": None}
            return making.made(full, models.get_model_builder(name), values)

        return make


TORCHVISION = Torchvision()
