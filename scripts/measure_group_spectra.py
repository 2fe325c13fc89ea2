"""Rule measure_group_spectra: a checkpoint and its data in, spectra of groups of parameters out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import blocks, source as sources
from truehessian.operators.blocks import DiagonalBlocks
from truehessian.operators.ggn import GGN
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.settings import GroupSettings
from truehessian.spectra import spectrum

KINDS = {kind.name: kind for kind in (Hessian, GGN)}


def main(
    checkpoint: str,
    dataset: str,
    *,
    groups_out: str,
    settings: GroupSettings,
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = sources.Source.load(checkpoint, dataset, settings, network)
    whole = source.operator(KINDS[settings.operator], source.dataset.train)
    measured = blocks.measure(
        DiagonalBlocks(whole, settings.groups),
        steps=settings.steps,
        probes=settings.probes,
        seed=settings.seed,
        tolerance=settings.tolerance,
        basis_memory=source.basis_memory,
        epoch=epoch,
        split="train",
        state=state,
    )
    spectrum.save(groups_out, measured)
