"""What scripts get that multiply: a section of a run with the settings of products beside it."""

from truehessian.pipeline.config.fields import Positive
from truehessian.pipeline.config.inference import SelfTest, Variance
from truehessian.pipeline.config.spectra import Augmentation, Batch, Products, Spectrum, Subsamples


class OperatorSettings(Spectrum):
    """The full-data spectrum of a further matrix."""

    operator: str


class BatchSettings(Batch, Products):
    """Mini-batch Hessians and the noise in them."""


class AugmentationSettings(Augmentation, Products):
    """Fixed sets of augmented images."""


class SubsampleSettings(Subsamples, Products):
    """Hessians of disjoint parts."""


class SelfTestSettings(SelfTest, Products):
    """Estimators where the truth is known."""

    tolerance: Positive  # of its own


class VarianceSettings(Variance, Products):
    """Variance along directions, and held-out curvature."""
