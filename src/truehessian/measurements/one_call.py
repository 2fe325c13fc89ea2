"""One question of a matrix, one call: its spectrum, eigenpairs, trace, and how examples differ.

Each function takes an operator, or a network with its data and the name of an operator. Logs,
states on disk and many folds are for `measurements.source`.
"""

from typing import Any

from torch import Tensor, nn

from truehessian import operators
from truehessian.measurements import (
    eigenpairs as pairs,
    groups,
    source,
    traces,
    variance as variances,
)
from truehessian.measurements.eigenpairs import Eigenpairs, Which
from truehessian.measurements.traces import Method, TraceEstimate
from truehessian.measurements.variance import DirectionalVariance
from truehessian.operators import NetworkOperator, Operator
from truehessian.spectra.spectrum import Spectrum


def as_operator(
    matrix: Operator | nn.Module, data: object, operator: str, settings: dict[str, Any]
) -> Operator:
    """Make an operator of what a function of this module was given.

    Raises
    ------
    TypeError
        `matrix` is neither an operator nor a module, or comes with what only the other takes.
    ValueError
        There is no operator of this name.
    """
    if isinstance(matrix, Operator):
        if data is not None or settings:
            given = ["data"] * (data is not None) + sorted(settings)
            raise TypeError(
                f"an operator has its own data and settings, got {', '.join(given)} beside it"
            )
        return matrix
    if not isinstance(matrix, nn.Module):
        raise TypeError(
            "expected an operator, such as Hessian(model, data), or a torch.nn.Module and its "
            f"data, got {type(matrix).__name__}"
        )
    if data is None:
        raise TypeError("a network needs data: examples, a pair (inputs, targets) or batches")
    made: Operator = operators.OPERATORS.load(operator)(matrix, data, **settings)
    return made


def spectrum(
    matrix: Operator | nn.Module,
    data: object = None,
    /,
    *,
    operator: str = "hessian",
    steps: int = 100,
    probes: int = 1,
    tolerance: float | None = None,
    seed: int = 0,
    **settings: Any,
) -> Spectrum:
    """Measure a spectrum by stochastic Lanczos quadrature.

    Parameters
    ----------
    matrix
        An operator, or a network.
    data
        Of the network: examples, a pair (inputs, targets), or an iterable of such pairs.
    operator
        Which matrix of the network: one of `operators.OPERATORS`, such as `hessian` or `ggn`, or
        the import path "package.module:class" of one's own.
    steps
        Lanczos steps m per probe; P where that is fewer, since there are no more.
    probes
        Random start vectors; more of them make densities and traces more accurate, not extremes.
    tolerance
        Stop earlier when both extreme Ritz values are known to this relative accuracy.
    seed
        Of the start vectors.
    **settings
        Of the operator, as in `NetworkOperator`: loss, chunk_size, precision, parameters, device.

    Returns
    -------
    Spectrum
        Ritz values, weights and residuals, shape (probes, m), float64.

    Raises
    ------
    TypeError
        `matrix` is neither an operator nor a network with data.
    ValueError
        There is no such operator, or `steps` or `probes` is below 1; and whatever the operator
        refuses, see `NetworkOperator`.

    References
    ----------
    Lin, Saad & Yang (2016), SIAM Review 58(1), 34-65.
    """
    for name, number in {"steps": steps, "probes": probes}.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be a whole number from 1 on, got {number}")
    made = as_operator(matrix, data, operator, settings)
    found, _ = source.measure(
        made,
        steps=min(steps, made.num_params),
        probes=probes,
        tolerance=tolerance,
        seed=seed,
    )
    return found


