from pathlib import Path

import pytest
import yaml

from truehessian import text as writing
from truehessian.pipeline import plan
from truehessian.pipeline.config import checks
from truehessian.pipeline.config.networks import network_facts

ROOT = Path(__file__).parents[2]
OPTIONAL = (
    *("batch", "augmentation", "subsamples", "groups", "batchnorm"),
    *("self_test", "variance", "subspace", "parts", "sharpness", "influence"),
)
PRESETS = sorted((ROOT / "workflow/presets").glob("*.yaml"))


def checked(runs):
    return checks.check({"runs": runs, "analyse": list(runs)}).runs


def planned(run):
    """Stages of a run by name, from what its configuration file would say."""
    (item,) = checked({"small": run}).items()
    return {stage.name: stage for stage in plan.plan(*item, 1000).stages}


def rendered(run, num_params=1000):
    """What is printed of a run of which nothing is done yet."""
    item = plan.plan("small", checked({"small": run})["small"], num_params)
    return plan.render([item], lambda path: False, {"small": None})


@pytest.fixture
def run():
    """100 digits to train on and 41 to test on, two epochs, and a network of 1,000 parameters."""
    return {
        "dataset": {"name": "digits", "train_examples": 100, "test_examples": 41},
        "model": {"name": "mlp"},
        "training": {"epochs": 3},
        "epochs": [0, 3],
        "spectrum": {"steps": 10, "ggn_steps": 4, "probes": 2, "vectors": 3},
        "operators": {"fisher": {"operator": "empirical_fisher", "steps": 7, "probes": 3}},
        "batch": {
            "sizes": [32, 16],
            "folds": 5,
            "steps": 6,
            "noise_directions": 1,
            "noise_folds": 2,
            "noise_steps": 3,
        },
        "augmentation": {"factors": [{"factor": 4, "steps": 5}]},
        "subsamples": {"parts": [4, 2], "steps": 6},
        "groups": {"epochs": [3], "steps": 9, "probes": 2},
        "self_test": {"parts": [2, 8], "repetitions": 12, "folds": 3, "steps": 5},
        "batchnorm": {"epochs": [3], "chunk_sizes": [50, 25]},
        "subspace": {"passes": 30},
        "parts": {"examples": 60, "vectors": 2, "steps": 5},
        "sharpness": {"sizes": [20], "folds": 4, "steps": 9},
        "influence": {"examples": 30, "solver_steps": 7, "steps": 5},
        "variance": {
            "random_directions": 2,
            "leak_vectors": 0,
            "held_out_folds": 3,
            "held_out_steps": 7,
        },
    }


@pytest.fixture
def stages(run):
    return planned(run)


@pytest.mark.parametrize(
    ("name", "products", "examples"),
    [
        ("full", 2 * 10, 100),
        ("test", 2 * 10, 41),
        ("ggn", 2 * 4, 100),
        ("fisher", 3 * 7, 100),
        ("batch-16", 5 * (6 + 1), 16),
        ("noise-32", 2 * 3 + 1, 32 + 100),
        ("augmented-4", 5, 4 * 100),
        ("subsample-4", 4 * 6, 25),
        ("self-test", 2 * 5 + (6 + 2) * (3 * 5 + 5), 100),
        ("variance", 2 + 2 * 3, 100),
        ("subspace", 30, 100),
        ("parts", 2 * 2 + 5 + 2, 60),
        ("sharpness", 1, 100),
        ("sharpness-20", 2 * 4, 20),
        ("influence", 30 * 7, 101),
        ("influence-curvature", 5 + 2, 160),
    ],
)
def test_a_stage_makes_so_many_products_once_per_epoch(stages, name, products, examples):
    assert stages[name].jobs == 2
    assert stages[name].products == products
    assert stages[name].examples == examples
    assert stages[name].work == 2 * products * examples


def test_batch_statistics_are_measured_at_their_own_epochs_only(stages):
    for name in ("batchnorm-25", "batchnorm-50"):
        stage = stages[name]
        assert (stage.jobs, stage.products, stage.examples) == (1, 2 * 10, 100)
        assert stage.outputs == (f"small/spectra/3/{name}.npz",)


@pytest.mark.parametrize(("count", "together"), [(1, 1), (4, 2), (41, 15)])
def test_a_step_of_all_groups_costs_a_whole_product_and_a_third_for_each_further_group(
    run, count, together
):
    """Their Lanczos vectors take as much as those of one matrix."""
    item = plan.plan("small", checked({"small": run})["small"], 1000, count)
    (stage,) = (stage for stage in item.stages if stage.name == "groups")
    assert (stage.jobs, stage.products, stage.examples) == (1, 2 * 9 * together, 100)
    assert stage.basis_vectors == 2 * 9
    assert stage.outputs == ("small/spectra/3/groups.npz",)


def test_held_out_folds_have_lanczos_the_others_vectors_and_all_ritz_vectors(stages):
    per_fold = 7 + 2 * (2 * 3) + 2 * 3
    assert stages["held-out"].products == 3 * per_fold
    assert stages["held-out"].examples == 41 // 3


def test_curvature_along_gradients_takes_the_batches_of_training_and_the_steps_of_adam(run):
    run["sharpness"] = {"folds": 3, "steps": 9, "optimiser": "adam/{epoch}.pt"}
    stages = planned(run)
    assert stages["sharpness"].products == 1 + 9
    assert stages["sharpness"].basis_vectors == 9
    assert stages["sharpness-100"].examples == 100  # of 128 that training takes, all there are
    assert stages["sharpness-100"].outputs == stages["sharpness"].outputs


