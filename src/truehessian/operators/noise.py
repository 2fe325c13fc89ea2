"""The noise of a mini-batch Hessian: what it has that the full-data Hessian has not."""

from truehessian.operators.algebra import LinearCombination
from truehessian.operators.network import NetworkOperator


def noise(batch: NetworkOperator, full: NetworkOperator) -> LinearCombination:
    """Form E = H_B - H at the same weights.

    Both have fixed data, so that E is a matrix; a loader that draws new crops at every product
    would give a different one each time.

    Parameters
    ----------
    batch, full
        The operators of the batch and of all the data, of the same kind.

    Raises
    ------
    ValueError
        The two are of different kinds, or of models of different sizes.
    """
    if type(batch) is not type(full):
        raise ValueError(
            f"batch and full must be operators of one kind, got {type(batch).__name__} "
            f"and {type(full).__name__}"
        )
    return batch - full
