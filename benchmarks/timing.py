"""Medians over rounds in which everything that is compared has its turn."""

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


class Timing(NamedTuple):
    """Seconds of every round, in order."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return float(np.median(self.seconds))


class Comparison(NamedTuple):
    """What became of each contestant: its seconds, or why there are none.

    Attributes
    ----------
    timings
        Of all that gave the right result.
    errors
        Relative deviations from the expected result, where there is one to compare with.
    failures
        Reasons, in words.
    """

    timings: dict[str, Timing]
    errors: dict[str, float]
    failures: dict[str, str]

    def best_of(self, names: list[str]) -> float:
        """Median of the fastest of some contestants; NaN if there is none."""
        medians = [self.timings[name].median for name in names if name in self.timings]
        return min(medians, default=float("nan"))


class Stopwatch:
    """A product that counts its calls and the seconds that they take; no GPU is waited for."""

    def __init__(self, product: Callable[[Any], Any], device: torch.device) -> None:
        self.product = product
        self.device = device
        self.calls = 0
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __call__(self, vector: Any) -> Any:
        """Multiply."""
        self.calls += 1
        if self.device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            result = self.product(vector)
            end.record()
            self._events.append((begin, end))
            return result
        start = time.perf_counter()
        result = self.product(vector)
        self._seconds += time.perf_counter() - start
        return result

    @property
    def seconds(self) -> float:
        """Seconds of all calls so far; on a GPU from where the work of each begins there."""
        now(self.device)
        return self._seconds + sum(one.elapsed_time(two) for one, two in self._events) / 1e3


def now(device: torch.device) -> float:
    """Read the clock when the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Time one call, with the garbage of what ran before cleared away."""
    gc.collect()
    begin = now(device)
    action()
    return now(device) - begin


def interleave(
    actions: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, Timing]:
    """Time all actions in turns: A B C A B C, so that a slow minute hits them all."""
    timings: dict[str, Timing] = {name: Timing([]) for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            timings[name].seconds.append(seconds_of(action, device))
    return timings


def compare(
    contestants: Mapping[str, Callable[[], Callable[[], Any]]],
    deviation: Callable[[Any], float],
    tolerance: float,
    rounds: int,
    device: torch.device,
    *,
    count_check: bool = False,
) -> Comparison:
    """Check what each contestant gives, and time in turns those that are right.

    Parameters
    ----------
    contestants
        Functions that prepare an action; preparation is not timed.
    deviation
        What an action gives -> its relative deviation from the expected result.
    tolerance
        Largest deviation that is not another result.
    rounds
        After the check, which warms up as well.
    count_check
        Whether the check is the first of the rounds, for contestants that are warm already.
    """
    actions: dict[str, Callable[[], Any]] = {}
    errors: dict[str, float] = {}
    failures: dict[str, str] = {}
    checks: dict[str, list[float]] = {}
    for name, prepare in contestants.items():
        try:
            action = prepare()
            gc.collect()
            begin = now(device)
            result = action()
            seconds = now(device) - begin
            errors[name] = deviation(result)
        except Exception as error:  # whatever a peer does wrong belongs in the table
            failures[name] = reason(error)
            continue
        if errors[name] <= tolerance:
            actions[name], checks[name] = action, [seconds]
        else:
            failures[name] = f"another result: it deviates by {errors[name]:.1e}"
    timings = interleave(actions, rounds - count_check, device)
    if count_check:
        timings = {name: Timing(checks[name] + timings[name].seconds) for name in actions}
    return Comparison(timings, errors, failures)


class NotInstalledError(Exception):
    """A peer is missing."""

    def __str__(self) -> str:
        return "not installed"


def reason(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, NotInstalledError):
        return str(error)
    return f"error: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
