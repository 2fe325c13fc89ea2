"""Every mistake in a configuration is one readable sentence, before any job starts."""

import copy
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from truehessian.pipeline.config import checks, loss, schema
from truehessian.pipeline.config.fields import Section
from truehessian.pipeline.config.inference import Theory
from truehessian.pipeline.config.networks import network_facts
from truehessian.pipeline.config.problem import Dataset
from truehessian.pipeline.config.settings import (
    AugmentationSettings,
    BatchSettings,
    GroupSettings,
    InfluenceSettings,
    PartsSettings,
    SelfTestSettings,
    SharpnessSettings,
    SpectrumSettings,
    SubsampleSettings,
    SubspaceSettings,
    TrainingSettings,
    VarianceSettings,
)
from truehessian.pipeline.stage import key as keys

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.json"


@pytest.fixture
def settings():
    """A valid configuration with one run, `tiny`."""
    run = {
        "dataset": {"name": "digits", "train_examples": 96, "test_examples": 64},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"epochs": 2},
        "epochs": [0, 2],
        "spectrum": {"steps": 8, "ggn_steps": 4},
        "batch": {"sizes": [16], "steps": 6, "noise_steps": 4},
        "augmentation": {"factors": [{"factor": 2, "steps": 4}]},
        "variance": {"group_size": 8, "held_out_steps": 5},
    }
    return {"analyse": ["tiny"], "runs": {"tiny": copy.deepcopy(run)}}


def accept(settings) -> None:
    checks.check_networks(checks.check(settings))


def message(settings) -> str:
    """The one sentence that a configuration is refused with."""
    with pytest.raises(checks.ConfigError) as caught:
        accept(settings)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


def change(settings, path: str, value) -> None:
    """Set `path`, dotted and relative to the run."""
    *parents, last = path.split(".")
    target = settings["runs"]["tiny"]
    for name in parents:
        target = target[name]
    target[last] = value


def test_a_valid_configuration_is_accepted(settings):
    accept(settings)


@pytest.mark.parametrize("path", ["config.yaml", "tests/reduced.yaml"])
def test_the_experiments_that_come_with_the_workflow_are_valid(path):
    accept(yaml.safe_load((ROOT / path).read_text()))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("spectrum.stepps", "unknown key runs.tiny.spectrum.stepps; did you mean steps?"),
        ("bacth", "unknown key runs.tiny.bacth; did you mean batch?"),
        ("dataset.train_example", "unknown key runs.tiny.dataset.train_example; did you mean"),
        ("spectrum.1", "unknown key runs.tiny.spectrum.1; known are chunk_size, precision"),
        ("training.q", "unknown key runs.tiny.training.q; known are epochs, batch_size"),
    ],
)
def test_an_unknown_key_is_named_by_its_path_with_the_nearest_known_one(settings, path, sentence):
    change(settings, path, 1)
    assert message(settings).startswith(sentence)


def test_an_unknown_key_at_the_top_is_named(settings):
    settings["analyze"] = ["tiny"]
    assert message(settings) == "unknown key analyze; did you mean analyse?"


def test_a_misspelt_key_is_reported_before_the_key_that_it_leaves_missing(settings):
    section = settings["runs"]["tiny"]["dataset"]
    section["nmae"] = section.pop("name")
    assert message(settings) == "unknown key runs.tiny.dataset.nmae; did you mean name?"


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("spectrum.steps", "many", "runs.tiny.spectrum.steps must be a whole number, got 'many'"),
        ("spectrum.steps", 8.0, "runs.tiny.spectrum.steps must be a whole number, got 8.0"),
        ("spectrum.steps", True, "runs.tiny.spectrum.steps must be a whole number, got True"),
        ("dataset.download", "yes", "runs.tiny.dataset.download must be true or false, got 'yes'"),
        ("epochs", 3, "runs.tiny.epochs must be a list, got 3"),
        ("spectrum", None, "runs.tiny.spectrum must be a mapping, got None"),
        ("model.name", 3, "runs.tiny.model.name must be text, got 3"),
        ("training.momentum", True, "runs.tiny.training.momentum must be a number, got True"),
        ("epochs", ["0"], "runs.tiny.epochs.0 must be a whole number, got '0'"),
        ("augmentation.factors", [2], "runs.tiny.augmentation.factors.0 must be a mapping, got 2"),
        ("variance", 3, "runs.tiny.variance must be a mapping or null, got 3"),
        (
            "dataset.train_examples",
            "all",
            "runs.tiny.dataset.train_examples must be a whole number or null, got 'all'",
        ),
    ],
)
def test_a_wrong_type_is_named_with_the_right_one(settings, path, value, sentence):
    change(settings, path, value)
    assert message(settings) == sentence


