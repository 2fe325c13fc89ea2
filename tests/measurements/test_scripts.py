"""Every script of the workflow on a tiny run, each fed with what the ones before have written."""

import importlib.util
import inspect
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
import yaml

from truehessian.data import dataset as datasets
from truehessian.networks import checkpoints, registry
from truehessian.pipeline.config import checks as configuration
from truehessian.pipeline.stage.job import typed
from truehessian.report import plots
from truehessian.report.contents import CONTENTS, catalogue
from truehessian.report.papers import confrontation
from truehessian.report.tables import (
    extremes as tables,
    groups as grouping,
    noise as noise_tables,
    sampling,
    shrinkage as by_size,
    truth as estimate_tables,
)
from truehessian.spectra import spectrum, vectors as extremal_vectors
from truehessian.theory.predictions import examples, noise as subspace

ROOT = Path(__file__).parents[2]
NETWORK = {"name": "mlp", "hidden": [6], "num_classes": 10, "input_shape": [1, 8, 8]}
EPOCHS = [0, 2]
FORMATS = ["svg", "png"]
OF_BATCHES = ["distributions", "overlaps", "noise"]
PRODUCTS = {
    "chunk_size": 64,
    "precision": "float32",
    "batchnorm": "eval",
    "memory_gb": None,
    "basis_gb": None,
    "device": "cpu",
    "tolerance": None,
}


