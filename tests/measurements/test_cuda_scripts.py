"""Every script that trains or multiplies on a GPU, against what it gives on the CPU."""

import contextlib
import functools
from pathlib import Path

import fake_cuda
import numpy as np
import pandas as pd
import platformdirs
import pytest
import safetensors.torch
import torch
import yaml
from test_scripts import PRODUCTS, ROOT, call

from truehessian import devices, tensorfile
from truehessian.networks import checkpoints, registry
from truehessian.pipeline.config import checks as configuration

NETWORK = {"name": "preresnet", "depth": 8, "width": 8, "num_classes": 10, "input_shape": [1, 8, 8]}
OWN = {"name": "vgg", "depth": 11, "width": 8, "num_classes": 10, "input_shape": [1, 8, 8]}
PRECISE = {**PRODUCTS, "precision": "float64"}


class Run:
    """A tiny run on one device; each stage is done when it is first asked for, with its inputs."""

    def __init__(self, folder: Path, device: str) -> None:
        settings = yaml.safe_load((ROOT / "tests/reduced.yaml").read_text())
        self.settings = configuration.check(settings).runs["reduced"].settings
        self.folder, self.device = folder, device
        self.common = {"network": None}

    def products(self, section: str, **changes):
        return {**self.settings(section), **PRECISE, "device": self.device, **changes}

    def path(self, name: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    @functools.cached_property
    def dataset(self) -> str:
        small = {**self.settings("dataset"), "train_examples": 40, "test_examples": 24}
        call("prepare_dataset", dataset_out=self.path("dataset.safetensors"), settings=small)
        return self.path("dataset.safetensors")

    @functools.cached_property
    def train_network(self) -> list[str]:
        paths = [self.path(f"{epoch}.safetensors") for epoch in (0, 1)]
        call(
            "train_network",
            self.dataset,
            checkpoints_out=paths,
            training_out=self.path("training.csv"),
            settings={**self.settings("training"), "epochs": 1, "device": self.device},
            network=NETWORK,
            epochs=[0, 1],
        )
        return [*paths, self.path("training.csv")]

    @functools.cached_property
    def import_checkpoint(self) -> list[str]:
        weights = registry.build(**OWN, seed=5).state_dict()
        safetensors.torch.save_file(weights, self.path("own.safetensors"))
        target = self.path("imported/3.safetensors")
        source = self.path("own.safetensors")
        call("import_checkpoint", self.dataset, source, checkpoint_out=target, network=OWN, epoch=3)
        return [target]

    @functools.cached_property
    def checkpoint(self) -> str:
        """The same one on all devices: training in float32 differs from GPU to CPU."""
        torch.manual_seed(0)
        model = registry.build(**NETWORK, seed=3)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
        metadata = {"model": NETWORK, "dataset": "digits", "epoch": 1}
        checkpoints.save(self.path("fixed.safetensors"), model, metadata=metadata)
        return self.path("fixed.safetensors")

    @functools.cached_property
    def measure_full_spectra(self) -> list[str]:
        names = {name: self.path(f"{name}.npz") for name in ("full", "ggn", "test")}
        call(
            "measure_full_spectra",
            self.checkpoint,
            self.dataset,
            spectrum_out=names["full"],
            vectors_out=self.path("full.vectors.safetensors"),
            ggn_out=names["ggn"],
            test_out=names["test"],
            evaluation_out=self.path("evaluation.csv"),
            settings=self.products("spectrum", steps=6, probes=2),
            epoch=1,
            **self.common,
        )
        return [*names.values(), self.path("evaluation.csv")]

    @property
    def vectors(self) -> str:
        _ = self.measure_full_spectra
        return self.path("full.vectors.safetensors")

    @functools.cached_property
    def measure_batch_spectra(self) -> list[str]:
        paths = [self.path(f"{kind}-16.npz") for kind in ("batch", "noise")]
        call(
            "measure_batch_spectra",
            self.checkpoint,
            self.dataset,
            self.vectors,
            batch_out=paths[:1],
            noise_out=paths[1:],
            overlaps_out=self.path("overlaps.csv"),
            settings=self.products("batch", sizes=[16], folds=2, steps=4),
            epoch=1,
            **self.common,
        )
        return [*paths, self.path("overlaps.csv")]

    @functools.cached_property
    def measure_augmented_spectra(self) -> list[str]:
        path = self.path("augmented-2.npz")
        settings = self.products("augmentation")
        self._spectra("measure_augmented_spectra", [path], settings=settings)
        return [path]

    @functools.cached_property
    def measure_subsample_spectra(self) -> list[str]:
        path = self.path("subsample-2.npz")
        settings = self.products("subsamples", parts=[2], steps=4)
        self._spectra("measure_subsample_spectra", [path], settings=settings)
        return [path]

    @functools.cached_property
    def measure_batchnorm_spectra(self) -> list[str]:
        path = self.path("batchnorm-20.npz")
        settings = self.products("spectrum", steps=4, probes=1)
        self._spectra("measure_batchnorm_spectra", [path], settings=settings, chunk_sizes=[20])
        return [path]

    @functools.cached_property
    def measure_group_spectra(self) -> list[str]:
        path = self.path("groups.npz")
        call(
            "measure_group_spectra",
            self.checkpoint,
            self.dataset,
            groups_out=path,
            settings=self.products("groups", probes=2),
            epoch=1,
            **self.common,
        )
        return [path]

    @functools.cached_property
    def measure_operator_spectrum(self) -> list[str]:
        path = self.path("fisher.npz")
        settings = self.products("spectrum")
        del settings["ggn_steps"], settings["vectors"]
        settings |= {"operator": "empirical_fisher", "name": "fisher", "steps": 4, "probes": 1}
        call(
            "measure_operator_spectrum",
            self.checkpoint,
            self.dataset,
            spectrum_out=path,
            settings=settings,
            epoch=1,
            **self.common,
        )
        return [path]

    @functools.cached_property
    def measure_directions(self) -> list[str]:
        outputs = {name: self.path(f"{name}.csv") for name in ("variance", "held_out")}
        call(
            "measure_directions",
            self.checkpoint,
            self.dataset,
            self.vectors,
            variance_out=outputs["variance"],
            subspace_out=self.path("subspace.npz"),
            held_out_out=outputs["held_out"],
            settings=self.products("variance", leak_vectors=2, group_size=8, held_out_steps=4),
            **self.common,
        )
        return list(outputs.values())

    @functools.cached_property
    def measure_subspace(self) -> list[str]:
        path = self.path("reached.csv")
        call(
            "measure_subspace",
            self.checkpoint,
            self.dataset,
            self.vectors,
            subspace_out=self.path("adaptive.npz"),
            reached_out=path,
            settings=self.products("subspace", ranks=1, passes=6, group_size=8),
            **self.common,
        )
        return [path]

    @functools.cached_property
    def measure_parts(self) -> list[str]:
        path = self.path("parts.npz")
        call(
            "measure_parts",
            self.checkpoint,
            self.dataset,
            self.vectors,
            parts_out=path,
            settings=self.products("parts", examples=6, vectors=1, steps=4, pairs=1),
            **self.common,
        )
        return [path]

    @functools.cached_property
    def measure_self_test(self) -> list[str]:
        path = self.path("self_test.csv")
        call(
            "measure_self_test",
            self.checkpoint,
            self.dataset,
            self_test_out=path,
            settings=self.products(
                "self_test", parts=[2], repetitions=2, folds=2, steps=2, tolerance=1e-3
            ),
            **self.common,
        )
        return [path]

    @functools.cached_property
    def measure_sharpness(self) -> list[str]:
        path = self.path("sharpness.csv")
        call(
            "measure_sharpness",
            self.checkpoint,
            self.dataset,
            self.vectors,
            sharpness_out=path,
            settings=self.products("sharpness", sizes=[16], folds=3),
            epoch=1,
            **self.common,
        )
        return [path]

    @functools.cached_property
    def measure_influence(self) -> list[str]:
        path = self.path("influence.csv")
        call(
            "measure_influence",
            self.checkpoint,
            self.dataset,
            self.vectors,
            influence_out=path,
            settings=self.products("influence", examples=6, steps=3, accuracy=1e-8),
            epoch=1,
            **self.common,
        )
        return [path]

    def _spectra(self, script: str, paths: list[str], **how) -> None:
        call(
            script, self.checkpoint, self.dataset, spectra_out=paths, epoch=1, **how, **self.common
        )


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("cpu"), "cpu")


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def on_gpu(request, tmp_path_factory):
    if request.param == "real" and not torch.cuda.is_available():
        pytest.skip("needs a GPU, and PyTorch sees none")
    locks = tmp_path_factory.mktemp("locks")
    with contextlib.ExitStack() as stack:
        if request.param == "fake":
            stack.enter_context(fake_cuda.installed())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(platformdirs, "user_runtime_path", lambda name: locks)
        patch.setattr(devices, "_claimed", {})
        yield Run(tmp_path_factory.mktemp("gpu"), "cuda")
        for lock in devices._claimed.values():
            lock.release()


