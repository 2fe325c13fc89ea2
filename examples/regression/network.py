"""A small network for tables of numbers."""

from torch import nn


def regressor(width: int = 32) -> nn.Module:
    """Two hidden layers between the ten columns and the number to be predicted."""
    return nn.Sequential(
        nn.Linear(10, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
    )
