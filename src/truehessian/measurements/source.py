"""One measurement: an operator in, a spectrum with its metadata out."""

import contextlib
import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from truehessian import devices
from truehessian.data import dataset as datasets
from truehessian.data.dataset import Dataset
from truehessian.data.folds import disjoint_folds, disjoint_parts, draw_folds, shuffled
from truehessian.measurements.settings import Products
from truehessian.networks import checkpoints
from truehessian.networks.losses import base as losses
from truehessian.operators import NetworkOperator, Operator
from truehessian.operators.mean import MAKING
from truehessian.spectra import bases, lanczos, overlaps, spectrum, stacks
from truehessian.spectra.lanczos import Tridiagonalisation
from truehessian.spectra.recurrence import Journal, another_matrix
from truehessian.spectra.spectrum import ENDS, End, Spectrum
from truehessian.spectra.stacks import stack_folds

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
        settings: Products,
        network: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read a checkpoint and a data set for products as `settings` say.

        Parameters
        ----------
        checkpoint, dataset
            Files that `checkpoints.save` and `datasets.save` have written.
        settings
            How products are made; a GPU is claimed for this process.
        network
            Keyword arguments of `models.build` for a network that has to be imported.
        """
        device = devices.claim(settings.device)
        products = {
            "chunk_size": settings.chunk_size,
            "precision": settings.precision,
            "batchnorm": settings.batchnorm,
            "memory": _bytes(settings.memory_gb),
            "loss": losses.of_settings(settings.loss),
            "parameters": settings.parameters,
            "weight_decay": settings.weight_decay,
        }
        model = checkpoints.load(checkpoint, model=network, device=device)
        return cls(model, datasets.load(dataset, device), products, _bytes(settings.basis_gb))

    def operator(self, kind: type[Kind], data: object, **overrides: Any) -> Kind:
        """Make an operator of the network on some data, with the penalty where it takes one."""
        how = {**self.products, **overrides}
        if not getattr(kind, "takes_weight_decay", False):  # as of a class of the user's own
            how.pop("weight_decay", None)
        return kind(self.model, data, **how)

    def measure(self, operator: Operator, **how: Any) -> tuple[Spectrum, list[Tridiagonalisation]]:
        """Tridiagonalise an operator with bases where they may lie; see `measure`."""
        return measure(operator, basis_memory=self.basis_memory, **how)

    def spectrum(
        self, operator: Operator, *, state: Path, onto: Tensor | None = None, **how: Any
    ) -> Spectrum:
        """Measure a spectrum, or take the one that a killed run has left beside its `state`.

        With directions `onto`, shape (K, P), its metadata hold the `squared_overlaps` of the
        extreme Ritz vectors with them; see `overlaps.of_extremes`.

        Raises
        ------
        ValueError
            What was left belongs to another matrix or start vector.
        """
        finished, kept = state.with_suffix(".npz"), None
        with contextlib.suppress(FileNotFoundError, ValueError):
            kept = spectrum.load(finished)
        if kept is not None:
            if not _is_of(operator, kept):
                raise ValueError(another_matrix(finished))
            return kept
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
    ends: Collection[str] | None = None,
    ranks: int = 1,
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
    tolerance, ends, ranks
        Stop earlier when so many outermost Ritz values of these ends have converged; see
        `lanczos.tridiagonalise_block`. Both ends by default, and of a positive semidefinite matrix
        the largest: of its smallest, zero, there is no relative error.
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
        Arrays of shape (probes, m) with the number m of steps that the longest recurrence has
        done, and the runs with their bases, for Ritz vectors.
    """
    begin = time.perf_counter()
    ends = ends_of(operator) if ends is None else ends
    folders = [] if state is None else [state / f"probe-{probe}" for probe in range(probes)]
    # Lanczos sees what is not finite. An operator of the user's own need not be an `Operator`.
    with getattr(operator, "unwatched", contextlib.nullcontext)():
        runs = lanczos.tridiagonalise_block(
            operator.matmat,
            [_probe(operator, probe, seed, purpose, numbers) for probe in range(probes)],
            steps,
            dtype=operator.dtype,
            device=operator.device,
            tolerance=tolerance,
            ends=ends,
            ranks=ranks,
            journals=[Journal(folder, matrix=mark_of(operator)) for folder in folders] or None,
            basis_memory=basis_memory,
            scratch=scratch,
        )
    stream = {"seed": seed, "purpose": purpose, "numbers": list(numbers)}
    asked = {"steps_at_most": steps, "probes": probes, "tolerance": tolerance, "ranks": ranks}
    seconds = {"seconds": round(time.perf_counter() - begin, 3)}
    facts = operator.describe() | facts_of(runs) | stream | asked | seconds | metadata
    return Spectrum(**stacks.stacked([arrays_of(run) for run in runs]), metadata=facts), runs


def facts_of(runs: Sequence[Tridiagonalisation]) -> dict[str, Any]:
    """Say how the recurrences went, and with what."""
    return {
        "steps": max(run.num_steps for run in runs),
        "steps_done": [run.num_steps for run in runs],
        "product_error": [run.product_error for run in runs],
        "orthogonality": max(lanczos.orthogonality(run) for run in runs),
        "basis_device": bases.place_of(runs[0].basis),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }


def ends_of(operator: Operator) -> tuple[End, ...]:
    """Name the ends that have a relative error: of a semidefinite matrix the largest alone."""
    return ENDS[:1] if operator.semidefinite else ENDS


def _probe(
    operator: Operator, probe: int, seed: int, purpose: str, numbers: Sequence[int]
) -> Tensor:
    return lanczos.probe_vector(operator.num_params, seed, *numbers, probe, purpose=purpose)


def _is_of(operator: Operator, measured: Spectrum) -> bool:
    """Whether a spectrum was measured of this matrix, by what both say and its first step."""
    facts, expected = _lasting(measured.metadata), _lasting(operator.describe())
    stream = [facts.get(key) for key in ("seed", "purpose", "numbers")]
    if None in stream or any(facts.get(key) != value for key, value in expected.items()):
        return False
    start = torch.nn.functional.normalize(_probe(operator, 0, *stream), dim=0)
    image = operator.matvec(start).cpu()
    diagonal, size = float(start @ image), image.norm().item()
    first = [diagonal, (image - diagonal * start).norm().item()]
    kept = np.append(measured.diagonal[0, :1], measured.off_diagonal[0, :1])
    apart = np.abs(kept - first[: len(kept)]).max()
    return bool(apart <= lanczos.SAME * size + spectrum.product_errors(measured)[0])


def _lasting(facts: Any) -> Any:
    """Leave out of what an operator says how its products are made at the moment."""
    if isinstance(facts, Mapping):
        return {key: _lasting(value) for key, value in facts.items() if key not in MAKING}
    return [*map(_lasting, facts)] if isinstance(facts, (list, tuple)) else facts


def mark_of(operator: Operator) -> str:
    return json.dumps(_lasting(operator.describe()), sort_keys=True)


def arrays_of(run: Tridiagonalisation) -> tuple[NDArray, ...]:
    """Name what `ARRAYS` are of one run."""
    result = lanczos.ritz(run)
    return result.values, result.weights, result.residuals, run.diagonal, run.off_diagonal


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * 1e9)
