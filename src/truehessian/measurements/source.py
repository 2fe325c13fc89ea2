"""One measurement: an operator in, a spectrum with its metadata out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from torch import Tensor, nn

from truehessian import devices
from truehessian.data import dataset as datasets
from truehessian.data.dataset import Dataset
from truehessian.data.folds import disjoint_folds, disjoint_parts, draw_folds, shuffled
from truehessian.measurements import kept
from truehessian.measurements.measuring import measure
from truehessian.measurements.settings import Products
from truehessian.networks import checkpoints
from truehessian.networks.losses import base as losses
from truehessian.operators import NetworkOperator, Operator, ranks
from truehessian.operators.memory import room_for_graphs
from truehessian.operators.shared import Shared
from truehessian.spectra import overlaps
from truehessian.spectra.lanczos import Tridiagonalisation
from truehessian.spectra.spectrum import Spectrum
from truehessian.spectra.stacks import stack_folds

__all__ = [
    "Source",
    "disjoint_folds",
    "disjoint_parts",
    "draw_folds",
    "measure",
    "shuffled",
    "stack_folds",
]

Kind = TypeVar("Kind", bound=NetworkOperator)


class Source(NamedTuple):
    """What operators are made from: a checkpoint's network, its data, and how to multiply.

    Attributes
    ----------
    model
        The network, on the device of the products.
    dataset
        Both splits, on the same device.
    products
        Keyword arguments of every operator.
    basis_memory
        Bytes that Lanczos bases may take on the device; None for half of what is free.
    """

    model: nn.Module
    dataset: Dataset
    products: dict[str, Any]
    basis_memory: int | None

    @classmethod
    def load(
        cls,
        checkpoint: str,
        dataset: str,
        settings: Products,
        network: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read a checkpoint and a data set for products as `settings` say.

        Parameters
        ----------
        checkpoint, dataset
            Files that `checkpoints.save` and `datasets.save` have written.
        settings
            How products are made; a GPU is claimed for this process.
        network
            Keyword arguments of `models.build` for a network that has to be imported.
        """
        device = devices.claim(settings.device)
        together = ranks.of_environment(device)
        memory = _bytes(settings.memory_gb)
        if together is not None and memory is None:  # the others take as much, maybe beside it
            memory = room_for_graphs(None, device) // together.count
        products = {
            "chunk_size": settings.chunk_size,
            "precision": settings.precision,
            "batchnorm": settings.batchnorm,
            "memory": memory,
            "loss": losses.of_settings(settings.loss),
            "parameters": settings.parameters,
            "weight_decay": settings.weight_decay,
        }
        model = checkpoints.load(checkpoint, model=network, device=device)
        return cls(model, datasets.load(dataset, device), products, _bytes(settings.basis_gb))

    def operator(self, kind: type[Kind], data: object, **overrides: Any) -> Kind:
        """Make an operator of the network on some data, with the penalty where it takes one."""
        how = {**self.products, **overrides}
        if not getattr(kind, "takes_weight_decay", False):  # as of a class of the user's own
            how.pop("weight_decay", None)
        return kind(self.model, data, **how)

    def shared(self, kind: type[Kind], data: object, **overrides: Any) -> Operator:
        """As `operator`, for the products of the whole data, which all processes share."""
        whole = self.operator(kind, data, **overrides)
        together = ranks.current()
        if together is None or not isinstance(whole, NetworkOperator):
            return whole
        return Shared(whole, together)

    def measure(self, operator: Operator, **how: Any) -> tuple[Spectrum, list[Tridiagonalisation]]:
        """Tridiagonalise an operator with bases where they may lie; see `measure`."""
        return measure(operator, basis_memory=self.basis_memory, **how)

    def spectrum(
        self, operator: Operator, *, state: Path, onto: Tensor | None = None, **how: Any
    ) -> Spectrum:
        """Measure a spectrum, or take the one that a killed run has left beside its `state`.

        With directions `onto`, shape (K, P), its metadata hold the `squared_overlaps` of the
        extreme Ritz vectors with them; see `overlaps.of_extremes`.

        Raises
        ------
        ValueError
            What was left belongs to another matrix or start vector.
        """
        found = kept.take(operator, state)
        if found is not None:
            return found
        measured, runs = self.measure(operator, state=state, **how)
        if onto is not None:
            measured.metadata["squared_overlaps"] = overlaps.of_extremes(runs[0], onto)
        if ranks.is_first():
            kept.put(measured, state)
        return measured


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * 1e9)
