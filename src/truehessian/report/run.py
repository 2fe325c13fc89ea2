"""What the report knows of one run, read from its folder."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from safetensors import safe_open

from truehessian.report.tables.extremes import read_epochs
from truehessian.spectra import spectrum


class RunReport(NamedTuple):
    """Everything that the report shows of one run.

    Attributes
    ----------
    name
        Of the run.
    summary
        Facts by name; those of the metadata of the spectra (num_parameters, num_examples,
        batchnorm, precision, device, versions, ...), and epochs, model and dataset.
    figures
        Path of an SVG or PNG file by the figure's name, such as `stem-full-5`.
    tables
        By name, such as `theory_vs_empirical`.
    training
        One row per epoch of training, or None.
    stages
        Time and memory by stage: columns stage, jobs, seconds, peak_memory_mib; or None.
    spectra
        One row per measured spectrum with its settings and seconds, or None.
    """

    name: str
    summary: dict[str, Any]
    figures: dict[str, Path]
    tables: dict[str, pd.DataFrame]
    training: pd.DataFrame | None = None
    stages: pd.DataFrame | None = None
    spectra: pd.DataFrame | None = None


def collect(
    results_dir: str | Path,
    run_names: Sequence[str],
    files: Collection[str | Path] | None = None,
) -> list[RunReport]:
    """Read the results of runs.

    Parameters
    ----------
    results_dir
        The folder that holds one folder per run.
    run_names
        Which runs, in the order of the report.
    files
        Figures, tables, spectra, checkpoints and costs to take; by default all that there are. What
        an earlier experiment left behind in a run's folder is thus kept out.

    Returns
    -------
    list of RunReport
        What a run has not made (yet) is missing in its report, or None.

    Raises
    ------
    FileNotFoundError
        A run has no folder.
    ValueError
        A spectrum file is damaged.
    """
    wanted = None if files is None else {Path(file).resolve() for file in files}
    return [_collect_run(Path(results_dir) / name, wanted) for name in run_names]


def _collect_run(folder: Path, wanted: Collection[Path] | None) -> RunReport:
    if not folder.is_dir():
        raise FileNotFoundError(f"there are no results of run {folder.name!r} in {folder.parent}")

    def find(pattern: str) -> list[Path]:
        # What a killed job has left bears a hidden name.
        found = [path for path in sorted(folder.glob(pattern)) if path.name[0] != "."]
        return found if wanted is None else [path for path in found if path.resolve() in wanted]

    by_epoch = sorted(find("spectra/*/*.npz"), key=lambda path: (len(path.parent.name), path))
    metadata = {path: spectrum.load(path).metadata for path in by_epoch}
    tables = {path.stem: pd.read_csv(path) for path in find("tables/*.csv")}
    variances = sorted(find("variance/*.csv"), key=lambda path: int(path.stem))
    if variances and "variance" not in tables:
        tables["variance"] = read_epochs(variances)
    training = folder / "training.csv"
    return RunReport(
        name=folder.name,
        summary=_summary(metadata, find("checkpoints/[0-9]*.safetensors")),
        # SVG comes last in the alphabet, and so is preferred to PNG.
        figures={
            path.stem: path for suffix in ("png", "svg") for path in find(f"figures/*.{suffix}")
        },
        tables=tables,
        training=pd.read_csv(training) if training.exists() else None,
        stages=_stages(folder, [*find("costs/*.tsv"), *find("costs/*/*.tsv")]),
        spectra=_spectra(metadata),
    )


def _summary(metadata: dict[Path, dict[str, Any]], checkpoints: list[Path]) -> dict[str, Any]:
    keys = ("model", "dataset", "normalisation")
    full = {path: facts for path, facts in metadata.items() if path.stem == "full"}
    summary: dict[str, Any] = dict(list(full.values())[-1]) if full else {}
    summary["epochs"] = sorted(facts["epoch"] for facts in full.values())
    for checkpoint in checkpoints[:1]:
        with safe_open(checkpoint, framework="numpy") as file:
            header = file.metadata() or {}
        summary |= {key: json.loads(header[key]) for key in keys if key in header}
    return summary


def _spectra(metadata: dict[Path, dict[str, Any]]) -> pd.DataFrame | None:
    columns = ["precision", "batchnorm", "probes", "steps", "orthogonality", "device", "seconds"]
    rows = [
        {"epoch": int(path.parent.name), "spectrum": path.stem}
        | {column: facts.get(column) for column in columns}
        for path, facts in metadata.items()
    ]
    return pd.DataFrame(rows).dropna(axis="columns", how="all") if rows else None


def _stages(folder: Path, costs: list[Path]) -> pd.DataFrame | None:
    """Add up what was noted when results were computed, costs/{stage}/....tsv, by stage."""
    parts = [
        pd.read_csv(path, sep="\t").assign(
            stage=path.relative_to(folder / "costs").parts[0].removesuffix(".tsv")
        )
        for path in costs
    ]
    if not parts:
        return None
    by_stage = pd.concat(parts).groupby("stage")
    return pd.DataFrame(
        {
            "jobs": by_stage.size(),
            "seconds": by_stage["seconds"].sum(),
            "peak_memory_mib": by_stage["peak_memory_mib"].max(),
        }
    ).reset_index()