def test_a_number_that_yaml_reads_as_text_is_explained(settings):
    change(settings, "spectrum.tolerance", yaml.safe_load("1e-5"))
    assert "as in 1.0e-5" in message(settings)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "spectrum.precision",
            "float46",
            "runs.tiny.spectrum.precision must be one of float32, tf32, float64, got 'float46'; "
            "did you mean float64?",
        ),
        (
            "training.precision",
            "fp16",
            "runs.tiny.training.precision must be one of float32, tf32, bf16, got 'fp16'; "
            "did you mean bf16?",
        ),
        ("batch.folds", 1, "runs.tiny.batch.folds must be at least 2, got 1"),
        ("spectrum.seed", -1, "runs.tiny.spectrum.seed must be at least 0, got -1"),
        ("training.learning_rate", 0, "runs.tiny.training.learning_rate must be above 0, got 0"),
        ("training.momentum", 1, "runs.tiny.training.momentum must be below 1, got 1"),
        ("epochs", [], "runs.tiny.epochs must not be empty"),
        ("epochs", [1, 1], "runs.tiny.epochs must not name anything twice, got [1, 1]"),
        (
            "spectrum.device",
            "gpu",
            "runs.tiny.spectrum.device must match ^(auto|cpu|cuda(:[0-9]+)?)$, got 'gpu'",
        ),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(settings, path, value, sentence):
    change(settings, path, value)
    assert message(settings) == sentence


def test_a_missing_key_is_named(settings):
    del settings["runs"]["tiny"]["epochs"]
    assert message(settings) == "runs.tiny.epochs is missing"


def test_a_run_must_have_a_name_that_can_be_a_folder(settings):
    settings["runs"]["../up"] = settings["runs"]["tiny"]
    assert message(settings).startswith("the name of a run must match")


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"batch.sizes": [16, 97]}, ["runs.tiny.batch.sizes contains 97", "96 training examples"]),
        ({"batch.noise_folds": 6}, ["runs.tiny.batch.noise_folds is 6", "only 5 folds"]),
        ({"epochs": [0, 3]}, ["runs.tiny.training.checkpoint_epochs contains 3", "after epoch 2"]),
        (
            {"epochs": [0, 3], "training.checkpoint_epochs": [0]},
            ["runs.tiny.epochs contains 3", "training ends after epoch 2"],
        ),
        (
            {"training.checkpoint_epochs": [0, 1]},
            ["runs.tiny.epochs contains 2", "does not keep", "training.checkpoint_epochs"],
        ),
        ({"spectrum.batchnorm": "train"}, ["runs.tiny.variance", "eval", "variance: null"]),
        ({"variance.group_size": 49}, ["runs.tiny.variance.group_size is 49", "96 training"]),
        (
            {"batch.sizes": [16, 24], "variance.group_size": 12},
            ["runs.tiny.variance.group_size is 12", "not divide 16 of", "set it to 4, "],
        ),
        ({"variance.group_size": 33}, ["runs.tiny.variance.group_size is 33", "64 test"]),
        (
            {"subspace": {"group_size": 49}},
            ["runs.tiny.subspace.group_size is 49", "96 training"],
        ),
        (
            {"subspace": {"group_size": 12}, "batch.sizes": [16]},
            ["runs.tiny.subspace.group_size is 12", "not divide 16 of", "set it to 4, "],
        ),
        (
            {"parts": {"steps": 4, "pairs": 3}},
            ["runs.tiny.parts.pairs is 3 at each end", "at most 2", "take more steps"],
        ),
        ({"parts": {"epochs": [99]}}, ["runs.tiny.parts.epochs contains 99", "add it there"]),
        (
            {"parts": {}, "variance": None, "spectrum.batchnorm": "train"},
            ["runs.tiny.parts needs spectrum.batchnorm: eval", "parts: null"],
        ),
        ({"subspace": {"passes": 9}}, ["runs.tiny.subspace.passes is 9", "take 10"]),
        ({"variance.held_out_folds": 65}, ["runs.tiny.variance.held_out_folds is 65", "64 test"]),
        ({"dataset.train_examples": 9999}, ["runs.tiny.dataset: train_examples", "1438", "9999"]),
        ({"dataset.test_examples": 9999}, ["runs.tiny.dataset: test_examples", "359", "9999"]),
        (
            {"augmentation.factors": [{"factor": 2, "steps": 4}, {"factor": 2, "steps": 5}]},
            ["runs.tiny.augmentation.factors", "factor 2 twice"],
        ),
        (
            {"subsamples": {"parts": [97]}},
            ["runs.tiny.subsamples.parts contains 97", "96 training examples"],
        ),
        ({"self_test": {"epochs": [1]}}, ["runs.tiny.self_test.epochs contains 1", "epochs"]),
        (
            {"self_test": {"folds": 4}},
            ["runs.tiny.self_test.folds is 4", "smallest part has 12 examples"],
        ),
        (
            {"self_test": {"folds": 2}, "spectrum.batchnorm": "train"},
            ["runs.tiny.self_test", "eval", "self_test: null"],
        ),
        ({"sharpness": {"epochs": [1]}}, ["runs.tiny.sharpness.epochs contains 1", "epochs"]),
        (
            {"sharpness": {"sizes": [97]}},
            ["runs.tiny.sharpness.sizes contains 97", "96 training examples"],
        ),
        (
            {"sharpness": {"optimiser": "adam.pt"}},
            ["runs.tiny.sharpness.optimiser must contain {epoch}", "'adam.pt'"],
        ),
        (
            {"sharpness": {"optimiser": "{step}.pt"}},
            ["runs.tiny.sharpness.optimiser: may hold {epoch} and no other braces"],
        ),
        ({"sharpness": {"momentum": 1}}, ["runs.tiny.sharpness.momentum must be below 1, got 1"]),
        ({"influence": {"epochs": [1]}}, ["runs.tiny.influence.epochs contains 1", "epochs"]),
        (
            {"influence": {"examples": 97}},
            ["runs.tiny.influence.examples is 97", "96 training examples"],
        ),
        (
            {"influence": {}, "training": None, "checkpoints": "{epoch}.pt"},
            ["runs.tiny.influence.damping is null", "learning rates"],
        ),
        (
            {"influence": {"damping": 0, "penalty": 0}},
            ["runs.tiny.influence.damping and influence.penalty are both zero"],
        ),
        (
            {"influence": {}, "variance": None, "spectrum.batchnorm": "train"},
            ["runs.tiny.influence needs spectrum.batchnorm: eval", "influence: null"],
        ),
        ({"batchnorm": {"epochs": [1]}}, ["runs.tiny.batchnorm.epochs contains 1", "epochs"]),
        (
            {"batchnorm": {}, "variance": None, "spectrum.batchnorm": "train"},
            ["runs.tiny.batchnorm needs spectrum.batchnorm: eval", "batchnorm: null"],
        ),
        (
            {"batchnorm": {"chunk_sizes": [97]}},
            ["runs.tiny.batchnorm.chunk_sizes contains 97", "96 training examples"],
        ),
        (
            {"batchnorm": {"chunk_sizes": [19]}},
            ["runs.tiny.batchnorm.chunk_sizes contains 19", "a single one of 96"],
        ),
        (
            {"batchnorm": {"chunk_sizes": [32]}},
            ["runs.tiny.batchnorm", "of which the network has none"],
        ),
        ({"checkpoints": "weights/{epoch}.safetensors"}, ["training and checkpoints exclude"]),
        ({"model.num_classes": 5}, ["runs.tiny.model.num_classes cannot be set", "leave it out"]),
        ({"model.input_shape": [1]}, ["runs.tiny.model.input_shape cannot be set"]),
        ({"model.seed": 1}, ["runs.tiny.model.seed cannot be set", "training.seed"]),
        ({"dataset.mean": [0, 0, 0]}, ["runs.tiny.dataset: mean must have one value for each"]),
        ({"dataset.std": [0]}, ["runs.tiny.dataset.std.0 must be above 0, got 0"]),
        ({"dataset.std": [math.inf]}, ["runs.tiny.dataset: std must be finite and positive"]),
        ({"dataset.mean": "0.5"}, ["runs.tiny.dataset.mean must be a list or null, got '0.5'"]),
        ({"parameters": "fc.*"}, ["parameters must be a list or trainable or null, got 'fc.*'"]),
        (
            {"training": None, "checkpoints": "{epoch}.pt", "weight_decay": "include"},
            ["runs.tiny.weight_decay is include, but beside checkpoints", "give the number itself"],
        ),
        ({"weight_decay": "yes"}, ["runs.tiny.weight_decay must be", "exclude", "got 'yes'"]),
        ({"weight_decay": -0.1}, ["runs.tiny.weight_decay must be", "got -0.1"]),
    ],
)
def test_values_that_are_impossible_together_are_refused(settings, changes, pieces):
    for path, value in changes.items():
        change(settings, path, value)
    text = message(settings)
    for piece in pieces:
        assert piece in text


