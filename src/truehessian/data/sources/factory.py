"""Data that a function of the user's own makes: tensors, or map-style data sets.

The function is called with `dataset.arguments`. It gives one set of examples, which is split; or a
pair of sets to train and to test with; or a mapping {"train": ..., "test": ...} that may also say
`num_classes`, `padding`, `flip`, `mean` and `std`.

A set is a pair (inputs, targets) of tensors or arrays whose first axis counts the examples, or of
tuples and mappings of them; or a mapping of such with the key `targets` or `labels`, the rest being
the inputs; or a map-style data set of PyTorch's, of which each example is a pair or a mapping.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from truehessian import text
from truehessian.data.about import DatasetInfo, Labelled, Origin, digest_of_files
from truehessian.data.sources.describing import Split, describe
from truehessian.registry import nearest

_SPLITS = ("train", "test")
_MORE = ("num_classes", "padding", "flip", "mean", "std")


class Factory:
    """A function of the user's own as a source of data; it is called once and its data kept.

    Parameters
    ----------
    name
        Its import path.
    function
        Gives the data. An attribute `files`, a list of paths or a function of the same arguments
        that gives one, says what it reads: contents of these files then decide the data too.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self._made: tuple[dict[str, Any], list[Any], dict[str, Any]] | None = None

    def info(self, **arguments: Any) -> DatasetInfo:
        """Call the function, and look at its data.

        Raises
        ------
        ValueError
            The function fails, or gives something else than examples.
        """
        sets, more = self._sets(arguments)
        info = describe(f"dataset {self.name}", [each.split for each in sets], **more)
        names = sets[0].class_names
        return info._replace(class_names=names if len(names) == info.num_classes else ())

    def origin(self, settings: Mapping[str, Any]) -> Origin:
        """Digest the files that the function says it reads."""
        arguments = settings.get("arguments") or {}
        files = getattr(self.function, "files", ())
        paths = files(**arguments) if callable(files) else files
        return Origin(digest_of_files({str(path): Path(path) for path in paths}), {})

    def read(self, settings: Mapping[str, Any]) -> tuple[Labelled, Labelled | None]:
        """Read all examples, in their order.

        Raises
        ------
        ValueError
            An example is not like the first one, or targets are not those that the set speaks of.
        """
        sets, more = self._sets(settings["arguments"])
        with self._seeded("examples of a user's own"):
            read = [each.read() for each in sets]
        names = [each.split.name for each in sets]
        found = [self._split(name, *pair) for name, pair in zip(names, read, strict=True)]
        said = {**more, "num_classes": self.info(**settings["arguments"]).num_classes}
        describe(f"dataset {self.name}", found, **said)
        return read[0], (read[1] if len(read) == 2 else None)

    def _sets(self, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Give the sets of examples and what is said about them."""
        if self._made is None or self._made[0] != arguments:
            # PyTorch is not needed before.
            sets = import_module("truehessian.data.sources.sets")
            where = f"dataset {self.name}"
            parts, more = _parts(where, self._called(arguments), sets.is_set)
            many = len(parts) > 1
            names = [f"{split}_" if many else "" for split in _SPLITS]
            made = [sets.as_set(where, n, p) for n, p in zip(names, parts, strict=False)]
            self._made = dict(arguments), made, more
        return self._made[1:]

    def _split(self, name: str, inputs: Any, targets: Any) -> Split:
        leaves = import_module("truehessian.data.sources.sets").leaves
        return Split(name, leaves(inputs), leaves(targets))

    def _called(self, arguments: Mapping[str, Any]) -> Any:
        # What it prints has no place in the output of `snakemake --dag` or `--summary`.
        with contextlib.redirect_stdout(sys.stderr), self._seeded("data of a user's own"):
            try:
                return self.function(**arguments)
            except Exception as error:
                raise ValueError(f"dataset {self.name} fails ({text.exception(error)})") from error

    def _seeded(self, purpose: str) -> contextlib.AbstractContextManager[None]:
        """Let what draws from PyTorch's, NumPy's or Python's own generators draw the same again."""
        made: contextlib.AbstractContextManager[None]
        made = import_module("truehessian.data.seeding").seeded(0, purpose)
        return made


def _parts(
    where: str, made: Any, is_set: Callable[[Any], bool]
) -> tuple[list[Any], dict[str, Any]]:
    """Tell one set of examples from two, and from what is said about them."""
    if isinstance(made, Mapping) and "train" in made:
        for key in made:
            if key not in (*_SPLITS, *_MORE):
                raise ValueError(
                    f"{where} gives {key!r} beside train; what can be there is "
                    f"{', '.join((*_SPLITS, *_MORE))}{nearest(str(key), (*_SPLITS, *_MORE))}"
                )
        parts = [made[split] for split in _SPLITS if made.get(split) is not None]
        return parts, {key: made[key] for key in _MORE if made.get(key) is not None}
    if isinstance(made, tuple) and len(made) == 2 and all(map(is_set, made)):
        return list(made), {}
    return [made], {}
