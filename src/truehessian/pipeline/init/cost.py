"""What a run would take: products, time, memory and disk, from a product that was timed."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from truehessian import text
from truehessian.data import trees
from truehessian.pipeline import plan
from truehessian.pipeline.config.run import Run
from truehessian.pipeline.init.data import Data
from truehessian.pipeline.init.network import Network
from truehessian.pipeline.init.trial import Trial
from truehessian.spectra import vectors

_TRAINING = 1 / 3  # an epoch of training takes as long as a product with this part of the examples
_BYTES = 4  # of a number in float32
_ALONG = 12  # bytes of a number of a direction, its product and its mean
_LONG = 3600  # seconds from which on it is said how to do less
_IN_GROUPS = ("variance", "held-out")  # stages that pass through groups of examples
_COPIES = 2  # of what is kept: under `results`, and in the store


class Cost(NamedTuple):
    """Estimates: seconds of products and of training, and bytes."""

    planned: plan.RunPlan
    seconds: float
    training: float
    memory: float
    disk: float
    scratch: float

    def lines(self, trial: Trial) -> Iterator[str]:
        """Say what it comes to."""
        products = sum(stage.jobs * stage.products for stage in self.planned.stages)
        kinds = ", ".join(stage.name for stage in self.planned.stages)
        yield f"To do: {kinds}; at most {products:,} products with P = {self.planned.num_params:,}"
        training = f"; training about {text.duration(self.training)}" if self.training else ""
        yield (
            f"  at {text.prefixed(trial.rate)} examples/s per product, as timed on {trial.device} "
            f"with {trial.examples} examples: about {text.duration(self.seconds)} at most, and "
            f"some seconds for the start of each job{training}"
        )
        if self.seconds + self.training > _LONG:
            yield "  --quick, --train-examples N, --steps M or fewer --epochs make it shorter"
        yield (
            f"  memory of a job about {text.size(self.memory)} beside PyTorch itself; disk about "
            f"{text.size(self.disk)} for data, weights and vectors, and {text.size(self.scratch)} "
            "while a job runs"
        )


def estimate(name: str, run: Run, data: Data, network: Network, trial: Trial) -> Cost:
    """Estimate what a run takes, at most: Lanczos may stop earlier."""
    num_params = network.facts.count(run.parameters)
    planned = plan.plan(name, run, num_params)
    count = len(data.examples.train)
    basis = planned.itemsize * num_params * max(s.basis_vectors for s in planned.stages)
    along = [stage.products for stage in planned.stages if stage.name == "variance"]
    examples = sum(
        tensor.nbytes
        for part in (data.examples.train, data.examples.test)
        for tree in (part.inputs, part.targets)
        for tensor in trees.tensors_of(tree)
    )
    state = sum(tensor.nbytes for tensor in network.module.state_dict().values())
    kept = 2 * vectors.kept_of_each_end(run.spectrum.vectors, run.spectrum.steps)
    epochs = len(run.epochs)
    return Cost(
        planned,
        sum(_seconds(stage, run, trial) for stage in planned.stages),
        run.training.epochs * count * _TRAINING / trial.rate if run.training else 0.0,
        trial.graphs(count)
        + max([basis, *(_ALONG * num_params * number for number in along)])
        + examples
        + 2 * state,
        _COPIES * (examples + epochs * (state + kept * num_params * _BYTES)),
        float(basis),
    )


def _seconds(stage: plan.Stage, run: Run, trial: Trial) -> float:
    """Seconds of a stage in all, of which small groups of examples take more than their share."""
    size = run.spectrum.chunk_size
    if stage.name in _IN_GROUPS and run.variance is not None:
        size = run.variance.group_size
    passes = stage.jobs * stage.products * math.ceil(stage.examples / size)
    return trial.seconds(passes, stage.work)
