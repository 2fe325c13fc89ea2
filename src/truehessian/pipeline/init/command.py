"""The command: look at network, weights, data and loss, and write a configuration for them."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

import truehessian
from truehessian import devices
from truehessian.networks import NETWORKS
from truehessian.networks.losses import LOSSES, base as losses
from truehessian.pipeline.config import checks
from truehessian.pipeline.init import (
    choices,
    cost,
    data as datas,
    files,
    network as networks,
    trial,
    written,
)
from truehessian.pipeline.init.data import Data
from truehessian.pipeline.init.files import Weights
from truehessian.pipeline.init.flags import Wishes
from truehessian.pipeline.init.network import Network
from truehessian.pipeline.init.talk import Talk

_NOTHING_LEARNED = (
    "  Warning: that is no better than guessing: the weights have learned nothing, or do not "
    "belong to these data or to this normalisation (--mean, --std)"
)
_RATHER_NOT = "train"  # the answer to where weights are, where there are none


def run(wishes: Wishes, talk: Talk) -> None:
    """Do everything.

    Parameters
    ----------
    wishes
        What was given.
    talk
        Says what is found, and asks for the rest.

    Raises
    ------
    ValueError, OSError
        Something is wrong; nothing is written then.
    """
    device = devices.resolve(wishes.device or "auto")
    if wishes.output is not None:
        _check_free(Path(wishes.output), wishes)
    with _importable(Path.cwd()):
        data = _data(wishes, talk)
        network = _network(wishes, talk, data)
        name, loss = _loss(wishes, talk, data)
        wishes = wishes._replace(loss=name)
        weights = _weights(wishes, talk, network, data, loss, device)
        _write(wishes, talk, data, network, weights, loss, device)


def _data(wishes: Wishes, talk: Talk) -> Data:
    most = choices.QUICK if wishes.quick else None
    found = talk.about(
        "--data", wishes.data, "which data (a name, a file or a folder)", "digits" if talk.answers
        else None, lambda text: datas.look(text, wishes, most),
    )  # fmt: skip
    talk.say(*datas.lines(found))
    return found


def _network(wishes: Wishes, talk: Talk, data: Data) -> Network:
    default = None
    if talk.answers:
        default = "preresnet" if data.examples.train.are_images else "mlp"
    found = talk.about(
        "--model", wishes.model,
        f"which network ({', '.join(NETWORKS)}, torchvision:resnet18, package.module:factory)",
        default, lambda text: networks.look(text, wishes.model_arguments, data),
    )  # fmt: skip
    talk.say(*networks.lines(found))
    if wishes.parameters is not None:
        count = found.facts.count(wishes.chosen)
        talk.say(f"  {count:,} of them in matrices, by {wishes.chosen}")
    return found


def _loss(wishes: Wishes, talk: Talk, data: Data) -> tuple[str, Any]:
    return talk.about(
        "--loss", wishes.loss, f"which loss ({', '.join(LOSSES)}, package.module:function)",
        data.loss, lambda text: (text, losses.made(text, wishes.loss_arguments)),
    )  # fmt: skip


def _weights(
    wishes: Wishes, talk: Talk, network: Network, data: Data, loss: Any, device: torch.device
) -> Weights | None:
    """Find and try the weights; None to train."""

    def look(where: str) -> Weights | None:
        if where == _RATHER_NOT and not Path(where).exists():
            metrics = networks.recognised(network, data, loss, device)
            talk.say(f"Weights: to be trained; now, {networks.judged(metrics, data)}")
            return None
        found = files.find(where, wishes.epochs)
        for epoch, path in found.paths().items():
            networks.load(network, path, data)
            metrics = networks.recognised(network, data, loss, device)
            talk.say(f"Weights: {path}, epoch {epoch}, {networks.judged(metrics, data)}")
        if metrics.at_chance:
            talk.say(_NOTHING_LEARNED)
        return found

    given = _RATHER_NOT if wishes.train else wishes.weights
    question = f"where its weights are (weights.pt, weights/{{epoch}}.pt, or {_RATHER_NOT})"
    default = _RATHER_NOT if talk.answers else None
    return talk.about("--weights or --train", given, question, default, look)


def _write(
    wishes: Wishes, talk: Talk, data: Data, network: Network, weights: Weights | None,
    loss: Any, device: torch.device,
) -> None:  # fmt: skip
    timed = trial.timed(network, data, loss, wishes.chosen, device)
    chosen = choices.settings(wishes, data, network, weights, timed)
    name = talk.about("--run", wishes.name, "what the run is called", _name(data, network),
                      lambda text: _checked_name(text, chosen.run))  # fmt: skip
    configured = checks.check({"analyse": [name], "runs": {name: chosen.run}})
    made = configured.runs[name]
    talk.say(*cost.estimate(name, made, data, network, timed).lines(timed))
    path = talk.about("a file to write (--output)", wishes.output, "where to write it",
                      f"{name}.yaml", lambda text: _check_free(Path(text), wishes))  # fmt: skip
    heading = (
        f"Written by `truehessian init`: {network.section['name']} with P = "
        f"{network.facts.num_parameters:,} parameters on {datas.count(data)} training examples of "
        f"{data.section.name}. Every key stands here with what it means; paths are relative to the "
        "folder in which Snakemake is started."
    )
    content = written.configuration(name, made, chosen.remarks, heading)
    checked = checks.check(yaml.safe_load(content))
    checks.check_networks(checked)
    checks.check_losses(checked)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    snakefile = _snakefile()
    talk.say(f"Written: {path}, valid. Next:")
    talk.say(
        *(f"  uv run snakemake {target}{snakefile}--configfile {path}" for target in ("plan ", ""))
    )


def _checked_name(name: str, run: Any) -> str:
    """Refuse a name that no folder may have, or with which other keys would be merged."""
    checks.check({"analyse": [name], "runs": {name: run}})
    default = _workflow() / "config.yaml"
    if default.exists() and name in yaml.safe_load(default.read_text())["runs"]:
        raise ValueError(
            f"{name} is a run of {default}, which yours would be merged with; take another name"
        )
    return name


def _check_free(path: Path, wishes: Wishes) -> Path:
    if path.exists() and not wishes.force:
        raise ValueError(f"{path} is there already; give another file, or --force to replace it")
    return path


def _name(data: Data, network: Network) -> str:
    """Call a run by its data and network, in letters that a folder may have."""
    source = Path(data.section.arguments.get("path", data.section.name)).stem or "data"
    parts = [source.rpartition(":")[2], network.section["name"].rpartition(":")[2]]
    words = "-".join(parts).replace(" ", "-")
    return (
        "".join(c for c in words if c.isascii() and (c.isalnum() or c in "-_.")).strip("-_.")
        or "run"
    )


def _snakefile() -> str:
    """Give the flag for the workflow where it is not in this folder."""
    own = _workflow() / "Snakefile"
    return f"--snakefile {own} " if own.exists() and own.parent != Path() else ""


def _workflow() -> Path:
    """Find the folder of the workflow: this one, or that of the package."""
    here = Path("Snakefile").exists()
    return Path() if here else Path(truehessian.__file__).parents[2]


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules of the user's be imported as jobs will: after everything else."""
    before = list(sys.path)
    sys.path[:] = [entry for entry in before if entry and Path(entry) != folder] + [str(folder)]
    try:
        yield
    finally:
        sys.path[:] = before
