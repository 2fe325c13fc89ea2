"""Where tests spend processor time, their processes' included: `uv run pytest -p processor_time`.

A machine may be busy with something else, so that seconds on the clock say little. Not counted are
processes that outlive what has started them, such as the one with PyTorch for the jobs of a run.
"""

import os
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest

SHOWN = 40
_NAME = "processor seconds"
_begun: dict[str, float] = {}
_files: dict[str, float] = defaultdict(float)
_tests: dict[str, float] = {}


def spent() -> float:
    """Seconds of this process, and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    _begun[item.nodeid] = spent()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Generator[None, Any, pytest.TestReport]:
    report = yield
    if call.when == "teardown":
        report.user_properties.append((_NAME, spent() - _begun.pop(item.nodeid)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the main process, to which workers send their reports."""
    for name, seconds in report.user_properties:
        if name == _NAME:
            _files[report.nodeid.partition("::")[0]] += seconds
            _tests[report.nodeid] = seconds


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    for what, found in (("files", _files), ("tests", _tests)):
        terminalreporter.section(f"processor seconds of {what}")
        for name, seconds in sorted(found.items(), key=lambda pair: -pair[1])[:SHOWN]:
            terminalreporter.line(f"{seconds:8.1f} {name}")
        terminalreporter.line(f"{sum(found.values()):8.1f} altogether")
