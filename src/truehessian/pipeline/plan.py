"""What a run would compute and what that costs, from its configuration alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from truehessian import text
from truehessian.measurements.costs.series import Series
from truehessian.pipeline import measured
from truehessian.pipeline.config.run import Run

# Files of stages that do not end in a spectrum.
_TABLES = {
    "self-test": "self_test/{epoch}.csv",
    "variance": "variance/{epoch}.csv",
    "held-out": "held_out/{epoch}.csv",
    "subspace": "subspace/{epoch}.npz",
    "sharpness": "sharpness/{epoch}.csv",
    "influence": "influence/{epoch}.csv",
    "influence-curvature": "influence/{epoch}.csv",
    "parts": "variance/{epoch}.parts.npz",
}


class Stage(NamedTuple):
    """One kind of measurement of a run, over all its epochs.

    Attributes
    ----------
    name
        What is measured: `full`, `ggn`, `test`, `batch-{size}`, `noise-{size}`,
        `augmented-{factor}`, `subsample-{parts}`, `batchnorm-{chunk_size}`, `groups`,
        `self-test`, `variance`, `held-out`, `subspace`, `parts`, `sharpness` of all the data, or
        `sharpness-{size}`, `influence` and `influence-curvature`; further matrices by their own
        names.
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


def plan(name: str, run: Run, num_params: int, num_groups: int = 1) -> RunPlan:
    """List the stages of a run that make products with curvature matrices.

    Parameters
    ----------
    name
        Of the run.
    run
        Its configuration.
    num_params
        Parameters P of its network.
    num_groups
        Groups of parameters that have spectra of their own.

    Returns
    -------
    RunPlan
        Training is no part of it: an epoch of training costs about as much as one product takes
        for a third of the data.
    """
    series = measured.by_a_run(run, num_groups)
    stages = [stage for costs, epochs in series for stage in _stages(name, costs, epochs)]
    itemsize = 8 if run.spectrum.precision == "float64" else 4
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
    # Stages of one job may share a file.
    outputs = {path for item in plans for stage in item.stages for path in stage.outputs}
    done = sum(map(exists, outputs))
    total = (
        f"Total: {text.prefixed(work)} products x examples, {text.prefixed(left)} of them "
        f"still to be done; {done} of {len(outputs)} outputs exist.\n"
        "Products are at most so many; training comes on top. Results in the store are not looked "
        "up."
    )
    return "\n\n".join([*parts, total])


def _stages(run: str, costs: Iterable[Series], epochs: Sequence[int]) -> Iterator[Stage]:
    """Make stages that a run does once per epoch."""
    for cost in costs:
        kind = cost.name.removesuffix(f"-{cost.number}")
        pattern = _TABLES.get(kind, "spectra/{epoch}/{name}.npz")
        files = tuple(f"{run}/{pattern.format(epoch=epoch, name=cost.name)}" for epoch in epochs)
        yield Stage(cost.name, len(epochs), cost.products, cost.examples, cost.basis_vectors, files)


def _render_run(item: RunPlan, exists: Callable[[str], bool], speed: float | None) -> str:
    rows = [
        [
            stage.name,
            stage.jobs,
            stage.products,
            f"{stage.examples:,}",
            text.prefixed(stage.work),
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
            f"about {text.duration(work / speed)}, {text.duration(left / speed)} of it still to "
            f"come, at {text.prefixed(speed)} examples/s per product as measured in this run"
        )
    title = f"{item.name}: P = {item.num_params:,}"
    return f"{title}\n{table}\n{text.prefixed(work)} products x examples; {estimate}"


def _basis(stage: Stage, item: RunPlan) -> str:
    if not stage.basis_vectors:
        return "-"
    params = text.prefixed(item.num_params)
    needed = text.size(stage.basis_vectors * item.num_params * item.itemsize)
    return f"{stage.basis_vectors} x {params} x {item.itemsize} B = {needed}"
