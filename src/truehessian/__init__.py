"""Spectra of sample Hessians, what sampling does to them, and the true Hessian.

Importing this package imports nothing heavy: what a name needs is imported when it is first used.
"""

from typing import Any

import lazy_loader

_import, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name; the version is that of the installed package."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("truehessian")
    return _import(name)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