def call(script: str, *args, **kwargs) -> None:
    """Run `main` of a script, which is imported without running anything.

    Scripts that keep a resume state get a folder for it that is not there yet.
    """
    path = ROOT / "scripts" / f"{script}.py"
    spec = importlib.util.spec_from_file_location(script, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kwargs = typed(module.main, kwargs)
    if "state" not in inspect.signature(module.main).parameters:
        module.main(*args, **kwargs)
        return
    with tempfile.TemporaryDirectory() as folder:
        module.main(*args, state=Path(folder) / "state", **kwargs)


@pytest.fixture(scope="module")
def run():
    """A run of the reduced experiment with all defaults."""
    settings = yaml.safe_load((ROOT / "tests/reduced.yaml").read_text())
    return configuration.check(settings).runs["reduced"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("results") / "tiny"
    names = ["checkpoints", "variance", "held_out", "overlaps", "self_test", "tables", "figures"]
    names += ["evaluation", "subspace"]
    for name in [*names, *(f"spectra/{epoch}" for epoch in EPOCHS)]:
        (base / name).mkdir(parents=True)
    return base


@pytest.fixture(scope="module")
def dataset(folder, run):
    path = str(folder / "dataset.safetensors")
    call("prepare_dataset", dataset_out=path, settings=run.settings("dataset"))
    return path


@pytest.fixture(scope="module")
def trained(folder, dataset, run):
    """Paths of the checkpoints of EPOCHS."""
    paths = [str(folder / f"checkpoints/{epoch}.safetensors") for epoch in EPOCHS]
    call(
        "train_network",
        dataset,
        checkpoints_out=paths,
        training_out=str(folder / "training.csv"),
        settings={**run.settings("training"), "device": "cpu"},
        network=NETWORK,
        epochs=EPOCHS,
    )
    return paths


def measure_full(checkpoint, dataset, folder, run, epoch, **changes):
    call(
        "measure_full_spectra",
        checkpoint,
        dataset,
        spectrum_out=str(folder / "full.npz"),
        vectors_out=str(folder / "full.vectors.safetensors"),
        ggn_out=str(folder / "ggn.npz"),
        test_out=str(folder / "test.npz"),
        evaluation_out=str(folder / f"{epoch}.csv"),
        settings={**run.settings("spectrum"), **PRODUCTS, **changes},
        network=None,
        epoch=epoch,
    )


@pytest.fixture(scope="module")
def spectra(folder, dataset, trained, run):
    """Folders of the spectra by epoch."""
    folders = {epoch: folder / f"spectra/{epoch}" for epoch in EPOCHS}
    for checkpoint, (epoch, target) in zip(trained, folders.items(), strict=True):
        measure_full(checkpoint, dataset, target, run, epoch)
        common = {"network": None, "epoch": epoch}
        call(
            "measure_batch_spectra",
            checkpoint,
            dataset,
            str(target / "full.vectors.safetensors"),
            overlaps_out=str(folder / f"overlaps/{epoch}.csv"),
            batch_out=[str(target / f"batch-{size}.npz") for size in (16, 32)],
            noise_out=[str(target / f"noise-{size}.npz") for size in (16, 32)],
            settings={**run.settings("batch"), **PRODUCTS},
            **common,
        )
        call(
            "measure_augmented_spectra",
            checkpoint,
            dataset,
            spectra_out=[str(target / "augmented-2.npz")],
            settings={**run.settings("augmentation"), **PRODUCTS},
            **common,
        )
        call(
            "measure_subsample_spectra",
            checkpoint,
            dataset,
            spectra_out=[str(target / f"subsample-{parts}.npz") for parts in (2, 4)],
            settings={**run.settings("subsamples"), **PRODUCTS},
            **common,
        )
    last = {"network": None, "epoch": epoch, "settings": {**run.settings("groups"), **PRODUCTS}}
    call("measure_group_spectra", checkpoint, dataset, groups_out=grouped(target), **last)
    return folders


def grouped(folder):
    return str(folder / "groups.npz")


@pytest.fixture(scope="module")
def self_tested(folder, dataset, trained, run):
    """The estimators' self-test of the last epoch, with its table and figure."""
    path = str(folder / "self_test/2.csv")
    settings = {**run.settings("self_test"), **PRODUCTS, "tolerance": run.self_test.tolerance}
    call(
        "measure_self_test", trained[-1], dataset, self_test_out=path, settings=settings,
        network=None,
    )  # fmt: skip
    call(
        "tabulate_self_test",
        [path],
        table_out=table(folder, "self_test"),
        figure_out=figure(folder, "self_test"),
    )
    return pd.read_csv(path)


@pytest.fixture(scope="module")
def directions(folder, dataset, trained, spectra, run):
    for epoch, checkpoint in zip(EPOCHS, trained, strict=True):
        call(
            "measure_directions",
            checkpoint,
            dataset,
            str(spectra[epoch] / "full.vectors.safetensors"),
            variance_out=str(folder / f"variance/{epoch}.csv"),
            subspace_out=str(folder / f"variance/{epoch}.subspace.npz"),
            held_out_out=str(folder / f"held_out/{epoch}.csv"),
            settings={**run.settings("variance"), **PRODUCTS},
            network=None,
        )
        call(
            "measure_subspace",
            checkpoint,
            dataset,
            str(spectra[epoch] / "full.vectors.safetensors"),
            subspace_out=str(folder / f"subspace/{epoch}.npz"),
            reached_out=str(folder / f"subspace/{epoch}.csv"),
            settings={**run.settings("subspace"), **PRODUCTS},
            network=None,
        )
        call(
            "measure_parts",
            checkpoint,
            dataset,
            str(spectra[epoch] / "full.vectors.safetensors"),
            parts_out=str(folder / f"variance/{epoch}.parts.npz"),
            settings={**run.settings("parts"), **PRODUCTS},
            network=None,
        )


def make_content(folder, run, name, table_out=(), figures_out=()):
    """Make a figure or table of the report that needs no rule of its own."""
    cases = [
        {"numbers": case.numbers, "inputs": case.inputs}
        for case in catalogue.cases_of(CONTENTS.load(name), run.model_dump())
    ]
    names = [path for case in cases for paths in case["inputs"].values() for path in paths]
    files = [str(folder / path) for path in names]
    outputs = {"table_out": list(table_out), "figures_out": list(figures_out)}
    call("make_content", files, name=name, names=names, cases=cases, **outputs)


def table(folder, name):
    return [str(folder / f"tables/{name}.{suffix}") for suffix in ("csv", "tex", "md")]


@pytest.fixture(scope="module")
def tabulated(folder, spectra, directions, run):
    """All tables by name."""
    call(
        "tabulate_extremal_ritz_values",
        [
            str(path)
            for target in spectra.values()
            for path in sorted(target.glob("*.npz"))
            if "subsample" not in path.name and path.name != "groups.npz"
        ],
        [str(target / f"subsample-{n}.npz") for target in spectra.values() for n in (2, 4)],
        extremal_out=table(folder, "extremal_ritz_values"),
        shrinkage_out=table(folder, "shrinkage"),
    )
    for epoch, target in spectra.items():
        shutil.copy(target / f"{epoch}.csv", folder / "evaluation")
    make_content(folder, run, "checkpoints", table_out=table(folder, "checkpoints"))
    call(
        "tabulate_predictions",
        table(folder, "extremal_ritz_values")[0],
        [str(folder / f"variance/{epoch}.csv") for epoch in EPOCHS],
        [str(folder / f"variance/{epoch}.subspace.npz") for epoch in EPOCHS],
        [str(folder / f"held_out/{epoch}.csv") for epoch in EPOCHS],
        [str(spectra[epoch] / "full.npz") for epoch in EPOCHS],
        [
            str(spectra[epoch] / f"{kind}-{size}.npz")
            for epoch in EPOCHS
            for kind in ("batch", "noise")
            for size in (16, 32)
        ],
        [str(folder / f"overlaps/{epoch}.csv") for epoch in EPOCHS],
        [str(folder / f"subspace/{epoch}.npz") for epoch in EPOCHS],
        [str(folder / f"variance/{epoch}.parts.npz") for epoch in EPOCHS],
        [str(spectra[epoch] / "test.npz") for epoch in EPOCHS],
        outliers_out=table(folder, "outliers"),
        theory_out=table(folder, "theory_vs_empirical"),
        noise_out=table(folder, "noise"),
        scaling_out=table(folder, "noise_scaling"),
        true_hessian_out=table(folder, "true_hessian"),
        epochs=EPOCHS,
        settings=run.settings("theory"),
    )
    for name in ("prediction_errors", "subspaces"):
        make_content(folder, run, name, table_out=table(folder, name))
    call(
        "tabulate_papers",
        table(folder, "extremal_ritz_values")[0],
        [table(folder, "theory_vs_empirical")[0]],
        [str(folder / f"variance/{epoch}.csv") for epoch in EPOCHS],
        [str(spectra[epoch] / "full.npz") for epoch in EPOCHS],
        str(ROOT / "src/truehessian/report/papers/published.csv"),
        papers_out=table(folder, "papers"),
        augmentation_out=table(folder, "augmentation"),
        predictions_out=table(folder, "batch_predictions"),
        dataset="digits",
        model={"name": "mlp", "hidden": [6]},
    )
    return {path.stem: pd.read_csv(path) for path in (folder / "tables").glob("*.csv")}


def figure(folder, name):
    return [str(folder / f"figures/{name}.{suffix}") for suffix in FORMATS]


@pytest.fixture(scope="module")
def drawn(folder, spectra, tabulated, run):
    """Names of all figures."""
    full = [str(target / "full.npz") for target in spectra.values()]
    chosen = [*full, str(spectra[2] / "batch-16.npz"), str(spectra[2] / "augmented-2.npz")]
    stems = ["stem-full-0", "stem-full-2", "stem-batch-16-2", "stem-augmented-2-2"]
    figures = [path for name in stems for path in figure(folder, name)]
    call("plot_stems", full, chosen, figures_out=figures, formats=FORMATS)
    boxplots = [f"boxplot-{end}-{size}" for end in ("largest", "smallest") for size in (16, 32)]
    call(
        "plot_extremes",
        table(folder, "extremal_ritz_values")[0],
        table(folder, "shrinkage")[0],
        boxplots_out=[path for name in boxplots for path in figure(folder, name)],
        shrinkage_out=figure(folder, "shrinkage"),
        batch_sizes=[16, 32],
        formats=FORMATS,
    )
    make_content(folder, run, "learning_curves", figures_out=figure(folder, "learning_curves"))
    call(
        "plot_theory",
        [str(folder / f"variance/{epoch}.csv") for epoch in EPOCHS],
        table(folder, "theory_vs_empirical")[0],
        table(folder, "true_hessian")[0],
        table(folder, "outliers")[0],
        table(folder, "noise")[0],
        table(folder, "noise_scaling")[0],
        [str(folder / f"spectra/{EPOCHS[-1]}/noise-16.npz")],
        variance_out=figure(folder, "variance"),
        theory_out=figure(folder, "theory_vs_empirical"),
        true_hessian_out=figure(folder, "true_hessian"),
        **{f"{name}_out": figure(folder, name) for name in OF_BATCHES},
    )
    others = [
        *OF_BATCHES,
        "shrinkage",
        "learning_curves",
        "variance",
        "theory_vs_empirical",
        "true_hessian",
    ]
    return stems + boxplots + others


def test_published_numbers_stand_beside_those_of_the_run(tabulated):
    frame = tabulated["papers"].set_index(["quantity", "architecture"])
    assert (frame["network"] == confrontation.OTHER).all()
    assert frame.loc[("parameters_per_example", "PreResNet110"), "ours"] == 460 / 96
    theory = tabulated["theory_vs_empirical"].query(
        "epoch == 2 and batch_size == 32 and end == 'largest'"
    )
    ours = frame.loc[("broadening", "VGG16"), "ours"]
    assert ours == pytest.approx((theory["batch_mean"] / theory["full"]).iloc[0], rel=1e-12)
    assert tabulated["augmentation"]["factor"].tolist() == [1, 2] * 4
    assert len(tabulated["batch_predictions"]) == len(tabulated["theory_vs_empirical"])


def test_box_plots_have_five_points_however_many_folds_there_are(tmp_path, monkeypatch):
    folds = pd.DataFrame({"fold": range(20), "value": range(20)})
    keys = {"epoch": 0, "operator": "hessian", "split": "train", "batch_size": 16, "factor": None}
    extremes = [folds.assign(**keys, end=end) for end in ("largest", "smallest")]
    pd.concat(extremes).to_csv(tmp_path / "extremal.csv", index=False)
    law = {"inherent_limit": None, "inherent_slope": None, "vanishing_coefficient": None}
    points = {"epoch": [0, 0], "end": "largest", "num_examples": [16, 96], "value": [2, 1]}
    pd.DataFrame({**points, **law}).to_csv(tmp_path / "shrinkage.csv", index=False)
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, *_: figures.append(figure))
    call(
        "plot_extremes",
        str(tmp_path / "extremal.csv"),
        str(tmp_path / "shrinkage.csv"),
        boxplots_out=["largest.svg", "smallest.svg"],
        shrinkage_out=["shrinkage.svg"],
        batch_sizes=[16],
        formats=["svg"],
    )
    for figure in figures[:2]:
        (points,) = (
            line.get_ydata()
            for line in figure.axes[0].get_lines()
            if line.get_label() == "one batch"
        )
        assert list(points) == [0, 1, 2, 3, 4]


def test_the_data_set_has_the_sizes_that_were_asked_for(dataset):
    data = datasets.load(dataset)
    assert (len(data.train), len(data.test), data.name) == (96, 64, "digits")


def test_training_keeps_the_listed_epochs_and_the_learning_curve(folder, trained):
    frame = pd.read_csv(folder / "training.csv")
    assert list(frame.columns) == [
        "epoch",
        "learning_rate",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "seconds",
    ]
    assert frame["epoch"].tolist() == [0, 1, 2]
    for epoch, path in zip(EPOCHS, trained, strict=True):
        metadata = checkpoints.read_metadata(path)
        assert metadata["epoch"] == epoch
        assert metadata["model"] == NETWORK
        assert metadata["training_precision"] == "float32"
        assert {"dataset", "normalisation", "seed"} <= set(metadata)


def test_the_first_checkpoint_is_the_initialisation(trained, run):
    start = registry.build(**NETWORK, seed=run.training.seed).state_dict()
    for name, tensor in checkpoints.load(trained[0]).state_dict().items():
        assert tensor.equal(start[name])


@pytest.mark.parametrize(
    ("name", "operator", "split", "num_examples", "shape"),
    [
        ("full", "hessian", "train", 96, (1, 8)),
        ("test", "hessian", "test", 64, (1, 8)),
        ("ggn", "ggn", "train", 96, (1, 4)),
        ("augmented-2", "hessian", "train", 192, (1, 4)),
        ("batch-16", "hessian", "train", 16, (3, 1, 6)),
        ("batch-32", "hessian", "train", 32, (3, 1, 6)),
        ("noise-16", "noise", "train", 96, (1, 1, 4)),
    ],
)
def test_spectra_hold_the_arrays_and_facts_of_the_contract(
    spectra, name, operator, split, num_examples, shape
):
    measured = spectrum.load(spectra[2] / f"{name}.npz")
    facts = measured.metadata
    assert measured.ritz_values.shape == measured.weights.shape == measured.residuals.shape == shape
    assert measured.diagonal.shape == shape
    assert measured.off_diagonal.shape == (*shape[:-1], shape[-1] - 1)
    assert facts["operator"] == operator
    assert (facts["epoch"], facts["split"]) == (2, split)
    assert facts["num_examples"] == num_examples
    assert facts["num_parameters"] == 64 * 6 + 6 + 6 * 10 + 10
    assert facts["steps"] == shape[-1]
    assert {"batchnorm", "precision", "seed", "seconds", "device", "versions"} <= set(facts)
    kind, _, number = name.partition("-")
    assert facts.get("factor") == (int(number) if kind == "augmented" else None)
    assert facts.get("batch_size") == (int(number) if kind in ("batch", "noise") else None)
    assert (measured.indices is not None) == (kind in ("batch", "noise"))


def test_no_two_measurements_of_an_epoch_start_from_the_same_vector(spectra):
    """Folds, sizes and kinds of matrices, all with seed 0."""
    streams = []
    for path in spectra[2].glob("*.npz"):
        facts = spectrum.load(path).metadata
        stacked = "folds" in facts or "groups" in facts
        folds = facts["numbers"] if stacked else [facts["numbers"]]
        streams += [(facts["seed"], facts["purpose"], *numbers) for numbers in folds]
    assert len(streams) == len(set(streams)) == 3 + 1 + 2 * (3 + 1) + 2 + 4 + 2


def test_noise_is_measured_on_the_folds_of_the_batches(spectra):
    batch, noise = (spectrum.load(spectra[2] / f"{kind}-16.npz") for kind in ("batch", "noise"))
    assert batch.indices.shape == (3, 16)
    assert (noise.indices == batch.indices[:1]).all()


def test_every_fold_has_overlaps_with_every_kept_vector(folder, spectra):
    frame = pd.read_csv(folder / "overlaps/2.csv")
    assert len(frame) == 2 * 3 * 2 * 4  # sizes, folds, ends, vectors
    sums = frame.groupby(["batch_size", "fold", "end"])["squared_overlap"].sum()
    assert sums.between(0, 1 + 1e-6).all()
    means = frame[frame["direction"] == "top-1"].groupby("end")["squared_overlap"].mean()
    assert means["largest"] > means["smallest"]


def test_the_gauss_newton_matrix_has_no_negative_ritz_value(spectra):
    values = spectrum.load(spectra[2] / "ggn.npz").ritz_values
    assert values.min() > -1e-6 * values.max()


def reference(checkpoint, dataset, split):
    """The Hessian as a SciPy operator: forward over reverse mode, in float64, all in one batch."""
    model = checkpoints.load(checkpoint).double()
    examples = getattr(datasets.load(dataset), split)
    inputs, labels = examples.batch(slice(None), torch.float64)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    def loss(vector):
        parts = vector.split([shape.numel() for shape in shapes.values()])
        parameters = {
            name: part.view(shape)
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }
        return F.cross_entropy(torch.func.functional_call(model, parameters, (inputs,)), labels)

    def product(vector):
        tangent = torch.from_numpy(vector.reshape(-1).copy())
        return torch.func.jvp(torch.func.grad(loss), (start,), (tangent,))[1].numpy()

    return scipy.sparse.linalg.LinearOperator((len(start), len(start)), product, dtype="float64")


@pytest.mark.parametrize(("precision", "accuracy"), [("float64", 1e-8), ("float32", 1e-4)])
@pytest.mark.parametrize("split", ["train", "test"])
def test_extremes_are_those_of_an_independent_product(
    trained, dataset, run, tmp_path, precision, accuracy, split
):
    measure_full(trained[1], dataset, tmp_path, run, 2, precision=precision, steps=60, ggn_steps=2)
    name = {"train": "full", "test": "test"}[split]
    measured = spectrum.load(tmp_path / f"{name}.npz")
    hessian = reference(trained[1], dataset, split)
    for end, which in (("largest", "LA"), ("smallest", "SA")):
        expected = scipy.sparse.linalg.eigsh(
            hessian, 1, which=which, return_eigenvectors=False, tol=1e-12
        )[0]
        assert spectrum.extremal(measured, end)[0] == pytest.approx(expected, rel=accuracy)


def test_ritz_vectors_give_their_values_as_quotients(trained, dataset, spectra):
    hessian = reference(trained[1], dataset, "train")
    vectors = extremal_vectors.load(str(spectra[2] / "full.vectors.safetensors"))
    for end in ("top", "bottom"):
        assert vectors[end].shape == (2, 460)
        for vector, value in zip(vectors[end], vectors[f"{end}_values"], strict=True):
            unit = vector.double().numpy()
            assert unit @ hessian.matvec(unit) == pytest.approx(value.item(), rel=1e-4, abs=1e-6)


def test_variances_stand_in_the_columns_of_the_contract(folder, directions):
    frame = pd.read_csv(folder / "variance/2.csv")
    assert list(frame.columns) == [
        "direction",
        "variance",
        "standard_error",
        "element_variance",
        "group_size",
        "num_examples",
        "num_parameters",
    ]
    random, ritz = ["random-1", "random-2"], ["top-1", "top-2", "bottom-1", "bottom-2"]
    assert frame["direction"].tolist() == random + ritz
    assert (frame["variance"] > 0).all()
    assert np.allclose(frame["element_variance"] * 460, frame["variance"])
    noise = subspace.load(folder / "variance/2.subspace.npz")
    assert noise.ritz_values.shape == (4,)
    assert noise.projected.shape == (96 // 8, 14, 14)
    assert noise.hessian.shape == noise.leak.shape == (14, 14)


def test_held_out_quotients_stand_beside_the_training_values(folder, directions, spectra):
    frame = pd.read_csv(folder / "held_out/2.csv")
    assert frame["end"].tolist() == ["largest", "largest", "smallest", "smallest"]
    assert frame["rank"].tolist() == [1, 2, 1, 2]
    assert (frame["num_examples"] == 64).all()
    largest = spectrum.extremal(spectrum.load(spectra[2] / "full.npz"), "largest")[0]
    assert frame["empirical"][0] == pytest.approx(float(largest))
    assert (frame["bracket_low"] < frame["bracket_high"]).sum() == 2


def test_held_out_quotients_are_those_of_an_independent_product(
    folder, directions, trained, dataset, spectra
):
    frame = pd.read_csv(folder / "held_out/2.csv")
    hessian = reference(trained[1], dataset, "test")
    vectors = extremal_vectors.load(str(spectra[2] / "full.vectors.safetensors"))
    units = torch.cat([vectors["top"], vectors["bottom"]]).double().numpy()
    expected = [unit @ hessian.matvec(unit) for unit in units]
    assert frame["held_out"].to_numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_parts_of_the_training_data_are_disjoint(spectra):
    measured = spectrum.load(spectra[2] / "subsample-4.npz")
    assert measured.indices.shape == (4, 24)
    assert len(np.unique(measured.indices)) == 96
    assert measured.metadata["num_examples"] == 24


def test_the_self_test_knows_the_extremes_of_all_training_examples(self_tested, spectra):
    full = spectrum.load(spectra[2] / "full.npz")
    assert set(self_tested["num_examples"]) == {24, 48}
    truth = self_tested.loc[self_tested["end"] == "largest", "truth"].unique()
    assert truth == pytest.approx([spectrum.extremal(full, "largest")[0].item()], rel=0.01)


CHECKPOINT_COLUMNS = (
    *("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"),
    *("chance_accuracy", "at_chance"),
)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("checkpoints", CHECKPOINT_COLUMNS),
        ("extremal_ritz_values", (*tables.EXTREMAL_KEYS, "value", "residual", "steps")),
        ("theory_vs_empirical", sampling.theory_columns()),
        ("outliers", sampling.outlier_columns()),
        ("noise", noise_tables.NOISE_COLUMNS),
        ("noise_scaling", noise_tables.SCALING_COLUMNS),
        ("true_hessian", estimate_tables.TRUE_HESSIAN_COLUMNS),
        ("shrinkage", by_size.SHRINKAGE_COLUMNS),
    ],
)
def test_tables_exist_in_three_forms_with_their_columns(folder, tabulated, name, columns):
    assert list(tabulated[name].columns) == list(columns)
    assert not tabulated[name].empty
    for path in table(folder, name):
        assert Path(path).stat().st_size > 0


