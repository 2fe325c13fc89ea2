"""Products of the curvature along gradients."""

from collections.abc import Sequence

from truehessian.measurements.costs.series import Series


def sharpness(
    *, sizes: Sequence[int], folds: int, steps: int, preconditioned: bool, train: int
) -> list[Series]:
    """Count products along gradients: one of all the data, and two of each batch.

    Parameters
    ----------
    sizes, folds
        Of batches, and how many of each size have a gradient; as many others are multiplied by it.
    steps
        Lanczos steps of the preconditioned Hessian.
    preconditioned
        Whether there is one.
    train
        Training examples.

    Returns
    -------
    list of Series
        All the data first. Gradients, of about two fifths of a product, are not counted.
    """
    full = Series("sharpness", train, steps if preconditioned else 0, further=1)
    batches = (
        Series(f"sharpness-{size}", size, further=2 * folds, number=size) for size in sorted(sizes)
    )
    return [full, *batches]
