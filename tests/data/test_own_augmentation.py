"""Augmentation by a function of the user's own."""

import sys

import pytest
import torch

from truehessian.data import batches, own_augmentation
from truehessian.data.examples import Examples
from truehessian.data.own_augmentation import augmented

COUNT = 10
MODULE = "def jitter(inputs, generator):\n    return inputs\nNUMBER = 3\n"


def masked(inputs, generator):
    """Replace tokens at random, in place."""
    drawn = torch.rand(inputs["ids"].shape, generator=generator) < 0.5
    inputs["ids"][drawn] = 99
    return inputs


@pytest.fixture
def examples():
    ids = torch.arange(COUNT * 4).view(COUNT, 4)
    scale = torch.arange(COUNT, dtype=torch.float64)
    return Examples({"ids": ids, "more": (scale,)}, torch.arange(COUNT))


def rows(examples, **how):
    """Epochs as rows by example, whatever their order."""
    epoch = list(batches.batches(examples, generator=generator(), **how))
    ids, targets = torch.cat([x["ids"] for x, _ in epoch]), torch.cat([y for _, y in epoch])
    found = dict(zip(targets.tolist(), ids.tolist(), strict=True))
    return [found[number] for number in range(COUNT)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_fixed_set_has_the_copies_of_each_example_and_keeps_the_originals(examples):
    before = examples.inputs["ids"].clone()
    made = augmented(examples, 3, masked, seed=1)
    assert len(made) == 3 * COUNT
    assert made.targets.equal(examples.targets.repeat(3))
    assert examples.inputs["ids"].equal(before)
    originals = before.repeat(3, 1)
    changed = made.inputs["ids"] != originals
    assert (made.inputs["ids"][changed] == 99).all()
    assert 0.25 < changed.double().mean() < 0.75
    assert made.inputs["more"][0].equal(examples.inputs["more"][0].repeat(3))
    assert made.inputs["more"][0].dtype == torch.float64


def test_a_copy_depends_on_seed_position_and_number_alone(examples):
    made = augmented(examples, 3, masked, seed=1).inputs["ids"]
    assert augmented(examples, 3, masked, seed=1).inputs["ids"].equal(made)
    assert augmented(examples, 1, masked, seed=1).inputs["ids"].equal(made[:COUNT])
    few = augmented(examples.subset(slice(0, 4)), 1, masked, seed=1).inputs["ids"]
    assert few.equal(made[:4])
    assert not made[:COUNT].equal(made[COUNT : 2 * COUNT])
    assert not augmented(examples, 1, masked, seed=2).inputs["ids"].equal(made[:COUNT])


def test_in_training_draws_depend_on_the_example_and_not_on_the_batch(examples, monkeypatch):
    whole = rows(examples, batch_size=COUNT, augmentation=masked)
    monkeypatch.setattr(batches, "_BLOCK", 3)
    assert rows(examples, batch_size=3, augmentation=masked) == whole
    draw = generator()
    torch.randperm(COUNT, generator=draw)  # the order of the epoch
    seeds = torch.randint(2**63 - 1, (COUNT,), generator=draw)
    own = own_augmentation.transformed(examples.inputs, masked, seeds)
    assert own["ids"].tolist() == whole
    plain = rows(examples, batch_size=COUNT)
    assert plain == examples.inputs["ids"].tolist()
    assert plain != whole
    other = list(batches.batches(examples, COUNT, generator(1), masked))
    assert not torch.equal(other[0][0]["ids"].sum(0), torch.tensor(whole).sum(0))


def test_order_and_draws_go_on_where_those_of_the_generator_end(examples):
    """Two epochs of one generator differ."""
    one = generator()
    epochs = [next(iter(batches.batches(examples, COUNT, one, masked))) for _ in range(2)]
    assert not epochs[0][0]["ids"].equal(epochs[1][0]["ids"])


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda inputs, generator: inputs["ids"], "must give inputs of the shapes and types"),
        (lambda inputs, generator: {**inputs, "ids": inputs["ids"][:2]}, r"gives ids .*\(2,\)"),
        (lambda inputs, generator: {**inputs, "ids": inputs["ids"] / 2}, "gives ids torch.float32"),
        (lambda inputs, generator: None, "gives NoneType"),
        (lambda inputs, generator: inputs["ID"], r"fails for inputs of ids .*KeyError: 'ID'"),
    ],
)
def test_what_does_not_keep_shapes_and_types_is_refused(examples, function, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        augmented(examples, 1, function, seed=0)
    assert "\n" not in str(error.value)


def test_images_are_given_as_they_are_kept():
    images = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4).to(torch.uint8)
    examples = Examples(images, torch.zeros(2), (0.0,) * 3, (1.0,) * 3)
    made = augmented(examples, 1, lambda image, generator: image.flip(-1), seed=0)
    assert made.inputs.equal(images.flip(-1))
    assert made.mean == examples.mean


def test_a_function_is_named_by_its_import_path(tmp_path, monkeypatch):
    (tmp_path / "own_augmenting.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    assert own_augmentation.named("own_augmenting:jitter")(3, None) == 3
    assert own_augmentation.named(None) is None
    with pytest.raises(ValueError, match="augmentation own_augmenting:NUMBER is a int and not a"):
        own_augmentation.named("own_augmenting:NUMBER")
    with pytest.raises(ValueError, match="did you mean 'jitter'"):
        own_augmentation.named("own_augmenting:jiter")
    sys.modules.pop("own_augmenting", None)
    with pytest.raises(ValueError, match="the augmentation factor must be at least 1, got 0"):
        augmented(Examples(torch.zeros(2), torch.zeros(2)), 0, masked, seed=0)
