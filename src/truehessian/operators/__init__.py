"""Curvature matrices of a network's mean loss, known by their products with vectors.

Every operator is a fixed symmetric matrix: it keeps its own copy of the weights and a fixed,
ordered set of examples, and two products with the same vector give the same bits on one device.
"""

import lazy_loader

from truehessian.registry import Registry

# Those that are made of a network and data alone, for spectra of their own in a run.
OPERATORS = Registry(
    "operator",
    {
        "hessian": "truehessian.operators.hessian:Hessian",
        "compiled_hessian": "truehessian.operators.compiled:CompiledHessian",
        "ggn": "truehessian.operators.ggn:GGN",
        "fisher": "truehessian.operators.sampled:Fisher",
        "empirical_fisher": "truehessian.operators.fisher:EmpiricalFisher",
        "gradient_covariance": "truehessian.operators.fisher:GradientCovariance",
    },
    own=True,
)
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