def eigenpairs(
    matrix: Operator | nn.Module,
    data: object = None,
    /,
    *,
    k: int = 1,
    which: Which = "largest",
    operator: str = "hessian",
    tolerance: float = 1e-4,
    steps: int | None = None,
    seed: int = 0,
    basis_memory: int | None = None,
    **settings: Any,
) -> Eigenpairs:
    """Find extremal eigenvalues and eigenvectors by Lanczos.

    An eigenvalue that is repeated is found once, unless the matrix is so small or of so low a rank
    that the Krylov space is exhausted.

    Parameters
    ----------
    matrix, data, operator, **settings
        As in `spectrum`.
    k
        How many, of each end where these are `both`.
    which
        `largest`, `smallest` (the most negative), `both` ends, or largest in `magnitude`.
    tolerance
        Accuracy of the values, relative to the extreme one of their end. No more is asked for than
        the precision of the products gives.
    steps
        Products at most; by default 300, or 6 k where that is more. The basis of all steps is
        kept, steps x P numbers.
    seed
        Of the start vector.
    basis_memory
        Bytes that the basis may take on the device; half of what is free by default. What does
        not fit lies in host memory, or else on disk.

    Returns
    -------
    Eigenpairs
        Values (n,) and vectors as rows (n, P), float64, with residuals, and whether they have
        converged; if not, a warning is logged.

    Raises
    ------
    TypeError, ValueError
        As in `spectrum`; `k` is not in 1 .. P (P / 2 for both ends), or `which` is none of these.
    """
    return pairs.find(
        as_operator(matrix, data, operator, settings),
        k,
        which,
        tolerance=tolerance,
        steps=steps,
        seed=seed,
        basis_memory=basis_memory,
    )


def trace(
    matrix: Operator | nn.Module,
    data: object = None,
    /,
    *,
    probes: int = 30,
    method: Method = "hutchinson",
    operator: str = "hessian",
    seed: int = 0,
    **settings: Any,
) -> TraceEstimate:
    """Estimate the trace, the sum of the eigenvalues.

    Parameters
    ----------
    matrix, data, operator, **settings
        As in `spectrum`.
    probes
        Products to spend, from 2 on; `hutch++` needs 6.
    method
        `hutchinson`, or `hutch++`, which is better where a few eigenvalues outweigh all others.
    seed
        Of the probes, vectors of random signs.

    Returns
    -------
    TraceEstimate
        Value and standard error, both unbiased (the error's square is), summed in float64.

    Raises
    ------
    TypeError, ValueError
        As in `spectrum`; there are too few probes, or no such method.

    References
    ----------
    Hutchinson (1990), Commun. Stat. Simul. Comput. 19(2), 433-450. Meyer, Musco, Musco & Woodruff
    (2021), Hutch++: Optimal stochastic trace estimation, SOSA, 142-155.
    """
    return traces.estimate(as_operator(matrix, data, operator, settings), probes, method, seed)


def variance(
    operator: Operator,
    directions: Tensor,
    *,
    group_size: int = 8,
    seed: int = 0,
    memory: int | None = None,
) -> DirectionalVariance:
    """Estimate how much the matrices of single examples differ from their mean, along directions.

    V(u) = (1/N) sum_i |(A_i - A) u|² is what moves the spectrum of a random batch away from that
    of all the data. Time: one product per direction, in small chunks.

    Parameters
    ----------
    operator
        A mean over examples: Hessian, GGN, EmpiricalFisher.
    directions
        Vectors as rows, shape (n, P), or one of shape (P,); of any length, which does not matter.
    group_size
        Examples whose products are taken together. Smaller groups take longer and tell more.
        Batches of one's own are the groups as they are, and must hold examples in random order.
    seed
        Of the random order of the examples.
    memory
        Bytes that sums may take on the device; half of what is free by default.

    Returns
    -------
    DirectionalVariance
        V(u), the quotients uᵀ A u, and standard errors of both, shape (n,), float64.

    Raises
    ------
    TypeError
        The operator is no mean over examples, or the directions are no tensor.
    ValueError
        The directions have another length than P or are zero, there is a single example, or the
        operator goes by batch statistics.
    """
    if not isinstance(operator, NetworkOperator):
        raise TypeError(
            "the variance over examples is that of a mean over examples, such as Hessian, GGN or "
            f"EmpiricalFisher, got {type(operator).__name__}"
        )
    rows = groups.unit_rows(directions, operator.num_params)
    regrouped = groups.of_random_examples(operator, group_size, seed)
    return variances.along_directions(regrouped, rows, memory=memory)
