"""Checks of a configuration before any job starts, each error one sentence with its remedy."""

import collections
import contextlib
import difflib
import math
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one readable sentence."""


def check(config: dict[str, Any], schema: Path) -> None:
    """Check a configuration and fill in defaults, in place.

    Parameters
    ----------
    config
        What the configuration files say, merged.
    schema
        The YAML file of the JSON schema.

    Raises
    ------
    ConfigError
        An unknown key (with its dotted path and the nearest known one), a wrong type or value, or
        values that are impossible together.
    """
    validator = _validator(schema)
    error = next(iter(sorted(validator.iter_errors(config), key=_depth)), None)
    if error is not None:
        raise ConfigError(_sentence(error))
    unknown = [name for name in config["analyse"] if name not in config["runs"]]
    if unknown:
        raise ConfigError(
            f"analyse names the run {unknown[0]!r}, which is not under runs"
            f"{_nearest(unknown[0], config['runs'])}"
        )
    for name in config["analyse"]:
        for problem in _problems(config["runs"][name]):
            raise ConfigError(f"runs.{name}.{problem}")


def check_networks(config: Mapping[str, Any]) -> None:
    """Build the network of each run without memory for its weights and check what depends on it.

    Raises
    ------
    ConfigError
        A network cannot be built, or more Lanczos steps are asked for than it has parameters.
    """
    for name in config["analyse"]:
        run = config["runs"][name]
        try:
            num_params = num_parameters(run)
        except ValueError as error:
            raise ConfigError(f"runs.{name}.model: {error}") from error
        except Exception as error:  # a user's factory, or an argument of the wrong type
            raise ConfigError(
                f"runs.{name}.model: {run['model']['name']} cannot be built from its arguments "
                f"({type(error).__name__}: {error})"
            ) from error
        if run["batchnorm"] and not _has_batchnorm(run):
            raise ConfigError(
                f"runs.{name}.batchnorm compares modes of batch normalisation, of which the "
                "network has none; set batchnorm: null"
            )
        for key, steps in _step_counts(run):
            if steps > num_params:
                raise ConfigError(
                    f"runs.{name}.{key} is {steps}, but the network has only {num_params} "
                    "parameters; at most as many Lanczos steps are possible"
                )


def num_parameters(run: Mapping[str, Any]) -> int:
    """Count the parameters of a run's network, without memory for its weights."""
    from truehessian import models

    return models.count_parameters(_built(run))


def _has_batchnorm(run: Mapping[str, Any]) -> bool:
    from torch.nn.modules.batchnorm import _BatchNorm

    return any(isinstance(module, _BatchNorm) for module in _built(run).modules())


def _built(run: Mapping[str, Any]) -> Any:
    """Build a run's network without memory for its weights."""
    import torch

    from truehessian import models

    with torch.device("meta"):
        return models.build(**model_settings(run))


def model_settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `models.build` for a run: its model section and its data's shape."""
    from truehessian import datasets

    info = datasets.CATALOGUE[run["dataset"]["name"]]
    return {
        **run["model"],
        "num_classes": info.num_classes,
        "input_shape": list(info.input_shape),
    }


def num_train_examples(run: Mapping[str, Any]) -> int:
    """Count the training examples of a run, without its data."""
    from truehessian import datasets

    section = run["dataset"]
    return datasets.num_train_examples(
        section["name"], section["train_examples"], section["test_fraction"]
    )


def num_test_examples(run: Mapping[str, Any]) -> int:
    """Count the test examples of a run, without its data.

    Raises
    ------
    ValueError
        More are asked for than there are.
    """
    from truehessian import datasets

    section = run["dataset"]
    info = datasets.CATALOGUE[section["name"]]
    available = info.num_test
    if available is None:  # one set that is split
        train = datasets.num_train_examples(section["name"], None, section["test_fraction"])
        available = info.num_train - train
    wanted = section["test_examples"]
    if wanted is not None and wanted > available:
        raise ValueError(
            f"test_examples must be at most the {available} test examples of {section['name']}, "
            f"got {wanted}"
        )
    return available if wanted is None else wanted


def num_gpus(device: str) -> int:
    """Count the GPUs that a stage with this `device` setting takes: none where none can be seen."""
    if device == "auto":
        return int(any(Path("/dev").glob("nvidia[0-9]*")))
    return 0 if device == "cpu" else 1


def checkpoint_epochs(run: Mapping[str, Any]) -> list[int]:
    """Epochs whose weights a training run keeps."""
    return sorted(run["training"]["checkpoint_epochs"] or run["epochs"])


