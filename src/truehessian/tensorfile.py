"""Named tensors and metadata in one safetensors file: atomic, and the same bytes every time."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header, little-endian
_ALIGNMENT = 8  # and its tensors begin at a multiple of eight


def save(
    path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors and metadata to a safetensors file.

    Parameters
    ----------
    path
        The file; missing folders are made. It is written under a temporary name beside it and then
        renamed, so a file that exists is whole.
    tensors
        Any shapes, dtypes and devices. They are copied, so that views of one storage are allowed.
    metadata
        Strings, kept in the header. Same tensors and metadata, same bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    copies = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    content = safetensors.torch.save(copies, metadata=dict(metadata))
    header, data = _split(content)
    # The safetensors library writes the metadata in another order in every process.
    ordered = json.loads(header)
    ordered["__metadata__"] = dict(sorted(ordered["__metadata__"].items()))
    header = json.dumps(ordered, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(len(header).to_bytes(_LENGTH_BYTES, "little"))
            file.write(header)
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(
    path: str | os.PathLike, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors and the metadata of a safetensors file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is truncated or not a safetensors file.
    """
    path = _existing(path)
    try:
        with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return tensors, file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(_unreadable(path, error)) from error


def load_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Read the metadata of a safetensors file and nothing else; raises as `load`."""
    path = _existing(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(_unreadable(path, error)) from error


def _split(content: bytes) -> tuple[bytes, memoryview]:
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    return content[_LENGTH_BYTES:end], memoryview(content)[end:]


def _existing(path: str | os.PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return path


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path} is truncated or not a safetensors file ({error}); delete it and make it again"
