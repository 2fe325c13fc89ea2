"""The Hessian as Adam sees it: its largest eigenvalue where each parameter is scaled by its own."""

from typing import Any

from truehessian.measurements.source import Source
from truehessian.networks import optimisers
from truehessian.operators import NetworkOperator
from truehessian.operators.preconditioned import Preconditioned
from truehessian.spectra import spectrum
from truehessian.theory import stability


def preconditioned_sharpness(
    source: Source, operator: NetworkOperator, optimiser: str, **how: Any
) -> dict[str, float]:
    """Measure the largest eigenvalue of P^(-1/2) A P^(-1/2) beside its limit.

    Parameters
    ----------
    source
        Whose network the optimiser has trained.
    operator
        The matrix A, such as the Hessian of the training data.
    optimiser
        File with the state of Adam or AdamW, saved beside the weights; see `optimisers.read`.
    **how
        Of the Lanczos run, as of `Source.measure`: steps, seed, tolerance, state.

    Returns
    -------
    dict
        `preconditioned`, `preconditioned_residual` and `preconditioned_limit`, the last by the
        rate and beta1 of the state.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such state, or it is not that of this network; see `optimisers`.
    """
    geometry = optimisers.adam(optimisers.read(optimiser), source.model)
    diagonal = optimisers.diagonal(geometry.preconditioner, operator.network.names)
    matrix = Preconditioned(operator, diagonal)
    measured, _ = source.measure(matrix, purpose="preconditioned", ends=("largest",), **how)
    value, residual = spectrum.extremal(measured, "largest")
    return {
        "preconditioned": float(value),
        "preconditioned_residual": float(residual),
        "preconditioned_limit": stability.adam_limit(geometry.learning_rate, geometry.beta1),
    }
