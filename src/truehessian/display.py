"""How results show themselves: a title with a small table, as text and in a notebook."""

import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Rows that are shown of a longer table, half of them from its end.
MOST_ROWS = 10


class Card(NamedTuple):
    """What is shown of a result.

    Attributes
    ----------
    title
        What it is, with its most important facts, on one line.
    header
        Names of the columns.
    rows
        Cells, already written as text; of many only the first and the last are shown.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Write title and table with columns that line up."""
        lines = [self.header, *self._shown()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {line}" for line in padded)])

    def html(self) -> str:
        """Write title and table as HTML; nothing in them is taken for markup."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.header)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._shown()
        )
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _shown(self) -> list[Sequence[str]]:
        if len(self.rows) <= MOST_ROWS:
            return list(self.rows)
        half = MOST_ROWS // 2
        return [*self.rows[:half], ["..."] * len(self.header), *self.rows[-half:]]


def value(number: float) -> str:
    """Write a result with six digits."""
    return f"{number:.6g}"


def error(number: float) -> str:
    """Write a residual or a standard error with two digits."""
    return f"{number:.1e}"


def facts(known: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Write those facts that are known, in the order and the `words` given, as one phrase.

    Parameters
    ----------
    known
        Such as the metadata of a spectrum.
    words
        A format for each key, such as ``"P = {:,}"``. What is not known is left out.
    """
    return ", ".join(
        template.format(known[key]) for key, template in words.items() if known.get(key) is not None
    )
