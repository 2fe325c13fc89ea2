"""Classes of Hugging Face's transformers, of any kind that has a configuration."""

import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from torch import nn

from truehessian import text
from truehessian.data.about import Shape, is_shape
from truehessian.networks.libraries import making
from truehessian.registry import nearest

_AUTO = re.compile(r"^Auto(Model|ModelFor\w+)$")
_LANGUAGE = re.compile(r"LM(Head)?(Model)?$")  # names of models that predict tokens


class Logits(nn.Module):
    """A network's logits in place of a value that holds them, where it has some."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Map inputs, by position or by name, to logits (B, ..., num_classes)."""
        outputs = self.model(*inputs, **named)
        return getattr(outputs, "logits", outputs)


class Transformers:
    """Classes such as `ViTForImageClassification`, made from the configuration of their kind.

    Classes that choose by kind, such as `AutoModelForCausalLM`, take the kind as `model_type`.
    """

    def factory(self, name: str) -> Callable[..., nn.Module]:
        """Find what makes a network; its arguments are those of the configuration."""
        transformers = making.imported("transformers", name)
        full = f"transformers:{name}"
        made_by = _found(transformers, name)

        def make(num_classes: int, input_shape: Shape, **arguments: Any) -> nn.Module:
            own = dict(arguments)
            configure = _configured_by(transformers, full, made_by, own)
            default = configure()
            _check_arguments(full, own, default)
            values = {**_suiting(name, default, num_classes, input_shape), **own}
            if not _LANGUAGE.search(name):
                values["num_labels"] = num_classes
            build = made_by.from_config if _AUTO.match(name) else made_by
            return Logits(making.made(full, lambda **how: build(configure(**how)), values))

        return make


def _found(transformers: ModuleType, name: str) -> Any:
    """Find a class by its name, or suggest another one."""
    made_by = getattr(transformers, name, None) if name.isidentifier() else None
    is_one = getattr(made_by, "config_class", None) is not None or (
        _AUTO.match(name) and hasattr(made_by, "from_config")
    )
    if not is_one:
        known = [each for each in dir(transformers) if re.search(r"For[A-Z]|Model$", each)]
        raise ValueError(
            f"model transformers:{name}: transformers has no class of this name with a "
            f"configuration{nearest(name, known)}"
        )
    return made_by


def _configured_by(
    transformers: ModuleType, full: str, made_by: Any, arguments: dict[str, Any]
) -> Callable[..., Any]:
    """Find what makes the configuration; of a class for all kinds, `model_type` says it."""
    if getattr(made_by, "config_class", None) is not None:
        configure: Callable[..., Any] = made_by.config_class
        return configure
    kind = arguments.pop("model_type", None)
    if kind is None:
        raise ValueError(f"model {full} needs the key model_type, such as gpt2 or bert; add it")
    try:
        transformers.AutoConfig.for_model(kind)
    except ValueError as error:
        raise ValueError(
            f"model {full} knows no model_type {kind!r} ({text.exception(error)[:80]})"
        ) from error
    return lambda **values: transformers.AutoConfig.for_model(kind, **values)


def _suiting(name: str, default: Any, num_classes: int, input_shape: Shape) -> dict[str, Any]:
    """Say what suits the data, as far as the configuration has it."""
    suiting: dict[str, Any] = {"use_cache": False}  # keys and values of tokens that came before
    if is_shape(input_shape) and len(input_shape) == 3:
        suiting |= {"num_channels": input_shape[0], "image_size": input_shape[-1]}
    if _LANGUAGE.search(name):
        suiting["vocab_size"] = num_classes
    return {key: value for key, value in suiting.items() if hasattr(default, key)}


def _check_arguments(name: str, arguments: Mapping[str, Any], default: object) -> None:
    """Refuse what a configuration does not have: it would keep the value, and nobody read it."""
    for key in arguments:
        if not hasattr(default, key):
            raise ValueError(
                f"model {name} takes what {type(default).__name__} does, which has no {key!r}"
                f"{nearest(key, list(vars(default)))}"
            )


TRANSFORMERS = Transformers()
