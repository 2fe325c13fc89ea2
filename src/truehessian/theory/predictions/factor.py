"""How much less a mean varies than single examples, by how it was drawn.

Two conventions of one factor. A batch out of N examples whose variance has the divisor N, as that
of their own mean: (N - B) / (B (N - 1)). A sample of a population whose variance has the divisor
N - 1, or of a distribution: 1/n - 1/N.
"""

import math


def finite_population_factor(batch_size: int, num_examples: int) -> float:
    """Variance of a batch mean per unit of variance over single examples.

    Parameters
    ----------
    batch_size
        B, drawn without replacement.
    num_examples
        N.

    Returns
    -------
    float
        (N - B) / (B (N - 1)): 1 for a single example, 0 for all of them. The mini-batch paper
        writes (N - B) / (B N), which differs by 1/N of itself.

    Raises
    ------
    ValueError
        `batch_size` is not in 1 ... N.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must be between 1 and the {num_examples} examples, got {batch_size}"
        )
    if batch_size == num_examples:
        return 0.0
    return (num_examples - batch_size) / (batch_size * (num_examples - 1))


def sampling_factor(num_examples: float, population: float | None = None) -> float:
    """Variance of a mean over n examples per unit of variance over single ones.

    Parameters
    ----------
    num_examples
        n.
    population
        N, if they were drawn without replacement from so many, at most which n may be.

    Returns
    -------
    float
        1/n - 1/N, or 1/n. The variance over single examples is the one with divisor N - 1.

    Raises
    ------
    ValueError
        Not 0 < `num_examples` <= `population`.
    """
    limit = math.inf if population is None else population
    if not 0 < num_examples <= limit:
        raise ValueError(f"num_examples must be above 0 and at most {limit}, got {num_examples}")
    return 1 / num_examples - 1 / limit
