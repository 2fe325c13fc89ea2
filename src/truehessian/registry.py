"""Catalogues of what there can be several of: one name and one import path for each.

The entries stand in the `__init__` file of a room, which has no part in any key, and each is a file
of its own: another entry changes nothing for those that are there.
"""

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from truehessian import text


class Registry(Mapping[str, str]):
    """Import paths by name.

    Parameters
    ----------
    what
        What the entries are, for errors: "operator".
    entries
        Import paths "package.module:attribute" by name, in the order in which they are shown.
    own
        Whether an import path may be given in place of a name, for what a user has written.
    """

    def __init__(self, what: str, entries: Mapping[str, str], *, own: bool = False) -> None:
        self.what = what
        self._entries = dict(entries)
        self._own = own

    def __getitem__(self, name: str) -> str:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def path(self, name: str) -> str:
        """Find where an entry is.

        Raises
        ------
        ValueError
            There is none of this name.
        """
        if name in self._entries:
            return self._entries[name]
        if self._own and ":" in name:
            return name
        own = " or an import path 'package.module:name'" if self._own else ""
        raise ValueError(
            f"{self.what} must be one of {', '.join(sorted(self._entries))}{own}, got {name!r}"
            f"{nearest(name, self._entries)}"
        )

    def load(self, name: str) -> Any:
        """Import an entry.

        Raises
        ------
        ValueError
            There is none of this name, or where it should be; see `imported`.
        """
        return imported(self.path(name), self.what)

    def entries(self) -> dict[str, Any]:
        """Import all entries, in their order."""
        return {name: self.load(name) for name in self}


def imported(path: str, what: str) -> Any:
    """Import what an import path names.

    Parameters
    ----------
    path
        "package.module:name".
    what
        What it is to be, for errors: "operator".

    Raises
    ------
    ValueError
        The module cannot be imported, or has no such name.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{what} {path}: cannot import {module_name} ({error}); install it or put its folder "
            "on PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:  # a script that reads its arguments exits
        raise ValueError(
            f"{what} {path}: importing {module_name} fails ({text.exception(error)}); the module "
            "has to define what is named and do nothing else"
        ) from error
    if not hasattr(module, name):
        raise ValueError(
            f"{what} {path}: module {module_name} has no {name!r}{nearest(name, dir(module))}"
        )
    return getattr(module, name)


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is spelt most alike, as the end of a sentence."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
