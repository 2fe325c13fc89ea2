"""Data that functions of the user's own make: tensors, and map-style data sets."""

import json
import logging
import sys
import textwrap

import numpy as np
import pytest
import torch

from truehessian.data import catalogue
from truehessian.data.about import DatasetInfo
from truehessian.data.sources import sets

MODULE = """
    import numpy as np
    import torch
    from PIL import Image
    from torch.utils.data import Dataset, TensorDataset

    CALLS = []

    def rows(count=12, width=3):
        CALLS.append(count)
        print("made")
        return torch.arange(count * width, dtype=torch.float32).view(count, width)

    def one(count=12):
        return rows(count), torch.arange(count) % 3

    def two():
        return one(12), one(6)

    def by_word():
        return {"x": rows(), "y": np.arange(12, dtype="int32"), "labels": np.arange(12) % 3}

    def both_by_word():
        first = by_word()
        return {"train": first, "test": {key: value[:4] for key, value in first.items()},
                "num_classes": 5}

    def by_position():
        return (rows(), rows(width=2)), torch.ones(12, 2)

    def pixels():
        images = torch.arange(12 * 16).view(12, 1, 4, 4).to(torch.uint8)
        return {"train": (images, torch.arange(12) % 2), "padding": 1, "flip": True,
                "mean": [0.25], "std": [0.5]}

    class Map(Dataset):
        def __init__(self, make, count=600, **attributes):
            self.make, self.count, self.read = make, count, []
            vars(self).update(attributes)

        def __len__(self):
            return self.count

        def __getitem__(self, number):
            self.read.append(number)
            return self.make(number)

    LAST = []

    def kept(*sets):
        LAST[:] = sets
        return sets if len(sets) > 1 else sets[0]

    def pairs():
        return kept(Map(lambda i: (torch.full((2,), i), i % 4), classes=list("abcd")))

    def by_name():
        make = lambda i: {"ids": [i, i + 1], "scale": i / 2, "label": i % 7}
        return kept(Map(make), Map(make, 9))

    def said():
        return {"train": kept(Map(lambda i: (torch.ones(2), i % 3))), "num_classes": 4}

    def said_wrongly():
        return {**said(), "num_classes": 2}

    def normalised_wrongly():
        return {"train": one(), "mean": [0.5, 0.5, 0.5]}

    def too_many_channels():
        return {**pixels(), "std": [0.5, 0.5]}

    def padded_wrongly():
        return {"train": one(), "padding": 4}

    def named_wrongly():
        return Map(lambda i: (torch.ones(2), i % 3), classes=["one", "two"])

    def numbers():
        return kept(Map(lambda i: (float(i), float(i))))

    def pictures():
        make = lambda i: (Image.new("RGB", (4, 2), (i, 0, 255)), i % 2)
        return kept(Map(make, 8, targets=[0, 1]))

    def listed():
        return [(torch.full((2,), float(i)), i % 2) for i in range(10)]

    def tensor_set():
        return TensorDataset(rows(), torch.arange(12))

    def cropped():
        draw = torch.Generator().manual_seed(0)
        return Map(lambda i: (torch.rand(3, generator=draw), i % 2), 20, classes=[0, 1])

    def global_draws():
        import random
        first = torch.rand(4, 3) + float(np.random.rand()) + random.random()
        more = Map(lambda i: (first[i] + torch.rand(3), i % 2), 4, classes=[0, 1])
        return {"train": (first, torch.arange(4)), "test": (first, torch.arange(4))}, more

    def drawn():
        return global_draws()[0]

    def drawn_while_read():
        return global_draws()[1]

    def ragged():
        return Map(lambda i: (torch.ones(2 + i // 300), 0), classes=[0])

    def no_pair():
        return Map(lambda i: torch.ones(2))

    def of_text():
        return Map(lambda i: {"text": "word", "label": 0}, classes=[0])

    def breaks():
        raise KeyError("no such file")

    def breaks_within():
        return Map(lambda i: (torch.ones(2), [0, 1][i]), classes=[0, 1])

    def nothing():
        return None

    def misspelt():
        return {"train": one(), "tset": one()}

    def empty():
        return Map(lambda i: None, 0)

    one.files = lambda count=12: [f"rows-{count}.txt"]
    two.files = ["rows-12.txt"]
    THING = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_sets.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_sets", None)


def of(name, **arguments):
    return {"name": f"own_sets:{name}", "arguments": arguments}


def test_tensors_in_one_piece_are_split(own, capsys):
    data = catalogue.fetch(**of("one", count=10), test_fraction=0.3)
    assert (len(data.train), len(data.test), data.num_classes) == (7, 3, 3)
    inputs, labels = data.train.batch(slice(None))
    assert ((inputs[:, 0] / 3 % 3).long() == labels).all()
    out, err = capsys.readouterr()
    assert (out, err.split()) == ("", ["made"]), "it prints aside, and is called once"


@pytest.mark.parametrize("name", ["two", "by_word", "both_by_word", "by_position", "pixels"])
def test_what_is_said_of_tensors_is_what_they_are(own, name):
    info, data = catalogue.info(of(name)["name"]), catalogue.fetch(**of(name))
    assert (
        info.num_classes
        == data.num_classes
        == {"both_by_word": 5, "by_position": 2}.get(name, 2 if name == "pixels" else 3)
    )
    assert info.input_shape == data.input_shape
    whole = (len(data.train), len(data.test))
    assert catalogue.sizes(of(name)["name"], about=info) == whole
    assert whole == {"two": (12, 6), "both_by_word": (12, 4)}.get(name, (10, 2))
    assert DatasetInfo.from_plain(json.loads(json.dumps(info._asdict()))) == info


def test_tensors_by_name_go_to_networks_by_name(own):
    info = catalogue.info("own_sets:by_word")
    assert info.network_inputs == {
        "input_shape": {"x": [3], "y": []},
        "input_dtypes": {"x": "float32", "y": "int64"},
    }
    inputs, labels = catalogue.fetch(**of("both_by_word")).test.batch(slice(None))
    assert list(inputs) == ["x", "y"]
    assert inputs["y"].dtype == torch.int64
    assert (inputs["y"] % 3 == labels).all()


def test_images_have_the_normalisation_and_the_augmentation_that_the_function_says(own):
    data = catalogue.fetch(**of("pixels"))
    assert (data.padding, data.flip) == (1, True)
    inputs, _ = data.train.batch([0], torch.float64)
    assert inputs.flatten()[1].item() == pytest.approx((1 / 255 - 0.25) / 0.5)


def test_a_map_style_set_is_described_by_its_first_example_and_read_once(own):
    info = catalogue.info("own_sets:pairs")
    import own_sets

    assert (info.num_classes, info.input_shape, info.num_train) == (4, (2,), 600)
    assert info.class_names == ("a", "b", "c", "d")
    assert own_sets.LAST[0].read == [0]
    data = catalogue.fetch(**of("pairs"))
    read = own_sets.LAST[0].read
    assert read[1:601] == list(range(600))
    assert len(read) == 1 + 600 + 5, "five are read again to see whether they are the same"
    assert (data.train.targets == data.train.inputs[:, 0] % 4).all()


def test_how_far_reading_has_come_is_shown_in_a_terminal_and_logged_elsewhere(
    own, caplog, capsys, monkeypatch
):
    monkeypatch.setattr(sets, "_EVERY", -1.0)
    caplog.set_level(logging.INFO)
    catalogue.fetch(**of("pairs"))
    assert "256 of 600 are read" in caplog.text
    assert not capsys.readouterr().err
    caplog.clear()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    catalogue.fetch(**of("pairs"))
    assert "600/600" in capsys.readouterr().err
    assert "are read" not in caplog.text


def test_a_map_style_set_of_mappings_is_put_together_as_a_data_loader_does(own, caplog):
    data = catalogue.fetch(**of("by_name"))
    assert (len(data.train), len(data.test), data.num_classes) == (600, 9, 7)
    assert "are all read to find the number of classes" in caplog.text
    import own_sets

    loader = torch.utils.data.DataLoader(own_sets.LAST[1], batch_size=9)
    (expected,) = loader
    ids = torch.stack(expected["ids"], 1)
    first, second = data.test.inputs["ids"]
    assert torch.stack([first, second], 1).equal(ids)
    assert data.test.inputs["scale"].equal(expected["scale"])
    assert data.test.targets.equal(expected["label"])


def test_a_number_of_classes_that_is_said_needs_no_reading(own):
    assert catalogue.info("own_sets:said").num_classes == 4
    import own_sets

    assert own_sets.LAST[0].read == [0]
    assert catalogue.fetch(**of("said")).num_classes == 4


def test_numbers_are_tensors_and_real_targets_numbers_to_predict(own):
    data = catalogue.fetch(**of("numbers"))
    assert (data.num_classes, data.input_shape) == (1, ())
    assert data.train.inputs.equal(data.train.targets)


def test_pictures_are_images_of_bytes(own):
    data = catalogue.fetch(**of("pictures"))
    assert data.input_shape == (3, 2, 4)
    assert data.train.inputs.dtype == torch.uint8
    inputs, _ = data.train.batch(slice(None))
    assert inputs.max() == 1


@pytest.mark.parametrize(("name", "classes"), [("listed", 2), ("tensor_set", 12)])
def test_lists_of_pairs_and_pytorchs_own_sets_are_map_style(own, name, classes):
    assert catalogue.fetch(**of(name)).num_classes == classes


def test_a_set_that_draws_at_random_is_warned_of(own, caplog):
    catalogue.fetch(**of("pairs"))
    assert not caplog.records
    catalogue.fetch(**of("cropped"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "is another one when it is read again" in record.message


@pytest.mark.parametrize("name", ["drawn", "drawn_while_read"])
def test_what_draws_from_global_generators_gives_the_same_data_again(own, name):
    before = torch.get_rng_state()
    one = catalogue.fetch(**of(name)).train.inputs
    torch.rand(3)
    assert catalogue.fetch(**of(name)).train.inputs.equal(one)
    torch.set_rng_state(before)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ragged", r"its examples cannot be put together .*; give all of them the same keys"),
        ("no_pair", "must each be a pair .*, got a Tensor"),
        ("of_text", "must hold tensors or numbers, got a str; leave it out"),
        ("breaks", r"dataset own_sets:breaks fails \(KeyError: 'no such file'\)"),
        ("breaks_within", r"reading number 2 fails \(IndexError"),
        ("nothing", "its examples must be a pair .*, got a NoneType"),
        ("misspelt", "gives 'tset' beside train; .*; did you mean 'test'"),
        ("said_wrongly", "num_classes is 2, but targets go up to 2; it must be 3 at least"),
        ("normalised_wrongly", r"mean must have one value .* there are 0 channels"),
        ("too_many_channels", r"std must have one value .* there are 1 channels; got \[0.5, 0.5\]"),
        ("padded_wrongly", r"padding and flip are of images .*, and the inputs are none"),
        ("named_wrongly", "num_classes is 2, but targets go up to 2"),
        ("empty", "its examples must be at least one"),
        ("THING", "is a int and neither a function that makes data nor a source"),
        ("ohne", "has no 'ohne'; did you mean 'one'"),
    ],
)
def test_what_is_no_data_is_refused_in_a_sentence(own, name, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        catalogue.fetch(**of(name))
    assert "\n" not in str(error.value)


def test_arguments_are_those_of_the_function(own):
    with pytest.raises(ValueError, match=r"arguments of own_sets:one are count; .*'size'"):
        catalogue.info("own_sets:one", {"size": 3})


def test_files_that_a_function_names_are_what_its_data_come_from(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for count in (10, 12):
        (tmp_path / f"rows-{count}.txt").write_text(str(count))
    found = [catalogue.origin(each) for each in (of("one", count=10), of("one"), of("two"))]
    assert [list(each.files) for each in found] == [["rows-10.txt"], *[["rows-12.txt"]] * 2]
    (tmp_path / "rows-12.txt").write_text("13")
    assert catalogue.origin(of("two")) != found[2]
    assert catalogue.origin(of("pairs")).files == {}


def test_a_function_is_called_again_in_another_question_only(own):
    catalogue.fetch(**of("one"))
    import own_sets

    assert own_sets.CALLS == [12]
    np.testing.assert_equal(catalogue.sizes("own_sets:one"), (10, 2))
    assert own_sets.CALLS == [12, 12]
