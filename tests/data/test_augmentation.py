import pytest
import torch

from truehessian.data import catalogue, dataset
from truehessian.data.augmentation import Augmented, augment, draw_crops


@pytest.fixture
def examples():
    return catalogue.fetch("digits", train_examples=60).train


def numbered(batch, channels=2, height=5, width=4):
    """Images without a zero pixel, all different."""
    return torch.arange(1, 1 + batch * channels * height * width, dtype=torch.uint8).view(
        batch, channels, height, width
    )


def freshly(images, seed, padding, flip):
    draws = draw_crops(len(images), torch.Generator().manual_seed(seed), padding, flip)
    return augment(images, *draws, padding)


def reference(image, row, column, flip, padding):
    channels, height, width = image.shape
    canvas = image.new_zeros(channels, height + 2 * padding, width + 2 * padding)
    canvas[:, padding : padding + height, padding : padding + width] = image
    crop = canvas[:, row : row + height, column : column + width]
    return crop.flip(2) if flip else crop


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_augmenting_is_cropping_the_padded_image_and_then_mirroring_it(padding):
    positions = range(2 * padding + 1)
    cases = [(r, c, f) for r in positions for c in positions for f in (0, 1)]
    images = numbered(1).expand(len(cases), -1, -1, -1)
    draws = torch.tensor(cases, dtype=torch.uint8)
    made = augment(images, draws[:, :2], draws[:, 2], padding)
    expected = torch.stack([reference(images[0], *case, padding) for case in cases])
    assert made.equal(expected)
    assert made.dtype == torch.uint8


def test_the_centre_offset_without_flip_leaves_the_image_alone():
    images = numbered(3)
    centre = torch.full((3, 2), 2, dtype=torch.uint8)
    assert augment(images, centre, torch.zeros(3), 2).equal(images)


def test_the_set_is_the_same_at_every_pass_and_for_every_chunk_size(examples):
    augmented = Augmented(examples, 3, seed=1, padding=1, flip=True)
    first = torch.cat([inputs for inputs, _ in augmented.chunks(17)])
    second = torch.cat([inputs for inputs, _ in augmented.chunks(50)])
    assert first.equal(second)
    assert len(augmented) == augmented.num_examples == len(first) == 180


def test_a_smaller_factor_gives_the_beginning_of_a_larger_one(examples):
    small = Augmented(examples, 2, seed=1, padding=1, flip=True).batch(slice(None))
    large = Augmented(examples, 5, seed=1, padding=1, flip=True).batch(slice(0, 120))
    assert small[0].equal(large[0])
    assert small[1].equal(large[1])


def test_an_image_is_drawn_the_same_whatever_follows_it(examples):
    few = Augmented(examples.subset(slice(0, 20)), 1, seed=1, padding=1, flip=True)
    many = Augmented(examples, 1, seed=1, padding=1, flip=True)
    assert few.batch(slice(None))[0].equal(many.batch(slice(0, 20))[0])


def test_copies_and_seeds_differ(examples):
    one = Augmented(examples, 2, seed=1, padding=1, flip=True)
    other = Augmented(examples, 1, seed=2, padding=1, flip=True)
    images = one.subset(slice(None)).inputs
    assert not images[:60].equal(images[60:])
    assert not images[:60].equal(other.subset(slice(None)).inputs)


def test_labels_belong_to_the_originals(examples):
    augmented = Augmented(examples, 3, seed=0, padding=0, flip=False)
    inputs, targets = augmented.batch([0, 61, 125], dtype=torch.float64)
    originals = examples.batch([0, 1, 5], dtype=torch.float64)
    assert inputs.equal(originals[0])
    assert targets.equal(originals[1])


def corners(images):
    """Where the one bright pixel is in each image."""
    return images[:, 0].flatten(1).int().argmax(1)


def test_offsets_and_flips_cover_their_whole_range_evenly():
    """Of 9 crops times 2 flips, each has 1/18 of the draws within five standard errors."""
    count, padding = 18000, 1
    images = torch.zeros(count, 1, 5, 5, dtype=torch.uint8)
    images[:, 0, 2, 1] = 1  # rows 1 to 3; columns 0 to 2, mirrored 4 to 2
    labels = torch.zeros(count, dtype=torch.int64)
    bright = dataset.Examples(images, labels, (0.0,), (1.0,))
    fixed = Augmented(bright, 1, seed=0, padding=padding, flip=True).subset(slice(None)).inputs
    fresh = freshly(images, 0, padding, True)
    # The middle column is met from both sides.
    share = torch.tensor([1, 1, 2, 1, 1]).expand(3, 5).double() / 18
    expected = torch.cat([torch.zeros(5), share.flatten(), torch.zeros(5)])
    error = 5 * (expected * (1 - expected) / count).sqrt()
    for made in (fixed, fresh):
        observed = corners(made).bincount(minlength=25) / count
        assert ((observed - expected).abs() <= error).all()


def test_without_flips_nothing_is_mirrored_and_the_crops_are_kept():
    """An image and its mirror image agree only in the column offsets that are symmetric."""
    images = numbered(200, 1, 1, 1).expand(-1, -1, 3, 3)
    labels = torch.zeros(200, dtype=torch.int64)
    plain = dataset.Examples(images, labels, (0.0,), (1.0,))
    flipped = Augmented(plain, 1, seed=0, padding=1, flip=True).subset(slice(None)).inputs
    straight = Augmented(plain, 1, seed=0, padding=1, flip=False).subset(slice(None)).inputs
    same = (flipped == straight).flatten(1).all(1)
    mirrored = (flipped == straight.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert not same.all()
    marked = torch.tensor([[1, 2, 3]], dtype=torch.uint8).expand(50, 1, 1, 3)
    made = freshly(marked, 0, 0, False)
    assert made.equal(marked)


def test_fresh_augmentation_follows_its_generator():
    images = numbered(6)
    first = freshly(images, 1, 2, True)
    again = freshly(images, 1, 2, True)
    other = freshly(images, 2, 2, True)
    assert first.equal(again)
    assert not first.equal(other)


def test_moving_keeps_the_images(examples):
    augmented = Augmented(examples, 2, seed=0, padding=1, flip=True)
    assert augmented.to("meta").device.type == "meta"
    assert augmented.device.type == "cpu"
    assert augmented.to("cpu").batch([7])[0].equal(augmented.batch([7])[0])


@pytest.mark.gpu
def test_a_gpu_makes_the_same_images(examples):
    augmented = Augmented(examples, 2, seed=0, padding=1, flip=True)
    there = augmented.to("cuda").subset(slice(5, 99))
    assert there.to("cpu").inputs.equal(augmented.subset(slice(5, 99)).inputs)
    assert there.device.type == "cuda"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 0, "padding": 1}, "factor must be at least 1, got 0"),
        ({"factor": 1, "padding": -1}, "padding must be between 0 and 127 pixels, got -1"),
        ({"factor": 1, "padding": 128}, "padding must be between 0 and 127 pixels, got 128"),
    ],
)
def test_impossible_augmentations_are_refused(examples, arguments, message):
    with pytest.raises(ValueError, match=message):
        Augmented(examples, seed=0, flip=False, **arguments)
