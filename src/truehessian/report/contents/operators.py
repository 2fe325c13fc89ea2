"""Stem plots of the further curvature matrices that a run names, those of one epoch in a figure."""

from collections.abc import Mapping

import pandas as pd

from truehessian.report.contents.base import Content, Figure, Made
from truehessian.spectra import spectrum


def _draw(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.plots.spectra import stacked_stems

    measured = {_name(path): spectrum.load(path) for path in files["spectra"]}
    epoch = next(iter(measured.values())).metadata["epoch"]
    panels = {name: (each.ritz_values, each.weights) for name, each in measured.items()}
    rows = [
        (name, value, weight)
        for name, (values, weights) in panels.items()
        for value, weight in zip(values.ravel(), weights.ravel(), strict=True)
    ]
    data = pd.DataFrame(rows, columns=["spectrum", "ritz_value", "weight"])
    return Made(data, stacked_stems(panels, f"Further curvature matrices, epoch {epoch}"))


def _name(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".npz")


STEM_OPERATORS = Content(
    "stem-operators",
    "spectra",
    figure=Figure(needs=("operators",), over=("epoch",)),
    optional=True,
    caption=(
        "Ritz values and weights of the further curvature matrices of the training data at epoch "
        "{{ epoch }}, one panel for each."
    ),
    make=_draw,
    inputs={"spectra": "spectra/{epoch}/{operator}.npz"},
)
