"""What a library of networks has to know. Needs no PyTorch."""

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn


class Library(Protocol):
    """A library that makes networks by name."""

    def factory(self, name: str) -> "Callable[..., nn.Module]":
        """Find what makes a network.

        Parameters
        ----------
        name
            Of the network, without that of the library.

        Returns
        -------
        Callable
            Takes `num_classes`, `input_shape` (a tuple) and further arguments by their names, and
            makes a network with weights of its initialisation, which maps images to logits.

        Raises
        ------
        ValueError
            The library is not installed, or knows no such network.
        """


def absence(library: str, name: str) -> str | None:
    """Say that the library of a network is not installed, if so, and how to install it."""
    if importlib.util.find_spec(library) is not None:
        return None
    return (
        f"model {library}:{name} needs the package {library}, which is not installed; install it "
        f"with `uv pip install {library}`"
    )
