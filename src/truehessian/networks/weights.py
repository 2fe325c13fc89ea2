"""Files with weights of other programs: safetensors, and state dicts that `torch.save` wrote.

A pickle can run code. PyTorch reads one that holds tensors, numbers and the like without running
any (`weights_only`); what holds more is refused.
"""

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from truehessian import tensorfile, text
from truehessian.networks.places.files import PICKLES, STATE_DICTS, refusal

# What PyTorch says of a class that it does not make, and of formats that it does not read safely.
_MORE = re.compile(r"GLOBAL ([\w.]+)|with (TorchScript) archives|in the (legacy \.tar) format")


def read(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read all tensors of a file by their names.

    Parameters
    ----------
    path
        A safetensors file; or, with one of the suffixes `STATE_DICTS`, what `torch.save` wrote: a
        state dict, or mappings with one among whatever else training keeps. Of such mappings all
        tensors are given, with the keys that lead to them as a prefix: ``state_dict.fc.weight``.

    Returns
    -------
    dict
        On the CPU; those of a large file are only read from the disk when they are used.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is damaged or another kind of file; or it holds more than tensors and numbers, such as a
        whole network.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise ValueError(refusal(f"{path} is a pickle", path.stem))
    if suffix not in STATE_DICTS:
        return tensorfile.load(path)[0]
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    content = _unpickled(path)
    tensors = dict(_flattened(content, "", set())) if isinstance(content, Mapping) else {}
    if not tensors:
        raise ValueError(
            f"{path} holds a {type(content).__name__} without tensors by name and no state dict; "
            f"save one: torch.save(model.state_dict(), '{path.name}')"
        )
    return tensors


def _unpickled(path: Path) -> object:
    """Let PyTorch read tensors, and say what is wrong where it refuses."""
    # Of files that PyTorch wrote before version 1.6 nothing can stay on the disk.
    on_disk = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused in any case
            return torch.load(path, map_location="cpu", weights_only=True, mmap=on_disk)
    except OSError:
        raise
    except Exception as error:  # damage shows in many ways
        more = _MORE.search(str(error))
        if more is not None:
            kind = next(filter(None, more.groups()))
            raise ValueError(
                refusal(f"{path} holds more than weights ({kind})", path.stem)
            ) from error
        # PyTorch's own words on a refusal are how to load the file after all.
        within = error.__context__ if isinstance(error, pickle.UnpicklingError) else None
        raise ValueError(
            f"{path} is damaged, or no state dict that torch.save wrote "
            f"({text.exception(within or error)}); save the weights again: "
            f"torch.save(model.state_dict(), '{path.name}')"
        ) from error


def _flattened(
    content: Mapping[object, object], prefix: str, seen: set[int]
) -> Iterator[tuple[str, Tensor]]:
    """Go through the tensors of nested mappings, each mapping once."""
    seen.add(id(content))
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value.detach()
        elif isinstance(value, Mapping) and id(value) not in seen:
            yield from _flattened(value, f"{prefix}{key}.", seen)
