"""The learning rate along training."""

_FINAL_RATE = 0.01  # of the initial learning rate


def learning_rate_at(epoch: int, epochs: int, learning_rate: float) -> float:
    """Learning rate after `epoch` of `epochs` epochs.

    Constant for the first half, then linear down to one hundredth at nine tenths, then constant.
    """
    decay = min(max((epoch / epochs - 0.5) / 0.4, 0.0), 1.0)
    return learning_rate * (1 - (1 - _FINAL_RATE) * decay)
