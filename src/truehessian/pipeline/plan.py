"""What a run would compute and what that costs, from its configuration alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from truehessian import text
from truehessian.data import catalogue


class Stage(NamedTuple):
    """One kind of measurement of a run, over all its epochs.

    Attributes
    ----------
    name
        What is measured: `full`, `ggn`, `test`, `batch-{size}`, `noise-{size}`,
        `augmented-{factor}`, `subsample-{parts}`, `batchnorm-{chunk_size}`, `self-test`,
        `variance` or `held-out`.
    jobs
        How often the workflow runs it: once per epoch, or per epoch of its own section.
    products
        Products with a curvature matrix per job, at most (`tolerance` may stop Lanczos earlier).
    examples
        Examples per product.
    basis_vectors
        Lanczos vectors of length P that a job holds at once; 0 where there is no Lanczos.
    outputs
        Files that hold the result, relative to the folder with the results of all runs.
    """

    name: str
    jobs: int
    products: int
    examples: int
    basis_vectors: int
    outputs: tuple[str, ...]

    @property
    def work(self) -> int:
        """Products times examples, over all jobs."""
        return self.jobs * self.products * self.examples


class RunPlan(NamedTuple):
    """The stages of one run.

    Attributes
    ----------
    name
        Of the run.
    num_params
        P.
    itemsize
        Bytes per number of a Lanczos basis.
    stages
        In the order in which they are measured.
    """

    name: str
    num_params: int
    itemsize: int
    stages: list[Stage]


def plan(name: str, run: Mapping[str, Any], num_params: int) -> RunPlan:
    """List the stages of a run that make products with curvature matrices.

    Parameters
    ----------
    name
        Of the run.
    run
        Its configuration with all defaults filled in, as `config.check` leaves it.
    num_params
        Parameters P of its network.

    Returns
    -------
    RunPlan
        Training is no part of it: an epoch of training costs about as much as one product takes
        for a third of the data.
    """
    stages = [*_spectra(name, run), *_batchnorm(name, run)]
    stages += [*_self_test(name, run), *_directions(name, run)]
    itemsize = 8 if run["spectrum"]["precision"] == "float64" else 4
    return RunPlan(name, num_params, itemsize, stages)


def remaining(stage: Stage, exists: Callable[[str], bool]) -> int:
    """Products times examples that are still to be done, given which outputs exist."""
    done = sum(map(exists, stage.outputs))
    return stage.work * (len(stage.outputs) - done) // len(stage.outputs)


def rate(measurements: Sequence[Mapping[str, Any]]) -> float | None:
    """Examples per second of a product, from the metadata of full-data spectra.

    Parameters
    ----------
    measurements
        With `num_examples`, `steps_done` (one per probe) and `seconds`.

    Returns
    -------
    float or None
        None if nothing has been measured.
    """
    seconds = sum(facts["seconds"] for facts in measurements)
    work = sum(sum(facts["steps_done"]) * facts["num_examples"] for facts in measurements)
    return work / seconds if seconds > 0 else None


def render(
    plans: Sequence[RunPlan], exists: Callable[[str], bool], rates: Mapping[str, float | None]
) -> str:
    """Format plans as text.

    Parameters
    ----------
    plans
        One per run.
    exists
        Tells of an output whether it is there.
    rates
        Examples per second of a product for each run's name; None where nothing was measured.
    """
    parts = [_render_run(item, exists, rates[item.name]) for item in plans]
    work = sum(stage.work for item in plans for stage in item.stages)
    left = sum(remaining(stage, exists) for item in plans for stage in item.stages)
    outputs = [path for item in plans for stage in item.stages for path in stage.outputs]
    done = sum(map(exists, outputs))
    total = (
        f"Total: {text.count(work)} products x examples, {text.count(left)} of them "
        f"still to be done; {done} of {len(outputs)} outputs exist.\n"
        "Products are at most so many; training comes on top. Results in the store are not looked "
        "up."
    )
    return "\n\n".join([*parts, total])


def _spectra(name: str, run: Mapping[str, Any]) -> list[Stage]:
    """Stages that end in a spectrum."""
    train, test = _num_examples(run)
    how, batch, augmentation = run["spectrum"], run["batch"] or {}, run["augmentation"] or {}
    probes, steps = how["probes"], how["steps"]
    ggn = how["ggn_steps"]
    kinds = [  # name, products, examples, vectors of the basis
        ("full", probes * steps, train, probes * steps),
        ("test", probes * steps, test, probes * steps),
        ("ggn", probes * ggn, train, probes * ggn),
    ]
    for size in sorted(batch.get("sizes", [])):
        directions = batch["noise_directions"]
        products = batch["folds"] * (batch["steps"] + directions)
        kinds.append((f"batch-{size}", products, size, batch["steps"]))
        products = batch["noise_folds"] * batch["noise_steps"] + directions
        kinds.append((f"noise-{size}", products, size + train, batch["noise_steps"]))
    for item in sorted(augmentation.get("factors", []), key=lambda item: item["factor"]):
        factor, steps = item["factor"], item["steps"]
        kinds.append((f"augmented-{factor}", steps, factor * train, steps))
    subsamples = run["subsamples"] or {}
    for parts in sorted(subsamples.get("parts", [])):
        steps = subsamples["steps"]
        kinds.append((f"subsample-{parts}", parts * steps, train // parts, steps))
    epochs = run["epochs"]
    return [
        Stage(
            kind,
            len(epochs),
            products,
            examples,
            vectors,
            tuple(f"{name}/spectra/{epoch}/{kind}.npz" for epoch in epochs),
        )
        for kind, products, examples, vectors in kinds
    ]


def _batchnorm(name: str, run: Mapping[str, Any]) -> list[Stage]:
    """Spectra by batch statistics, at some of the epochs."""
    how = run["batchnorm"]
    if not how:
        return []
    epochs, (train, _) = how["epochs"] or run["epochs"], _num_examples(run)
    products = run["spectrum"]["probes"] * run["spectrum"]["steps"]
    kinds = [f"batchnorm-{size}" for size in sorted(how["chunk_sizes"])]
    return [
        Stage(
            kind,
            len(epochs),
            products,
            train,
            products,
            tuple(f"{name}/spectra/{epoch}/{kind}.npz" for epoch in epochs),
        )
        for kind in kinds
    ]


def _self_test(name: str, run: Mapping[str, Any]) -> list[Stage]:
    """Estimators' self-test, whose products with parts are counted in passes over all data."""
    how = run["self_test"]
    if not how:
        return []
    train, _ = _num_examples(run)
    epochs, steps = how["epochs"] or run["epochs"], how["steps"]
    # Per partition: Lanczos on each part and on what each of its folds leaves of it, the variance
    # along three directions, and both ends' vectors on the folds.
    partitions = sum(math.ceil(how["repetitions"] / parts) for parts in how["parts"])
    products = 2 * steps + partitions * (how["folds"] * steps + 3 + 2)
    outputs = tuple(f"{name}/self_test/{epoch}.csv" for epoch in epochs)
    return [Stage("self-test", len(epochs), products, train, 2 * steps, outputs)]