SCRIPTS = [
    "import_checkpoint",
    "train_network",
    "measure_full_spectra",
    "measure_operator_spectrum",
    "measure_batch_spectra",
    "measure_augmented_spectra",
    "measure_subsample_spectra",
    "measure_batchnorm_spectra",
    "measure_group_spectra",
    "measure_directions",
    "measure_subspace",
    "measure_parts",
    "measure_self_test",
    "measure_sharpness",
    "measure_influence",
]


def test_no_script_that_works_on_a_device_is_left_out():
    sources = {path.stem: path.read_text() for path in (ROOT / "scripts").glob("*.py")}
    words = ("Source.load", "claim(", "checkpoints.", "operators.")
    assert {name for name, text in sources.items() if any(w in text for w in words)} == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_give_on_a_gpu_what_they_give_on_the_cpu(on_cpu, on_gpu, script):
    # In float32 a GPU sums in another order; measurements are made in float64.
    rtol = 1e-2 if script == "train_network" else 1e-5
    for known, found in zip(getattr(on_cpu, script), getattr(on_gpu, script), strict=True):
        compare(found, known, rtol)


def compare(found: str, known: str, rtol: float) -> None:
    suffix = Path(found).suffix
    if suffix == ".csv":
        frames = [
            pd.read_csv(path).drop(columns="seconds", errors="ignore") for path in (found, known)
        ]
        pd.testing.assert_frame_equal(*frames, rtol=rtol, atol=1e-8)
    elif suffix == ".npz":
        with np.load(found) as own, np.load(known) as other:
            of_spectra, of_parts = ("ritz_values", "weights", "diagonal"), ("ritz_values", "values")
            for name in of_parts if "values" in own else of_spectra:
                assert np.isfinite(own[name]).all()
                assert np.allclose(own[name], other[name], rtol=rtol, atol=1e-7)
    else:
        (own, facts), (other, facts_there) = tensorfile.load(found), tensorfile.load(known)
        assert facts["model"] == facts_there["model"]
        for name, tensor in own.items():
            torch.testing.assert_close(tensor, other[name], rtol=rtol, atol=rtol)
