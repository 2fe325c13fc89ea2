"""Streams of random numbers, one for each purpose, that never overlap although they share a seed.

NumPy's own way to combine numbers into a seed pads them with zeros: `[3]` and `[3, 0]` are one
stream, and two purposes that count folds and probes from zero draw the same numbers. Here the
purpose is a part of the seed, and everything goes through a hash that keeps the parts apart.
"""

import hashlib
import json

import numpy as np


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Make the generator of one purpose.

    Parameters
    ----------
    seed
        Of the user.
    purpose
        What the numbers are for, such as "batch"; another purpose has another stream.
    *numbers
        What tells the draws of one purpose apart, such as the number of a fold. A stream depends on
        its own arguments only, so that one more fold leaves the others as they were.

    Returns
    -------
    Generator
        The same for the same arguments on every machine.

    Raises
    ------
    TypeError
        The seed or a number is not an integer.
    """
    return np.random.default_rng(np.random.SeedSequence(_entropy(seed, purpose, numbers)))


def torch_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Make a seed for a generator of PyTorch, as `generator` makes one of NumPy.

    PyTorch's generator of the CPU begins from the low 32 bits of a seed alone, so that two of very
    many streams may coincide: whatever can draws from `generator`.

    Returns
    -------
    int
        From 0 to 2^63 - 1.
    """
    return _entropy(seed, purpose, numbers) % 2**63


def _entropy(seed: int, purpose: str, numbers: tuple[int, ...]) -> int:
    """256 bits of the arguments; JSON keeps "a", 1, 23 and "a", 12, 3 apart."""
    parts = json.dumps([purpose, *map(_integer, (seed, *numbers))])
    return int.from_bytes(hashlib.sha256(parts.encode()).digest(), "little")


def _integer(number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        raise TypeError(f"seeds and numbers of streams must be integers, got {number!r}")
    return int(number)