def _directions(name: str, run: Mapping[str, Any]) -> list[Stage]:
    """Stages that multiply along given directions, and the held-out folds."""
    how = run["variance"]
    if not how:
        return []
    train, test = _num_examples(run)
    epochs, folds, steps = run["epochs"], how["held_out_folds"], how["held_out_steps"]
    ritz = 2 * min(run["spectrum"]["vectors"], run["spectrum"]["steps"])
    # On a fold: its own Lanczos run and both extremal vectors of the others. On all folds: one
    # product per Ritz vector, which is as many on each of them.
    held_out = folds * (steps + 2 * (folds - 1) + ritz)
    return [
        Stage(
            "variance",
            len(epochs),
            how["random_directions"] + ritz + how["leak_vectors"],
            train,
            0,
            tuple(f"{name}/variance/{epoch}.csv" for epoch in epochs),
        ),
        Stage(
            "held-out",
            len(epochs),
            held_out,
            test // folds,
            folds * steps,
            tuple(f"{name}/held_out/{epoch}.csv" for epoch in epochs),
        ),
    ]


def _num_examples(run: Mapping[str, Any]) -> tuple[int, int]:
    """Sizes of the training and the test split."""
    return catalogue.sizes(**run["dataset"])


def _render_run(item: RunPlan, exists: Callable[[str], bool], speed: float | None) -> str:
    rows = [
        [
            stage.name,
            stage.jobs,
            stage.products,
            f"{stage.examples:,}",
            text.count(stage.work),
            _basis(stage, item),
            f"{sum(map(exists, stage.outputs))}/{len(stage.outputs)}",
        ]
        for stage in item.stages
    ]
    headers = ["stage", "jobs", "products/job", "examples/product"]
    headers += ["products x examples", "Lanczos basis", "exist"]
    align = ("left", "right", "right", "right", "right", "left", "right")
    table = tabulate(rows, headers, tablefmt="simple", colalign=align, disable_numparse=True)
    work = sum(stage.work for stage in item.stages)
    left = sum(remaining(stage, exists) for stage in item.stages)
    estimate = "no estimate: nothing measured yet"
    if speed is not None:
        estimate = (
            f"about {_duration(work / speed)}, {_duration(left / speed)} of it still to come, at "
            f"{text.count(speed)} examples/s per product as measured in this run"
        )
    title = f"{item.name}: P = {item.num_params:,}"
    return f"{title}\n{table}\n{text.count(work)} products x examples; {estimate}"


def _basis(stage: Stage, item: RunPlan) -> str:
    if not stage.basis_vectors:
        return "-"
    params = text.count(item.num_params)
    needed = text.size(stage.basis_vectors * item.num_params * item.itemsize)
    return f"{stage.basis_vectors} x {params} x {item.itemsize} B = {needed}"


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
