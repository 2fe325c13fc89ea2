"""What a section may ask of the run that it is in."""

from collections.abc import Sequence
from typing import Protocol

from truehessian.data.catalogue import DatasetInfo


class Data(Protocol):
    """The run's examples."""

    @property
    def num_train(self) -> int:
        """Number of training examples."""

    @property
    def num_test(self) -> int:
        """Number of test examples."""

    @property
    def info(self) -> DatasetInfo:
        """What is known of them before they are loaded."""

    @property
    def augmentation(self) -> str | None:
        """Import path of a function that augments them, None for crops and flips."""


class Products(Protocol):
    """How the run's products are made."""

    @property
    def batchnorm(self) -> str:
        """`eval` or `train`."""


class Batches(Protocol):
    """The run's batches."""

    @property
    def sizes(self) -> Sequence[int]:
        """Examples per batch."""


class Steps(Protocol):
    """The steps that have trained the run's network."""

    @property
    def epochs(self) -> int:
        """Passes over the training split."""

    @property
    def batch_size(self) -> int:
        """Examples per step."""

    @property
    def learning_rate(self) -> float:
        """At the beginning."""

    @property
    def momentum(self) -> float:
        """Of stochastic gradient descent."""

    @property
    def weight_decay(self) -> float:
        """Of all parameters."""


class Beside(Protocol):
    """A run, as one of its sections sees it."""

    @property
    def dataset(self) -> Data:
        """The examples."""

    @property
    def spectrum(self) -> Products:
        """How products are made."""

    @property
    def batch(self) -> Batches | None:
        """The batches, None without any."""

    @property
    def training(self) -> Steps | None:
        """How the network is trained, None for weights of one's own."""

    @property
    def decay(self) -> float:
        """What matrices have of the identity."""

    @property
    def epochs(self) -> Sequence[int]:
        """Epochs to analyse."""

    @property
    def checkpoint_epochs(self) -> Sequence[int]:
        """Epochs whose weights training keeps."""
