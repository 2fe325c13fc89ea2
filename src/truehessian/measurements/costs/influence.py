"""Products of leaving examples out of training."""

from truehessian.measurements.costs.series import Series


def influence(*, examples: int, solver_steps: int, steps: int, train: int) -> tuple[Series, Series]:
    """Count products with Gauss-Newton matrices for the equations, and those of the curvature.

    Parameters
    ----------
    examples
        How many are left out: each has equations of its own, of whose steps each takes a product
        with all the data and one with the example itself.
    solver_steps
        Of conjugate gradients, at most.
    steps
        Lanczos steps of the curvature at the outputs that they lead to.
    train
        Training examples.

    Returns
    -------
    equations, curvature
        The latter is that of these examples, and where they are not all of them the whole one with
        the difference that they make. Both extremes' Ritz vectors are multiplied by the examples'
        matrices as they are and as they would be, which counts as two passes, or as one with more.
    """
    equations = Series("influence", train + 1, further=examples * solver_steps)
    if examples == train:
        return equations, Series("influence-curvature", train, steps, further=4)
    return equations, Series("influence-curvature", train + 2 * examples, steps, further=2)
