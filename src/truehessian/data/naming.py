"""What somebody means who names data: a data set of the catalogue, a file, a folder, or code."""

import inspect
from pathlib import Path
from typing import Any, Protocol

from truehessian.data import catalogue
from truehessian.data.sources import SOURCES
from truehessian.data.sources.factory import Factory


class OfPath(Protocol):
    """A source of the catalogue that reads a file or a folder, its argument `path`."""

    def takes(self, path: Path) -> bool:
        """Tell whether a file or folder, which is there, is of its kind."""


def named(text: str) -> dict[str, Any]:
    """Find out what somebody means: a data set by its name, or a file or folder that holds one.

    Returns
    -------
    dict
        `name`, and `arguments` where it is a path: keyword arguments of `catalogue.fetch`.

    Raises
    ------
    ValueError
        There is neither.
    """
    path = Path(text)
    if text in SOURCES or (":" in text and not path.exists()):
        return {"name": text}
    readers: dict[str, OfPath] = {
        name: source for name, source in SOURCES.entries().items() if hasattr(source, "takes")
    }
    if not path.exists():
        if path.suffix or path.name != text:
            raise ValueError(f"there is no file or folder {text}")
        SOURCES.path(text)  # says what there is
    for name, reader in readers.items():
        if reader.takes(path):
            return {"name": name, "arguments": {"path": text}}
    raise ValueError(
        f"{text} is no data that {' or '.join(readers)} reads: arrays in a file .npz or "
        ".safetensors, or a folder that holds a folder of images for each class"
    )


def arguments_of(name: str) -> dict[str, Any]:
    """Give the arguments that a source takes, with their defaults.

    Returns
    -------
    dict
        `inspect.Parameter.empty` for those without a default.

    Raises
    ------
    ValueError
        There is no such source.
    """
    source: Any = catalogue.source(name)
    function = source.function if isinstance(source, Factory) else source.info
    parameters = inspect.signature(function).parameters
    return {key: parameter.default for key, parameter in parameters.items()}
