"""Curvature matrices of a network's mean loss, known by their products with vectors.

Every operator is a fixed symmetric matrix: it keeps its own copy of the weights and a fixed,
ordered set of examples, and two products with the same vector give the same bits on one device.
"""

from truehessian.operators.base import LinearCombination, Operator
from truehessian.operators.batches import Stream
from truehessian.operators.compiled import CompiledHessian
from truehessian.operators.fisher import EmpiricalFisher, GradientCovariance
from truehessian.operators.ggn import GGN
from truehessian.operators.hessian import Hessian
from truehessian.operators.mean import NetworkOperator
from truehessian.operators.noise import Noise

__all__ = [
    "GGN",
    "CompiledHessian",
    "EmpiricalFisher",
    "GradientCovariance",
    "Hessian",
    "LinearCombination",
    "NetworkOperator",
    "Noise",
    "Operator",
    "Stream",
]
