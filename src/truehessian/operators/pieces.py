"""What is kept of a chunk between products: graphs, of one piece or of several."""

from typing import Any, NamedTuple

from truehessian.operators.replay import Replay


class Piece(NamedTuple):
    """The graph of some examples, and their share of the chunk's weight."""

    examples: int
    share: float
    graph: Any
    replay: Replay | None = None


class Chunk(NamedTuple):
    """The graphs of a chunk, of more than one piece where memory is short; none without weight."""

    size: int
    pieces: list[Piece]
