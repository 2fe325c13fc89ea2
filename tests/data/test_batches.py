import pytest
import torch

from truehessian.data import batches as shuffling, catalogue, dataset
from truehessian.data.augmentation import augment, draw_crops
from truehessian.data.batches import Augmentation, batches, shuffled_batches

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module")
def examples():
    return catalogue.fetch("digits", train_examples=97).train


def seeded():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "sizes"),
    [
        (97, 32, [32, 32, 33]),
        (98, 32, [32, 32, 32, 2]),
        (64, 32, [32, 32]),
        (5, 9, [5]),
        (1, 4, [1]),
    ],
)
def test_a_last_batch_of_one_joins_the_one_before(num_examples, batch_size, sizes):
    shuffled = shuffled_batches(num_examples, batch_size, seeded())
    assert [len(batch) for batch in shuffled] == sizes
    assert torch.cat(shuffled).sort().values.equal(torch.arange(num_examples))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block", [1, 40, 64, 8192])
def test_batches_are_those_made_one_by_one_whatever_the_block_and_the_device(
    examples, monkeypatch, block, device
):
    monkeypatch.setattr(shuffling, "_BLOCK", block)
    found = list(batches(examples.to(device), 20, seeded(), Augmentation(1, True)))
    generator = seeded()
    order = shuffled_batches(97, 20, generator)
    assert len(found) == len(order)
    for (inputs, labels), indices in zip(found, order, strict=True):
        chosen = examples.subset(indices)
        images = augment(chosen.inputs, *draw_crops(len(indices), generator, 1, True), padding=1)
        expected = dataset.Examples(images, chosen.targets, examples.mean, examples.std)
        torch.testing.assert_close(inputs.cpu(), expected.batch(slice(None))[0])
        assert labels.cpu().equal(chosen.targets)


def test_without_augmentation_every_image_comes_once_as_it_is(examples):
    inputs, labels = (
        torch.cat(parts) for parts in zip(*batches(examples, 32, seeded()), strict=True)
    )
    order = torch.cat(shuffled_batches(97, 32, seeded()))
    assert inputs.equal(examples.batch(order)[0])
    assert labels.equal(examples.targets[order])


def test_every_batch_has_the_memory_format_that_is_asked_for(examples):
    images = examples.inputs.expand(-1, 3, -1, -1)
    coloured = dataset.Examples(images, examples.targets, (0.5,) * 3, (0.2,) * 3)
    for inputs, _ in batches(coloured, 32, seeded(), None, torch.channels_last):
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        assert not inputs.is_contiguous()
