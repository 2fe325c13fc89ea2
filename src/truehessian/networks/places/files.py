"""Weights in files on this machine, the epoch in their names."""

from collections.abc import Iterator
from pathlib import Path

PICKLES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"})  # suffixes of files


class Files:
    """Safetensors files by a pattern such as ``weights/{epoch}.safetensors``."""

    def problems(self, where: str) -> Iterator[str]:
        """Find braces that are not filled in, and pickles."""
        try:
            example = Path(where.format(epoch=0))
        except (KeyError, IndexError, ValueError):
            yield f"checkpoints may hold {{epoch}} and no other braces, got {where!r}"
            return
        if "{epoch}" not in where:
            yield f"checkpoints must contain {{epoch}}, got {where!r}"
        if example.suffix.lower() in PICKLES:
            yield (
                f"checkpoints names pickles ({where!r}), which are never loaded because they can "
                "run code; convert them where you trust them: safetensors.torch.save_model(model, "
                f"'{example.stem}.safetensors')"
            )

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
