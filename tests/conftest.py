"""Shared settings of all tests."""

import torch

# Tests run beside each other; more threads per process would only get in each other's way.
torch.set_num_threads(1)
