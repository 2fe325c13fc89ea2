"""The network that a run's configuration names, without its weights."""

import contextlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class NetworkFacts(NamedTuple):
    """What the checks need to know of a network.

    Attributes
    ----------
    num_parameters
        Of all that can be trained.
    has_batch_norm
        Whether any layer normalises over the batch.
    sizes
        All names of each parameter that can vary, and how many numbers it has.
    """

    num_parameters: int
    has_batch_norm: bool
    sizes: tuple[tuple[tuple[str, ...], int], ...] = ()

    def count(self, patterns: Sequence[str] | None) -> int:
        """Count the numbers in the parameters that match a pattern, as operators choose them.

        Raises
        ------
        ValueError
            None does.
        """
        if patterns is None:
            return self.num_parameters
        from truehessian.networks.parameters import are_chosen

        found = sum(size for names, size in self.sizes if are_chosen(names, patterns))
        if not found:
            known = ", ".join(name for names, _ in self.sizes for name in names)
            raise ValueError(f"no parameter matches {list(patterns)}; the network has {known}")
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
    import torch

    from truehessian.networks import registry
    from truehessian.networks.parameters import can_vary, named

    settings = {**network, "seed": 0}
    # What a factory prints has no place in the output of `snakemake --dag` or `--summary`.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            with torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights that cannot be loaded there
                model = _tried(settings)
        except Exception:
            model = _tried(settings)
    return NetworkFacts(
        registry.count_parameters(model),
        registry.has_batch_norm(model),
        tuple((names, each.numel()) for names, each in named(model) if can_vary(each)),
    )


def _tried(settings: Mapping[str, Any]) -> "nn.Module":
    """Build a network, and refuse one of a library that does not suit the data."""
    from truehessian.networks import registry

    model = registry.build(**settings)
    registry.check_output(model, **settings)
    return model
