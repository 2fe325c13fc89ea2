"""Items of the papers: what they show, and which runs can be made into them."""

import pytest

from truehessian.report.papers import coverage

SECTIONS = ("batch", "augmentation", "variance")


def run(model="preresnet", **sections):
    filled = {key: {"given": True} for key in SECTIONS} | sections
    return {"model": {"name": model}, **filled}


def test_every_item_belongs_to_one_paper_and_to_the_whole():
    parts = [*coverage.AGGREGATES["minibatch_figures"], *coverage.AGGREGATES["truehessian_figures"]]
    assert sorted(parts) == sorted(coverage.ITEMS) == sorted(coverage.AGGREGATES["papers"])


def test_an_item_shows_a_figure_of_its_kind_at_any_epoch_and_size():
    assert coverage.has("minibatch_fig_1_2", "stem-full-200")
    assert coverage.has("minibatch_fig_1_2", "stem-batch-128-200")
    assert not coverage.has("minibatch_fig_1_2", "stem-augmented-10-200")
    assert not coverage.has("truehessian_fig_3_6", "stem-batch-256-300")
    assert coverage.has("truehessian_fig_1_2", "boxplot-smallest-256")
    assert coverage.has("truehessian_sec_6_1", "shrinkage")


def test_runs_of_the_papers_network_come_before_others():
    runs = {"one": run("vgg"), "two": run("preresnet"), "three": run("mlp")}
    assert coverage.runs_of("minibatch_fig_1_2", runs) == ["one"]
    assert coverage.runs_of("minibatch_fig_5_6", runs) == ["two"]
    assert coverage.runs_of("minibatch_fig_3_4", runs) == ["one", "two", "three"]
    assert coverage.runs_of("minibatch_fig_1_2", {"three": runs["three"]}) == ["three"]


def test_runs_without_what_an_item_needs_are_left_out():
    runs = {"bare": run(augmentation=None), "whole": run("vgg")}
    assert coverage.runs_of("truehessian_tables_1_3", runs) == ["whole"]
    assert coverage.runs_of("papers", runs) == ["bare", "whole"]


@pytest.mark.parametrize(
    ("item", "sections", "keys"),
    [
        ("truehessian_tables_1_3", {"augmentation": None}, "runs.mine.augmentation, which is null"),
        ("truehessian_sec_6_1", {"variance": None}, "runs.mine.variance, which is null"),
        (
            "minibatch_eq_7_9",
            {"batch": None, "variance": None},
            "runs.mine.batch and runs.mine.variance, which are null",
        ),
    ],
)
def test_an_item_that_no_run_serves_is_refused_with_the_keys_to_set(item, sections, keys):
    with pytest.raises(ValueError, match=f"^{item}: it needs {keys}"):
        coverage.check(item, {"mine": run(**sections)})


def test_the_run_that_lacks_least_is_the_one_to_complete():
    runs = {"far": run(batch=None, variance=None), "near": run(variance=None)}
    with pytest.raises(ValueError, match=r"it needs runs\.near\.variance, which is null"):
        coverage.check("minibatch_eq_7_9", runs)


def test_an_aggregate_says_what_it_leaves_out():
    said = coverage.check("truehessian_figures", {"mine": run(augmentation=None)})
    assert [line.split(":")[0] for line in said] == [
        "truehessian_figures goes without truehessian_fig_3_6",
        "truehessian_figures goes without truehessian_tables_1_3",
    ]
    assert coverage.check("papers", {"mine": run()}) == []


def test_an_aggregate_of_nothing_is_refused():
    nothing = run(batch=None, augmentation=None, variance=None)
    with pytest.raises(ValueError, match=r"needs runs\.mine\.batch"):
        coverage.check("papers", {"mine": nothing})
