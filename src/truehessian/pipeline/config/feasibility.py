"""Values of a run's configuration that are impossible together, as sentences with a remedy."""

import collections
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from truehessian.networks.places.files import PICKLES
from truehessian.pipeline.config.facts import (
    check_normalisation,
    checkpoint_epochs,
    num_test_examples,
    num_train_examples,
)


def problems(run: Mapping[str, Any]) -> Iterator[str]:
    """Find what is impossible together in a run.

    Parameters
    ----------
    run
        Its configuration with all defaults filled in.

    Yields
    ------
    str
        Sentences that go after the run's dotted path.
    """
    if ("training" in run) == ("checkpoints" in run):
        yield (
            "training and checkpoints exclude each other and one of them is needed; give "
            "training to train, or checkpoints to start from weights of your own"
        )
        return
    yield from _model_problems(run["model"])
    if "training" in run:
        yield from _epoch_problems(run)
    else:
        yield from _pattern_problems(run["checkpoints"])
    try:
        train, test = num_train_examples(run), num_test_examples(run)
        check_normalisation(run)
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


def _model_problems(model: Mapping[str, Any]) -> Iterator[str]:
    for key, source in (
        ("num_classes", "the data set decides it"),
        ("input_shape", "the data set decides it"),
        ("seed", "that of the initialisation is training.seed"),
    ):
        if key in model:
            yield f"model.{key} cannot be set, because {source}; leave it out"


def _pattern_problems(pattern: str) -> Iterator[str]:
    try:
        example = Path(pattern.format(epoch=0))
    except (KeyError, IndexError, ValueError):
        yield f"checkpoints may hold {{epoch}} and no other braces, got {pattern!r}"
        return
    if example.suffix.lower() in PICKLES:
        yield (
            f"checkpoints names pickles ({pattern!r}), which are never loaded because they can run "
            "code; convert them where you trust them: safetensors.torch.save_model(model, "
            f"'{example.stem}.safetensors')"
        )


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


def single_examples(run: Mapping[str, Any]) -> Iterator[str]:
    """Find chunks of a single example, of which batch normalisation has no statistics.

    Parameters
    ----------
    run
        Possible in itself, with `spectrum.batchnorm: train` and a network that has such layers.

    Yields
    ------
    str
        As for `problems`.
    """
    size, train = run["spectrum"]["chunk_size"], num_train_examples(run)
    for source, count in _sets_of_examples(run, train, num_test_examples(run)):
        if count == 1:
            yield (
                f"{source} a single example, of which batch normalisation by batch statistics "
                "(spectrum.batchnorm: train) has none; take more examples"
            )
        elif size == 1 or count % size == 1:
            yield (
                f"spectrum.chunk_size is {size}, which leaves a chunk of a single example, because "
                f"{source} {count} examples, and batch normalisation by batch statistics "
                "(spectrum.batchnorm: train) has none of it; take another size"
            )


def _sets_of_examples(run: Mapping[str, Any], train: int, test: int) -> Iterator[tuple[str, int]]:
    """Everything that products cut into chunks: beginnings of sentences, and numbers of examples.

    Sections that need running statistics have none.
    """
    yield "the training split has", train
    yield "the test split has", test
    for size in (run["batch"] or {}).get("sizes", []):
        yield "batch.sizes has batches of", size
    for item in (run["augmentation"] or {}).get("factors", []):
        factor = item["factor"]
        yield f"factor {factor} of augmentation.factors makes", factor * train
    for parts in (run["subsamples"] or {}).get("parts", []):
        yield f"{parts} of subsamples.parts makes parts of", train // parts


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


def step_counts(run: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Go through all numbers of Lanczos steps of a run, with their dotted paths."""
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
