"""What the task of a run measures beside its loss, by the names of columns, and in words."""

import pandas as pd

from truehessian import text

_LABELS = {"r_squared": "R²"}
_FRACTIONS = ("accuracy",)


def measure_in(frame: pd.DataFrame) -> str | None:
    """Find the measure by columns such as train_loss and train_accuracy; None without one."""
    for column in frame:
        split, _, name = str(column).partition("_")
        if split == "train" and name != "loss":
            return name
    return None


def label(name: str) -> str:
    """Name a measure in a text."""
    return _LABELS.get(name, name.replace("_", " "))


def written(name: str, value: float) -> str:
    """Write a value, of fractions as a percentage."""
    return text.percent(value) if is_fraction(name) else text.number(value)


def is_fraction(name: str) -> bool:
    """Tell whether a measure lies between 0 and 1 and is usually given in percent."""
    return name in _FRACTIONS
