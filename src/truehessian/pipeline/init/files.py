"""Files with weights: a single one, or one for each epoch by a pattern."""

import difflib
import re
from pathlib import Path
from typing import NamedTuple

from truehessian.networks.places.files import FILES, STATE_DICTS, epochs_of, holds_epoch

_MOST = 6  # epochs that are taken where none are named
_SINGLE = 1  # what a single file counts as; 0 would say that nothing was learned yet


class Weights(NamedTuple):
    """What the key `checkpoints` says, and the epochs to analyse."""

    where: str
    epochs: list[int]

    def paths(self) -> dict[int, str]:
        """Name the file of each epoch."""
        return {epoch: FILES.file(self.where, epoch) for epoch in self.epochs}


def find(where: str, epochs: list[int] | None) -> Weights:
    """Find the files that are meant.

    Parameters
    ----------
    where
        A file, or a pattern with ``{epoch}``.
    epochs
        Those to take; of a pattern up to six that are there by default, the first and the last
        among them.

    Raises
    ------
    ValueError
        What is named is not there, or one file is to be several epochs.
    """
    for problem in FILES.problems(where):
        raise ValueError(problem.replace("checkpoints", "--weights", 1))
    if not holds_epoch(where):
        _check_file(where)
        if epochs is not None and len(epochs) > 1:
            raise ValueError(
                f"--weights names one file, {where}, and --epochs {len(epochs)} epochs; give one "
                "epoch, or a pattern with {epoch}"
            )
        return Weights(where, epochs or [_SINGLE])
    found = epochs_of(where)
    if not found:
        raise ValueError(f"there is no file {where} of any epoch{_beside(where)}")
    lacking = [epoch for epoch in epochs or [] if epoch not in found]
    if lacking:
        known = ", ".join(map(str, found))
        raise ValueError(f"there is no file {where} of epoch {lacking[0]}; there are {known}")
    return Weights(max(found.values(), key=len), epochs or _spread([*found]))


def _check_file(path: str) -> None:
    if Path(path).is_dir():
        inside = [each.name for each in Path(path).iterdir() if each.suffix in _SUFFIXES]
        example = re.sub(r"\d+", "{epoch}", sorted(inside)[0], count=1) if inside else "{epoch}.pt"
        raise ValueError(f"{path} is a folder; name a file, or a pattern such as {path}/{example}")
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}{_beside(path)}")


_SUFFIXES = STATE_DICTS | {".safetensors"}


def _beside(path: str) -> str:
    """Name the file that is spelt most alike in the folder, as the end of a sentence."""
    folder = Path(path).parent
    if not folder.is_dir():
        return f", and no folder {folder}"
    names = [each.name for each in folder.iterdir() if each.is_file()]
    near = difflib.get_close_matches(Path(path).name, names, n=1, cutoff=0.4)
    return f"; did you mean {folder / near[0]}?" if near else ""


def _spread(epochs: list[int]) -> list[int]:
    """Take some epochs, evenly spread over all, with both ends."""
    if len(epochs) <= _MOST:
        return epochs
    places = [round(number * (len(epochs) - 1) / (_MOST - 1)) for number in range(_MOST)]
    return [epochs[place] for place in places]
