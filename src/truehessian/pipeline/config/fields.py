"""What the sections of a configuration are made of: their base class, and kinds of values."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler
from pydantic.functional_validators import WrapValidator
from pydantic_core import PydanticCustomError

from truehessian.pipeline.config.beside import Beside
from truehessian.registry import Registry


def _as_given(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    # 1 stays 1 and does not become 1.0: Snakemake would see another setting.
    check(value)
    return value


def _no_two_alike(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise PydanticCustomError(
            "not_unique", "must not name anything twice, got {values}", {"values": str(values)}
        )
    return values


_ASIS = WrapValidator(_as_given)
_SOME = Field(min_length=1, json_schema_extra={"uniqueItems": True})
_UNIQUE = AfterValidator(_no_two_alike)

Count = Annotated[int, Field(ge=1)]
Several = Annotated[int, Field(ge=2)]
Natural = Annotated[int, Field(ge=0)]
Number = Annotated[float, _ASIS]
Positive = Annotated[float, Field(gt=0), _ASIS]
NotNegative = Annotated[float, Field(ge=0), _ASIS]
Share = Annotated[float, Field(gt=0, lt=1), _ASIS]
Momentum = Annotated[float, Field(ge=0, lt=1), _ASIS]
Device = Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")]
Epochs = Annotated[list[Natural], _SOME, _UNIQUE]
Counts = Annotated[list[Count], _SOME, _UNIQUE]
Names = Annotated[list[str], _SOME, _UNIQUE]
# Of parameters: patterns of their names, or those that require gradients.
Chosen = Names | Literal["trainable"]
Parts = Annotated[list[Several], _SOME, _UNIQUE]


class Strict(BaseModel):
    """Values as they are: no text for a number, no 8.0 and no true for a whole number."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Section(Strict):
    """A section of a run: types, defaults, bounds, and what is impossible beside the others."""

    def problems(self, run: Beside) -> Iterator[str]:
        """Find what is impossible together with the rest of a run.

        Yields
        ------
        str
            Sentences that go after the run's dotted path.
        """
        yield from ()

    def plain(self) -> dict[str, Any]:
        """Give the values by the names that its script knows them by."""
        return self.model_dump()

    def step_counts(self) -> Iterator[tuple[str, int]]:
        """Go through all numbers of Lanczos steps, by their dotted paths in this section."""
        for name in type(self).model_fields:
            if name.endswith("steps"):
                yield name, getattr(self, name)

    def sets_of_examples(self, train: int) -> Iterator[tuple[str, int]]:
        """Go through what products of this section cut into chunks.

        Parameters
        ----------
        train
            Number of training examples.

        Yields
        ------
        beginning, count
            The beginning of a sentence, and a number of examples.
        """
        yield from ()


def unknown(registry: Registry, key: str, name: str) -> Iterator[str]:
    """Say that a catalogue has no such entry, if it has none.

    Parameters
    ----------
    registry
        The catalogue.
    key
        Dotted path of the setting in its run.
    name
        Its value, a name or an import path.
    """
    try:
        registry.path(name)
    except ValueError as error:
        yield f"{key}: {error}"


class AtEpochs(Section):
    """A section of a run that is done at some of its epochs only."""

    epochs: Epochs | None = Field(
        default=None, description="Epochs of `epochs` to do it at; all if null."
    )

    def unknown_epochs(self, name: str, run: Beside) -> Iterator[str]:
        """Find epochs of the section `name` that are not analysed."""
        for epoch in self.epochs or []:
            if epoch not in run.epochs:
                yield f"{name}.epochs contains {epoch}, which is not among epochs; add it there"


def num_gpus(device: str) -> int:
    """Count the GPUs that a stage with this `device` setting takes: none where none can be seen."""
    if device == "auto":
        return int(any(Path("/dev").glob("nvidia[0-9]*")))
    return 0 if device == "cpu" else 1
