"""Set the models of batches beside the very batches that were measured.

    PYTHONPATH=. uv run snakemake --configfile benchmarks/validation.yaml
    uv run python -m benchmarks.batch_models results validation-mlp validation-vgg11

A batch's model is put together from the parts of its own examples (`variance/{epoch}.parts.npz` of
a run, all examples of the training set). What the two differ by is the error of the model alone: no
chance of drawing batches enters, as it does where means over different batches are compared.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS, Spectrum
from truehessian.theory.predictions import batch_model, examples
from truehessian.theory.predictions.examples import ExampleParts


def of_run(folder: Path) -> pd.DataFrame:
    """Compare all batches of a run that has parts of all its examples.

    Returns
    -------
    DataFrame
        A row per epoch, batch size and end: `missed`, the mean difference of model and measurement
        in units of the mean shift; its `standard_error` over batches; `rms`, the root mean square
        difference of single batches in these units; `correlation` of the two over batches.
    """
    rows = []
    for path in sorted(folder.glob("variance/*.parts.npz")):
        epoch = path.name.split(".")[0]
        parts = examples.load(path)
        if not parts.are_all:
            raise ValueError(f"{path} has a part of all examples; set parts.examples: null")
        for file in sorted(folder.glob(f"spectra/{epoch}/batch-*.npz")):
            rows += list(_of_size(folder.name, parts, spectrum.load(file)))
    return pd.DataFrame(rows).sort_values(["end", "epoch", "batch_size"], ignore_index=True)


def _of_size(run: str, parts: ExampleParts, measured: Spectrum) -> Iterator[dict[str, Any]]:
    assert measured.indices is not None
    models = [np.linalg.eigvalsh(batch_model.matrix(parts, own)) for own in measured.indices]
    per_end = len(parts.ritz_values) // 2
    decay = measured.metadata["weight_decay"]
    for number, end in enumerate(ENDS):
        place = -1 if end == "largest" else 0
        modelled: NDArray = np.array([model[place] for model in models]) + decay
        values = np.atleast_2d(spectrum.ranked(measured, end, 1)[0])[:, 0]
        shift = values.mean() - parts.ritz_values[number * per_end] - decay
        apart = (modelled - values) / shift
        yield {
            "run": run,
            "epoch": measured.metadata["epoch"],
            "batch_size": measured.metadata["batch_size"],
            "end": end,
            "missed": apart.mean(),
            "standard_error": apart.std(ddof=1) / len(apart) ** 0.5,
            "rms": (apart**2).mean() ** 0.5,
            "correlation": np.corrcoef(modelled, values)[0, 1],
        }


def main(results: str, *runs: str) -> None:
    """Print all rows, and what they come to at either end."""
    frame = pd.concat([of_run(Path(results) / run) for run in runs], ignore_index=True)
    print(frame.round(3).to_string(index=False))
    for end, rows in frame.groupby("end"):
        shares = rows["missed"].abs()
        nine = shares.quantile(0.9)
        print(
            f"{end}: the model misses {shares.median():.1%} of the shift in the median, "
            f"{nine:.1%} or less in nine of ten, {shares.max():.1%} at most ({len(rows)} cases)"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