def _problems(run: Mapping[str, Any]) -> Iterator[str]:
    """Values that are impossible together, as sentences that go after the run's name."""
    if ("training" in run) == ("checkpoints" in run):
        yield (
            "training and checkpoints exclude each other and one of them is needed; give "
            "training to train, or checkpoints to start from weights of your own"
        )
        return
    if "training" in run:
        yield from _epoch_problems(run)
    else:
        yield from _pattern_problems(run["checkpoints"])
    try:
        train, test = num_train_examples(run), num_test_examples(run)
    except ValueError as error:
        yield f"dataset: {error}"
        return
    yield from _batch_problems(run["batch"] or {}, train)
    counts = collections.Counter(
        item["factor"] for item in (run["augmentation"] or {}).get("factors", [])
    )
    yield from (
        f"augmentation.factors has factor {factor} twice, but each factor makes one spectrum"
        for factor, count in counts.items()
        if count > 1
    )
    for name in ("subsamples", "self_test"):
        yield from _part_problems(name, run[name] or {}, train)
    if run["self_test"]:
        yield from _self_test_problems(run["self_test"], run, train)
    if run["batchnorm"]:
        yield from _batchnorm_problems(run["batchnorm"], run, train)
    if run["variance"]:
        yield from _variance_problems(run, train, test)


def _pattern_problems(pattern: str) -> Iterator[str]:
    try:
        pattern.format(epoch=0)
    except (KeyError, IndexError, ValueError):
        yield f"checkpoints may hold {{epoch}} and no other braces, got {pattern!r}"


def _batch_problems(batch: Mapping[str, Any], train: int) -> Iterator[str]:
    for size in batch.get("sizes", []):
        if size > train:
            yield (
                f"batch.sizes contains {size}, but the data have only {train} training examples; "
                "a batch cannot be larger"
            )
    if batch and batch["noise_folds"] > batch["folds"]:
        yield (
            f"batch.noise_folds is {batch['noise_folds']}, but there are only {batch['folds']} "
            "folds whose noise can be measured"
        )


def _part_problems(name: str, section: Mapping[str, Any], train: int) -> Iterator[str]:
    for parts in section.get("parts", []):
        if parts > train:
            yield (
                f"{name}.parts contains {parts}, but there are only {train} training examples to "
                "share among them"
            )


def _self_test_problems(
    section: Mapping[str, Any], run: Mapping[str, Any], train: int
) -> Iterator[str]:
    yield from _unknown_epochs("self_test", run)
    if run["spectrum"]["batchnorm"] == "train":
        yield (
            "self_test needs spectrum.batchnorm: eval, because with batch statistics (train) "
            "the Hessian is no mean over examples; set self_test: null to go without it"
        )
    smallest = train // max(section["parts"])
    if smallest < 4 * section["folds"]:
        yield (
            f"self_test.folds is {section['folds']}, but the smallest part has {smallest} "
            "examples, and each fold needs four"
        )


def _unknown_epochs(name: str, run: Mapping[str, Any]) -> Iterator[str]:
    for epoch in run[name]["epochs"] or []:
        if epoch not in run["epochs"]:
            yield f"{name}.epochs contains {epoch}, which is not among epochs; add it there"


def _batchnorm_problems(
    section: Mapping[str, Any], run: Mapping[str, Any], train: int
) -> Iterator[str]:
    yield from _unknown_epochs("batchnorm", run)
    if run["spectrum"]["batchnorm"] == "train":
        yield (
            "batchnorm needs spectrum.batchnorm: eval, with whose spectra it compares; set "
            "batchnorm: null to go without it"
        )
    for size in section["chunk_sizes"]:
        if size > train:
            yield (
                f"batchnorm.chunk_sizes contains {size}, but the data have only {train} training "
                "examples"
            )
        elif train % size == 1:
            yield (
                f"batchnorm.chunk_sizes contains {size}, which leaves a single one of {train} "
                "training examples over, of which there are no statistics; take another size"
            )


def _variance_problems(run: Mapping[str, Any], train: int, test: int) -> Iterator[str]:
    variance, sizes = run["variance"], (run["batch"] or {}).get("sizes", [])
    if run["spectrum"]["batchnorm"] == "train":
        yield (
            "variance needs spectrum.batchnorm: eval, because with batch statistics (train) "
            "the Hessian is no mean over examples; set variance: null to go without it"
        )
    for count, split in ((train, "training"), (test, "test")):
        if 2 * variance["group_size"] > count:
            yield (
                f"variance.group_size is {variance['group_size']}, but at least two groups "
                f"must fit into {count} {split} examples"
            )
    for size in sizes:
        if size % variance["group_size"]:
            divisor = math.gcd(variance["group_size"], *sizes)
            yield (
                f"variance.group_size is {variance['group_size']}, which does not divide "
                f"{size} of batch.sizes, so that no batch of it can be drawn from the groups; "
                f"set it to {divisor}, which divides them all"
            )
    if variance["held_out_folds"] > test:
        yield (
            f"variance.held_out_folds is {variance['held_out_folds']}, but there are only {test} "
            "test examples to share among them"
        )


