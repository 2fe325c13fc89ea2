"""The loss of a run: its name alone, or with arguments."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from truehessian.networks.losses import LOSSES
from truehessian.pipeline.config.fields import Strict, unknown


class Loss(Strict):
    """A loss by name, or the import path of one's own, with its arguments."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(
        description="One of the catalogue, or the import path `package.module:name` of a function "
        "of outputs and targets, or of a class of such."
    )


NamedLoss = Annotated[
    str | Loss,
    Field(
        description="One of the catalogue, or the import path `package.module:function`; or a "
        "mapping of such a `name` and of arguments."
    ),
]


def name_of(loss: str | Loss) -> str:
    """Give the name or import path."""
    return loss if isinstance(loss, str) else loss.name


def settings_of(loss: str | Loss) -> str | dict[str, Any]:
    """Give the name alone, or with the arguments if there are any, sorted."""
    values = {} if isinstance(loss, str) else loss.model_dump()
    return dict(sorted(values.items())) if len(values) > 1 else name_of(loss)


def problems(loss: str | Loss) -> Iterator[str]:
    """Say that there is no such loss, if there is none."""
    yield from unknown(LOSSES, "loss", name_of(loss))
