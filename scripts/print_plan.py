"""Rule plan: configurations of runs in, a table of what they cost on the standard output."""

from pathlib import Path
from typing import Any

from truehessian.pipeline import plan
from truehessian.pipeline.config.networks import network_facts
from truehessian.pipeline.config.run import Run
from truehessian.spectra import spectrum


def main(*, runs: dict[str, Any], results: str) -> None:
    folder = Path(results)
    typed = {name: Run.model_validate(run) for name, run in runs.items()}
    plans = [plan_of(name, run) for name, run in typed.items()]
    rates = {
        name: plan.rate(
            [spectrum.load(path).metadata for path in folder.glob(f"{name}/spectra/*/full.npz")]
        )
        for name in runs
    }
    print(plan.render(plans, lambda path: (folder / path).exists(), rates))


def plan_of(name: str, run: Run) -> plan.RunPlan:
    network = network_facts(run.network)
    groups = network.groups(run.parameters, run.groups.parameters) if run.groups else {}
    return plan.plan(name, run, network.count(run.parameters), len(groups))
