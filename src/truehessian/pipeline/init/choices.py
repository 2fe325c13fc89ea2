"""Sizes that fit the problem, for whatever was not given."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from truehessian.pipeline.config.inference import Theory, Variance
from truehessian.pipeline.config.spectra import Batch, Spectrum, Subsamples
from truehessian.pipeline.init.data import Data
from truehessian.pipeline.init.files import Weights
from truehessian.pipeline.init.flags import Wishes
from truehessian.pipeline.init.network import Network
from truehessian.pipeline.init.trial import Trial

QUICK = (512, 256)  # training and test examples of a first look
_SHARE = 4  # batches have at most this part of the examples, or they hardly differ from all
_LARGEST_BATCH = 256
_LEAST_GROUP = 4  # examples in a part, below which it shows nothing
_TRAINED = [0, 1, 5, 10, 20, 30]  # epochs of a training of one's own


class Sizes(NamedTuple):
    """Steps, vectors and repetitions of a careful run, or of a first look."""

    steps: int
    ggn_steps: int
    vectors: int
    batch_steps: int
    folds: int
    held_out_steps: int
    leak_vectors: int
    draws: int
    resamples: int


def _defaults(section: Any, *names: str) -> list[int]:
    return [section.model_fields[name].default for name in names]


CAREFUL = Sizes(
    *_defaults(Spectrum, "steps", "ggn_steps", "vectors"),
    *_defaults(Batch, "steps", "folds"),
    *_defaults(Variance, "held_out_steps", "leak_vectors"),
    *_defaults(Theory, "draws", "resamples"),
)
FIRST_LOOK = Sizes(20, 10, 3, 15, 3, 15, 4, 50, 10)


class Chosen(NamedTuple):
    """A section for each key of a run, and remarks on some by their dotted paths."""

    run: dict[str, Any]
    remarks: dict[str, str]


def settings(
    wishes: Wishes, data: Data, network: Network, weights: Weights | None, trial: Trial
) -> Chosen:
    """Choose everything that a run has.

    Parameters
    ----------
    wishes
        What was given, which is taken as it is.
    data, network, trial
        As they were looked at.
    weights
        None to train.
    """
    sizes = _bounded(FIRST_LOOK if wishes.quick else CAREFUL, network.facts.count(wishes.chosen))
    if wishes.steps is not None:
        most = max(1, min(sizes.vectors, wishes.steps // 2))  # no vector is of both ends
        sizes = sizes._replace(steps=wishes.steps, vectors=most)
    train, test = len(data.examples.train), len(data.examples.test)
    batches = wishes.batch_sizes or batch_sizes(train)
    group = group_size(batches, train, test)
    own, remarks = _network_and_weights(wishes, data, network, weights)
    run: dict[str, Any] = {
        **own,
        "spectrum": _spectrum(wishes, sizes, trial),
        "batch": _batch(batches, sizes) if batches else None,
        "augmentation": None,
        "subsamples": None,
        "variance": _variance(group, sizes) if group else None,
        "theory": {
            "draws": sizes.draws,
            "resamples": sizes.resamples,
            "ranks": min(5, sizes.vectors),
        },
    }
    if wishes.quick:
        remarks["augmentation"] = "left out of a first look"
    elif data.section.info.can_be_cropped:
        run["augmentation"] = {"factors": [{"factor": 4, "steps": sizes.batch_steps}]}
    else:
        remarks["augmentation"] = "off, since these inputs have no crops or mirror images"
    parts = [number for number in (2, 4) if train // number >= _LEAST_GROUP]
    if parts and not wishes.quick:
        run["subsamples"] = {
            "parts": parts,
            "steps": min(sizes.steps, *_defaults(Subsamples, "steps")),
        }
    remarks |= dict(_why_not(run, network, train, test))
    return Chosen(run, remarks)


def batch_sizes(train: int) -> list[int]:
    """Choose two powers of two, the larger at most a quarter of the examples; fewer of few."""
    most = min(train // _SHARE, _LARGEST_BATCH)
    if most < _LEAST_GROUP:
        return []
    largest = 2 ** (most.bit_length() - 1)
    return sorted({max(largest // 4, _LEAST_GROUP), largest})


def group_size(batches: list[int], train: int, test: int) -> int:
    """Choose what divides all batches, and fits twice into either split; 0 if nothing does."""
    (most,) = _defaults(Variance, "group_size")
    common = math.gcd(*batches) if batches else most
    fitting = [size for size in range(1, min(most, common) + 1)
               if common % size == 0 and 2 * size <= min(train, test)]  # fmt: skip
    return max(fitting, default=0)


def _bounded(sizes: Sizes, num_params: int) -> Sizes:
    """Do no more Lanczos steps than there are parameters."""
    steps = ("steps", "ggn_steps", "batch_steps", "held_out_steps")
    within = {name: min(getattr(sizes, name), num_params) for name in steps}
    return sizes._replace(**within, vectors=max(1, min(sizes.vectors, num_params // 4)))


def _network_and_weights(
    wishes: Wishes, data: Data, network: Network, weights: Weights | None
) -> tuple[dict[str, Any], dict[str, str]]:
    more = wishes.loss_arguments
    own: dict[str, Any] = {
        "dataset": data.section.model_dump(),
        "model": network.section,
        "loss": {"name": wishes.loss, **more} if more else wishes.loss,
        "parameters": wishes.chosen,
    }
    if weights is not None:
        own |= {"training": None, "checkpoints": weights.where, "epochs": weights.epochs}
        single = "any number; a single file has none, and 0 would say that nothing was learned yet"
        return own, {"epochs": single} if weights.where == weights.paths()[
            weights.epochs[0]
        ] else {}
    chosen = [0, 1, 5] if wishes.quick else _TRAINED
    epochs = wishes.epochs or chosen
    normalised = network.facts.has_batch_norm
    training: dict[str, Any] = {
        "epochs": max(*epochs, 1),
        "batch_size": max(1, min(128, len(data.examples.train) // 8)),
        "learning_rate": 0.1 if normalised else 0.05,
        "augment": data.section.info.can_be_cropped,
    }
    if wishes.device is not None:
        training["device"] = wishes.device
    return own | {"training": training, "epochs": epochs}, {}


def _spectrum(wishes: Wishes, sizes: Sizes, trial: Trial) -> dict[str, Any]:
    return {
        "steps": sizes.steps,
        "ggn_steps": sizes.ggn_steps,
        "vectors": sizes.vectors,
        "tolerance": 1e-5,
        "chunk_size": trial.chunk_size,
        "device": wishes.device or "auto",
    }


def _batch(batches: list[int], sizes: Sizes) -> dict[str, Any]:
    return {
        "sizes": batches,
        "folds": sizes.folds,
        "steps": sizes.batch_steps,
        "noise_steps": min(sizes.batch_steps, *_defaults(Batch, "noise_steps")),
    }


def _variance(group: int, sizes: Sizes) -> dict[str, Any]:
    return {
        "group_size": group,
        "held_out_steps": sizes.held_out_steps,
        "leak_vectors": sizes.leak_vectors,
    }


def _why_not(
    run: dict[str, Any], network: Network, train: int, test: int
) -> Iterator[tuple[str, str]]:
    """Say why sections are off, and which others there would be."""
    if run["batch"] is None:
        yield "batch", f"off, since {train} examples are too few for batches"
    if run["variance"] is None:
        yield "variance", f"off, since {train} and {test} examples are too few for groups"
    if not network.facts.has_batch_norm:
        yield "batchnorm", "off, since the network has none"