def test_a_file_of_several_stages_counts_once(run):
    run.update(dict.fromkeys(OPTIONAL), operators={})
    run["sharpness"] = {"sizes": [20, 30]}
    assert "8 outputs exist" in rendered(run)


def test_all_examples_of_a_dataset_count_where_no_subset_is_taken(run):
    run["dataset"].update(name="cifar100", train_examples=None, test_examples=None)
    stages = planned(run)
    assert stages["full"].examples == 50_000
    assert stages["test"].examples == 10_000


def test_digits_are_split_into_training_and_test_examples(run):
    run["dataset"].update(train_examples=None, test_examples=None)
    stages = planned(run)
    assert stages["full"].examples + stages["test"].examples == 1797


def test_sections_that_are_null_have_no_stages(run):
    run.update(dict.fromkeys(OPTIONAL), operators={})
    assert list(planned(run)) == ["full", "test", "ggn"]


def test_outputs_that_exist_leave_less_to_do(stages):
    full = stages["full"]
    assert full.outputs == ("small/spectra/0/full.npz", "small/spectra/3/full.npz")
    assert plan.remaining(full, lambda path: False) == full.work
    assert plan.remaining(full, lambda path: "/3/" in path) == full.work // 2
    assert plan.remaining(full, lambda path: True) == 0


def test_the_rate_is_all_work_over_all_seconds():
    facts = [
        {"num_examples": 100, "steps_done": [10, 20], "seconds": 1.0},
        {"num_examples": 500, "steps_done": [30], "seconds": 2.0},
    ]
    assert plan.rate(facts) == pytest.approx((3000 + 15000) / 3)
    assert plan.rate([]) is None


def test_the_text_states_the_memory_of_a_basis_and_that_nothing_was_measured(run):
    run["spectrum"].update(steps=100, probes=1)
    text = rendered(run, 15_291_300)
    assert "100 x 15.3 M x 4 B = 6.1 GB" in text
    assert "no estimate: nothing measured yet" in text


def test_the_text_estimates_the_time_from_a_measured_rate(run):
    run.update(dict.fromkeys(OPTIONAL), operators={})
    item = plan.plan("small", checked({"small": run})["small"], 1000)
    work = sum(stage.work for stage in item.stages)
    text = plan.render([item], lambda path: "full" in path, {"small": work / 7200})
    left = (work - item.stages[0].work) / work * 120
    assert f"about 2.0 h, {left:.1f} min of it still to come" in text
    assert "2 of 6 outputs exist" in text


def test_double_precision_doubles_the_memory_of_a_basis(run):
    run["spectrum"]["precision"] = "float64"
    text = rendered(run)
    assert "6 x 1.0 k x 8 B = 48.0 kB" in text


def merged(settings, changes):
    """Merge mappings and replace everything else, as Snakemake does with --configfile."""
    if not (isinstance(settings, dict) and isinstance(changes, dict)):
        return changes
    both = {key: merged(settings[key], changes[key]) for key in settings.keys() & changes.keys()}
    return settings | changes | both


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_can_be_run(path):
    default = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    settings = merged(default, yaml.safe_load(path.read_text(encoding="utf-8")))
    configuration = checks.check(settings)
    checks.check_networks(configuration)
    for run in configuration.analysed.values():
        group = run.variance.group_size if run.variance else 1
        assert all(size % group == 0 for size in (run.batch.sizes if run.batch else []))


@pytest.mark.parametrize(
    "name",
    [
        "minibatch-vgg16",
        "minibatch-preresnet110",
        "truehessian-preresnet110",
        "truehessian-vgg16bn",
    ],
)
def test_a_full_preset_has_the_papers_settings_and_the_cost_that_its_header_states(name):
    path = ROOT / f"workflow/presets/{name}.yaml"
    text = path.read_text(encoding="utf-8")
    runs = checked(yaml.safe_load(text)["runs"])
    for run in runs.values():
        assert run.dataset.name == "cifar100"
        assert run.dataset.num_train == 50_000
        assert (run.spectrum.steps, run.spectrum.probes) == (100, 1)
        if run.batch:
            assert (run.batch.folds, run.batch.steps) == (5, 100)
        if run.augmentation:
            factors = {item.factor: item.steps for item in run.augmentation.factors}
            assert factors == {10: 100, 100: 10}
    stages = [stage for key, run in runs.items() for stage in plan.plan(key, run, 1).stages]
    work = writing.prefixed(sum(stage.work for stage in stages))
    assert f"# Cost: {work} products x examples" in text


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("minibatch-vgg16", [15_291_300]),
        ("minibatch-preresnet110", [1_169_972]),
        ("truehessian-preresnet110", [1_169_972, 1_169_972]),
        ("truehessian-vgg16bn", [15_299_748]),
        ("cifar100-laptop", [22_828, 159_380]),
    ],
)
def test_the_networks_of_a_preset_have_the_sizes_that_its_header_states(name, counts):
    text = (ROOT / f"workflow/presets/{name}.yaml").read_text(encoding="utf-8")
    runs = checks.check(yaml.safe_load(text)).analysed.values()
    assert [network_facts(run.network).num_parameters for run in runs] == counts
    assert all(f"{count:,}" in text for count in counts)
