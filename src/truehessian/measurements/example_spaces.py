"""What single examples show of their Hessians, all examples of a chunk at once."""

from typing import NamedTuple, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.measurements.inner_products import Coordinates

Arrays = dict[str, NDArray]
# A new direction that is shorter than this, relative to the example's matrix, is rounding.
_NEGLIGIBLE = {torch.float64: 1e-10, torch.float32: 1e-5}


class EachMultiplies(Protocol):
    """The matrices of the F examples of a chunk."""

    def each(self, vectors: Tensor) -> Tensor:
        """Multiply each matrix with a vector of its own, (F, P) -> (F, P)."""

    def all(self, block: Tensor) -> Tensor:
        """Multiply each matrix with the same vectors, (K, P) -> (F, K, P)."""


class Seen(NamedTuple):
    """What is found of each example of a chunk.

    Attributes
    ----------
    within, coupling
        Uᵀ H_i U, shape (F, K, K), and what H_i U has outside U, as rows, shape (F, K, P).
    values, parts
        Outer Ritz values of H_i, the largest first and then the smallest, shape (F, m), and their
        vectors, shape (F, m, P); zero where there is nothing more.
    """

    within: Tensor
    coupling: Tensor
    values: Tensor
    parts: Tensor


def of_examples(
    matrices: EachMultiplies,
    vectors: Tensor,
    coordinates: Coordinates,
    influence: Tensor,
    steps: int,
    pairs: int,
) -> Arrays:
    """Find the parts of a few examples, all at once.

    Parameters
    ----------
    matrices
        Of F examples.
    vectors, steps, pairs
        As of `look`.
    coordinates
        For what lies outside U.
    influence
        w_i / w, shape (F,), above zero.

    Returns
    -------
    dict
        Arrays by their names in `ExampleParts`, `within` without the influence; the sum of the
        rests over the examples, in coordinates, shape (K, d); and the sum of the squared errors of
        inner products, with their number.
    """
    ends = (0, len(vectors) // 2)
    seen = look(matrices, vectors, ends, steps, pairs)
    inside = seen.parts @ vectors.T
    outside = seen.parts - inside @ vectors
    values = seen.values.to(vectors.dtype)
    rest = seen.coupling - (values[:, :, None] * inside).transpose(1, 2) @ outside
    curvatures = torch.stack([_along_rest(matrices, seen, rest[:, end]) for end in ends], 1)
    short = _of_true_length(coordinates(outside), outside)
    weights = influence[:, None, None]
    found = {
        "within": seen.within,
        "values": values * influence[:, None],
        "inside": inside,
        "outside": short,
        "rest": weights**2 * (rest @ rest.transpose(1, 2)),
        "rest_values": influence[:, None] * curvatures,
        "mean_rest": coordinates((weights * rest).sum(0)),
        "errors": _errors(short, outside),
    }
    return {name: value.cpu().numpy() for name, value in found.items()}


def look(
    matrices: EachMultiplies, vectors: Tensor, starts: tuple[int, int], steps: int, pairs: int
) -> Seen:
    """Multiply with U and find the outer Ritz pairs of each example's Hessian.

    Parameters
    ----------
    matrices
        Of the examples.
    vectors
        U as rows, shape (K, P).
    starts
        Numbers of the extreme vectors of both ends: Lanczos begins from H_i (u_top + u_bottom), so
        that it meets what couples to them first.
    steps
        Of Lanczos.
    pairs
        Ritz pairs to keep at each end, of which twice as many are at most `steps`.

    Raises
    ------
    FloatingPointError
        A product holds NaN or infinity.
    """
    images = matrices.all(vectors)
    within = images @ vectors.T
    within = (within + within.transpose(1, 2)) / 2
    coupling = images - within @ vectors
    start = images[:, starts[0]].clone() if starts[0] == starts[1] else images[:, starts].sum(1)
    del images
    values, parts = _ritz_pairs(matrices, start, steps, pairs)
    return Seen(within, coupling, values, parts)


def _ritz_pairs(
    matrices: EachMultiplies, start: Tensor, steps: int, pairs: int
) -> tuple[Tensor, Tensor]:
    """Outer Ritz pairs from Krylov spaces of each matrix, with full orthogonalisation."""
    count, num_params = start.shape
    basis = start.new_zeros(count, steps, num_params)
    projected = torch.zeros(count, steps, steps, dtype=torch.float64, device=start.device)
    current, scale = start, start.norm(dim=1, keepdim=True)
    for step in range(steps):
        length = current.norm(dim=1, keepdim=True)
        is_new = length > _NEGLIGIBLE[start.dtype] * scale
        basis[:, step] = torch.where(is_new, current / length.clamp(min=1e-300), 0.0)
        rows = basis[:, : step + 1]
        current = matrices.each(basis[:, step])
        along = torch.einsum("fmp,fp->fm", rows, current)
        projected[:, : step + 1, step] = projected[:, step, : step + 1] = along.double()
        current = current - torch.einsum("fm,fmp->fp", along, rows)
        current -= torch.einsum("fm,fmp->fp", torch.einsum("fmp,fp->fm", rows, current), rows)
        scale = torch.maximum(scale, length)
    if not bool(projected.isfinite().all()):
        raise FloatingPointError("a product with the Hessian of an example holds NaN or infinity")
    values, axes = torch.linalg.eigh(projected)
    outer = [*range(steps - 1, steps - 1 - pairs, -1), *range(pairs)]
    vectors = torch.einsum("fmj,fmp->fjp", axes[:, :, outer].to(basis.dtype), basis)
    return values[:, outer], vectors


def _along_rest(matrices: EachMultiplies, seen: Seen, rest: Tensor) -> Tensor:
    """Curvature of each example along its rest, less that of its parts; zero without a rest."""
    squares = (rest**2).sum(1)
    whole = (rest * matrices.each(rest)).sum(1)
    along = torch.einsum("fmp,fp->fm", seen.parts, rest)
    of_parts = (seen.values.to(rest.dtype) * along**2).sum(1)
    rounding = torch.finfo(rest.dtype).eps ** 1.5 * (seen.coupling**2).sum((1, 2))
    return torch.where(squares > rounding, (whole - of_parts) / squares, 0.0)


def _of_true_length(short: Tensor, vectors: Tensor) -> Tensor:
    """Stretch coordinates to the lengths of what they stand for."""
    lengths, own = vectors.norm(dim=-1, keepdim=True), short.norm(dim=-1, keepdim=True)
    return torch.where(own > 0, short * (lengths / own), 0.0)


def _errors(short: Tensor, vectors: Tensor) -> Tensor:
    """Sum of the squared errors of inner products in units of the lengths, and how many."""
    few, long = short.flatten(0, 1), vectors.flatten(0, 1)
    scale = torch.outer(long.norm(dim=1), long.norm(dim=1)).fill_diagonal_(0)
    apart = ((few @ few.T - long @ long.T)[scale > 1e-6] / scale[scale > 1e-6]).double()
    return torch.stack([(apart**2).sum(), torch.tensor(float(len(apart))).to(apart)])
