"""What is said to whoever runs the command, and asked where somebody is there to answer."""

import sys
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


class Talk:
    """Lines on the standard output, and questions in a terminal.

    Parameters
    ----------
    answers
        Whether somebody can answer; by default if both standard streams are a terminal.
    """

    def __init__(self, answers: bool | None = None) -> None:
        streams = (sys.stdin, sys.stdout)
        self.answers = all(each.isatty() for each in streams) if answers is None else answers

    def say(self, *lines: str) -> None:
        """Print lines."""
        for line in lines:
            print(line, flush=True)

    def about(self, flag: str, given: str | None, question: str, default: str | None,
              look: Callable[[str], Found]) -> Found:  # fmt: skip
        """Look at what was given, or at an answer; what is wrong with that is said and asked again.

        Parameters
        ----------
        flag
            By which it is given, for who cannot be asked.
        given
            What was; None asks.
        question
            What is asked for.
        default
            Of the answer; None where there is none.
        look
            Takes it, and complains by a ValueError or an OSError.

        Raises
        ------
        ValueError
            It was not given, nobody can be asked, and there is no default; and what `look` raises
            for what was given.
        """
        if given is None and not self.answers and default is None:
            raise ValueError(f"{flag} is missing, which says {question}; give it, or run the "
                             "command in a terminal to be asked")  # fmt: skip
        if given is not None or not self.answers:
            return look(given if given is not None else str(default))
        while True:
            try:
                return look(self._answer(question, default))
            except (ValueError, OSError) as error:
                self.say(f"  {error}")

    def _answer(self, question: str, default: str | None) -> str:
        shown = "" if default is None else f" [{default}]"
        try:
            return input(f"{question[:1].upper()}{question[1:]}{shown}: ").strip() or (
                default or ""
            )
        except EOFError:
            raise SystemExit("truehessian: the answers have ended; nothing was written") from None
