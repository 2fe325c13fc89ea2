"""Data in files of the user's own: arrays, and images in folders."""

import inspect

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torchvision.io import write_jpeg, write_png

from truehessian.data import catalogue
from truehessian.data.sources.folders import FOLDERS
from truehessian.pipeline.config.problem import Dataset


def arrays(count=20, *, kind=np.float32, shape=(3,)):
    random = np.random.default_rng(0)
    inputs = random.integers(0, 256, (count, *shape)).astype(kind)
    return {"inputs": inputs, "labels": np.arange(count) % 4}


def write(path, content):
    save_file(content, path) if path.suffix == ".safetensors" else np.savez(path, **content)
    return {"path": str(path)}


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_arrays_of_one_set_are_split(tmp_path, suffix):
    content = arrays()
    arguments = write(tmp_path / f"data.{suffix}", content)
    assert catalogue.sizes("tensors", test_fraction=0.25, arguments=arguments) == (15, 5)
    data = catalogue.fetch("tensors", test_fraction=0.25, arguments=arguments)
    assert (data.num_classes, data.input_shape) == (4, (3,))
    inputs, labels = data.train.batch(slice(None), torch.float64)
    assert inputs.dtype == torch.float64
    for row, label in zip(inputs.numpy(), labels.numpy(), strict=True):
        (place,) = np.flatnonzero((content["inputs"] == row).all(1))
        assert content["labels"][place] == label


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_images_of_two_sets_are_normalised_as_the_configuration_says(tmp_path, suffix):
    train, test = (arrays(count, kind=np.uint8, shape=(2, 4, 4)) for count in (8, 6))
    content = {f"train_{key}": value for key, value in train.items()}
    content |= {f"test_{key}": value for key, value in test.items()}
    arguments = write(tmp_path / f"data.{suffix}", content)
    data = catalogue.fetch("tensors", arguments=arguments, mean=[0.5, 0.25], std=[0.5, 1])
    assert (len(data.train), len(data.test)) == (8, 6)
    inputs, _ = data.test.batch([0], torch.float64)
    expected = (test["inputs"][:1] / 255 - [[[0.5]], [[0.25]]]) / [[[0.5]], [[1.0]]]
    np.testing.assert_allclose(inputs.numpy(), expected)
    plain, _ = catalogue.fetch("tensors", arguments=arguments).test.batch([0], torch.float64)
    np.testing.assert_allclose(plain.numpy(), test["inputs"][:1] / 255)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"x": np.zeros(3)}, r"must hold inputs and labels, or .*; it holds x"),
        (arrays() | {"labels": np.zeros(20)}, "labels must be whole numbers from 0 on"),
        (arrays() | {"labels": -np.ones(20, int)}, "labels must be whole numbers from 0 on"),
        (arrays() | {"labels": np.zeros(19, int)}, "inputs has shape .20, 3. and there are 19"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, content, sentence):
    arguments = write(tmp_path / "data.npz", content)
    with pytest.raises(ValueError, match=sentence):
        catalogue.sizes("tensors", arguments=arguments)


def test_a_changed_file_of_arrays_is_another_origin(tmp_path):
    settings = {"name": "tensors", "arguments": write(tmp_path / "data.npz", arrays())}
    before = catalogue.origin(settings)
    write(tmp_path / "data.npz", arrays(24))
    assert catalogue.origin(settings) != before


def colour(value, shape=(3, 6, 9)):
    return torch.full(shape, value, dtype=torch.uint8)


@pytest.fixture
def folder(tmp_path):
    """Grey levels that say split, class and number."""
    for split, base in (("train", 0), ("test", 100)):
        for label, name in enumerate(["cat", "dog", "emu"]):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(3):
                level = base + 10 * label + number
                write_png(colour(level), str(tmp_path / split / name / f"{number}.png"))
    return tmp_path


def test_images_are_read_by_class_and_name_in_one_size(folder):
    arguments = {"path": str(folder), "size": 4}
    assert catalogue.sizes("image_folder", arguments=arguments) == (9, 9)
    data = catalogue.fetch("image_folder", arguments=arguments)
    assert data.train.inputs.shape == (9, 3, 4, 4)
    assert data.train.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert data.test.inputs[:, 0, 0, 0].tolist() == [100, 101, 102, 110, 111, 112, 120, 121, 122]
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_one_folder_is_split_and_other_formats_are_read(folder):
    write_jpeg(colour(7), str(folder / "train" / "cat" / "more.JPG"))
    data = catalogue.fetch("image_folder", arguments={"path": str(folder / "train")})
    assert len(data.train) + len(data.test) == 10
    assert data.input_shape == (3, 32, 32)


def test_a_changed_or_moved_image_is_another_origin(folder):
    settings = {"name": "image_folder", "arguments": {"path": str(folder)}}
    first = catalogue.origin(settings)
    write_png(colour(55), str(folder / "train/cat/0.png"))
    second = catalogue.origin(settings)
    (folder / "train/cat/1.png").rename(folder / "train/dog/9.png")
    assert len({str(each) for each in (first, second, catalogue.origin(settings))}) == 3


def test_folders_without_classes_are_refused(tmp_path, folder):
    with pytest.raises(ValueError, match="is not a folder"):
        catalogue.sizes("image_folder", arguments={"path": str(tmp_path / "nowhere")})
    with pytest.raises(ValueError, match="at least two classes, and has 0"):
        catalogue.sizes("image_folder", arguments={"path": str(folder / "train/cat")})
    (folder / "test/emu").rename(folder / "test/gnu")
    with pytest.raises(ValueError, match=r"same classes, not \['emu', 'gnu'\]"):
        catalogue.sizes("image_folder", arguments={"path": str(folder)})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "arguments of tensors are path, padding, flip; missing a required argument: 'path'"),
        ({"file": "x.npz"}, "arguments of tensors are path, padding, flip; "),
    ],
)
def test_other_arguments_than_a_source_takes_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        catalogue.sizes("tensors", arguments=arguments)


def test_a_source_is_asked_once_for_what_a_configuration_or_a_fetch_needs(folder, monkeypatch):
    asked = []
    info = FOLDERS.info
    monkeypatch.setattr(FOLDERS, "info", lambda **arguments: asked.append(1) or info(**arguments))
    monkeypatch.setattr(FOLDERS.info, "__signature__", inspect.signature(info), raising=False)
    section = Dataset(name="image_folder", arguments={"path": str(folder)})
    assert (section.num_train, section.num_test, section.info.num_classes) == (9, 9, 3)
    assert len(asked) == 1
    catalogue.fetch("image_folder", arguments={"path": str(folder)})
    assert len(asked) == 2
