import truehessian.registry

from .base import (
    LinearCombination as LinearCombination,
    Operator as Operator,
)
from .batches import (
    Stream as Stream,
)
from .blocks import (
    DiagonalBlocks as DiagonalBlocks,
)
from .compiled import (
    CompiledHessian as CompiledHessian,
)
from .fisher import (
    EmpiricalFisher as EmpiricalFisher,
    GradientCovariance as GradientCovariance,
)
from .ggn import (
    GGN as GGN,
)
from .hessian import (
    Hessian as Hessian,
)
from .mean import (
    NetworkOperator as NetworkOperator,
)
from .noise import (
    Noise as Noise,
)
from .sampled import (
    Fisher as Fisher,
)

OPERATORS: truehessian.registry.Registry
