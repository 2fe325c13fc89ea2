"""The penalty on the weights beside a loss, d |w|² / 2: its Hessian is d times the identity."""

import math
from typing import Any


def checked(weight_decay: Any) -> float:
    """Take a weight decay, as SGD's: d w is what it adds to the gradient.

    Raises
    ------
    ValueError
        It is no finite number from 0 on.
    """
    known = isinstance(weight_decay, int | float) and not isinstance(weight_decay, bool)
    if not known or not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ValueError(f"weight_decay must be a number from 0 on, got {weight_decay!r}")
    return float(weight_decay)


def refused(name: str, weight_decay: Any) -> None:
    """Say that a matrix of the gradients of single examples has no part of a penalty.

    Raises
    ------
    ValueError
        The weight decay is not zero.
    """
    if weight_decay != 0:
        raise ValueError(
            f"the {name} is made of the gradients of single examples and has no weight decay; "
            "leave weight_decay out, or take the operator hessian or ggn"
        )


def check_absent(operator: object) -> None:
    """Refuse an operator with a weight decay where the noise is that of the loss alone.

    Raises
    ------
    ValueError
        It has one.
    """
    if getattr(operator, "weight_decay", 0):
        raise ValueError(
            "the noise within Ritz vectors is that of the loss alone; take an operator without "
            "weight_decay, and the values less it"
        )
