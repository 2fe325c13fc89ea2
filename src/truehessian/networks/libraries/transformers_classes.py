"""Classes of Hugging Face's transformers that classify images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from truehessian.networks.libraries import making
from truehessian.registry import nearest

_KIND = "ForImageClassification"  # how the names of such classes end


class Logits(nn.Module):
    """A network's logits in place of a value that holds them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        logits: Tensor = self.model(inputs).logits
        return logits


class Transformers:
    """Classes such as `ViTForImageClassification`, made from the configuration of their kind."""

    def factory(self, name: str) -> Callable[..., nn.Module]:
        """Find what makes a network; its arguments are those of the configuration."""
        transformers = making.imported("transformers", name)
        known = [each for each in dir(transformers) if each.endswith(_KIND)]
        making.check_known("transformers", name, known)
        made_by = getattr(transformers, name)

        def make(num_classes: int, input_shape: Sequence[int], **arguments: Any) -> nn.Module:
            full = f"transformers:{name}"
            default = made_by.config_class()
            _check_arguments(full, arguments, default)
            suiting = {"num_channels": input_shape[0], "image_size": input_shape[-1]}
            values = {key: value for key, value in suiting.items() if hasattr(default, key)}
            values |= {**arguments, "num_labels": num_classes}
            return Logits(
                making.made(full, lambda **how: made_by(made_by.config_class(**how)), values)
            )

        return make


def _check_arguments(name: str, arguments: Mapping[str, Any], default: object) -> None:
    """Refuse what a configuration does not have: it would keep the value, and nobody read it."""
    for key in arguments:
        if not hasattr(default, key):
            raise ValueError(
                f"model {name} takes what {type(default).__name__} does, which has no {key!r}"
                f"{nearest(key, list(vars(default)))}"
            )


TRANSFORMERS = Transformers()
