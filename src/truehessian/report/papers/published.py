"""Published numbers, and what they imply.

The numbers are in `published.csv`, one row each with its source. The noise that a published
prediction takes for granted is computed from it, and so are ratios, which other networks have too.
"""

import math
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

NUM_EXAMPLES = 50_000  # of the training split of CIFAR-100, in both papers
STATED, IMPLIED = "stated", "implied"
OTHER_BRANCH = "implied by a branch that does not apply"


class Architecture(NamedTuple):
    """A network of the papers: its name here, batch normalisation (None: always), parameters."""

    name: str
    batch_norm: bool | None
    num_parameters: int

    def is_kind_of(self, model: Mapping[str, Any]) -> bool:
        """Tell whether a model section names a network of this kind, whatever its size."""
        if model["name"] != self.name:
            return False
        return self.batch_norm is None or model.get("batch_norm", False) == self.batch_norm


ARCHITECTURES = {
    "VGG16": Architecture("vgg", False, 15_291_300),
    "VGG16BN": Architecture("vgg", True, 15_299_748),
    "PreResNet110": Architecture("preresnet", None, 1_169_972),
}


class ImpliedVariance(NamedTuple):
    """P σ² by either branch of the prediction, and which of them applies.

    Attributes
    ----------
    outlier
        From l' = l + f P σ² / l.
    edge
        From l' = 2 √(f P σ²).
    branch
        `outlier` where l lies beyond √(f P σ²) of that branch, else `edge`.
    """

    outlier: float
    edge: float
    branch: str

    @property
    def applying(self) -> float:
        """P σ² by the branch that applies."""
        return self.outlier if self.branch == "outlier" else self.edge


def implied_variance(
    full: float, predicted: float, batch_size: int, num_examples: int = NUM_EXAMPLES
) -> ImpliedVariance:
    """Solve a published prediction for the noise that it was made from.

    Parameters
    ----------
    full, predicted
        Largest eigenvalue l of the full data and the predicted one l' of a batch.
    batch_size, num_examples
        B and N.

    Returns
    -------
    ImpliedVariance
        With the factor f = (N - B)/(B N) of the papers.

    Raises
    ------
    ValueError
        `predicted` does not lie beyond `full`, as it does wherever there is noise.

    References
    ----------
    Mini-batch paper, Eq. 8.
    """
    if not 0 < full < predicted:
        raise ValueError(f"predicted must lie beyond full = {full} > 0, got {predicted}")
    factor = (num_examples - batch_size) / (batch_size * num_examples)
    moved, edge = full * (predicted - full), (predicted / 2) ** 2
    branch = "outlier" if full > math.sqrt(moved) else "edge"
    return ImpliedVariance(moved / factor, edge / factor, branch)


def load(path: str | Path | None = None) -> pd.DataFrame:
    """Read the published numbers, and add what they imply.

    Parameters
    ----------
    path
        Of the data file; the one of the package by default.

    Returns
    -------
    DataFrame
        Columns paper, item, architecture, quantity, epoch, batch_size, factor, published, source
        and status (`stated`, or how the number is implied). Settings that do not matter are NA.
    """
    source = (
        resources.files("truehessian.report.papers") / "published.csv"
        if path is None
        else Path(path)
    )
    with source.open(encoding="utf-8") as file:
        stated = pd.read_csv(file).assign(status=STATED)
    predictions = stated[stated["quantity"] == "goe_largest"].to_dict("records")
    implied = [row for prediction in predictions for row in _implied(prediction, stated)]
    frame = pd.concat([stated, pd.DataFrame(implied)], ignore_index=True)
    return frame.astype(dict.fromkeys(("epoch", "batch_size", "factor"), "Int64"))


def _implied(prediction: Mapping[Any, Any], stated: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows that follow from a prediction and the two eigenvalues that it was compared with."""
    same = (stated["architecture"] == prediction["architecture"]) & (
        stated["epoch"] == prediction["epoch"]
    )
    rows = stated[same].set_index("quantity")
    values = rows["published"]
    full, batch, predicted = values["full_largest"], values["batch_largest"], values["goe_largest"]
    ratios = {
        "broadening": ("batch_largest", batch / full),
        "goe_broadening": ("goe_largest", predicted / full),
        "goe_over_batch": ("goe_largest", predicted / batch),
    }
    for quantity, (figure, value) in ratios.items():
        row = {"item": rows["item"][figure], "quantity": quantity, "published": value}
        yield {**prediction, **row, "status": IMPLIED}
    yield from _implied_noise(prediction, full)


def _implied_noise(prediction: Mapping[Any, Any], full: float) -> Iterator[dict[str, Any]]:
    noise = implied_variance(full, prediction["published"], int(prediction["batch_size"]))
    laws = {"outlier": "l + f P sigma^2 / l", "edge": "2 sqrt(f P sigma^2)"}
    order = ARCHITECTURES[prediction["architecture"]].num_parameters
    for branch, law in laws.items():
        applies = branch == noise.branch
        value = getattr(noise, branch)
        row = {
            **prediction,
            "status": IMPLIED if applies else OTHER_BRANCH,
            "source": f"{full} and {prediction['published']} in Eq. 8, {branch} branch: {law}",
        }
        yield {**row, "quantity": "isotropic_variance", "published": value}
        if applies:
            yield {**row, "quantity": "variance_along_top", "published": value}
            yield {**row, "quantity": "element_variance", "published": value / order}
