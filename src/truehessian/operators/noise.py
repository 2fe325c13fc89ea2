"""The noise of a mini-batch matrix: what it has that the full-data matrix has not."""

from typing import Any

from truehessian.operators.base import LinearCombination
from truehessian.operators.mean import NetworkOperator


class Noise(LinearCombination):
    """E = A_B - A at the same weights, for the Hessian A or another mean over examples.

    Both have fixed data, so that E is a matrix; a loader that draws new crops at every product
    would give a different one each time. A weight decay that both have cancels.

    Parameters
    ----------
    batch, full
        The operators of the batch and of all the data, of the same kind.

    Raises
    ------
    ValueError
        The two are of different kinds, of models of different sizes, or differ in weight decay.
    """

    def __init__(self, batch: NetworkOperator, full: NetworkOperator) -> None:
        if type(batch) is not type(full):
            raise ValueError(
                f"batch and full must be operators of one kind, got {type(batch).__name__} "
                f"and {type(full).__name__}"
            )
        if batch.weight_decay != full.weight_decay:
            raise ValueError(
                f"batch and full must have one weight_decay, got {batch.weight_decay} and "
                f"{full.weight_decay}; the noise would not be that of sampling alone"
            )
        super().__init__([(1.0, batch), (-1.0, full)])
        self.batch, self.full = batch, full

    def traits(self) -> list[str]:
        """Name the full-data operator and the size of the batch."""
        return [f"batch of {self.batch.num_examples:,} - {self.full!r}"]

    def describe(self) -> dict[str, Any]:
        """As the full-data operator, with the size of the batch."""
        return {
            **self.full.describe(),
            "operator": "noise",
            "noise_of": self.full.name,
            "batch_size": self.batch.num_examples,
            "weight_decay": 0.0,
        }
