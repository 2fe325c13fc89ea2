"""Data in files of the user's own: arrays, and images in folders."""

import inspect

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torchvision.io import write_jpeg, write_png

from truehessian.data import catalogue
from truehessian.data.sources import tensors
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


def two(train, test):
    """Names of two sets."""
    return {
        f"{s}_{k}": v for s, each in (("train", train), ("test", test)) for k, v in each.items()
    }


def tokens(count, length=5, kind=np.int32):
    ids = np.random.default_rng(count).integers(1, 9, (count, length)).astype(kind)
    mask = np.arange(length) < 1 + np.arange(count)[:, None] % length
    return {
        "inputs.input_ids": ids,
        "inputs.attention_mask": mask.astype("int64"),
        "targets": np.where(mask, ids, -100),
    }


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_names_with_dots_are_inputs_by_name_and_ignored_tokens_are_no_classes(tmp_path, suffix):
    train, test = tokens(8), tokens(6)
    train["targets"][0, 0], test["targets"][1, 0] = 8, 11
    arguments = write(tmp_path / f"data.{suffix}", two(train, test))
    info = catalogue.info("tensors", arguments)
    assert info.num_classes == 12
    assert info.network_inputs == {
        "input_shape": {"input_ids": [5], "attention_mask": [5]},
        "input_dtypes": {"input_ids": "int64", "attention_mask": "int64"},
    }
    data = catalogue.fetch("tensors", arguments=arguments)
    assert dict(data.input_shape) == {"input_ids": (5,), "attention_mask": (5,)}
    for split, content in ((data.train, train), (data.test, test)):
        inputs, targets = split.batch(slice(None), torch.float64)
        assert {each.dtype for each in inputs.values()} == {torch.int64}
        for name, tensor in inputs.items():
            assert (tensor.numpy() == content[f"inputs.{name}"]).all()
        assert targets.dtype == torch.int64
        assert (targets.numpy() == content["targets"]).all()
    assert catalogue.info("tensors", {**arguments, "num_classes": 20}).num_classes == 20


@pytest.mark.parametrize(
    ("targets", "outputs"), [(np.ones(6, "float32"), 1), (np.ones((6, 4), "float16"), 4)]
)
def test_real_targets_are_numbers_to_predict(tmp_path, targets, outputs):
    numbers = {"inputs": np.ones((6, 2, 3)), "targets": targets}
    data = catalogue.fetch("tensors", arguments=write(tmp_path / "data.npz", numbers))
    assert (data.num_classes, data.input_shape) == (outputs, (2, 3))
    inputs, found = data.train.batch(slice(None))
    assert inputs.dtype == found.dtype == torch.float32
    assert found.shape[1:] == targets.shape[1:]


def test_parts_that_are_counted_are_inputs_by_position(tmp_path):
    content = {"inputs.0": np.ones((6, 2), "int16"), "inputs.1": np.ones(6), "labels": np.arange(6)}
    arguments = write(tmp_path / "data.npz", content)
    assert catalogue.info("tensors", arguments).network_inputs == {
        "input_shape": [[2], []],
        "input_dtypes": ["int64", "float64"],
    }
    inputs, _ = catalogue.fetch("tensors", arguments=arguments).train.batch(slice(0, 2))
    assert [(each.shape, each.dtype) for each in inputs] == [
        ((2, 2), torch.int64),
        ((2,), torch.float32),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"x": np.zeros(3)}, r"must hold inputs and targets .*, or .*; it holds x"),
        (arrays() | {"targets": np.zeros(20)}, "must hold either targets or labels"),
        (arrays() | {"labels": -np.ones(20, int)}, r"shape \(N,\) must be whole numbers from 0 on"),
        (arrays() | {"labels": -np.ones((20, 2), int)}, "must be whole numbers from 0 on"),
        (arrays() | {"labels": np.ones(20, bool)}, "targets are true or false"),
        (arrays() | {"labels": np.zeros(19, int)}, "inputs has 20 and targets has 19"),
        (arrays() | {"labels": np.array(["a"] * 20)}, "targets must hold real or whole numbers"),
        (arrays() | {"labels": np.ones((20, 2, 2))}, "number of outputs cannot be told"),
        (arrays() | {"inputs.x": np.ones(20)}, "both a tensor and parts of it"),
        (two(arrays(8), arrays(6, shape=(4,))), r"same for training .* \(3,\) and float32 \(4,\)"),
        (two(arrays(8), arrays(6, kind=np.int64)), "same for training .* float32 .* and int64"),
        (arrays(0), "inputs has 0"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, content, sentence):
    arguments = write(tmp_path / "data.npz", content)
    with pytest.raises(ValueError, match=sentence) as error:
        catalogue.sizes("tensors", arguments=arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", [0, 3, 4.5, "many"])
def test_fewer_outputs_than_the_targets_have_are_refused(tmp_path, number):
    arguments = write(tmp_path / "data.npz", arrays()) | {"num_classes": number}
    with pytest.raises(ValueError, match=r"num_classes (must be a whole number|is 3, but targets)"):
        catalogue.info("tensors", arguments)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_damaged_file_of_arrays_is_refused_in_a_sentence(tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=f"data.{suffix} is damaged or no .{suffix} file"):
        catalogue.info("tensors", {"path": str(path)})


def test_no_whole_array_of_inputs_is_read_to_describe_them(tmp_path, monkeypatch):
    arguments = write(tmp_path / "data.npz", tokens(8))
    asked = []
    array = tensors._array
    monkeypatch.setattr(
        tensors, "_array", lambda path, name: asked.append(name) or array(path, name)
    )
    catalogue.info("tensors", arguments)
    assert asked == ["targets"]


def test_what_is_no_image_is_not_normalised(tmp_path):
    arguments = write(tmp_path / "data.npz", arrays())
    with pytest.raises(ValueError, match=r"mean and std are of images, .*; leave both out"):
        catalogue.fetch("tensors", arguments=arguments, mean=[0.5, 0.5, 0.5], std=[1, 1, 1])


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
        ({}, "are path, padding, flip, num_classes; missing a required argument: 'path'"),
        ({"file": "x.npz"}, "arguments of tensors are path, padding, flip, num_classes; "),
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
