"""One measurement: an operator in, a spectrum with its metadata out."""

import contextlib
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from truehessian import (
    checkpoints,
    datasets,
    devices,
    lanczos,
    overlaps,
    placement,
    spectrum,
)
from truehessian.datasets import Dataset
from truehessian.folds import disjoint_folds, disjoint_parts, draw_folds, shuffled
from truehessian.lanczos import Tridiagonalisation
from truehessian.operators import NetworkOperator, Operator
from truehessian.recurrence import Journal
from truehessian.spectrum import ARRAYS, ENDS, Spectrum

logger = logging.getLogger(__name__)

__all__ = [
    "Source",
    "disjoint_folds",
    "disjoint_parts",
    "draw_folds",
    "measure",
    "shuffled",
    "stack_folds",
]

Kind = TypeVar("Kind", bound=NetworkOperator)


class Source(NamedTuple):
    """What operators are made from: a checkpoint's network, its data, and how to multiply.

    Attributes
    ----------
    model
        The network, on the device of the products.
    dataset
        Both splits, on the same device.
    products
        Keyword arguments of every operator.
    basis_memory
        Bytes that Lanczos bases may take on the device; None for half of what is free.
    """

    model: nn.Module
    dataset: Dataset
    products: dict[str, Any]
    basis_memory: int | None

    @classmethod
    def load(
        cls,
        checkpoint: str,
        dataset: str,
        settings: Mapping[str, Any],
        network: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read a checkpoint and a data set for products as `settings` say.

        Parameters
        ----------
        checkpoint, dataset
            Files that `checkpoints.save` and `datasets.save` have written.
        settings
            With the keys chunk_size, precision, batchnorm, memory_gb, basis_gb and device.
        network
            Keyword arguments of `models.build` for a network that has to be imported.
        """
        device = devices.resolve(settings["device"])
        products = {
            "chunk_size": settings["chunk_size"],
            "precision": settings["precision"],
            "batchnorm": settings["batchnorm"],
            "memory": _bytes(settings["memory_gb"]),
        }
        model = checkpoints.load(checkpoint, model=network, device=device)
        data = datasets.load(dataset, device=device)
        return cls(model, data, products, _bytes(settings["basis_gb"]))

    def operator(self, kind: type[Kind], data: object, **overrides: Any) -> Kind:
        """Make an operator of the network on some data."""
        return kind(self.model, data, **{**self.products, **overrides})

    def measure(self, operator: Operator, **how: Any) -> tuple[Spectrum, list[Tridiagonalisation]]:
        """Tridiagonalise an operator with bases where they may lie; see `measure`."""
        return measure(operator, basis_memory=self.basis_memory, **how)

    def spectrum(
        self, operator: Operator, *, state: Path, onto: Tensor | None = None, **how: Any
    ) -> Spectrum:
        """Measure a spectrum, or take the one that a killed run has left beside its `state`.

        With directions `onto`, shape (K, P), its metadata hold the `squared_overlaps` of the
        extreme Ritz vectors with them; see `overlaps.of_extremes`.
        """
        finished = state.with_suffix(".npz")
        with contextlib.suppress(FileNotFoundError, ValueError):
            return spectrum.load(finished)
        measured, runs = self.measure(operator, state=state, **how)
        if onto is not None:
            measured.metadata["squared_overlaps"] = overlaps.of_extremes(runs[0], onto)
        draft = finished.with_name(f".{finished.name}")
        try:
            finished.parent.mkdir(parents=True, exist_ok=True)
            spectrum.save(draft, measured)
            draft.replace(finished)
        except OSError as error:  # costs the state, not the run
            logger.warning("a finished spectrum is not kept for a killed run: %s", error)
        return measured


def measure(
    operator: Operator,
    *,
    steps: int,
    probes: int = 1,
    seed: int,
    purpose: str = "spectrum",
    numbers: Sequence[int] = (),
    tolerance: float | None = None,
    ends: Collection[str] = ENDS,
    state: Path | None = None,
    basis_memory: int | None = None,
    scratch: Path | None = None,
    **metadata: Any,
) -> tuple[Spectrum, list[Tridiagonalisation]]:
    """Tridiagonalise an operator from random probes, all in lockstep.

    The bases of all probes are kept, probes x m x P numbers in the precision of the operator, and
    beside them about five float64 vectors of length P per probe.

    Parameters
    ----------
    operator
        Any operator of order P.
    steps
        Lanczos steps m per probe, at most.
    probes
        Number of random start vectors.
    tolerance, ends
        Stop earlier when these extremes have converged; see `lanczos.tridiagonalise`.
    state
        Folder for what a killed run needs to go on, for this measurement alone.
    basis_memory, scratch
        Bytes that the bases may take on the device, and the folder for those that fit into no
        memory; see `lanczos.tridiagonalise_block`.
    seed, purpose, numbers
        Of the start vectors, see `streams.generator`: measurements of another purpose or with
        other numbers, such as those of a fold, start from other vectors.
    **metadata
        Kept with the spectrum, beside what the operator says of itself.

    Returns
    -------
    spectrum, runs
        Arrays of shape (probes, m), and the runs with their bases, for Ritz vectors.
    """
    begin = time.perf_counter()
    folders = [] if state is None else [state / f"probe-{probe}" for probe in range(probes)]
    runs = lanczos.tridiagonalise_block(
        operator.matmat,
        [
            lanczos.probe_vector(operator.num_params, seed, *numbers, probe, purpose=purpose)
            for probe in range(probes)
        ],
        steps,
        dtype=operator.dtype,
        device=operator.device,
        tolerance=tolerance,
        ends=ends,
        journals=[Journal(folder) for folder in folders] or None,
        basis_memory=basis_memory,
        scratch=scratch,
    )
    facts = {
        **operator.describe(),
        "steps": max(run.num_steps for run in runs),
        "steps_at_most": steps,
        "steps_done": [run.num_steps for run in runs],
        "probes": probes,
        "seed": seed,
        "tolerance": tolerance,
        "orthogonality": max(lanczos.orthogonality(run) for run in runs),
        "basis_device": placement.place_of(runs[0].basis),
        "seconds": round(time.perf_counter() - begin, 3),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        **metadata,
    }
    return Spectrum(**_stacked([_padded(run, steps) for run in runs]), metadata=facts), runs


def stack_folds(folds: Sequence[Spectrum], indices: NDArray) -> Spectrum:
    """Put the spectra of folds into one, with a leading axis and the examples of each fold.

    The metadata are those of the first fold; seconds and the loss of orthogonality are over all.
    """
    metadata = {
        **folds[0].metadata,
        "folds": len(folds),
        "steps": max(fold.metadata["steps"] for fold in folds),
        "steps_done": [fold.metadata["steps_done"] for fold in folds],
        "orthogonality": max(fold.metadata["orthogonality"] for fold in folds),
        "seconds": round(sum(fold.metadata["seconds"] for fold in folds), 3),
    }
    arrays = _stacked([fold[: len(ARRAYS)] for fold in folds])
    return Spectrum(**arrays, metadata=metadata, indices=indices)


def _padded(run: Tridiagonalisation, steps: int) -> tuple[NDArray, ...]:
    """Fill rows up after an exhausted Krylov space: last value, weight and residual zero."""
    result = lanczos.ritz(run)
    missing = steps - run.num_steps
    return (
        np.pad(result.values, (0, missing), mode="edge"),
        np.pad(result.weights, (0, missing)),
        np.pad(result.residuals, (0, missing)),
        np.pad(run.diagonal, (0, missing), mode="edge"),
        np.pad(run.off_diagonal, (0, missing)),
    )


def _stacked(rows: Sequence[tuple[Any, ...]]) -> dict[str, NDArray]:
    """Put the arrays of many probes or folds into one each, under their names."""
    columns = zip(*rows, strict=True)
    return {name: np.stack(column) for name, column in zip(ARRAYS, columns, strict=True)}


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * 1e9)
