"""Shared settings of all tests."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Beside other test processes, threads that wait for one another take ten times the processor time.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import fake_cuda
import pytest
import torch

# Tests run beside each other, where more threads per process only get in each other's way. With
# OMP_NUM_THREADS=2 they are run with two, for what depends on it.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

# What a shell, or a Snakemake that has started all this, says to the workflow is not for tests.
for _name in [name for name in os.environ if name.startswith("TRUEHESSIAN_")]:
    del os.environ[_name]
# What is true of code and settings is found out once, by whichever test asks first.
os.environ["TRUEHESSIAN_MEMORY"] = str(Path(__file__).parents[1] / ".pytest_cache/memory")

# Files that take longest begin first: none is to be left over for one process at the end.
LONGEST = (
    "test_workflow.py", "test_caching.py", "test_cuda_scripts.py", "test_slurm.py",
    "test_readme.py", "test_examples.py", "test_init.py", "test_faults.py", "test_kernels.py",
    "test_scripts.py", "test_contributing.py", "test_sequences.py", "test_benchmarks.py",
    "test_own_code.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first, and leave all others in their order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


# Variables that other packages set when they are imported, whichever test comes first.
_OF_OTHERS = ("KMP_", "PYTEST_", "TORCH", "_TORCH", "TRITON")


def surroundings() -> dict[str, object]:
    """What all code of a process shares, and a test has to leave as it was."""
    variables = {f"${k}": v for k, v in os.environ.items() if not k.startswith(_OF_OTHERS)}
    return {**variables, "working directory": os.getcwd(), "sys.path": list(sys.path)}


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """Fail where something that all share has changed, and put it back."""
    before = surroundings()
    yield
    after = surroundings()
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if not changed:
        return
    for name in (key.removeprefix("$") for key in changed if key.startswith("$")):
        os.environ.pop(name, None)
        if f"${name}" in before:
            os.environ[name] = str(before[f"${name}"])
    os.chdir(str(before["working directory"]))
    sys.path[:] = before["sys.path"]
    pytest.fail(f"the test has left changed: {', '.join(changed)}")


@pytest.fixture(autouse=True)
def _surroundings() -> Iterator[None]:
    """Let no test decide what later ones do; set up first, so that it is torn down last."""
    with left_as_it_was():
        yield


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """A GPU: the fake one everywhere, and with ``-m gpu`` the real one."""
    if request.param == "fake":
        with fake_cuda.installed():
            yield fake_cuda.DEVICE
    elif torch.cuda.is_available():
        yield torch.device("cuda:0")
    else:
        pytest.skip("needs a GPU, and PyTorch sees none")