def test_the_adaptive_subspace_predicts_and_says_what_it_holds(tabulated):
    reached = tabulated["subspaces"]
    assert reached["held"].between(0, 1).all()
    assert (reached["passes"] <= 12).all()
    frame = tabulated["theory_vs_empirical"]
    assert frame["adaptive"].notna().all()
    taken = dict(zip(reached["epoch"], reached["passes"], strict=True))
    assert (frame["adaptive_passes"] == frame["epoch"].map(taken)).all()
    assert "adaptive" in set(tabulated["prediction_errors"]["prediction"])


def test_parts_of_examples_predict_and_say_how_many_carry_an_eigenvalue(folder, tabulated):
    frame = tabulated["theory_vs_empirical"]
    shift = (frame["batch_mean"] - frame["full"]).abs()
    missed = (frame["parts"] - frame["batch_mean"]).abs()
    error = (frame["parts_high"] - frame["parts_low"]) / 2 + 3 * frame["batch_standard_error"]
    assert (missed < error + 0.2 * shift).all()
    assert frame["parts_carriers"].between(1, 96).all()
    kept = examples.load(folder / "variance/2.parts.npz")
    assert (frame["parts_passes"] == kept.passes).all()
    assert kept.passes == pytest.approx((4 + 4 + 2) * 80 / 96)
    assert len(kept.ritz_values) == 4  # of 3 + 3 asked for
    assert "parts" in set(tabulated["prediction_errors"]["prediction"])


