"""Losses by name, or by the import path of a user's own.

A loss is a function (outputs, targets) -> scalar, the mean over the examples that it is given.
"""

from truehessian.registry import Registry

LOSSES = Registry("loss", {"cross_entropy": "torch.nn.functional:cross_entropy"}, own=True)
