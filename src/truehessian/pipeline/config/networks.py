"""The network that a run's configuration names, without its weights."""

import contextlib
import sys
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple


class NetworkFacts(NamedTuple):
    """What the checks need to know of a network."""

    num_parameters: int
    has_batch_norm: bool


def network_facts(network: Mapping[str, Any]) -> NetworkFacts:
    """Count the parameters of a network and look for batch normalisation.

    It is built without memory for its weights where that works; for real, with the global
    generators left alone, where its factory needs numbers (reads them, or loads weights).

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

    settings = {**network, "seed": 0}
    # What a factory prints has no place in the output of `snakemake --dag` or `--summary`.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            with torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights that cannot be loaded there
                model = registry.build(**settings)
        except Exception:
            model = registry.build(**settings)
    return NetworkFacts(registry.count_parameters(model), registry.has_batch_norm(model))
