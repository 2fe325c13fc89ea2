"""Streams of random numbers: reproducible, independent, and nowhere made in another way."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from truehessian import streams
from truehessian.data.augmentation import Augmented
from truehessian.data.examples import Examples
from truehessian.measurements import groups, source
from truehessian.spectra.lanczos import probe_vector
from truehessian.theory.predictions import subspace

ROOT = Path(__file__).parents[1]
PURPOSES = ("batch", "partition", "probe", "probe: 1", "")
NUMBERS = ((), (0,), (0, 0), (1,), (0, 1), (1, 0), (10,), (1, 23), (12, 3), (2**40,))


def test_no_two_streams_share_their_numbers():
    """Not even those whose numbers are padded with zeros, or run together when written down."""
    arguments = [(seed, p, *n) for seed in (0, 1, 10, -1) for p in PURPOSES for n in NUMBERS]
    draws = {streams.generator(*each).bytes(16) for each in arguments}
    assert len(draws) == len(arguments)
    seeds = {streams.torch_seed(*each) % 2**32 for each in arguments}  # all that PyTorch takes
    assert len(seeds) == len(arguments)


def test_a_stream_is_the_same_on_every_machine():
    """The numbers in results depend on these; another value changes all of them."""
    assert streams.generator(0, "batch", 16, 3).integers(1000, size=4).tolist() == [
        312,
        604,
        177,
        804,
    ]
    assert streams.torch_seed(0, "dropout", 1) == 5966219010654330951


@pytest.mark.parametrize("wrong", [0.5, "0", True, None])
def test_what_is_no_integer_is_refused(wrong):
    for arguments in ((wrong, "batch"), (0, "batch", wrong)):
        with pytest.raises(TypeError, match="must be integers, got"):
            streams.generator(*arguments)


def uses_of_randomness(path: Path) -> set[str]:
    """Names of functions that make generators or seed them, as they are called in a file."""
    makers = {"default_rng", "SeedSequence", "RandomState", "Generator", "manual_seed", "seed"}
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if type(node) is ast.Call]
    return {call.attr for call in calls if isinstance(call, ast.Attribute)} & makers


def test_randomness_enters_by_streams_only():
    """`torch.Generator` and `manual_seed` take what `torch_seed` gives; see the places."""
    found = {
        path.relative_to(ROOT).as_posix(): uses_of_randomness(path)
        for folder in ("src", "scripts")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: calls for name, calls in found.items() if calls} == {
        "src/truehessian/streams.py": {"default_rng", "SeedSequence"},
        "src/truehessian/data/own_augmentation.py": {"Generator", "manual_seed"},
        "src/truehessian/data/seeding.py": {"seed", "manual_seed"},
        "src/truehessian/networks/training.py": {"Generator", "manual_seed"},
        # Directions in which an operator is compared with its twin: they decide no number.
        "src/truehessian/operators/diagnosis.py": {"Generator", "manual_seed"},
        "src/truehessian/operators/stack_twin.py": {"Generator", "manual_seed"},
        "src/truehessian/operators/twin.py": {"Generator", "manual_seed"},
        # Of a process that has forked, whose generator without a seed must not repeat its parent's.
        "src/truehessian/pipeline/stage/host.py": {"seed"},
    }


def test_directions_are_not_the_vectors_that_lanczos_starts_from():
    directions = groups.random_directions(400, 2, seed=0)
    starts = torch.stack([probe_vector(400, 0, probe) for probe in range(2)])
    starts = torch.nn.functional.normalize(starts, dim=1)
    assert (directions @ starts.T).abs().max() < 5 / np.sqrt(400)


def test_measurements_of_one_seed_start_from_vectors_of_their_own():
    """Folds, probes and kinds of matrices: inner products of independent unit vectors are small."""
    named = [("spectrum", [0]), ("batch", [16, 0, 0]), ("batch", [16, 1, 0]), ("noise", [16, 0, 0])]
    named += [("batch", [160, 0, 0]), ("batch", [16, 0, 1])]
    starts = torch.stack([probe_vector(900, 0, *n, purpose=p) for p, n in named])
    gram = torch.nn.functional.normalize(starts, dim=1)
    overlap = gram @ gram.T - torch.eye(len(named))
    assert overlap.abs().max() < 5 / np.sqrt(900)


def test_cuts_orders_and_copies_of_one_seed_differ():
    """Everything that permutes or marks twenty examples, with all seeds equal."""
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1)
    examples = Examples(images, torch.arange(20), (0.0,), (1.0,))
    orders = [
        *(streams.generator(0, "partition", 20, n).permutation(20) for n in range(2)),
        *(source.shuffled(examples, 0, name).targets.numpy() for name in ("training", "test")),
        streams.generator(0, "batch", 20, 0).permutation(20),
    ]
    assert len({tuple(order) for order in orders}) == len(orders)
    first, second = source.disjoint_folds(20, 4, 0), source.disjoint_folds(20, 4, 0, 1)
    assert {tuple(part) for part in first}.isdisjoint(tuple(part) for part in second)
    copies = Augmented(examples, 2, seed=0, padding=3, flip=True)._offsets.reshape(2, -1)
    assert not copies[0].equal(copies[1])


def test_predicted_batches_of_two_sizes_are_drawn_from_streams_of_their_own():
    projected = np.random.default_rng(0).standard_normal((6, 1, 1))
    how = {"group_size": 4, "num_examples": 1000, "end": "largest", "draws": 3}
    for size in (8, 12):
        found = subspace.subspace(
            np.ones(1), projected, np.zeros((1, 1)), batch_size=size, seed=5, **how
        )
        chosen = streams.generator(5, "predicted batches", size)
        picks = [chosen.choice(6, size // 4, replace=False, shuffle=False) for _ in range(3)]
        expected = [1 + projected[pick].mean() - projected.mean() for pick in picks]
        assert found.draws == pytest.approx(expected)
