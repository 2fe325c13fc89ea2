"""What each precision does to the extremal Ritz values of a trained network."""

import torch

from benchmarks import report
from benchmarks.report import Section, Table
from benchmarks.settings import Settings
from benchmarks.timing import now
from benchmarks.workloads import trained
from truehessian.operators import Hessian
from truehessian.operators.precision import PRECISIONS
from truehessian.spectra import lanczos
from truehessian.spectra.lanczos import Tridiagonalisation

_TOLERANCE = 1e-8  # Lanczos must not be what limits the comparison
_STEPS = 150


def ritz_values(settings: Settings) -> Section:
    """Compare the ends of the full-data spectrum in every precision with those in float64."""
    model, data = trained(settings)
    rows = []
    found: dict[str, tuple[float, float]] = {}
    for precision in sorted(PRECISIONS, key=lambda name: name != "float64"):
        if precision == "tf32" and settings.device.type != "cuda":
            rows.append([precision, "not measured: needs a GPU"])
            continue
        how = {"chunk_size": settings.scale.chunk, "precision": precision}
        run, per_step = _run(Hessian(model, data.train, **how), settings)
        values = lanczos.ritz(run).values
        found[precision] = (values[-1], values[0])
        errors = [
            abs(own / exact - 1)
            for own, exact in zip(found[precision], found["float64"], strict=True)
        ]
        rows.append(
            [
                precision,
                f"{values[-1]:.8g}",
                f"{values[0]:.8g}",
                *(f"{error:.1e}" if precision != "float64" else "0" for error in errors),
                f"{lanczos.orthogonality(run):.0e}",
                report.number(per_step),
            ]
        )
    columns = [
        "precision",
        "largest",
        "smallest",
        "relative error of the largest",
        "of the smallest",
        "loss of orthogonality",
        "s per step",
    ]
    text = (
        f"Trained network of the section on mini-batches, all {len(data.train):,} training images, "
        f"P = {sum(p.numel() for p in model.parameters()):,}; Lanczos until both ends are known to "
        f"{_TOLERANCE:g}, PyTorch {torch.__version__}."
    )
    return Section("Precision", text, {"": Table(columns, rows)})


def _run(hessian: Hessian, settings: Settings) -> tuple[Tridiagonalisation, float]:
    """Do Lanczos until both ends are known; give the run and the seconds of a step."""
    begin = now(settings.device)
    run = lanczos.tridiagonalise(
        hessian.matvec,
        lanczos.probe_vector(hessian.num_params, seed=0),
        _STEPS,
        dtype=hessian.dtype,
        device=settings.device,
        tolerance=_TOLERANCE,
    )
    return run, (now(settings.device) - begin) / run.num_steps