@pytest.mark.parametrize(("chosen", "number"), [("exclude", 0), ("include", 0.002), (0.1, 0.1)])
def test_matrices_get_the_weight_decay_that_the_run_chooses(settings, chosen, number):
    change(settings, "training", {"epochs": 2, "weight_decay": 0.002})
    change(settings, "weight_decay", chosen)
    change(settings, "operators", {"own": {"operator": "ggn"}})
    run = checks.check(settings).runs["tiny"]
    for section in ("spectrum", "batch", "augmentation", "variance"):
        assert run.settings(section)["weight_decay"] == number
    assert run.operator_settings("own")["weight_decay"] == number
    assert run.settings("training")["weight_decay"] == 0.002


def test_a_run_needs_training_or_checkpoints(settings):
    del settings["runs"]["tiny"]["training"]
    assert "one of them is needed" in message(settings)


def test_checkpoints_of_ones_own_take_the_place_of_training(settings):
    del settings["runs"]["tiny"]["training"]
    change(settings, "checkpoints", "weights/{epoch}.safetensors")
    checks.check(settings)


@pytest.mark.parametrize("pattern", ["weights.safetensors", "{epoch}/{seed}.safetensors"])
def test_checkpoints_hold_the_epoch_and_nothing_else_in_braces(settings, pattern):
    del settings["runs"]["tiny"]["training"]
    change(settings, "checkpoints", pattern)
    assert message(settings).startswith("runs.tiny.checkpoints m")


