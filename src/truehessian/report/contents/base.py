"""What a figure or a table of the report is: one entry, which rules, page and captions read.

A new figure with its table is a module with a `Content` that brings a `make`, and a line of the
registry in `__init__`. The workflow reads all entries whenever it starts: what takes long to
import (matplotlib, SciPy) is imported within functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from truehessian.report.run import RunReport

# Headings of the page by key, in their order.
SECTIONS = {
    "training": "Learning curves and checkpoints",
    "spectra": "Spectra by epoch",
    "extremes": "Extremal eigenvalues",
    "groups": "Spectra by group of parameters",
    "variance": "Hessian variance",
    "theory": "Theory against measurement",
    "batchnorm": "Batch normalisation",
    "truth": "True Hessian",
    "self-test": "Self-test of the estimators",
    "shrinkage": "Dependence on the sample size",
    "papers": "Published numbers",
    "other": "Further results",
}


class Made(NamedTuple):
    """What a `make` gives back.

    Attributes
    ----------
    data
        Of the figure, or the table where there is none.
    figure
        None if it is a table only.
    table
        Rows of the table where they are not the data of the figure.
    """

    data: "pd.DataFrame"
    figure: "Drawing | None" = None
    table: "pd.DataFrame | None" = None


@dataclass(frozen=True)
class Figure:
    """A figure of each run that has what it needs.

    Attributes
    ----------
    needs
        Sections that the run must have, such as `batch`.
    over
        What the numbers in its name are, in their order: one figure for each epoch, batch_size,
        factor (of augmentation) or chunk_size (of batch normalisation) of the run.
    """

    needs: tuple[str, ...] = ()
    over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of each run that has what it needs.

    Attributes
    ----------
    needs
        Sections that the run must have.
    collected
        Whether the report puts it together itself from what was measured: it is no file then.
    """

    needs: tuple[str, ...] = ()
    collected: bool = False


def _nothing(run: "RunReport", numbers: Mapping[str, int]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Content:
    """A figure, a table, or both of one name.

    Attributes
    ----------
    name
        As in the registry, and of the files; numbers come behind it, as in `stem-batch-16-5`.
    section
        One of `SECTIONS`.
    figure, table
        What there is of it; None for none.
    optional
        Whether nobody misses it where it is absent.
    caption, table_caption
        Markdown with Jinja's braces. By default the files `{name}.md` and `table-{name}.md`.
    template
        Name of the file of the figure's caption where it is another one.
    facts
        Gives a caption its numbers from the report on a run and the numbers in the figure's name.
        A caption may say `run`, `summary` and those numbers without.
    title
        Of the table in its own files.
    make
        Makes figure and table of the files in `inputs`, by their names there; called for each of
        the numbers that the figure is over. None where a rule of its own does it.
    inputs
        Patterns of files in the run's folder, such as `spectra/{epoch}/full.npz`; braces that the
        figure is not over stand for all values that the run has.
    sections
        Of inputs, by their names, that only runs with a section of their own have, at its epochs:
        the section. Other runs have no files there.
    uses
        Import paths of what `make` takes from catalogues: their code decides what it makes.
    """

    name: str
    section: str
    figure: Figure | None = None
    table: Table | None = None
    optional: bool = False
    caption: str | None = None
    table_caption: str | None = None
    template: str | None = None
    facts: Callable[["RunReport", Mapping[str, int]], dict[str, Any]] = _nothing
    title: str = ""
    make: Callable[[Mapping[str, list[str]]], Made] | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, str] = field(default_factory=dict)
    uses: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Sections that a run must have for anything of it."""
        parts = [set(part.needs) for part in (self.figure, self.table) if part is not None]
        return tuple(sorted(set.intersection(*parts))) if parts else ()