def test_every_spectrum_epoch_fold_and_end_has_a_row(tabulated):
    frame = tabulated["extremal_ritz_values"]
    # full, test, ggn, augmented, and for two sizes three batches and one noise
    assert len(frame) == 2 * 2 * (4 + 2 * (3 + 1))
    assert len(tabulated["theory_vs_empirical"]) == 2 * 2 * 2
    assert len(tabulated["outliers"]) == 2 * 2 * 2 * 3  # half of six Lanczos steps
    assert len(tabulated["noise"]) == 2 * 2 * 3
    assert set(tabulated["theory_vs_empirical"]["folds"]) == {3}


def test_every_checkpoint_has_its_loss_and_accuracy(tabulated, trained, dataset, folder):
    """The test values are those of the learning curve; the training values there are of steps."""
    frame = tabulated["checkpoints"].set_index("epoch")
    curve = pd.read_csv(folder / "training.csv").set_index("epoch")
    assert list(frame.index) == EPOCHS
    for column in ("test_loss", "test_accuracy"):
        assert frame[column].to_numpy() == pytest.approx(curve.loc[EPOCHS, column], rel=1e-5)
    assert frame.loc[0, "train_loss"] == pytest.approx(curve.loc[0, "train_loss"], rel=1e-5)


def test_every_figure_exists_in_every_format(folder, drawn):
    for name in drawn:
        for path in figure(folder, name):
            start = Path(path).read_bytes()[:8]
            if path.endswith("csv"):
                assert not pd.read_csv(path).empty
            else:
                assert start[1:4] == b"PNG" if path.endswith("png") else start.startswith(b"<?xml")


