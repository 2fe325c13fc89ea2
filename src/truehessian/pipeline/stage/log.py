"""Where a stage's records go: all to its log file, warnings and errors to the terminal too."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _LogFile(logging.FileHandler):
    """Loses records where the disk is full: the error that follows from it is what matters."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the base class's name)
        """Do without the record."""

    def close(self) -> None:
        """Close the file even if its last records cannot be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def logging_to(path: Path | None, *, anew: bool = True) -> Iterator[None]:
    """Send records and captured warnings to a file, and serious ones to the standard error.

    Where the file cannot be made, the standard error has to do. What is in it stays only if it is
    not begun anew.
    """
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)
    terminal.addFilter(lambda record: record.exc_info is None)  # tracebacks belong to the file
    handlers: list[logging.Handler] = [terminal]
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if anew:
                path.unlink(missing_ok=True)  # a job that outlived its run may still write to it
            handlers.append(_LogFile(path, mode="a", encoding="utf-8"))
    root = logging.getLogger()
    previous = root.level
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(previous)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
