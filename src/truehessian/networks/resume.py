"""The state of a training run between two epochs, from which a killed run goes on."""

import json
import logging
import os
from typing import Any

import torch
from torch import nn

from truehessian import tensorfile

logger = logging.getLogger(__name__)

_MODEL, _MOMENTUM = "model.", "momentum."  # prefixes of the tensors in a state file


def save(
    path: str | os.PathLike,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    rows: list[dict[str, Any]],
) -> str | os.PathLike | None:
    """Write weights, buffers, momentum and the rows of the epochs that are done.

    Returns
    -------
    str or os.PathLike or None
        Where to write the next state: `path`, and None after a failure, which is reported.
    """
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        buffer = optimiser.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[_MOMENTUM + name] = buffer
    try:
        tensorfile.save(path, tensors, {"rows": json.dumps(rows)})
    except OSError as error:
        logger.warning("the state is not saved, so a kill costs all later epochs: %s", error)
        return None
    return path


def load(
    path: str | os.PathLike | None, model: nn.Module, optimiser: torch.optim.Optimizer
) -> list[dict[str, Any]]:
    """Load a usable state in place and give the rows of its epochs, otherwise none.

    A state that cannot be used is reported. Weights and momentum keep dtype, device and memory
    format of the model's.
    """
    if path is None or not os.path.exists(path):
        return []
    try:
        tensors, metadata = tensorfile.load(path)
        rows = json.loads(metadata["rows"])
        weights = {k.removeprefix(_MODEL): t for k, t in tensors.items() if k.startswith(_MODEL)}
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        if shapes != {name: tensor.shape for name, tensor in model.state_dict().items()}:
            raise ValueError("it belongs to another network")
    except (ValueError, KeyError) as error:
        logger.warning("cannot resume from %s (%s); training starts afresh", path, error)
        return []
    model.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        if _MOMENTUM + name in tensors:
            buffer = torch.empty_like(parameter, requires_grad=False)
            optimiser.state[parameter]["momentum_buffer"] = buffer.copy_(tensors[_MOMENTUM + name])
    logger.info("resuming after epoch %d from %s", rows[-1]["epoch"], path)
    return rows
