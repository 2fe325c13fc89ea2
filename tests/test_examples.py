"""The worked examples: from weights and data to the report, with right numbers."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
import torchvision
import yaml
from PIL import Image
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
README = (ROOT / "examples/README.md").read_text(encoding="utf-8")
COMMANDS = dict(re.findall(r"```sh\nuv run python examples/(\w+)/(.*?)```", README, re.S))
COMMAND = "import sys; from truehessian.pipeline.cli import main; sys.exit(main())"
PATTERNS = ("conv1.*", "fc.*")  # of ResNet-18, for a matrix of moderate order


class Case(NamedTuple):
    prepare: list[str]  # in place of the flags of the README
    init: list[str]  # beside them
    epoch: int
    steps: int  # of Lanczos, for ten digits
    sections: dict[str, Any]  # to leave out
    loss: Callable[[Path], tuple[Callable[[], Tensor], list[Tensor]]]


def split_of(arrays: dict[str, Any], name: str) -> Tensor:
    array = torch.as_tensor(np.asarray(arrays[f"train_{name}"]))
    return array.double() if array.is_floating_point() else array


def of_regression(folder: Path) -> tuple[Callable[[], Tensor], list[Tensor]]:
    from examples.regression.network import regressor

    with np.load(folder / "data/regression/diabetes.npz") as arrays:
        inputs, targets = (split_of(arrays, name) for name in ("inputs", "targets"))
    model = regressor()
    model.load_state_dict(torch.load(folder / "data/regression/30.pt"))
    model.double()
    return lambda: F.mse_loss(model(inputs)[:, 0], targets), list(model.parameters())


def of_language(folder: Path) -> tuple[Callable[[], Tensor], list[Tensor]]:
    from examples.language_model.network import Language

    arrays = safetensors.torch.load_file(folder / "data/language_model/text.safetensors")
    tokens, mask, targets = (
        arrays[f"train_{name}"] for name in ("inputs.input_ids", "inputs.attention_mask", "targets")
    )
    weights = torch.load(folder / "data/language_model/20.pt")["model"]
    model = Language(len(weights["tokens.weight"]))
    model.load_state_dict(weights)
    model.double().eval()

    def loss() -> Tensor:
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
            logits = model(tokens, mask)["logits"]
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())

    names = ("layers.0.gathered.", "norm.")
    return loss, [p for name, p in model.named_parameters() if name.startswith(names)]


def of_images(folder: Path) -> tuple[Callable[[], Tensor], list[Tensor]]:
    classes = sorted((folder / "data/resnet18/images/train").iterdir())
    images = [
        (np.asarray(Image.open(path)), label)
        for label, one in enumerate(classes)
        for path in sorted(one.iterdir())
    ]
    pixels = torch.from_numpy(np.stack([image for image, _ in images])).double()
    inputs = (pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    targets = torch.tensor([label for _, label in images])
    model = torchvision.models.resnet18(num_classes=len(classes))
    model.load_state_dict(torch.load(folder / "data/resnet18/resnet18.pt")["state_dict"])
    model.double().eval()
    chosen = [
        parameter
        for name, parameter in model.named_parameters()
        if name.startswith(("conv1.", "fc."))
    ]
    return lambda: F.cross_entropy(model(inputs), targets), chosen


CASES = {
    "resnet18": Case(
        ["--images", "10", "--epochs", "1"],
        ["--parameters", *PATTERNS],
        1,
        60,
        {"batch": None, "variance": None},
        of_images,
    ),
    "language_model": Case(
        ["--examples", "48", "--steps", "20"],
        ["--parameters", "layers.0.gathered.*", "norm.*"],
        20,
        120,
        {"batch": None, "variance": None},
        of_language,
    ),
    "regression": Case(["--epochs", "300"], [], 30, 60, {}, of_regression),
}  # fmt: skip


def commands(name: str) -> list[list[str]]:
    lines = f"uv run python examples/{name}/{COMMANDS[name]}".strip().splitlines()
    return [shlex.split(line)[2:] for line in lines]


def test_no_example_takes_more_than_five_commands():
    assert (
        set(COMMANDS) == set(CASES) == {p.parent.name for p in ROOT.glob("examples/*/prepare.py")}
    )
    assert all(len(commands(name)) <= 5 for name in COMMANDS)


def run(folder: Path, *command: str) -> None:
    environment = {
        **os.environ,
        "TRUEHESSIAN_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def exact_extremes(loss: Callable[[], Tensor], leaves: list[Tensor]) -> np.ndarray:
    """The largest and the smallest eigenvalue by SciPy, of products that differentiate twice.

    The errors of eigenvalues go with the squares of residuals, of which `tol` is the bound.
    """
    gradient = torch.autograd.grad(loss(), leaves, create_graph=True)
    flat = torch.cat([part.reshape(-1) for part in gradient])

    def product(vector: np.ndarray) -> np.ndarray:
        along = flat @ torch.from_numpy(vector.reshape(-1).copy())
        parts = torch.autograd.grad(along, leaves, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in parts]).numpy()

    size = len(flat)
    operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=product, dtype="float64")
    return np.array(
        [
            scipy.sparse.linalg.eigsh(operator, 1, which=which, tol=1e-7)[0][0]
            for which in ("LA", "SA")
        ]
    )


# All go through the same rules to the report, so one does it wherever tests are run.
SLOW = [pytest.param(name, True, marks=pytest.mark.slow) for name in CASES if name != "regression"]
BRIEF = [(name, name == "regression") for name in CASES]


@pytest.mark.parametrize(("name", "whole"), [*BRIEF, *SLOW])
def test_an_example_goes_from_weights_and_data_to_the_report(name, whole, tmp_path, monkeypatch):
    """Or only as far as the spectra of the whole data: `uv run pytest -m slow` does the rest."""
    case, (prepare, init, everything) = CASES[name], commands(name)
    monkeypatch.syspath_prepend(str(ROOT))
    run(tmp_path, str(ROOT / prepare[1]), *case.prepare)
    if "--epochs" in init:
        place = init.index("--epochs")
        following = next(n for n, word in enumerate(init) if n > place and word.startswith("--"))
        init[place + 1 : following] = [str(case.epoch)]
    run(tmp_path, "-c", COMMAND, *init[1:], "--quick", *case.init)
    config = Path(everything[-1])
    label = config.stem
    how = {"precision": "float64", "steps": case.steps, "tolerance": None}
    more = {"runs": {label: {"spectrum": how, **case.sections}}}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))
    workflow = ["-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "1"]
    spectra = f"results/{label}/spectra/{case.epoch}/full.npz"
    targets = [] if whole else ["--", spectra]
    run(tmp_path, *workflow, "--configfile", str(config), "more.yaml", *targets)
    assert (tmp_path / "results/report.html").exists() == whole
    with np.load(tmp_path / spectra) as found:
        measured = found["ritz_values"][0, [-1, 0]]
    exact = exact_extremes(*case.loss(tmp_path))
    np.testing.assert_allclose(measured, exact, rtol=1e-8, atol=1e-8 * np.abs(exact).max())
