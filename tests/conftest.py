"""Shared settings of all tests."""

from collections.abc import Iterator

import fake_cuda
import pytest
import torch

# Tests run beside each other; more threads per process would only get in each other's way.
torch.set_num_threads(1)


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