def test_the_report_holds_every_figure_and_refers_to_no_other_file(folder, drawn):
    templates = sorted((ROOT / "workflow/report").iterdir())
    target = folder.parent / "report.html"
    call(
        "write_report",
        [str(path) for path in folder.rglob("*") if path.is_file()],
        [],
        [str(path) for path in templates],
        report_out=str(target),
        folders=[str(folder)],
    )
    page = target.read_text()
    assert "tiny" in page
    for scheme in ('src="http', 'href="http', 'src="results', "url(http"):
        assert scheme not in page
    assert page.count("data:image") + page.count("<svg") >= len(drawn)


def test_weights_of_ones_own_become_a_checkpoint(dataset, tmp_path):
    model = registry.build(**NETWORK, seed=5)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "own.safetensors")
    target = tmp_path / "7.safetensors"
    call(
        "import_checkpoint",
        source=str(tmp_path / "own.safetensors"),
        dataset=dataset,
        checkpoint_out=str(target),
        network=NETWORK,
        epoch=7,
    )
    loaded = checkpoints.load(target)
    for name, tensor in model.state_dict().items():
        assert loaded.state_dict()[name].equal(tensor)
    metadata = checkpoints.read_metadata(target)
    assert metadata["epoch"] == 7
    assert metadata["dataset"] == "digits"
    assert metadata["seed"] is None


def test_groups_are_the_layers_of_the_checkpoint_and_their_traces_add_up(spectra, folder, run):
    """A table and a figure of them, with the whole matrix beside them."""
    make_content(folder, run, "groups", table(folder, "groups"), figure(folder, "groups"))
    frame = pd.read_csv(table(folder, "groups")[0])
    assert frame["group"].tolist() == ["layers.1", "layers.3", "sum", "whole"]
    assert frame["num_parameters"].tolist() == [64 * 6 + 6, 6 * 10 + 10, 460, 460]
    own, whole = frame.iloc[:2], frame.iloc[3]
    assert (own["largest"] <= whole["largest"] + whole["largest_residual"]).all()
    (sums,) = grouping.gap(frame).itertuples(index=False)
    assert abs(sums.sum - sums.whole) < 5 * sums.error
    assert (
        whole["largest"] == spectrum.extremal(spectrum.load(spectra[2] / "full.npz"), "largest")[0]
    )