def _epoch_problems(run: Mapping[str, Any]) -> Iterator[str]:
    last = run["training"]["epochs"]
    for key, epochs in (
        ("training.checkpoint_epochs", checkpoint_epochs(run)),
        ("epochs", run["epochs"]),
    ):
        for epoch in epochs:
            if epoch > last:
                yield f"{key} contains {epoch}, but training ends after epoch {last}"
    for epoch in run["epochs"]:
        if epoch not in checkpoint_epochs(run):
            yield (
                f"epochs contains {epoch}, whose weights training does not keep; add it to "
                "training.checkpoint_epochs"
            )


def _step_counts(run: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    yield "spectrum.steps", run["spectrum"]["steps"]
    yield "spectrum.ggn_steps", run["spectrum"]["ggn_steps"]
    if run["variance"]:
        yield "variance.held_out_steps", run["variance"]["held_out_steps"]
    for name in ("subsamples", "self_test"):
        if run[name]:
            yield f"{name}.steps", run[name]["steps"]
    if run["batch"]:
        yield "batch.steps", run["batch"]["steps"]
        yield "batch.noise_steps", run["batch"]["noise_steps"]
    for number, item in enumerate((run["augmentation"] or {}).get("factors", [])):
        yield f"augmentation.factors.{number}.steps", item["steps"]


@cache
def _validator(path: Path) -> Any:
    schema = yaml.safe_load(path.read_text(encoding="utf-8"))
    descend = Draft202012Validator.VALIDATORS["properties"]

    def with_defaults(validator: Any, properties: Any, instance: Any, schema: Any) -> Any:
        if isinstance(instance, dict):
            for name, part in properties.items():
                if "default" in part:
                    instance.setdefault(name, _copy(part["default"]))
        yield from descend(validator, properties, instance, schema)

    # JSON takes 8.0 for a whole number; Python's range and array shapes do not.
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    extended = jsonschema.validators.extend(
        Draft202012Validator, {"properties": with_defaults}, type_checker=types
    )
    return extended(schema)


def _copy(value: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(value))


def _depth(error: ValidationError) -> tuple[bool, int]:
    # An unknown key explains a missing one, not the other way round.
    return error.validator != "additionalProperties", len(error.path)


def _sentence(error: ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    value = error.instance
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties":
            known = list(schema["properties"])
            unknown = next(key for key in value if key not in known)
            full = f"{path}.{unknown}" if path else str(unknown)
            return f"unknown key {full}{_nearest(str(unknown), known)}"
        case "required":
            missing = next(key for key in schema["required"] if key not in value)
            return f"{path + '.' if path else ''}{missing} is missing"
        case "type":
            wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            allowed = " or ".join(_TYPES[name] for name in wanted)
            return f"{path} must be {allowed}, got {value!r}{_spelling(value, wanted)}"
        case "enum":
            allowed = ", ".join(map(str, schema["enum"]))
            hint = _nearest(str(value), map(str, schema["enum"]))
            return f"{path} must be one of {allowed}, got {value!r}{hint}"
        case "minimum":
            return f"{path} must be at least {schema['minimum']}, got {value}"
        case "exclusiveMinimum":
            return f"{path} must be above {schema['exclusiveMinimum']}, got {value}"
        case "exclusiveMaximum":
            return f"{path} must be below {schema['exclusiveMaximum']}, got {value}"
        case "minItems" | "minProperties":
            return f"{path} must not be empty"
        case "uniqueItems":
            return f"{path} must not name anything twice, got {value}"
        case "pattern":
            if "propertyNames" in error.absolute_schema_path:
                return f"the name of a run must match {schema['pattern']}, got {value!r}"
            return f"{path} must match {schema['pattern']}, got {value!r}"
    return f"{path}: {error.message}"


def _spelling(value: Any, wanted: Collection[str]) -> str:
    """Help with numbers that YAML takes for text, such as 1e-5."""
    with contextlib.suppress(ValueError, TypeError):
        if isinstance(value, str) and "number" in wanted and math.isfinite(float(value)):
            return "; YAML needs a point and a signed exponent, as in 1.0e-5, and no quotes"
    return ""


def _nearest(name: str, known: Any) -> str:
    known = [str(item) for item in known]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(known)}" if known else ""
