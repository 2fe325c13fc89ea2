import subprocess
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from truehessian.data import catalogue, dataset as datasets

ROOT = Path(__file__).parents[2] / "data"
needs_cifar100 = pytest.mark.skipif(
    not (ROOT / "cifar-100-python" / "train").is_file(), reason="data/cifar-100-python is missing"
)


@pytest.fixture
def digits():
    return catalogue.fetch("digits", seed=3)


def everything(dataset):
    return torch.cat([dataset.train.inputs, dataset.test.inputs]).flatten(1)


def test_the_digits_are_those_of_scikit_learn_times_fifteen(digits):
    from sklearn.datasets import load_digits

    ours = sorted(map(tuple, (everything(digits) // 15).tolist()))
    assert ours == sorted(map(tuple, load_digits().data.astype(int).tolist()))
    assert everything(digits).max() == 240


def test_the_split_of_the_digits_depends_on_the_seed_alone(digits):
    again, other = catalogue.fetch("digits", seed=3), catalogue.fetch("digits", seed=4)
    assert digits.train.inputs.equal(again.train.inputs)
    assert not digits.train.inputs.equal(other.train.inputs)
    assert (len(digits.train), len(digits.test)) == (1438, 359)


def test_the_normalised_digits_have_mean_zero_and_standard_deviation_one(digits):
    inputs = torch.cat([digits.train.batch(slice(None))[0], digits.test.batch(slice(None))[0]])
    assert inputs.mean().item() == pytest.approx(0, abs=1e-3)
    assert inputs.std().item() == pytest.approx(1, abs=1e-3)


def test_another_normalisation_takes_the_place_of_the_data_sets_own(digits, tmp_path):
    given = {"mean": [0.5], "std": [0.25]}
    for arguments in (given, {"mean": [0]}, {"std": [2]}, {"mean": [0], "std": [1]}):
        other = catalogue.fetch("digits", seed=3, **arguments)
        mean, std = (arguments.get(k, [getattr(digits.train, k)[0]])[0] for k in ("mean", "std"))
        datasets.save(tmp_path / "data.safetensors", other)
        loaded = datasets.load(tmp_path / "data.safetensors")
        for split in ("train", "test"):
            inputs, _ = getattr(loaded, split).batch(slice(8), torch.float64)
            images = getattr(digits, split).inputs[:8].double()
            assert_close(inputs, (images / 255 - mean) / std, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": [0.5, 0.5]}, r"mean must have one value for each channel .* 1, got \[0.5, 0.5\]"),
        ({"std": []}, r"std must have one value for each channel"),
        ({"std": [0]}, r"std must be finite and positive, got \[0\]"),
        ({"std": [-1.0]}, r"std must be finite and positive"),
        ({"mean": [float("nan")]}, r"mean must be finite, got \[nan\]"),
    ],
)
def test_an_impossible_normalisation_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        catalogue.fetch("digits", **arguments)


def test_a_batch_is_the_image_over_255_minus_mean_over_std(digits):
    inputs, targets = digits.train.batch([5, 2], dtype=torch.float64)
    images = digits.train.inputs[[5, 2]].double()
    mean, std = digits.train.mean[0], digits.train.std[0]
    assert_close(inputs, (images / 255 - mean) / std, rtol=1e-14, atol=1e-14)
    assert targets.equal(digits.train.targets[[5, 2]])
    assert targets.dtype == torch.int64


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_chunks_are_contiguous_in_order_and_only_the_last_is_short(digits, size):
    examples = digits.train.subset(slice(0, 100))
    inputs, targets = zip(*examples.chunks(size), strict=True)
    assert [len(t) for t in targets[:-1]] == [size] * (len(targets) - 1)
    assert 1 <= len(targets[-1]) <= size
    whole = examples.batch(slice(None))
    assert torch.cat(inputs).equal(whole[0])
    assert torch.cat(targets).equal(whole[1])


def test_indices_may_be_a_list_an_array_a_tensor_or_a_slice(digits):
    expected = digits.train.inputs[2:5]
    for indices in ([2, 3, 4], np.arange(2, 5), torch.arange(2, 5), slice(2, 5)):
        assert digits.train.subset(indices).inputs.equal(expected)


def test_subsets_of_one_seed_are_nested_and_keep_their_order():
    full = catalogue.fetch("digits").train
    position = {image.numpy().tobytes(): i for i, image in enumerate(full.inputs)}
    rows = [
        [position[image.numpy().tobytes()] for image in examples.inputs]
        for examples in (catalogue.fetch("digits", train_examples=n).train for n in (10, 50))
    ]
    assert [len(r) for r in rows] == [10, 50]
    assert rows[0] == sorted(rows[0])
    assert set(rows[0]) < set(rows[1])
    assert rows[0] != list(range(10))


@pytest.mark.parametrize(
    "arguments", [{}, {"train_examples": 77}, {"test_fraction": 0.31}, {"test_fraction": 1e-9}]
)
def test_the_numbers_of_examples_are_known_without_data(arguments):
    fetched = catalogue.fetch("digits", **arguments)
    assert catalogue.sizes("digits", **arguments) == (len(fetched.train), len(fetched.test))
    assert len(fetched.train) >= 1
    assert len(fetched.test) >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "digit"}, "dataset must be one of cifar10"),
        ({"name": "digits", "train_examples": 1439}, "train_examples must be between 1 and the"),
        ({"name": "cifar10", "train_examples": 0}, "between 1 and the 50000 examples of cifar10"),
        ({"name": "digits", "test_fraction": 1.0}, "test_fraction must lie strictly between"),
    ],
)
def test_impossible_requests_are_refused_before_any_data_are_read(arguments, message):
    with pytest.raises(ValueError, match=message):
        catalogue.sizes(**arguments)
    with pytest.raises(ValueError, match=message):
        catalogue.fetch(**arguments, root="nowhere")


