"""Which modules of the project an import means, read off the files.

A package's `__init__` file holds lazy names and catalogues. It makes no numbers and is never one of
the modules: a name that is taken from a package means the module that its stub, `__init__.pyi`,
takes it from, and an entry of a catalogue counts where it is asked for by its import path.
"""

from collections.abc import Iterator
from pathlib import Path

from truehessian.pipeline.stage.reading import Import, read

PACKAGE = "truehessian"
# The code around a stage (settings, logs, locks, the store) has no part in the numbers.
_AROUND = f"{PACKAGE}.pipeline"


def is_ours(name: str) -> bool:
    """Whether a dotted name lies in this package."""
    return name.split(".")[0] == PACKAGE


def has_a_part(name: str) -> bool:
    """Whether a module of the package may decide numbers."""
    return is_ours(name) and not is_within(name, _AROUND)


def is_within(name: str, package: str) -> bool:
    """Whether a module is a package or lies in it."""
    return name == package or name.startswith(f"{package}.")


def source() -> Path:
    """Folder that holds the package that is running."""
    return Path(__file__).parents[3]


def file_of(name: str, folder: Path) -> Path | None:
    """File of a module, None for a package and for what is no module."""
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def meant_by(item: Import, parent: str, folder: Path) -> Iterator[str]:
    """Names of the modules of the package that one import means; none for other packages.

    Parameters
    ----------
    item
        As it is written.
    parent
        Package of the file that it stands in, for relative imports; empty where there is none.
    folder
        Holds the package.
    """
    module = item.absolute(parent)
    if not is_ours(module):
        return
    names = [name for name in item.names if name != "*"]
    if not names or "*" in item.names:
        yield from _all_of(module, folder)
    for name in names:
        yield from _taken(module, name, folder)


def _taken(module: str, name: str, folder: Path) -> Iterator[str]:
    """Modules meant by ``from module import name``."""
    if file_of(module, folder):
        yield module
        return
    inner = f"{module}.{name}"
    if file_of(inner, folder) or _is_package(inner, folder):
        yield from _all_of(inner, folder)
        return
    for item, known in _stub(module, folder):
        if name == known:
            yield from _taken(item.absolute(module), name, folder)


def _all_of(module: str, folder: Path) -> Iterator[str]:
    """Give a module, or all modules that a package gives names of."""
    if file_of(module, folder):
        yield module
        return
    for item, name in _stub(module, folder):
        yield from _taken(item.absolute(module), name, folder)


def _is_package(name: str, folder: Path) -> bool:
    return folder.joinpath(*name.split("."), "__init__.py").is_file()


def _stub(package: str, folder: Path) -> Iterator[tuple[Import, str]]:
    """Names that a package gives lazily, each with the import that it comes by."""
    path = folder.joinpath(*package.split("."), "__init__.pyi")
    if path.is_file():
        for item in read(path).imports:
            yield from ((item, name) for name in item.names)
