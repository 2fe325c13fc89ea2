"""What scripts get that multiply: a section of a run with the settings of products beside it."""

from typing import Any, Literal

from truehessian.pipeline.config.fields import (
    Chosen,
    Count,
    Counts,
    Names,
    NotNegative,
    Positive,
    Section,
)
from truehessian.pipeline.config.inference import ExampleParts, SelfTest, Subspace, Variance
from truehessian.pipeline.config.problem import Training
from truehessian.pipeline.config.spectra import (
    Augmentation,
    Batch,
    OfGroups,
    OperatorSpectrum,
    Products,
    Spectrum,
    Subsamples,
)
from truehessian.pipeline.config.stability import Influence, Sharpness, Trained


class WithLoss(Section):
    """With the loss of the run."""

    loss: str | dict[str, Any]  # a name, or a mapping with arguments beside it


class WithPenalty(WithLoss):
    """With what matrices have of the penalty on the weights."""

    weight_decay: NotNegative


class WithMatrix(WithPenalty):
    """With the parameters that matrices are restricted to, None for all."""

    parameters: Chosen | None


class WithAugmentation(Section):
    """With the import path of a function that augments data; None for crops and flips."""

    augmentation: str | None = None


class TrainingSettings(Training, WithLoss, WithAugmentation):
    """SGD with momentum, down the loss of the run."""


class SpectrumSettings(Spectrum, WithMatrix):
    """The full-data spectra."""


class OperatorSettings(OperatorSpectrum, Products, WithPenalty):
    """The full-data spectrum of a further matrix, by the name that the run gives it."""

    name: str


class BatchSettings(Batch, Products, WithMatrix):
    """Mini-batch Hessians and the noise in them."""


class AugmentationSettings(Augmentation, Products, WithMatrix, WithAugmentation):
    """Fixed sets of augmented images."""


class SubsampleSettings(Subsamples, Products, WithMatrix):
    """Hessians of disjoint parts."""


class GroupSettings(OfGroups, Products, WithMatrix):
    """Spectra of groups of the parameters that matrices are restricted to."""

    groups: dict[str, Names] | Literal["layers"]


class SelfTestSettings(SelfTest, Products, WithMatrix):
    """Estimators where the truth is known."""

    tolerance: Positive  # of its own


class SubspaceSettings(Subspace, Products, WithMatrix):
    """The noise within as many directions as a share of it asks for."""


class VarianceSettings(Variance, Products, WithMatrix):
    """Variance along directions, and held-out curvature."""


class SharpnessSettings(Sharpness, Products, WithMatrix):
    """Curvature along gradients."""

    sizes: Counts
    training_epochs: Count | None  # of the schedule of the learning rate; None for a constant one


class PartsSettings(ExampleParts, Products, WithMatrix):
    """Outer eigenpairs of the Hessians of single examples."""


class InfluenceSettings(Influence, Products, WithMatrix):
    """Curvature at outputs of examples that are left out of training."""

    penalty: NotNegative
    trained: Trained | None  # the steps that led to the weights, where they give the damping
