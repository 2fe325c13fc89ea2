"""Finished spectra beside the states of a measurement of many, for a run that was killed."""

import contextlib
import logging
from pathlib import Path

import numpy as np
import torch

from truehessian.measurements.measuring import lasting, probe_of
from truehessian.operators import Operator
from truehessian.spectra import lanczos, spectrum
from truehessian.spectra.recurrence import another_matrix
from truehessian.spectra.spectrum import Spectrum

logger = logging.getLogger(__name__)


def take(operator: Operator, state: Path) -> Spectrum | None:
    """Take the spectrum that a killed run has left beside a state; None where there is none.

    Raises
    ------
    ValueError
        It belongs to another matrix or start vector.
    """
    finished, kept = state.with_suffix(".npz"), None
    with contextlib.suppress(FileNotFoundError, ValueError):
        kept = spectrum.load(finished)
    if kept is not None and not _is_of(operator, kept):
        raise ValueError(another_matrix(finished))
    return kept


def put(measured: Spectrum, state: Path) -> None:
    """Leave a spectrum beside a state; that it cannot be written costs the state, not the run."""
    finished = state.with_suffix(".npz")
    draft = finished.with_name(f".{finished.name}")
    try:
        finished.parent.mkdir(parents=True, exist_ok=True)
        spectrum.save(draft, measured)
        draft.replace(finished)
    except OSError as error:
        logger.warning("a finished spectrum is not kept for a killed run: %s", error)


def _is_of(operator: Operator, measured: Spectrum) -> bool:
    """Whether a spectrum was measured of this matrix, by what both say and its first step."""
    facts, expected = lasting(measured.metadata), lasting(operator.describe())
    stream = [facts.get(key) for key in ("seed", "purpose", "numbers")]
    if None in stream or any(facts.get(key) != value for key, value in expected.items()):
        return False
    start = torch.nn.functional.normalize(probe_of(operator, 0, *stream), dim=0)
    image = operator.matvec(start).cpu()
    diagonal, size = float(start @ image), image.norm().item()
    first = [diagonal, (image - diagonal * start).norm().item()]
    kept = np.append(measured.diagonal[0, :1], measured.off_diagonal[0, :1])
    apart = np.abs(kept - first[: len(kept)]).max()
    return bool(apart <= lanczos.SAME * size + spectrum.product_errors(measured)[0])
