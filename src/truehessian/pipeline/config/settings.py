"""What scripts get that multiply: a section of a run with the settings of products beside it."""

from truehessian.pipeline.config.fields import Positive, Section
from truehessian.pipeline.config.inference import SelfTest, Variance
from truehessian.pipeline.config.problem import Training
from truehessian.pipeline.config.spectra import (
    Augmentation,
    Batch,
    OperatorSpectrum,
    Products,
    Spectrum,
    Subsamples,
)


class WithLoss(Section):
    """With the loss of the run."""

    loss: str


class TrainingSettings(Training, WithLoss):
    """SGD with momentum, down the loss of the run."""


class SpectrumSettings(Spectrum, WithLoss):
    """The full-data spectra."""


class OperatorSettings(OperatorSpectrum, Products, WithLoss):
    """The full-data spectrum of a further matrix."""


class BatchSettings(Batch, Products, WithLoss):
    """Mini-batch Hessians and the noise in them."""


class AugmentationSettings(Augmentation, Products, WithLoss):
    """Fixed sets of augmented images."""


class SubsampleSettings(Subsamples, Products, WithLoss):
    """Hessians of disjoint parts."""


class SelfTestSettings(SelfTest, Products, WithLoss):
    """Estimators where the truth is known."""

    tolerance: Positive  # of its own


class VarianceSettings(Variance, Products, WithLoss):
    """Variance along directions, and held-out curvature."""
