"""A whole configuration, typed: the runs that are known, and which of them to do."""

import contextlib
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from truehessian.pipeline.config.fields import Names, Strict
from truehessian.pipeline.config.run import Run
from truehessian.pipeline.config.sentences import nearest


class Configuration(Strict):
    """The runs that are known, and which of them to do."""

    model_config = ConfigDict(title="Configuration of truehessian")

    analyse: Names = Field(
        description="Names of the runs to do; runs that are not listed are ignored."
    )
    runs: dict[Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$")], Run] = Field(
        min_length=1, description="All runs that are known, by name."
    )

    @property
    def analysed(self) -> dict[str, Run]:
        """The runs to do, by name."""
        return {name: self.runs[name] for name in self.analyse}

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        for name in self.analyse:
            if name not in self.runs:
                raise _impossible(
                    f"analyse names the run {name!r}, which is not under runs"
                    f"{nearest(name, self.runs)}"
                )
        for name, run in self.analysed.items():
            with contextlib.suppress(ValueError, OSError):  # a problem of the data, see there
                self.runs[name] = run.suited()
            problem = self.runs[name].first_problem()
            if problem is not None:
                raise _impossible(f"runs.{name}.{problem}")
        return self


def _impossible(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("impossible", "{sentence}", {"sentence": sentence})
