"""Which figures and tables the items of the papers are made of, and which runs have them."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Item(NamedTuple):
    """A figure, table or equation of a paper.

    Attributes
    ----------
    needs
        Sections that a run must have.
    network
        Name of the model in the paper: where there are runs of it, the others are left out.
    shows
        Kinds of figures, and names of tables, that the item is made of.
    """

    needs: tuple[str, ...]
    network: str | None
    shows: tuple[str, ...]


ITEMS = {
    "minibatch_fig_1_2": Item(("batch",), "vgg", ("stem-full", "stem-batch")),
    "minibatch_fig_3_4": Item(("variance",), None, ("variance",)),
    "minibatch_fig_5_6": Item(("batch",), "preresnet", ("stem-full", "stem-batch")),
    "minibatch_eq_7_9": Item(
        ("batch", "variance"), None, ("batch_predictions", "theory_vs_empirical")
    ),
    "truehessian_fig_1_2": Item(("batch",), "preresnet", ("boxplot-largest", "boxplot-smallest")),
    "truehessian_fig_3_6": Item(("augmentation",), None, ("stem-full", "stem-augmented")),
    "truehessian_tables_1_3": Item(("augmentation",), None, ("augmentation",)),
    "truehessian_eq_18": Item(("variance",), None, ("true_hessian", "augmentation")),
    "truehessian_sec_6_1": Item(("variance",), None, ("true_hessian", "shrinkage", "augmentation")),
}
AGGREGATES = {
    "minibatch_figures": tuple(name for name in ITEMS if name.startswith("minibatch_")),
    "truehessian_figures": tuple(name for name in ITEMS if name.startswith("truehessian_")),
    "papers": tuple(ITEMS),
}


def has(item: str, name: str) -> bool:
    """Tell whether an item shows a figure or table: `stem-full-5` is a `stem-full`."""
    kind = re.sub(r"(-\d+)+$", "", name)
    return kind in ITEMS[item].shows


def runs_of(item: str, runs: Mapping[str, Any]) -> list[str]:
    """Name the runs that an item is made of: those of the paper's network, if there are any.

    Parameters
    ----------
    item
        One of `ITEMS`, or of `AGGREGATES` for the runs of all of its items.
    runs
        Configurations by name, with all defaults filled in.
    """
    if item in AGGREGATES:
        found = {run for part in AGGREGATES[item] for run in runs_of(part, runs)}
        return [run for run in runs if run in found]
    wanted = ITEMS[item]
    able = [name for name, run in runs.items() if all(run[key] for key in wanted.needs)]
    alike = [name for name in able if runs[name]["model"]["name"] == wanted.network]
    return alike or able


def check(name: str, runs: Mapping[str, Any]) -> list[str]:
    """Look whether an item, or any item of an aggregate, can be made of the runs.

    Returns
    -------
    list of str
        A sentence on each item that an aggregate goes without.

    Raises
    ------
    ValueError
        No run has what is needed; the message names the keys to set.
    """
    parts = AGGREGATES.get(name, (name,))
    missing = [part for part in parts if not runs_of(part, runs)]
    if len(missing) == len(parts):
        raise ValueError(_lacking(parts[0], runs))
    return [f"{name} goes without {_lacking(part, runs)}" for part in missing]


def _lacking(item: str, runs: Mapping[str, Any]) -> str:
    """Say what an item needs that the run closest to having it lacks."""
    absent = {
        name: [key for key in ITEMS[item].needs if not run[key]] for name, run in runs.items()
    }
    closest = min(absent, key=lambda name: len(absent[name]))
    keys = " and ".join(f"runs.{closest}.{key}" for key in absent[closest])
    verb = "are" if len(absent[closest]) > 1 else "is"
    return f"{item}: it needs {keys}, which {verb} null; give a section, or {{}} for the defaults"
