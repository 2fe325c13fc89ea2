"""Named tensors and metadata in one safetensors file: atomic, checked, always the same bytes."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header, little-endian
_ALIGNMENT = 8  # and its tensors begin at a multiple of eight
_BLOCK = 2**20  # bytes that are read at once for a digest
_SEAL = "sha256"  # key of the metadata that holds the digest of everything else


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
        Strings, kept in the header. Same tensors and metadata, same bytes. The digest of everything
        is added, by which `load` knows a damaged file.

    Raises
    ------
    OSError
        The file cannot be written; the error names it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    copies = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    content = safetensors.torch.save(copies, metadata=dict(metadata))
    header, data = _split(content)
    entries = json.loads(header)
    entries["__metadata__"][_SEAL] = _digest(entries, [data])
    header = _encode(entries)
    header += b" " * (-len(header) % _ALIGNMENT)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(len(header).to_bytes(_LENGTH_BYTES, "little"))
            file.write(header)
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
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
        The file is truncated, not a safetensors file, or has changed since `save` wrote it.
    """
    path = _existing(path)
    try:
        with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(_unreadable(path, error)) from error
    seal = metadata.pop(_SEAL, None)  # files of other programs have none
    if seal is not None and seal != _digest_of_file(path):
        raise ValueError(
            f"{path} has changed since it was written (its digest is not the one it holds); "
            "delete it and make it again"
        )
    return tensors, metadata


def load_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Read the metadata of a safetensors file and nothing else; raises as `load`."""
    path = _existing(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(_unreadable(path, error)) from error
    metadata.pop(_SEAL, None)
    return metadata


def _encode(entries: dict[str, Any]) -> bytes:
    """Encode a header; the safetensors library orders metadata differently in every process."""
    ordered = {**entries, "__metadata__": dict(sorted(entries["__metadata__"].items()))}
    return json.dumps(ordered, separators=(",", ":")).encode()


def _digest(entries: dict[str, Any], data: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of a file's header without the digest itself, and of its data."""
    metadata = {key: value for key, value in entries["__metadata__"].items() if key != _SEAL}
    digest = hashlib.sha256(_encode({**entries, "__metadata__": metadata}))
    for block in data:
        digest.update(block)
    return digest.hexdigest()


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        entries = json.loads(file.read(length))
        return _digest(entries, iter(lambda: file.read(_BLOCK), b""))


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
