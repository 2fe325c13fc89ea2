"""The state of a Lanczos recurrence, in memory and on disk, so that a killed run can go on."""

import contextlib
import hashlib
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from truehessian import streams, tensorfile
from truehessian.spectra.orthogonalise import Taken, finish, orthogonalise

logger = logging.getLogger(__name__)

# What a recurrence knows beside its vectors, as in a file of its state.
_NUMBERS = (
    "diagonal",
    "off_diagonal",
    "largest",
    "left",
    "dropped",
    "earlier",
    "typical",
    "roundoff",
)
# What is left of a product is orthogonalised again where it is below this part of it.
_SMALL = 1e-6
# What is left is rounding of double precision, and no direction, below this part of the largest
# product. Set low on purpose: to go on with a direction made of the rounding of products is a
# restart of the recurrence and does no harm, to stop would lose the small end of the spectrum.
_ROUNDING = 1e-14
_ATTEMPTS = 3
_MEDIAN = 0.455  # of the square of a standard normal variable
# Rounding that nothing in a recurrence shows, in roundoffs of the norm of the matrix. Weights and
# activations are rounded the same way in every product, so that a large part of the error is itself
# a symmetric matrix: for a residual network in single precision it moved the largest eigenvalue by
# 7 roundoffs. Recurrences and eigenvalues of Jacobi matrices lose a few more in double precision.
_UNSEEN = 16


class Recurrence:
    """What m steps have brought so far.

    Parameters
    ----------
    start
        Unit vector, shape (P,), float64.
    basis
        Room for the vectors of all steps, shape (num_steps, P). The recurrence runs where it lies.

    Attributes
    ----------
    basis
        Rows 0 .. `steps` - 1 are filled, shape (num_steps, P).
    diagonal, off_diagonal
        Entries of the Jacobi matrix, one per step.
    largest
        Largest norm of a product so far.
    left
        Norm of what was left of the last product.
    dropped
        The largest such norm that was taken for rounding.
    earlier, typical
        Of every step, sum and median of the squares of those components that are zero in exact
        arithmetic.
    roundoff
        Relative rounding of numbers in the precision that vectors go to the product in, or come
        back in, whichever is larger.
    current
        The next basis vector before rounding, shape (P,), float64; within a step, what its product
        brings.
    """

    def __init__(self, start: Tensor, basis: Tensor) -> None:
        self.basis = basis
        self.diagonal: list[float] = []
        self.off_diagonal: list[float] = []
        self.largest = self.left = self.dropped = 0.0
        self.earlier: list[float] = []
        self.typical: list[float] = []
        self.roundoff = torch.finfo(basis.dtype).eps
        self.current = start.to(basis.device, torch.float64, copy=True)

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return len(self.diagonal)

    @property
    def product_error(self) -> float:
        """Norm of the error of a product with a unit vector, as far as the steps show it.

        The components q_iᵀ A q_j with i < j - 1 are zero but for the errors of both products.
        Errors in random directions have 1/√P of their norm along every q_i, which the median shows;
        errors that lie in the space of the basis are seen as they are, by the sum. To errors that
        are themselves a symmetric matrix both are blind. So the result is no less than the unit
        roundoff of the products times the norm of the matrix, nor than what was taken for rounding.
        """
        spread = np.median(self.typical[2:]) / (2 * _MEDIAN) if self.steps > 2 else 0.0
        within = np.mean(self.earlier[2:]) if self.steps > 2 else 0.0
        seen = math.sqrt(self.basis.shape[1] * spread + within)
        inner = np.abs(self.off_diagonal[:-1])
        rows = np.abs(self.diagonal) + np.pad(inner, (1, 0)) + np.pad(inner, (0, 1))
        scale = max(self.largest, rows.max(initial=0.0))  # no less than the norm, twice it at most
        return float(max(seen, _UNSEEN * self.roundoff * scale, self.dropped))

    def begin(self) -> Tensor:
        """Put the next vector into the basis, and give it as it lies there, to be multiplied."""
        self.basis[self.steps] = self.current
        return self.basis[self.steps]

    def take(self, product: Tensor) -> None:
        """Take a copy of the vector's product: it may be the very vector that went in."""
        self.roundoff = max(self.roundoff, torch.finfo(product.dtype).eps)
        self.current.copy_(product)

    def end(self, taken: Taken) -> None:
        """Make the next vector of what is left of the product, given what was taken from it.

        Raises
        ------
        FloatingPointError
            The product holds NaN or infinity.
        """
        if not math.isfinite(taken.whole):
            raise FloatingPointError(f"the product of step {self.steps + 1} holds NaN or infinity")
        basis, image = self.basis[: self.steps + 1], self.current
        self.largest = max(self.largest, taken.whole)
        last, earlier, typical, self.left = finish(image, basis, taken)
        more, outside, left = 0.0, True, self.left
        if not left > _SMALL * taken.whole:
            more, outside, left = _again(image, basis, left)
        self.diagonal.append(last + more)
        self.earlier.append(earlier)
        self.typical.append(typical)
        if outside and self.left > _ROUNDING * self.largest:
            self.off_diagonal.append(self.left)
            image.div_(left)
        else:
            self.off_diagonal.append(0.0)
            self.dropped = max(self.dropped, self.left)
            self._start_again()

    def _start_again(self) -> None:
        """Go on from a random vector orthogonal to all before: eigenvalues that are repeated."""
        steps, num_params = self.steps, self.basis.shape[1]
        if steps == num_params:
            return
        if self.off_diagonal.count(0.0) == 1:
            logger.info("the Krylov space is exhausted after %d steps", steps)
        # Of the start vector, so that each of several recurrences goes on in a way of its own.
        seed = int.from_bytes(_digest(self.basis[0]), "little")
        generator = streams.generator(seed, "breakdown", steps)
        self.current.copy_(torch.from_numpy(generator.standard_normal(num_params)))
        for _ in range(_ATTEMPTS):
            self.current.div_(orthogonalise(self.current, self.basis[:steps]).left)