@pytest.mark.parametrize(
    ("checkpoints", "sentence"),
    [
        (3, "runs.tiny.checkpoints must be text or a mapping or null, got 3"),
        ({"place": "files"}, "runs.tiny.checkpoints.where is missing"),
        ({"place": 3, "where": "{epoch}"}, "runs.tiny.checkpoints.place must be text, got 3"),
        (
            {"plaec": "files", "where": "{epoch}"},
            "unknown key runs.tiny.checkpoints.plaec; did you mean place?",
        ),
    ],
)
def test_of_what_may_have_two_forms_the_one_that_is_meant_is_spoken_of(
    settings, checkpoints, sentence
):
    del settings["runs"]["tiny"]["training"]
    change(settings, "checkpoints", checkpoints)
    assert message(settings) == sentence


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("operators", {"Mine": {"operator": "ggn"}}, "a name in runs.tiny.operators must match"),
        ("operators", {"mine": {"operatr": "ggn"}}, "unknown key runs.tiny.operators.mine.operatr"),
        ("dataset.arguments", {1: 2}, "a name in runs.tiny.dataset.arguments must be text, got 1"),
    ],
)
def test_names_and_keys_within_mappings_of_names_are_spoken_of(settings, path, value, sentence):
    change(settings, path, value)
    assert message(settings).startswith(sentence)


@pytest.mark.parametrize("form", ["plain", "of a place"])
def test_a_single_file_of_weights_is_one_epoch(settings, form):
    del settings["runs"]["tiny"]["training"]
    single = "weights.pt" if form == "plain" else {"place": "files", "where": "weights.pt"}
    key = "checkpoints" if form == "plain" else "checkpoints.where"
    change(settings, "checkpoints", single)
    assert message(settings) == (
        f"runs.tiny.{key} must contain {{epoch}}, because epochs names 2 of them, got "
        "'weights.pt'; give one epoch for a single file of weights"
    )
    change(settings, "epochs", [7])
    place, where = checks.check(settings).runs["tiny"].place
    assert place.file(where, 7) == "weights.pt"


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "PKL"])
def test_pickles_are_refused_before_the_start(settings, suffix):
    del settings["runs"]["tiny"]["training"]
    change(settings, "checkpoints", f"weights/{{epoch}}.{suffix}")
    text = message(settings)
    assert text.startswith("runs.tiny.checkpoints names a pickle")
    assert "torch.save(model.state_dict(), '0.pt')" in text


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth", "ckpt", "pth.tar"])
def test_state_dicts_are_taken_whoever_wrote_them(settings, suffix):
    del settings["runs"]["tiny"]["training"]
    change(settings, "checkpoints", f"weights/{{epoch}}.{suffix}")
    accept(settings)


SINGLE = {
    "dataset.train_examples": 65,  # in chunks of 32: 32, 32, 1
    "dataset.test_examples": 64,
    "spectrum.chunk_size": 32,
    "spectrum.batchnorm": "train",
    "batch.sizes": [16],
    "augmentation": None,
    "variance": None,
    "model": {"name": "preresnet", "depth": 8, "width": 2},
}


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({}, ["spectrum.chunk_size is 32", "the training split has 65 examples"]),
        (
            {"dataset.train_examples": 64, "dataset.test_examples": 33},
            ["spectrum.chunk_size is 32", "the test split has 33 examples"],
        ),
        (
            {"dataset.train_examples": 64, "batch.sizes": [16, 33]},
            ["spectrum.chunk_size is 32", "batch.sizes has batches of 33 examples"],
        ),
        (
            {"dataset.train_examples": 64, "batch.sizes": [1, 16]},
            ["batch.sizes has batches of a single example"],
        ),
        (
            {
                "dataset.train_examples": 75,
                "augmentation": {"factors": [{"factor": 3, "steps": 2}]},
            },
            ["factor 3 of augmentation.factors makes 225 examples"],
        ),
        (
            {"dataset.train_examples": 67, "subsamples": {"parts": [2]}},
            ["2 of subsamples.parts makes parts of 33 examples"],
        ),
        (
            {"dataset.train_examples": 67, "subsamples": {"parts": [40]}},
            ["40 of subsamples.parts makes parts of a single example"],
        ),
        ({"dataset.train_examples": 64, "spectrum.chunk_size": 1}, ["spectrum.chunk_size is 1,"]),
    ],
)
def test_a_single_example_that_is_left_over_has_no_batch_statistics(settings, changes, pieces):
    for path, value in (SINGLE | changes).items():
        change(settings, path, value)
    text = message(settings)
    for piece in pieces:
        assert piece in text


@pytest.mark.parametrize(
    "changes",
    [
        {"spectrum.batchnorm": "eval"},
        {"model": {"name": "mlp"}},
        {"dataset.train_examples": 66},
        {"spectrum.chunk_size": 65},
        {"dataset.train_examples": 66, "spectrum.chunk_size": 64, "batch.sizes": [64]},
    ],
)
def test_a_single_example_is_no_matter_where_there_is_none(settings, changes):
    for path, value in (SINGLE | changes).items():
        change(settings, path, value)
    accept(settings)


def test_batch_statistics_are_allowed_where_no_variance_is_meant(settings):
    change(settings, "spectrum.batchnorm", "train")
    change(settings, "variance", None)
    checks.check(settings)


def test_analyse_must_name_known_runs(settings):
    settings["analyse"] = ["tyni"]
    text = message(settings)
    assert text == "analyse names the run 'tyni', which is not under runs; did you mean tiny?"


def test_runs_that_are_not_analysed_need_not_be_possible(settings):
    settings["runs"]["other"] = copy.deepcopy(settings["runs"]["tiny"])
    settings["runs"]["other"]["batch"]["sizes"] = [1000]
    checks.check(settings)


