"""Networks of torchvision for the classification of images."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from truehessian.networks.libraries import making

# With further logits for training only, of which no loss here knows and no Hessian depends.
_AUXILIARY = frozenset({"googlenet", "inception_v3"})
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
            plain = {"aux_logits": False} if name in _AUXILIARY else {}
            values = {**plain, **own, "num_classes": num_classes, "weights": None}
            return making.made(full, models.get_model_builder(name), values)

        return make


TORCHVISION = Torchvision()