def another_matrix(state: Path) -> str:
    """Say what is wrong with a state that belongs to another run, and what to do."""
    return (
        f"the Lanczos state in {state} was begun with another matrix, start vector or precision; "
        "delete it to begin anew, or name another folder"
    )


def _digest(vector: Tensor) -> bytes:
    return hashlib.sha256(vector.cpu().numpy().tobytes()).digest()


def _again(image: Tensor, basis: Tensor, left: float) -> tuple[float, bool, float]:
    """Orthogonalise a vector that is small beside what was taken from it, until it stays.

    Twice is not enough where the rows are orthonormal to single precision only, or where nothing
    is left but rounding.

    Parameters
    ----------
    image, basis
        The vector and its basis.
    left
        The vector's norm.

    Returns
    -------
    component, outside, left
        What more was taken along the last row, whether anything stays, and its norm.
    """
    component = 0.0
    for _ in range(_ATTEMPTS):
        before = left
        if before == 0:
            break
        removed = orthogonalise(image, basis)
        component, left = component + removed.last, removed.left
        if left > before / 2:
            return component, True, left
    return component, False, left


class Journal:
    """Parts of a recurrence on disk, each written once under its final name, in a folder.

    Only what is new is written: the basis of a large network takes gigabytes. Every part tells the
    start vector and the matrix that it belongs to, so that no other run goes on from it.

    Parameters
    ----------
    folder
        Made when the first part is written.
    interval
        Seconds between two parts, at least. A run that is shorter writes nothing.
    matrix
        What is known of the matrix without a product, such as what its operator says of itself.
    """

    def __init__(self, folder: Path, interval: float = 30.0, matrix: str = "") -> None:
        self.folder = folder
        self.interval = interval
        self.matrix = matrix
        self._marks: dict[str, str] = {}
        self._written = 0
        self._last = time.monotonic()
        self._warned = False

    def _marks_of(self, start: Tensor) -> dict[str, str]:
        """Tell a start vector, as it stands in the basis, and the matrix from others; once."""
        if not self._marks:
            digest = _digest(start).hex()
            self._marks = {"start": digest, "precision": str(start.dtype), "matrix": self.matrix}
        return self._marks

    def record(self, recurrence: Recurrence, *, force: bool = False) -> None:
        """Write what is new, if the time has come; a full disk costs the state, not the run."""
        if not force and time.monotonic() - self._last < self.interval:
            return
        begin, end = self._written, recurrence.steps
        if begin == end:
            return
        tensors = {
            name: torch.tensor(getattr(recurrence, name), dtype=torch.float64) for name in _NUMBERS
        }
        tensors |= {"basis": recurrence.basis[begin:end], "current": recurrence.current}
        try:
            path = self.folder / f"{begin:06d}-{end:06d}.safetensors"
            tensorfile.save(path, tensors, self._marks_of(recurrence.basis[0]))
        except OSError as error:
            if not self._warned:
                logger.warning("the state is not saved, so a kill costs all the work: %s", error)
            self._warned = True
        else:
            self._written = end
        self._last = time.monotonic()

    def resume(self, recurrence: Recurrence) -> None:
        """Bring a fresh recurrence to where the parts on disk end; damaged parts are left out.

        Raises
        ------
        ValueError
            A part belongs to another start vector or matrix.
        """
        start = recurrence.current
        for path in sorted(self.folder.glob("*-*.safetensors")):
            begin, end = map(int, path.stem.split("-"))
            if begin != recurrence.steps or end > len(recurrence.basis):
                continue
            try:
                tensors, marks = tensorfile.load(path)
            except (ValueError, OSError) as error:
                logger.warning("%s; going on from step %d", error, begin)
                break
            ours = self._marks_of(start.to(recurrence.basis.dtype))
            if any(marks.get(name) != mark for name, mark in ours.items()):
                raise ValueError(another_matrix(self.folder))
            recurrence.basis[begin:end] = tensors["basis"].to(recurrence.basis.device)
            for name in _NUMBERS:
                setattr(recurrence, name, tensors[name].tolist())
            recurrence.current.copy_(tensors["current"])
        self._written = recurrence.steps
        self._tidy()
        if recurrence.steps:
            logger.info("resumed after step %d from %s", recurrence.steps, self.folder)

    def _tidy(self) -> None:
        """Remove the parts that a run that goes on would not follow."""
        for path in self.folder.glob("*-*.safetensors"):
            if int(path.stem.split("-")[1]) > self._written:
                with contextlib.suppress(OSError):
                    path.unlink()
