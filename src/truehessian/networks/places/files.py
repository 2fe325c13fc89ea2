"""Weights in files on this machine, the epoch in their names where there are several."""

import glob
import re
import string
from collections.abc import Iterator
from pathlib import Path

# Suffixes of files that `torch.save` writes, which may hold nothing but a state dict.
STATE_DICTS = frozenset({".pt", ".pth", ".bin", ".ckpt", ".tar"})
PICKLES = frozenset({".pkl", ".pickle"})  # of those that are not loaded whatever they hold


def refusal(what: str, stem: str) -> str:
    """Say that something is not loaded, and how to save the weights alone instead.

    Parameters
    ----------
    what
        How the sentence begins, with the verb.
    stem
        Name of the file to save, without its suffix.
    """
    return (
        f"{what}, which is never loaded because it can run code; load it where you trust it and "
        f"save the weights alone: torch.save(model.state_dict(), '{stem}.pt') or "
        f"safetensors.torch.save_model(model, '{stem}.safetensors')"
    )


def holds_epoch(where: str) -> bool:
    """Tell whether ``{epoch}`` or ``{epoch:03}`` is in what a place is told."""
    try:
        return any(name == "epoch" for _, name, _, _ in string.Formatter().parse(where))
    except ValueError:  # braces of another kind
        return "{epoch}" in where


def epochs_of(where: str) -> dict[int, str]:
    """Find the files that there are by a pattern with ``{epoch}`` once in it.

    Returns
    -------
    dict
        Pattern by epoch, ascending, under which the file has its name: epochs that are written
        with leading zeros need a pattern with their number of digits, ``{epoch:03}``.
    """
    before, _, after = re.split(r"(\{epoch(?::\d+)?\})", where, maxsplit=1)
    shape = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found: dict[int, str] = {}
    for path in glob.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
        match = shape.fullmatch(path)
        if match is not None:
            digits = match[1]
            wide = f":0{len(digits)}" if digits[0] == "0" and len(digits) > 1 else ""
            found[int(digits)] = f"{before}{{epoch{wide}}}{after}"
    return dict(sorted(found.items()))


class Files:
    """Files with a state dict each, by a pattern such as ``weights/{epoch}.safetensors``.

    A path without ``{epoch}`` is the one file of weights of whatever epoch.
    """

    def problems(self, where: str) -> Iterator[str]:
        """Find braces that are not filled in, and pickles."""
        try:
            example = Path(where.format(epoch=0))
        except (KeyError, IndexError, ValueError):
            yield f"checkpoints may hold {{epoch}} and no other braces, got {where!r}"
            return
        if example.suffix.lower() in PICKLES:
            yield refusal(f"checkpoints names a pickle ({where!r})", example.stem)

    def file(self, where: str, epoch: int) -> str:
        """Fill in the epoch."""
        return where.format(epoch=epoch)

    def version(self, where: str, epoch: int) -> str:
        """Give nothing: the file is watched."""
        return ""

    def fetch(self, where: str, epoch: int, folder: Path) -> Path:
        """Leave the file where it is."""
        return Path(self.file(where, epoch))


FILES = Files()
