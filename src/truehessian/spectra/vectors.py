"""Files of the Ritz vectors at both ends of a spectrum."""

import logging

import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian import tensorfile
from truehessian.spectra import lanczos
from truehessian.spectra.lanczos import Tridiagonalisation

logger = logging.getLogger(__name__)


def save(path: str, run: Tridiagonalisation, count: int) -> None:
    """Write the Ritz vectors of the `count` largest and smallest Ritz values, and the values.

    The file holds `top` and `bottom`, shape (count, P), float32, from the outermost inwards, and
    `top_values`, `top_residuals` and so on, float64. No vector belongs to both ends: where there
    are too few Ritz values, fewer are kept than were asked for, which is logged.
    """
    result = lanczos.ritz(run)
    values, residuals = result.values, result.residuals
    kept = kept_of_each_end(count, len(values))
    if kept < count:
        logger.warning(
            "%d Ritz vectors of each end are kept instead of %d: there are no more than %d "
            "Lanczos steps; ranks further in are missing from tables and predictions",
            kept, count, len(values),
        )  # fmt: skip
    columns = {"top": [-1 - i for i in range(kept)], "bottom": list(range(kept))}
    tensors: dict[str, Tensor] = {}
    for name, chosen in columns.items():
        vectors = lanczos.ritz_vectors(run, [c % len(values) for c in chosen])
        tensors[name] = vectors.float().cpu().contiguous()
        tensors[f"{name}_values"] = torch.from_numpy(values[chosen].copy())
        tensors[f"{name}_residuals"] = torch.from_numpy(residuals[chosen].copy())
    tensorfile.save(path, tensors, {"asked_for": str(count), "kept": str(kept)})


def kept_of_each_end(count: int, num_values: int) -> int:
    """Of how many Ritz values of each end the vectors are kept, where `count` are asked for."""
    return min(count, num_values // 2)


def load(path: str) -> dict[str, Tensor]:
    """Read what `save` has written."""
    return tensorfile.load(path)[0]


def outermost(vectors: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Keep at most `count` vectors of each end, and what is known of them."""
    return {name: tensor[:count] for name, tensor in vectors.items()}


def named(vectors: dict[str, Tensor]) -> tuple[list[str], Tensor, NDArray]:
    """Line up extremal Ritz vectors as `top-1`, `top-2`, .. `bottom-1`, ..

    Returns
    -------
    names, directions, values
        Unit vectors as rows, shape (2 count, P), float64, and their Ritz values.
    """
    names = [f"{end}-{rank + 1}" for end in ("top", "bottom") for rank in range(len(vectors[end]))]
    directions = torch.cat([vectors["top"], vectors["bottom"]]).double()
    directions = torch.nn.functional.normalize(directions, dim=1)
    return names, directions, torch.cat([vectors["top_values"], vectors["bottom_values"]]).numpy()
