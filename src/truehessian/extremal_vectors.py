"""Files of the Ritz vectors at both ends of a spectrum."""

import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian import lanczos, tensorfile
from truehessian.lanczos import Tridiagonalisation


def save(path: str, run: Tridiagonalisation, count: int) -> None:
    """Write the Ritz vectors of the `count` largest and smallest Ritz values, and the values.

    The file holds `top` and `bottom`, shape (count, P), float32, from the outermost inwards, and
    `top_values` and `bottom_values`, float64.
    """
    values = lanczos.ritz(run).values
    count = min(count, len(values) // 2)  # no vector belongs to both ends
    columns = {"top": [-1 - i for i in range(count)], "bottom": list(range(count))}
    tensors: dict[str, Tensor] = {}
    for name, chosen in columns.items():
        vectors = lanczos.ritz_vectors(run, [c % len(values) for c in chosen])
        tensors[name] = vectors.float().cpu().contiguous()
        tensors[f"{name}_values"] = torch.from_numpy(values[chosen].copy())
    tensorfile.save(path, tensors, {})


def load(path: str) -> dict[str, Tensor]:
    """Read what `save` has written."""
    return tensorfile.load(path)[0]


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