@pytest.mark.parametrize(
    "key",
    [
        "spectrum.steps",
        "spectrum.ggn_steps",
        "batch.steps",
        "batch.noise_steps",
        "variance.held_out_steps",
        "augmentation.factors.0.steps",
    ],
)
def test_more_lanczos_steps_than_parameters_are_refused(settings, key):
    number = 64 * 4 + 4 + 4 * 10 + 10  # parameters of the network
    target = settings["runs"]["tiny"]
    *parents, last = key.split(".")
    for name in parents:
        target = target[int(name) if name.isdigit() else name]
    target[last] = number
    accept(settings)
    target[last] = number + 1
    text = message(settings)
    assert f"runs.tiny.{key} is {number + 1}" in text
    assert f"only {number} parameters" in text


@pytest.mark.parametrize(
    ("model", "piece"),
    [
        ({"name": "mpl"}, "did you mean 'mlp'?"),
        ({"name": "mlp", "hiden": [4]}, "did you mean 'hidden'?"),
        ({"name": "preresnet", "depth": 9}, "depth"),
        ({"name": "preresnet", "depth": "eight"}, "preresnet cannot be built"),
        ({"name": "no_such_package.nets:Net"}, "cannot import no_such_package.nets"),
        ({"name": "torch.nn:Lineal"}, "did you mean 'Linear'?"),
        ({"name": "torch.nn:Linear"}, "torch.nn:Linear needs in_features, out_features; it is"),
        ({"name": "torchvision:resnt18"}, "did you mean 'resnet18'?"),
        ({"name": "torchvision:alexnet"}, "does not take images of shape (1, 8, 8)"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(settings, model, piece):
    settings["runs"]["tiny"]["model"] = model
    text = message(settings)
    assert text.startswith("runs.tiny.model: ")
    assert piece in text


def test_a_library_that_is_not_installed_is_found_without_pytorch(settings, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    settings["runs"]["tiny"]["model"] = {"name": "timm:resnet18"}
    with pytest.raises(checks.ConfigError, match="timm, which is not installed; install it with"):
        checks.check(settings)


def test_defaults_are_filled_in_and_what_is_given_stays(settings):
    for name in ("batch", "augmentation", "variance", "spectrum"):
        del settings["runs"]["tiny"][name]
    change(settings, "dataset", {"name": "digits"})
    change(settings, "training.batch_size", 7)
    run = checks.check(settings).runs["tiny"]
    assert run.training.batch_size == 7
    assert run.training.momentum == 0.9
    assert run.spectrum.precision == "float32"
    assert run.spectrum.batchnorm == "eval"
    assert run.batch.folds == 5
    assert run.settings("augmentation")["factors"] == [{"factor": 10, "steps": 100}]
    assert run.variance.held_out_folds == 2
    assert run.settings("theory") == {"draws": 400, "ranks": 5, "resamples": 40, "seed": 0}


def test_defaults_are_not_shared_between_configurations(settings):
    del settings["runs"]["tiny"]["augmentation"]
    one, other = (checks.check(settings).runs["tiny"] for _ in range(2))
    one.augmentation.factors.append("changed")
    one.batch.sizes.append(7)
    assert other.settings("augmentation")["factors"] == [{"factor": 10, "steps": 100}]
    assert checks.check(settings).runs["tiny"].batch == other.batch


def test_modes_of_normalisation_are_compared_where_there_is_one(settings):
    change(settings, "model", {"name": "preresnet", "depth": 8, "width": 2})
    change(settings, "batchnorm", {"epochs": [2]})
    change(settings, "batchnorm.chunk_sizes", [32, 96])
    accept(settings)


@pytest.mark.parametrize("name", ["batch", "augmentation", "variance"])
def test_null_switches_a_section_off(settings, name):
    change(settings, name, None)
    accept(settings)
    assert getattr(checks.check(settings).runs["tiny"], name) is None


def test_the_epochs_to_analyse_are_kept_unless_said_otherwise(settings):
    change(settings, "epochs", [2, 0])
    assert checks.check(settings).runs["tiny"].checkpoint_epochs == [0, 2]
    change(settings, "training.checkpoint_epochs", [2, 1, 0])
    assert checks.check(settings).runs["tiny"].checkpoint_epochs == [0, 1, 2]


@pytest.mark.parametrize("name", ["cifar10", "digits"])
def test_examples_are_counted_without_the_data(settings, name):
    change(settings, "dataset", {"name": name})
    dataset = checks.check(settings).runs["tiny"].dataset
    expected = {"cifar10": (50000, 10000), "digits": (1438, 359)}[name]
    assert (dataset.num_train, dataset.num_test) == expected


@pytest.mark.parametrize(
    ("section", "model"),
    [
        ("dataset", Dataset),
        ("training", TrainingSettings),
        ("spectrum", SpectrumSettings),
        ("batch", BatchSettings),
        ("augmentation", AugmentationSettings),
        ("subsamples", SubsampleSettings),
        ("groups", GroupSettings),
        ("self_test", SelfTestSettings),
        ("variance", VarianceSettings),
        ("subspace", SubspaceSettings),
        ("parts", PartsSettings),
        ("sharpness", SharpnessSettings),
        ("influence", InfluenceSettings),
        ("theory", Theory),
    ],
)
def test_the_settings_of_a_section_are_plain_sorted_and_those_of_its_script(
    settings, section, model
):
    for name in ("subsamples", "self_test"):
        change(settings, name, {"parts": [2], "seed": 3})
    change(settings, "subspace", {"group_size": 8})
    change(settings, "parts", {"examples": 7})
    change(settings, "groups", {"parameters": {"last": ["layers.3.*"]}})
    change(settings, "sharpness", {"folds": 3})
    change(settings, "influence", {"examples": 3})
    change(settings, "spectrum.chunk_size", 7)
    plain = checks.check(settings).runs["tiny"].settings(section)
    assert list(plain) == sorted(plain)
    assert json.loads(json.dumps(plain)) == plain
    found = model.model_validate(plain).model_dump()
    assert {key: found[key] for key in plain} == plain
    assert found.keys() - plain.keys() <= {"checkpoint_epochs", "augmentation"}
    assert plain.get("chunk_size", 7) == 7


def test_sharpness_takes_from_training_what_it_is_not_told(settings):
    change(settings, "sharpness", {})
    change(settings, "training.learning_rate", 0.25)
    change(settings, "training.batch_size", 32)
    run = checks.check(settings).runs["tiny"]
    found, training = run.settings("sharpness"), run.training
    assert found["sizes"] == [training.batch_size] == run.sharpness_sizes
    assert (found["learning_rate"], found["momentum"]) == (0.25, training.momentum)
    assert found["training_epochs"] == training.epochs
    change(settings, "sharpness", {"learning_rate": 3, "sizes": [20, 10]})
    found = checks.check(settings).runs["tiny"].settings("sharpness")
    assert (found["learning_rate"], found["training_epochs"], found["sizes"]) == (3, None, [10, 20])
    change(settings, "training.batch_size", 128)
    change(settings, "sharpness", {})
    assert checks.check(settings).runs["tiny"].sharpness_sizes == [96]  # all that there are


def test_sharpness_of_weights_of_ones_own_has_the_sizes_of_batches_and_no_rate(settings):
    change(settings, "training", None)
    change(settings, "checkpoints", "{epoch}.pt")
    change(settings, "sharpness", {})
    run = checks.check(settings).runs["tiny"]
    found = run.settings("sharpness")
    assert found["sizes"] == sorted(run.batch.sizes)
    assert [found[key] for key in ("learning_rate", "momentum", "training_epochs")] == [None] * 3


def test_influence_takes_penalty_and_damping_from_training_unless_they_are_given(settings):
    change(settings, "influence", {})
    change(settings, "training.weight_decay", 0.25)
    run = checks.check(settings).runs["tiny"]
    found = run.settings("influence")
    assert found["penalty"] == 0.25
    assert found["trained"]["epochs"] == run.training.epochs
    change(settings, "influence", {"damping": 0.5, "penalty": 0})
    found = checks.check(settings).runs["tiny"].settings("influence")
    assert (found["penalty"], found["damping"], found["trained"]) == (0, 0.5, None)
    change(settings, "training", None)
    change(settings, "checkpoints", "{epoch}.pt")
    change(settings, "weight_decay", 0.125)
    change(settings, "influence", {"damping": 0.5})
    found = checks.check(settings).runs["tiny"].settings("influence")
    assert (found["penalty"], found["trained"]) == (0.125, None)


def test_the_self_test_has_a_tolerance_of_its_own(settings):
    change(settings, "self_test", {"parts": [2]})
    change(settings, "spectrum.tolerance", 0.5)
    assert checks.check(settings).runs["tiny"].settings("self_test")["tolerance"] == 1e-3


def test_a_number_is_handed_on_as_it_is_written(settings):
    change(settings, "training.weight_decay", 0)
    change(settings, "spectrum.memory_gb", 2)
    run = checks.check(settings).runs["tiny"]
    for value in (run.settings("training")["weight_decay"], run.settings("batch")["memory_gb"]):
        assert isinstance(value, int)


def objects(part, path=""):
    """All parts of a schema that describe a mapping, with their paths."""
    if isinstance(part, dict):
        if part.get("type") == "object":
            yield path, part
        for key, value in part.items():
            yield from objects(value, f"{path}.{key}")


def test_no_mapping_but_arguments_takes_unknown_keys():
    found = dict(objects(json.loads(SCHEMA.read_text())))
    assert len(found) >= 10
    for path, part in found.items():
        if path.endswith((".Model", ".Loss", ".Dataset.properties.arguments")):
            assert part["additionalProperties"] is True
        elif ".Groups.properties.parameters" in path:
            assert part["additionalProperties"]["type"] == "array"  # of patterns, by any name
        elif path in (".properties.runs", ".$defs.Run.properties.operators"):
            (named,) = part["patternProperties"].values()
            assert named["$ref"] in ("#/$defs/Run", "#/$defs/OperatorSpectrum")
        else:
            assert part["additionalProperties"] is False, path


def test_the_schema_for_editors_is_that_of_the_models():
    """If this fails: uv run truehessian schema > workflow/schemas/config.schema.json."""
    assert SCHEMA.read_text() == schema.text()


def test_an_editor_finds_the_schema_from_the_default_configuration():
    first = (ROOT / "config.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA.relative_to(ROOT)}"


def documented_keys():
    """Dotted paths of the first run in config.yaml, with whether a comment explains each."""
    lines = (ROOT / "config.yaml").read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if re.match(r"  [a-z][\w-]*:", line))
    keys, path = {}, {}
    for number in range(begin + 1, len(lines)):
        line = lines[number]
        if re.match(r"  [a-z#]", line):
            break
        match = re.match(r"( +)(# |- )?([a-z_]+):", line)
        if not match:
            continue
        indent = len(match[1]) + (2 if match[2] == "- " else 0)
        path = {depth: name for depth, name in path.items() if depth < indent} | {indent: match[3]}
        above = lines[number - 1].lstrip().startswith("#")
        keys[".".join(path.values())] = "#" in line or above
    return keys


def test_every_key_of_a_run_stands_with_a_comment_in_the_default_configuration():
    parts = json.loads(SCHEMA.read_text())["$defs"]
    documented = documented_keys()
    for name, section in parts["Run"]["properties"].items():
        assert name in documented, name
        (model,) = re.findall(r"#/[$]defs/(\w+)", json.dumps(section)) or [None]
        if name in ("operators", "checkpoints", "loss"):  # several, or another form
            continue
        for key in parts[model]["properties"] if model else ():
            assert f"{name}.{key}" in documented, f"{name}.{key}"
    plain = {key for key, commented in documented.items() if not commented and "." in key}
    assert plain == set()


@pytest.mark.parametrize("key", ["parameters", "operators.first.parameters"])
def test_parameters_are_chosen_by_names_that_the_network_has(settings, key):
    change(settings, "operators", {"first": {"operator": "hessian", "steps": 4}})
    change(settings, key, ["head.*"])
    checked = checks.check(settings)
    with pytest.raises(checks.ConfigError, match=f"runs.tiny.{key}: no parameter matches") as error:
        checks.check_networks(checked)
    assert "the network has layers.1.weight" in str(error.value)


def test_lanczos_steps_are_at_most_the_parameters_that_are_chosen(settings):
    change(settings, "operators", {"last": {"operator": "hessian", "steps": 11}})
    checks.check_networks(checks.check(settings))
    change(settings, "operators.last.parameters", ["layers.3.bias"])
    with pytest.raises(checks.ConfigError, match="only 10 parameters of these names"):
        checks.check_networks(checks.check(settings))


def test_what_is_known_of_data_is_not_asked_again(settings, monkeypatch):
    from truehessian.data import catalogue

    infos = json.loads(json.dumps(checks.data_infos(checks.check(settings))))
    monkeypatch.setattr(catalogue, "info", lambda *_: pytest.fail("asked again"))
    dataset = checks.check(settings, infos).runs["tiny"].dataset
    assert dataset.info == catalogue.source("digits").info()


@pytest.mark.parametrize("given", [False, True])
def test_images_that_are_neither_cropped_nor_mirrored_are_left(settings, given, tmp_path):
    images = np.zeros((20, 1, 2, 2), "uint8")
    np.savez(tmp_path / "images.npz", inputs=images, targets=np.arange(20) % 2)
    run = settings["runs"]["tiny"]
    run["dataset"] = {"name": "tensors", "arguments": {"path": str(tmp_path / "images.npz")}}
    run["batch"], run["variance"] = None, None
    if given:
        assert "these data have neither padding nor flip" in message(settings)
    else:
        del run["augmentation"]
        assert checks.check(settings).runs["tiny"].augmentation is None
        run["dataset"]["arguments"]["flip"] = True
        assert checks.check(settings).runs["tiny"].augmentation.factors[0].factor == 10


def test_preparing_data_does_not_depend_on_what_augments_them(settings):
    run = settings["runs"]["tiny"]
    before = checks.check(settings).runs["tiny"].settings("dataset")
    run["dataset"]["augmentation"] = "operator:add"
    own = checks.check(settings).runs["tiny"]
    assert own.settings("dataset") == before
    assert [own.settings(name)["augmentation"] for name in ("training", "augmentation")] == [
        "operator:add",
        "operator:add",
    ]
    TrainingSettings.model_validate(own.settings("training"))
    AugmentationSettings.model_validate(own.settings("augmentation"))


def test_groups_may_be_the_layers_or_named_within_the_parameters_of_the_run(settings):
    for groups in ("layers", {"weights": ["*.weight"], "last bias": ["layers.3.bias"]}):
        change(settings, "groups", {"parameters": groups})
        accept(settings)
    run = checks.check(settings).runs["tiny"]
    assert run.settings("groups")["groups"] == groups
    assert run.settings("groups")["parameters"] is None
    change(settings, "parameters", ["*.weight"])
    assert "'last bias'" in message(settings)


@pytest.mark.parametrize(
    ("groups", "parts"),
    [
        (
            {"parameters": {"a": ["layers.3.*"], "b": ["*.bias"]}},
            ["groups.parameters: the groups 'a' and 'b' share the parameter 'layers.3.bias'"],
        ),
        (
            {"parameters": {"a": ["layer.3.wieght"]}},
            ["groups.parameters: no parameter matches", "did you mean 'layers.3.weight'?"],
        ),
        ({"parameters": {"whole": ["*"]}}, ["groups.parameters.whole has the name", "another"]),
        ({"parameters": {}}, ["groups.parameters has no group"]),
        ({"parameters": {"a": []}}, ["groups.parameters.a must not be empty"]),
        ({"parameters": {"a": "layers.3.*"}}, ["groups.parameters.a must be a list"]),
        ({"parameters": "layer"}, ["groups.parameters must be a mapping or layers, got 'layer'"]),
        ({"operator": "fisher"}, ["groups.operator must be one of hessian, ggn, got 'fisher'"]),
        ({"epochs": [1]}, ["groups.epochs contains 1, which is not among epochs"]),
        ({"steps": 1}, ["groups.steps must be at least 2, got 1"]),
        ({"stepz": 3}, ["unknown key runs.tiny.groups.stepz; did you mean steps?"]),
    ],
)
def test_groups_that_are_none_are_refused(settings, groups, parts):
    change(settings, "groups", groups)
    sentence = message(settings)
    for part in parts:
        assert part in sentence


def test_no_further_matrix_takes_the_name_of_the_groups(settings):
    change(settings, "operators", {"groups": {"operator": "ggn"}})
    assert "operators.groups has a name that another spectrum has" in message(settings)


def test_a_matrix_may_be_restricted_to_what_is_trainable(settings, monkeypatch, tmp_path):
    (tmp_path / "frozen_net.py").write_text(
        "from torch import nn\n\ndef make(num_classes, input_shape, freeze=True):\n"
        "    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Linear(3, num_classes))\n"
        "    model[1].requires_grad_(False)\n"
        "    return model if freeze else model.requires_grad_(False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    change(settings, "model", {"name": "frozen_net:make"})
    facts = network_facts(checks.check(settings).runs["tiny"].network)
    assert (facts.count(None), facts.count("trainable")) == (64 * 3 + 3 + 40, 40)
    change(settings, "operators", {"own": {"operator": "ggn", "parameters": "trainable"}})
    change(settings, "parameters", "trainable")
    accept(settings)
    run = checks.check(settings).runs["tiny"]
    assert run.settings("batch")["parameters"] == "trainable"
    assert run.operator_settings("own")["parameters"] == "trainable"
    change(settings, "spectrum.steps", 41)
    assert "only 40 parameters of these names" in message(settings)
    change(settings, "spectrum.steps", 8)
    change(settings, "model.freeze", False)
    assert "runs.tiny.parameters: no parameter requires a gradient" in message(settings)


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ("mse", "mse"),
        ({"name": "mse"}, "mse"),
        (
            {"name": "cross_entropy", "label_smoothing": 0.1, "ignore_index": 3},
            {"ignore_index": 3, "label_smoothing": 0.1, "name": "cross_entropy"},
        ),
    ],
)
def test_a_loss_is_handed_on_as_a_name_or_with_its_arguments(settings, given, handed_on):
    """A name without arguments is the same setting however it is written."""
    change(settings, "loss", given)
    change(settings, "operators", {"first": {"operator": "ggn", "steps": 4}})
    checked = checks.check(settings)
    checks.check_losses(checked)
    run = checked.runs["tiny"]
    assert loss.name_of(run.loss) == (given if isinstance(given, str) else given["name"])
    for name in ("training", "spectrum", "batch", "variance"):
        assert run.settings(name)["loss"] == handed_on
    assert run.operator_settings("first")["loss"] == handed_on
    plain = json.dumps(run.settings("training")["loss"])
    assert plain == json.dumps(handed_on)  # the order of keys as well
    assert TrainingSettings(**run.settings("training")).loss == handed_on


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"name": "mean"}, "runs.tiny.loss: loss must be one of binary_cross_entropy, "),
        ({"nmae": "mse"}, "runs.tiny.loss.name is missing"),
        (3, "runs.tiny.loss must be text or a mapping, got 3"),
        ({"name": 3}, "runs.tiny.loss.name must be text, got 3"),
        (
            {"name": "cross_entropy", "label_smoothign": 0.1},
            "runs.tiny.loss: loss cross_entropy takes weight, ignore_index, label_smoothing, ",
        ),
        (
            {"name": "cross_entropy", "label_smoothing": 2},
            "runs.tiny.loss: loss cross_entropy: label_smoothing must lie in [0, 1], got 2",
        ),
        (
            {"name": "torch.nn:HuberLoss", "detla": 2},
            "runs.tiny.loss: loss torch.nn:HuberLoss takes reduction, delta, got 'detla'; did you",
        ),
        ("absent_package:loss", "runs.tiny.loss: loss absent_package:loss: cannot import absent"),
        ("math:pi", "runs.tiny.loss: loss math:pi is a float and not a function of outputs and"),
    ],
)
def test_a_loss_that_cannot_be_made_is_refused_beforehand(settings, value, sentence):
    change(settings, "loss", value)
    with pytest.raises(checks.ConfigError) as caught:
        checks.check_losses(checks.check(settings))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_what_has_no_part_in_keys_means_the_same_in_every_section():
    """They are left out by name: what another section meant by it would not count."""
    found = {}
    sections = [Section]
    for section in sections:
        sections += section.__subclasses__()
        for name in section.__annotations__.keys() & keys._WITHOUT_EFFECT:
            found.setdefault(name, set()).add(section.__name__)
    assert found == {
        "root": {"Dataset"},
        "download": {"Dataset"},
        "memory_gb": {"Products"},
        "basis_gb": {"Products"},
        "device": {"Products", "Training"},
        "processes": {"Products"},
    }
