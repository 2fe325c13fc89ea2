"""What a configuration's checks find out with PyTorch, which the next start remembers.

A fact stands under the settings, all code of the project and of the user's own that has a part in
it, and what is installed. Checks are done with it at each start. What code reads from files is seen
where an argument names the file or its folder.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from truehessian.data import own_augmentation
from truehessian.networks import NETWORKS
from truehessian.networks.libraries import LIBRARIES
from truehessian.networks.losses import LOSSES
from truehessian.pipeline.config import networks
from truehessian.pipeline.config.networks import NetworkFacts
from truehessian.pipeline.stage import installed, memory, modules, own_code
from truehessian.pipeline.stage.fingerprint import module_digests

_MOST_FILES = 1000  # of a folder that an argument names


def network_facts(network: Mapping[str, Any]) -> NetworkFacts:
    """Give `networks.network_facts`, for which a network is built at most once; raises as it."""
    paths = [NETWORKS.path(network["name"])]
    library, colon, _ = network["name"].partition(":")
    if colon and library in LIBRARIES:
        paths.append(LIBRARIES.path(library))
    found = _known(
        {"network": network},
        networks.__name__,
        paths,
        lambda: networks.network_facts(network).plain(),
    )
    return NetworkFacts.from_plain(found)


def check_loss(settings: str | Mapping[str, Any]) -> None:
    """Make a loss by `losses.base.of_settings`, at most once if it can be; raises as it."""

    def make() -> bool:
        from truehessian.networks.losses import base

        base.of_settings(settings)
        return True

    name = settings if isinstance(settings, str) else settings["name"]
    _known({"loss": settings}, "truehessian.networks.losses.base", [LOSSES.path(name)], make)


def check_augmentation(path: str) -> None:
    """Import an augmentation by `own_augmentation.named`, once if it can be; raises as it."""

    def make() -> bool:
        own_augmentation.named(path)
        return True

    _known({"augmentation": path}, own_augmentation.__name__, [path], make)


def _known(fact: dict[str, Any], module: str, paths: Sequence[str], make: Callable[[], Any]) -> Any:
    """Find out once what a module of ours says of what is behind import paths."""
    script = modules.file_of(module, modules.source())
    assert script is not None
    try:
        own = own_code.of_paths(path for path in paths if not modules.is_ours(path))
    except ImportError:  # which `make` has a sentence for
        return make()
    decided_by = {
        "fact": fact,
        "code": module_digests(script, paths),
        "own_code": own.modules,
        "packages": own.packages,
        "files": {
            text: memory.state_of(Path(text), _MOST_FILES)
            for text in sorted(set(_texts_in(fact)) - {""})
        },
        "installed": installed.folders(),
        "python": sys.version,
    }
    return memory.remembered(decided_by, make)


def _texts_in(settings: Any) -> Iterator[str]:
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, Iterable):
        for value in settings.values() if isinstance(settings, Mapping) else settings:
            yield from _texts_in(value)
