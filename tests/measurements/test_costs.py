"""What a plan says that a stage costs is what its script spends, product by product."""

import pytest
import torch
import yaml
from test_scripts import NETWORK, ROOT, call

from truehessian.data import catalogue, dataset as datasets
from truehessian.networks import checkpoints, registry
from truehessian.operators.folds import Group
from truehessian.operators.mean import NetworkOperator
from truehessian.pipeline import plan
from truehessian.pipeline.config import checks
from truehessian.spectra import spectrum

SMALL = {
    "spectrum": {"steps": 6, "ggn_steps": 3, "probes": 2, "vectors": 2, "chunk_size": 64},
    "operators": {"fisher": {"operator": "empirical_fisher", "steps": 4, "probes": 3}},
    "subsamples": {"parts": [4, 2], "steps": 5},
    "groups": {"steps": 5, "probes": 2},
    # So small that no recurrence ends before all its steps are done.
    "self_test": {
        "parts": [2, 4], "repetitions": 3, "folds": 2, "steps": 4, "tolerance": 1e-30,
    },
    "batchnorm": {"chunk_sizes": [32, 48]},
    "sharpness": {"folds": 3, "sizes": [16, 32], "steps": 4},
    "influence": {"solver_steps": 3, "steps": 4},
    "variance": {"random_directions": 2, "leak_vectors": 3, "group_size": 8, "held_out_steps": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def run():
    """The reduced run with fewer steps: 96 examples to train on and 64 to test on."""
    settings = yaml.safe_load((ROOT / "tests/reduced.yaml").read_text())
    settings["runs"]["reduced"].update(SMALL)
    return checks.check(settings).runs["reduced"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, run):
    """A checkpoint and its data."""
    folder = tmp_path_factory.mktemp("inputs")
    paths = [str(folder / f"{name}.safetensors") for name in ("checkpoint", "dataset")]
    model = registry.build(**NETWORK, seed=1)
    checkpoints.save(paths[0], model, metadata={"model": NETWORK, "epoch": 0})
    datasets.save(paths[1], catalogue.fetch(**run.settings("dataset")))
    return paths


@pytest.fixture
def spent(monkeypatch):
    """All products that are made: their number times the number of examples."""
    made = []
    chunk_products = NetworkOperator.chunk_products

    def counting(self, block):
        made.append(len(block) * self.num_examples)
        return chunk_products(self, block)

    together = Group._together

    def counting_together(self, vectors):
        made.append(len(vectors) * self.num_examples)
        return together(self, vectors)

    monkeypatch.setattr(NetworkOperator, "chunk_products", counting)
    monkeypatch.setattr(Group, "_together", counting_together)
    return made


def planned(run, *names):
    """Products times examples of one job, by what a plan says of these stages."""
    stages = plan.plan("reduced", run, 460).stages
    chosen = [stage for stage in stages if stage.name.partition("-")[0] in names]
    assert {stage.name.partition("-")[0] for stage in chosen} == set(names)
    return sum(stage.products * stage.examples for stage in chosen)


def settings(run, section):
    return {**run.settings(section), "device": "cpu"}


def measure_full(run, inputs, folder):
    vectors = str(folder / "full.vectors.safetensors")
    names = ("spectrum", "ggn", "test", "evaluation")
    outputs = {f"{name}_out": str(folder / name) for name in names}
    call(
        "measure_full_spectra", *inputs, vectors_out=vectors, **outputs,
        settings=settings(run, "spectrum"), network=None, epoch=0,
    )  # fmt: skip
    return vectors


def test_full_spectra(run, inputs, spent, tmp_path):
    measure_full(run, inputs, tmp_path)
    assert sum(spent) == planned(run, "full", "test", "ggn")


def test_spectra_of_batches_and_noise(run, inputs, spent, tmp_path):
    """The directions' products with all the data are made once, and planned for every size."""
    vectors = measure_full(run, inputs, tmp_path)
    spent.clear()
    how = run.batch
    call(
        "measure_batch_spectra", *inputs, vectors, overlaps_out=str(tmp_path / "overlaps.csv"),
        batch_out=[str(tmp_path / f"batch-{size}.npz") for size in how.sizes],
        noise_out=[str(tmp_path / f"noise-{size}.npz") for size in how.sizes],
        settings=settings(run, "batch"), network=None, epoch=0,
    )  # fmt: skip
    train = run.dataset.num_train
    surplus = how.noise_directions * (sum(size + train for size in how.sizes) - train)
    assert sum(spent) == planned(run, "batch", "noise") - surplus


@pytest.mark.parametrize(
    ("script", "section", "name", "count"),
    [
        ("measure_augmented_spectra", "augmentation", "augmented", 1),
        ("measure_subsample_spectra", "subsamples", "subsample", 2),
        ("measure_batchnorm_spectra", "spectrum", "batchnorm", 2),
    ],
)
def test_spectra_of_other_data_and_modes(
    run, inputs, spent, tmp_path, script, section, name, count
):
    more = {"chunk_sizes": run.batchnorm.chunk_sizes} if name == "batchnorm" else {}
    paths = [str(tmp_path / f"{number}.npz") for number in range(count)]
    how = {"settings": settings(run, section), "network": None, "epoch": 0, **more}
    call(script, *inputs, spectra_out=paths, **how)
    assert sum(spent) == planned(run, name)


def test_a_further_matrix(run, inputs, spent, tmp_path):
    target = str(tmp_path / "fisher.npz")
    how = {**run.operator_settings("fisher"), "device": "cpu"}
    call(
        "measure_operator_spectrum", *inputs, spectrum_out=target, settings=how,
        network=None, epoch=0,
    )  # fmt: skip
    assert sum(spent) == planned(run, "fisher")


def test_groups_of_parameters(run, inputs, spent, tmp_path):
    """Of one group as many products as of the whole matrix, and of more as many passes."""
    target = str(tmp_path / "groups.npz")
    how = {"settings": settings(run, "groups"), "network": None, "epoch": 0}
    call("measure_group_spectra", *inputs, groups_out=target, **how)
    assert spectrum.load(target).metadata["groups"] == ["layers.1", "layers.3"]
    assert sum(spent) == planned(run, "groups")


def test_directions(run, inputs, spent, tmp_path):
    vectors = measure_full(run, inputs, tmp_path)
    spent.clear()
    outputs = {f"{name}_out": str(tmp_path / name) for name in ("variance", "subspace", "held_out")}
    how = {"settings": settings(run, "variance"), "network": None}
    call("measure_directions", *inputs, vectors, **outputs, **how)
    assert sum(spent) == planned(run, "variance", "held")


def test_parts_of_single_examples(run, inputs, spent, tmp_path):
    """Each example is multiplied by itself, so that its products count one by one."""
    vectors = measure_full(run, inputs, tmp_path)
    spent.clear()
    how = {"settings": settings(run, "parts"), "network": None}
    call("measure_parts", *inputs, vectors, parts_out=str(tmp_path / "0.parts.npz"), **how)
    assert sum(spent) == planned(run, "parts")


def test_the_self_test(run, inputs, spent, tmp_path):
    target = str(tmp_path / "self_test.csv")
    how = {"settings": settings(run, "self_test"), "network": None}
    call("measure_self_test", *inputs, self_test_out=target, **how)
    assert sum(spent) == planned(run, "self")


@pytest.mark.parametrize("with_adam", [False, True])
def test_curvature_along_gradients(run, inputs, spent, tmp_path, with_adam):
    vectors = measure_full(run, inputs, tmp_path)
    spent.clear()
    files = [*inputs, vectors]
    if with_adam:
        files.append(str(tmp_path / "adam.pt"))
        model = registry.build(**NETWORK, seed=1)
        optimiser = torch.optim.Adam(model.parameters())
        model(torch.ones(2, 1, 8, 8)).square().sum().backward()
        optimiser.step()
        torch.save(optimiser.state_dict(), files[-1])
    how = run.sharpness.model_copy(update={"optimiser": "{epoch}.pt" if with_adam else None})
    run = run.model_copy(update={"sharpness": how})
    target = str(tmp_path / "2.csv")
    call(
        "measure_sharpness", *files, sharpness_out=target, settings=settings(run, "sharpness"),
        network=None, epoch=2,
    )  # fmt: skip
    assert sum(spent) == planned(run, "sharpness")


@pytest.mark.parametrize("examples", [None, 5])
def test_examples_left_out(run, inputs, spent, tmp_path, examples):
    """Of a part of the examples, Ritz vectors are not multiplied by the whole matrix as planned."""
    vectors = measure_full(run, inputs, tmp_path)
    spent.clear()
    # So small that no system is solved before all its steps are done.
    how = run.influence.model_copy(update={"examples": examples, "accuracy": 1e-30})
    run = run.model_copy(update={"influence": how})
    call(
        "measure_influence", *inputs, vectors, influence_out=str(tmp_path / "2.csv"),
        settings=settings(run, "influence"), network=None, epoch=2,
    )  # fmt: skip
    surplus = 0 if examples is None else 2 * run.dataset.num_train
    assert sum(spent) == planned(run, "influence") - surplus


def test_a_recurrence_that_stops_early_costs_less(run, inputs, spent, tmp_path):
    how = run.spectrum.model_copy(update={"steps": 40, "tolerance": 0.5})
    early = run.model_copy(update={"spectrum": how})
    measure_full(early, inputs, tmp_path)
    assert 0 < sum(spent) < planned(early, "full", "test", "ggn")
