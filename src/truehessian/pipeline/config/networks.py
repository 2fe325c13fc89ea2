"""The network that a run's configuration names, without its weights."""

import contextlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class ParameterFacts(NamedTuple):
    """A parameter that can vary: all its names, how many numbers, whether it requires gradients."""

    names: tuple[str, ...]
    size: int
    requires_grad: bool


class NetworkFacts(NamedTuple):
    """What the checks need to know of a network.

    Attributes
    ----------
    has_batch_norm
        Whether any layer normalises over the batch.
    parameters
        In the order of the network, frozen ones too.
    """

    has_batch_norm: bool
    parameters: tuple[ParameterFacts, ...] = ()

    def plain(self) -> list[Any]:
        """Give values that JSON can hold."""
        return [self.has_batch_norm, [list(each) for each in self.parameters]]

    @classmethod
    def from_plain(cls, values: Sequence[Any]) -> "NetworkFacts":
        """Make it of what `plain` has given, as JSON gives it back."""
        parameters = (ParameterFacts(tuple(names), *more) for names, *more in values[1])
        return cls(values[0], tuple(parameters))

    @property
    def num_parameters(self) -> int:
        """The order P of the Hessian."""
        return self.count(None)

    def count(self, patterns: Sequence[str] | None) -> int:
        """Count the numbers in the parameters that are chosen, as operators choose them.

        Raises
        ------
        ValueError
            There is none.
        """
        return sum(each.size for each in self._chosen(patterns))

    def groups(
        self, patterns: Sequence[str] | None, groups: Mapping[str, Sequence[str]] | str
    ) -> dict[str, int]:
        """Count the numbers in groups of the parameters that are chosen, by the groups' names.

        Raises
        ------
        ValueError
            A group has no parameter, or two share one; see `parameters.grouped`.
        """
        from truehessian.networks.parameters import grouped

        chosen = self._chosen(patterns)
        places = grouped([each.names for each in chosen], groups)
        return {name: sum(chosen[i].size for i in own) for name, own in places.items()}

    def _chosen(self, patterns: Sequence[str] | None) -> list[ParameterFacts]:
        from truehessian.networks.parameters import TRAINABLE, are_chosen

        trainable = patterns == TRAINABLE
        found = [
            each
            for each in self.parameters
            if (each.requires_grad if trainable else are_chosen(each.names, patterns))
        ]
        if not found:
            known = ", ".join(name for each in self.parameters for name in each.names)
            wanted = "requires a gradient" if trainable else f"matches {list(patterns or [])}"
            raise ValueError(f"no parameter {wanted}; the network has {known or 'none'}")
        return found


def network_facts(network: Mapping[str, Any]) -> NetworkFacts:
    """Count the parameters of a network and look for batch normalisation.

    It is built without memory for its weights where that works; for real, with the global
    generators left alone, where its factory needs numbers (reads them, or loads weights). One of a
    library is tried on an image as well.

    Parameters
    ----------
    network
        As `Run.network` gives it.

    Raises
    ------
    Exception
        Whatever its factory raises when it is called for real.
    """
    from truehessian.networks.unweighted import built_without_weights

    settings = {**network, "seed": 0}
    # What a factory prints has no place in the output of `snakemake --dag` or `--summary`.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            with built_without_weights(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights that cannot be loaded there
                model = _tried(settings)
        except Exception:
            model = _tried(settings)
    return facts_of(model)


def facts_of(model: "nn.Module") -> NetworkFacts:
    """Count the parameters of a network that has been built."""
    from truehessian.networks import registry
    from truehessian.networks.parameters import can_vary, named

    return NetworkFacts(
        registry.has_batch_norm(model),
        tuple(
            ParameterFacts(names, each.numel(), each.requires_grad)
            for names, each in named(model)
            if can_vary(each)
        ),
    )


def _tried(settings: Mapping[str, Any]) -> "nn.Module":
    """Build a network, and refuse one of a library that does not suit the data."""
    from truehessian.networks import registry

    model = registry.build(**settings)
    registry.check_output(model, **settings)
    return model
