from . import (
    data as data,
    measurements as measurements,
    networks as networks,
    operators as operators,
    pipeline as pipeline,
    report as report,
    spectra as spectra,
    theory as theory,
)
from .measurements.blocks import group_spectra as group_spectra
from .measurements.eigenpairs import Eigenpairs as Eigenpairs
from .measurements.one_call import (
    eigenpairs as eigenpairs,
    spectrum as spectrum,
    trace as trace,
    variance as variance,
)
from .measurements.traces import TraceEstimate as TraceEstimate
from .measurements.variance import DirectionalVariance as DirectionalVariance
from .operators.base import (
    LinearCombination as LinearCombination,
    Operator as Operator,
)
from .operators.batches import Stream as Stream
from .operators.blocks import DiagonalBlocks as DiagonalBlocks
from .operators.compiled import CompiledHessian as CompiledHessian
from .operators.fisher import (
    EmpiricalFisher as EmpiricalFisher,
    GradientCovariance as GradientCovariance,
)
from .operators.ggn import GGN as GGN
from .operators.hessian import Hessian as Hessian
from .operators.noise import Noise as Noise
from .operators.sampled import Fisher as Fisher
from .operators.shared import Shared as Shared
from .spectra.smoothing import (
    Density as Density,
    density as density,
)
from .spectra.spectrum import Spectrum as Spectrum

__version__: str
