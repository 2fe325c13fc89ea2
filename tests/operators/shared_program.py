"""What each of several processes does in the tests of `operators.shared`."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from truehessian.measurements import fold_spectra
from truehessian.measurements.source import Source, measure
from truehessian.operators import Hessian, ranks
from truehessian.operators.folds import Folds
from truehessian.operators.shared import Shared
from truehessian.spectra.recurrence import Journal

torch.manual_seed(0)
NETWORK = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
INPUTS, TARGETS = torch.randn(50, 6), torch.randint(0, 3, (50,))
TARGETS[::7] = -1
MATRICES = {
    "plain": {"chunk_size": 8},
    "weights": {"chunk_size": 8, "loss": partial(F.cross_entropy, ignore_index=-1)},
    "penalty": {"chunk_size": 8, "weight_decay": 0.3},
    "one chunk": {"chunk_size": 50},
}


def matrix(name):
    targets = TARGETS if name == "weights" else TARGETS.clamp(min=0)
    how = {"precision": "float64"} | MATRICES[name]
    return Hessian(NETWORK, (INPUTS, targets), **how)


def products(group):
    """Norms of the deviations from the product of one process."""
    found = {}
    for name in MATRICES:
        whole = matrix(name)
        vectors = torch.randn(2, whole.num_params, dtype=torch.float64)
        own = whole if group is None else Shared(whole, group)
        exact = whole.matmat(vectors)
        found[name] = ((own.matmat(vectors) - exact).norm() / exact.norm()).item()
    return found


def spectrum(group, folder, steps):
    """Ritz values, and how many products were made; state lies in a folder."""
    own = Shared(matrix("plain"), group)
    count = 0

    def counted(block, plain=own.matmat):
        nonlocal count
        count += 1
        if count == int(os.environ.get("DIE_AT", "-1")) and group.number == group.count - 1:
            os._exit(9)
        return plain(block)

    own.matmat = counted
    found, _ = measure(own, steps=int(steps), seed=0, state=Path(folder))
    return {"values": found.ritz_values[0].tolist(), "products": count}


def spectrum_alone(group, folder, steps):
    """Ritz values of one process."""
    assert group is None
    found, _ = measure(matrix("plain"), steps=int(steps), seed=0, state=Path(folder))
    return {"values": found.ritz_values[0].tolist()}


def folds(group, folder):
    """Ritz values of five batches, and which of them this process has measured."""
    whole = Hessian(NETWORK, (INPUTS, TARGETS.clamp(min=0)), precision="float64")
    batches = [(INPUTS[i::5], TARGETS.clamp(min=0)[i::5]) for i in range(5)]
    source = Source(NETWORK, None, {}, None)
    measured = fold_spectra.of_folds(
        source, Folds(whole, batches), states=[Path(folder) / f"{n}" for n in range(5)],
        numbers=[[n] for n in range(5)], steps=12, seed=0, purpose="batch",
    )  # fmt: skip
    return {"values": [own.ritz_values[0].tolist() for own in measured]}


def failure(group):
    """Let one process fail in a product, and say what each of them says."""
    own = Shared(matrix("plain"), group)
    if group.number == 1:
        own._own.matmat = lambda block: 1 / 0
    try:
        own.matmat(torch.ones(1, own.num_params, dtype=torch.float64))
    except Exception as error:
        return {"said": f"{type(error).__name__}: {error}"}
    return {}


if __name__ == "__main__":
    if "SAVE_OFTEN" in os.environ:
        Journal.__init__.__defaults__ = (0.0, "")
    torch.set_num_threads(1)
    what, *arguments = sys.argv[1:]
    together = ranks.of_environment("cpu")
    print(json.dumps(globals()[what](together, *arguments)))