def test_more_test_examples_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="test_examples must be between 1 and the 359"):
        catalogue.fetch("digits", test_examples=360)


def test_a_saved_data_set_comes_back_the_same_and_saves_to_the_same_bytes(digits, tmp_path):
    dataset = digits._replace(train=digits.train.subset([3, 1, 2]))
    datasets.save(tmp_path / "a.safetensors", dataset)
    loaded = datasets.load(tmp_path / "a.safetensors")
    datasets.save(tmp_path / "b.safetensors", loaded)
    for split in ("train", "test"):
        ours, theirs = getattr(dataset, split), getattr(loaded, split)
        assert ours.inputs.equal(theirs.inputs)
        assert ours.targets.equal(theirs.targets)
        assert (ours.mean, ours.std) == (theirs.mean, theirs.std)
    assert loaded[3:] == dataset[3:]
    assert loaded.name == "digits"
    assert loaded.input_shape == (1, 8, 8)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.safetensors", "b.safetensors"]
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("keep", [0, 5, 100, 2000])
def test_a_truncated_file_is_an_error_of_one_sentence(digits, tmp_path, keep):
    path = tmp_path / "digits.safetensors"
    datasets.save(path, digits)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        datasets.load(path)


def test_offline_the_error_says_what_to_put_where(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    with pytest.raises(FileNotFoundError) as missing:
        catalogue.fetch("cifar100", root=tmp_path)
    assert f"cifar100 is not in {tmp_path}/cifar-100-python" in str(missing.value)
    assert "cifar-100-python.tar.gz" in str(missing.value)
    assert "no network" in str(missing.value)
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.gz") as missing:
        catalogue.fetch("mnist", root=tmp_path)
    assert "\n" not in str(missing.value)


def test_a_damaged_download_is_called_damaged(tmp_path):
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"not the official bytes")
    with pytest.raises(FileNotFoundError, match=r"is damaged \(delete it\)"):
        catalogue.fetch("cifar100", root=tmp_path, download=False)


def test_the_catalogue_is_read_without_torchvision_or_scikit_learn():
    code = (
        "import sys; from truehessian.data import catalogue, sources;"
        "[catalogue.sizes(name) for name in ('digits', 'cifar100', 'mnist')];"
        "assert not {'torch', 'torchvision', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def idx(array):
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(n.to_bytes(4, "big") for n in array.shape)
        + array.tobytes()
    )


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]
)
def test_mnist_files_at_hand_are_read_without_the_network(tmp_path, name, folder):
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("t10k", 4)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8)))
    dataset = catalogue.fetch(name, root=tmp_path, download=False)
    assert dataset.train.inputs.shape == (6, *catalogue.info(name).input_shape)
    assert dataset.test.inputs[:, 0].numpy().tolist() == images.tolist()
    assert dataset.test.targets.tolist() == [0, 1, 2, 3]


@needs_cifar100
def test_cifar_100_has_the_catalogued_shape_mean_and_standard_deviation():
    dataset = catalogue.fetch("cifar100", root=ROOT, download=False)
    info = catalogue.info("cifar100")
    assert dataset.train.inputs.shape == (info.num_train, *info.input_shape)
    assert dataset.test.inputs.shape == (info.num_test, *info.input_shape)
    assert dataset.train.targets.bincount().tolist() == [500] * 100
    pixels = dataset.train.inputs.numpy() / np.float32(255)
    assert pixels.mean((0, 2, 3)) == pytest.approx(info.mean, abs=2e-4)
    assert pixels.std((0, 2, 3)) == pytest.approx(info.std, abs=2e-4)
