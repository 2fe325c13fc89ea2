"""Catalogues of what there can be several of: one name and one import path for each.

The entries stand in the `__init__` file of a room, which has no part in any key, and each is a file
of its own: another entry changes nothing for those that are there.
"""

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


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
            There is none of this name.
        ImportError, AttributeError
            Where it should be there is none.
        """
        module, _, attribute = self.path(name).partition(":")
        return getattr(importlib.import_module(module), attribute)

    def entries(self) -> dict[str, Any]:
        """Import all entries, in their order."""
        return {name: self.load(name) for name in self}


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is spelt most alike, as the end of a sentence."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
