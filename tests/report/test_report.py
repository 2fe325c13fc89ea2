import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from truehessian import report
from truehessian.report import captions, findings, page
from truehessian.report.contents import catalogue
from truehessian.report.tables import errors
from truehessian.spectra.spectrum import Spectrum, save as save_spectrum

TEMPLATES = Path(__file__).parents[2] / "workflow" / "report"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><title>%s</title></svg>'

THEORY = pd.DataFrame(
    {
        "epoch": 30,
        "batch_size": [32, 32, 128],
        "end": ["largest", "smallest", "largest"],
        "full": [2.0, -0.5, 2.0],
        "batch_mean": [5.0, -0.51, 3.0],
        "batch_standard_error": [0.25, 0.02, 0.1],
        "batch_standard_deviation": [1.0, 0.08, 0.4],
        "folds": 16,
        "goe": [2.09, -0.5, 2.02],
        "directional": [5.3, -0.6, 3.5],
        "subspace": [4.7, np.nan, 2.9],
        "subspace_standard_deviation": [0.9, np.nan, 0.3],
        "chosen": ["subspace", "directional", "subspace"],
        "weyl": [1000.0, -900.0, 700.0],
    }
)
TRUE_HESSIAN = pd.DataFrame(
    {
        "epoch": [1, 1, 60, 60],
        "end": ["smallest", "largest", "smallest", "largest"],
        "rank": 1,
        "empirical": [-0.252, 1.229, -0.004, 0.788],
        "inverted_goe": [-0.25, 1.22, np.nan, 0.78],
        "inverted_directional": np.nan,
        "held_out": [-0.253, 1.192, -0.008, 1.337],
        "held_out_standard_error": [0.031, 0.019, 0.0042, 0.172],
        "z": [-8.16, 62.7, -1.9, 7.77],
        "bracket_low": [np.nan, np.nan, np.nan, 1.135],
        "bracket_high": [np.nan, np.nan, np.nan, 1.437],
        "verdict": ["negative curvature is inherent", "", "the sign is open", ""],
        "estimate": [-0.26, 1.2, -0.01, 1.28],
        "estimate_low": [-0.3, 1.1, -0.03, 0.993],
        "estimate_high": [-0.2, 1.3, 0.01, 1.6],
        "sign": ["negative", "positive", "open", "positive"],
        "test_effective_examples": [300.0, 400.0, 20.0, 7.4],
    }
)
VARIANCE = pd.DataFrame(
    {
        "epoch": 30,
        "direction": ["random-1", "random-2", "top-1", "bottom-1"],
        "variance": [7.0, 8.0, 24000.0, 60.0],
        "standard_error": [0.1, 0.1, 500.0, 3.0],
        "element_variance": [7e-5, 8e-5, 0.24, 6e-4],
        "num_parameters": 100_000,
    }
)
BATCHNORM = pd.DataFrame(
    {
        "epoch": 30,
        "chunk_size": 64,
        "end": ["largest", "smallest"],
        "running": [2.0, -0.5],
        "batch": [20.0, -1.5],
    }
)
SHRINKAGE = pd.DataFrame(
    {
        "epoch": 30,
        "end": "smallest",
        "num_examples": [1000, 10_000],
        "value": [-0.4, -0.3],
        "inherent_limit": -0.29,
        "inherent_low": [-0.33] * 2,
        "inherent_high": [-0.25] * 2,
        "inherent_slope": -110.0,
        "vanishing_coefficient": -13.0,
        "better": "inherent",
    }
)
TRAINING = pd.DataFrame(
    {
        "epoch": [0, 30],
        "train_loss": [2.3, 0.01],
        "train_accuracy": [0.1, 1.0],
        "test_loss": [2.3, 0.5],
        "test_accuracy": [0.1, 0.87],
    }
)


def extremal_frame():
    common = {"epoch": 30, "operator": "hessian", "split": "train", "residual": 1e-6, "steps": 40}
    rows = []
    for end, full, folds in (("largest", 2.0, (6.0, 4.5)), ("smallest", -0.5, (-0.9, -0.7))):
        rows += [{**common, "end": end, "num_examples": 1000, "value": full}]
        rows += [{**common, "end": end, "num_examples": 10_000, "value": 0.9 * full, "factor": 10}]
        rows += [
            {**common, "end": end, "num_examples": 32, "batch_size": 32, "fold": fold, "value": v}
            for fold, v in enumerate(folds)
        ]
    return pd.DataFrame(rows)


def write_run(folder, name="run", figures=("stem-full-30", "variance")):
    """Lay out what a run leaves behind, with stand-ins for figures."""
    root = folder / name
    for part in ("figures", "tables", "variance", "checkpoints", "costs/train"):
        (root / part).mkdir(parents=True)
    for figure in figures:
        (root / "figures" / f"{figure}.svg").write_bytes(SVG % figure.encode())
        (root / "figures" / f"{figure}.png").write_bytes(b"\x89PNG")
    for table, frame in (
        ("extremal_ritz_values", extremal_frame()),
        ("theory_vs_empirical", THEORY),
        ("true_hessian", TRUE_HESSIAN),
        ("shrinkage", SHRINKAGE),
    ):
        frame.to_csv(root / "tables" / f"{table}.csv", index=False)
    for epoch in (5, 30):
        VARIANCE.drop(columns="epoch", errors="ignore").to_csv(
            root / "variance" / f"{epoch}.csv", index=False
        )
        write_spectrum(root / "spectra" / str(epoch) / "full.npz", epoch)
    TRAINING.to_csv(root / "training.csv", index=False)
    settings = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "epoch": 30}
    header = {key: json.dumps(value) for key, value in settings.items()}
    checkpoint = root / "checkpoints" / "30.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(1, np.float32)}, checkpoint, header)
    for job, seconds, memory in (("a", 1.5, 100.0), ("b", 2.0, "")):
        text = f"seconds\tpeak_memory_mib\n{seconds}\t{memory}\n"
        (root / "costs" / "train" / f"{job}.tsv").write_text(text)
    return root


def write_spectrum(path, epoch):
    path.parent.mkdir(parents=True)
    array = np.zeros((1, 2))
    metadata = {
        "epoch": epoch,
        "operator": "hessian",
        "num_parameters": 100_000,
        "num_examples": 1000,
        "precision": "float64",
        "seconds": 0.5,
        "versions": {"numpy": "2.4"},
    }
    save_spectrum(path, Spectrum(array, array, array, array, array[:, 1:], metadata))


def render(runs):
    return report.render(runs, title="Spectra", template_folder=TEMPLATES)


def bare_run(**fields):
    empty = {"name": "bare", "summary": {}, "figures": {}, "tables": {}}
    return report.RunReport(**{**empty, **fields})


def caption(run, figure):
    text = captions.of_figure(page.environment(TEMPLATES), run, figure).striptags()
    return text.replace("\N{NO-BREAK SPACE}", " ")


class References(HTMLParser):
    """Collect whatever a page makes a browser load or follow."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        names = {"src", "href", "srcset", "action", "poster", "data", "background"}
        self.found += [value for name, value in attrs if name in names]


def test_a_network_that_knows_nothing_of_its_data_is_a_warning_but_for_the_initial_one():
    rows = [(0, 0.1, True), (5, 0.12, True), (20, 0.1, True), (30, 0.9, False)]
    frame = pd.DataFrame(rows, columns=["epoch", "train_accuracy", "at_chance"])
    (sentence,) = findings.headlines({"checkpoints": frame})
    assert sentence.startswith("Warning: at epoch 5 and 20 the training accuracy is 12")
    assert findings.headlines({"checkpoints": frame[frame["epoch"].isin([0, 30])]}) == []


def test_other_measures_are_called_by_their_names():
    frame = pd.DataFrame({"epoch": [3], "train_r_squared": [-0.25], "at_chance": [True]})
    (sentence,) = headlines(checkpoints=frame)
    assert sentence.startswith("Warning: at epoch 3 the training R² is −0.250 at most, no more")
    assert headlines(checkpoints=frame.drop(columns=["train_r_squared", "at_chance"])) == []


@pytest.mark.parametrize(
    ("measure", "fragment", "fact"),
    [
        ("accuracy", "the accuracy is 50 % on the training data and 25 % on the", "accuracy: 25 %"),
        ("r_squared", "the R² is 0.500 on the training data and 0.250 on the", "R²: 0.250"),
        ("mean_error", "the mean error is 0.500 on the training data and", "mean error: 0.250"),
        (None, "and the test loss 2.00. ", "loss: 2.00"),
    ],
)
def test_learning_curves_and_key_facts_say_what_is_measured(measure, fragment, fact):
    frame = pd.DataFrame({"epoch": [1], "train_loss": [1.0], "test_loss": [2.0]})
    if measure is not None:
        frame = frame.assign(**{f"train_{measure}": 0.5, f"test_{measure}": 0.25})
    run = bare_run(training=frame)
    assert fragment in caption(run, "learning_curves").replace("\n", " ") + " "
    label, value = fact.split(": ")
    facts = dict(page._facts(run))
    assert facts[f"Final test {label}"].replace("\N{NO-BREAK SPACE}", " ") == value


@pytest.mark.parametrize(
    ("columns", "said", "unsaid"),
    [
        (("accuracy", True), "always guessing what is most frequent", "R²"),
        (("r_squared", True), "that mean by itself has an R² of 0", "most frequent"),
        (("mean_error", True), "chance mean error: that of what is best to guess", "most frequent"),
        (("mean_error", False), "Loss and mean error of the checkpoints", "chance"),
        ((None, False), "Loss of the checkpoints", "chance"),
    ],
)
def test_the_table_of_checkpoints_says_what_chance_is(columns, said, unsaid):
    measure, has_chance = columns
    names = ["epoch", "train_loss"] + ([f"train_{measure}"] if measure else [])
    names += [f"chance_{measure}", "at_chance"] if has_chance else []
    run = bare_run(tables={"checkpoints": pd.DataFrame([[1] * len(names)], columns=names)})
    text = captions.of_table(page.environment(TEMPLATES), run, "checkpoints").striptags()
    assert said in text
    assert unsaid not in text


def test_collect_reads_everything_that_a_run_has_left(tmp_path):
    root = write_run(tmp_path)
    (run,) = report.collect(tmp_path, ["run"])
    assert run.figures["variance"] == root / "figures" / "variance.svg"
    assert set(run.tables) == {
        "extremal_ritz_values",
        "shrinkage",
        "theory_vs_empirical",
        "true_hessian",
        "variance",
    }
    assert list(run.tables["variance"]["epoch"]) == [5] * 4 + [30] * 4
    assert run.summary["epochs"] == [5, 30]
    assert run.summary["epoch"] == 30  # of the last one, in numerical order
    assert run.summary["num_parameters"] == 100_000
    assert run.summary["model"] == {"name": "mlp"}
    assert run.stages.to_dict("records") == [
        {"stage": "train", "jobs": 2, "seconds": 3.5, "peak_memory_mib": 100.0}
    ]
    assert list(run.spectra["epoch"]) == [5, 30]


def test_a_run_without_results_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results of run 'absent'"):
        report.collect(tmp_path, ["absent"])


def test_the_page_embeds_every_figure_and_refers_to_nothing_outside_itself(tmp_path):
    names = ["stem-full-30", "stem-batch-32-30", "boxplot-largest-32", "variance", "of-my-own"]
    write_run(tmp_path, figures=names)
    html = render(report.collect(tmp_path, ["run"]))
    for name in names:
        assert base64.b64encode(SVG % name.encode()).decode() in html
    parser = References()
    parser.feed(html)
    assert len([ref for ref in parser.found if ref.startswith("data:image/svg+xml")]) == len(names)
    assert all(ref.startswith(("data:", "#")) for ref in parser.found)
    assert "url(" not in html
    assert "@import" not in html


def test_every_link_of_the_sidebar_has_a_target(tmp_path):
    for name in ("one", "two"):
        write_run(tmp_path, name)
    html = render(report.collect(tmp_path, ["one", "two"]))
    parser = References()
    parser.feed(html)
    links = [ref for ref in parser.found if ref.startswith("#")]
    assert len(links) == len(set(links)) > 16
    assert all(f'id="{link[1:]}"' in html for link in links)


def test_the_same_results_give_the_same_page(tmp_path):
    write_run(tmp_path)
    pages = [render(report.collect(tmp_path, ["run"])) for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_run_that_has_made_nothing_is_reported_as_such():
    html = render([bare_run()])
    assert "Not made by this run: theory vs empirical, table theory vs empirical." in html
    assert "There are no tables to draw conclusions from." in html
    assert "<img" not in html


def test_markup_in_names_and_cells_is_shown_and_not_run():
    table = pd.DataFrame({"verdict": ["<script>alert(1)</script>"]})
    html = render([bare_run(name="<b>bold</b>", tables={"mine": table})])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert" not in html
    assert "<b>bold" not in html


def test_tables_and_figures_of_no_known_kind_come_under_further_results(tmp_path):
    write_run(tmp_path, figures=["mine"])
    (run,) = report.collect(tmp_path, ["run"])
    assert "Further results" in render([run])
    assert "Further results" not in render([run._replace(figures={})])


@pytest.mark.parametrize(
    ("name", "kind", "numbers"),
    [
        ("stem-full-5", "stem-full", {"epoch": 5}),
        ("stem-batch-128-30", "stem-batch", {"batch_size": 128, "epoch": 30}),
        ("stem-augmented-10-0", "stem-augmented", {"factor": 10, "epoch": 0}),
        ("stem-batchnorm-64-5", "stem-batchnorm", {"chunk_size": 64, "epoch": 5}),
        ("boxplot-smallest-256", "boxplot-smallest", {"batch_size": 256}),
        ("theory_vs_empirical", "theory_vs_empirical", {}),
        ("stem-batch-30", "stem-batch-30", {}),
    ],
)
def test_a_figures_name_says_what_it_shows(name, kind, numbers):
    assert catalogue.parse(name) == (kind, numbers)


def test_stems_are_shown_by_epoch_and_size_in_numerical_order(tmp_path):
    names = ["stem-batch-32-5", "stem-batch-128-5", "stem-full-5", "stem-full-30", "stem-full-100"]
    write_run(tmp_path, figures=sorted(names))
    html = render(report.collect(tmp_path, ["run"]))
    images = [base64.b64encode(SVG % name.encode()).decode() for name in names]
    places = [
        html.index(images[names.index(name)])
        for name in (
            "stem-full-5",
            "stem-batch-32-5",
            "stem-batch-128-5",
            "stem-full-30",
            "stem-full-100",
        )
    ]
    assert places == sorted(places)


def test_every_section_has_captions_for_its_figures_and_tables():
    for content in catalogue.entries().values():
        if content.figure is not None and content.caption is None:
            assert (TEMPLATES / f"{content.template or content.name}.md").is_file(), content.name
        if content.table is not None and content.table_caption is None:
            assert (TEMPLATES / f"table-{content.name}.md").is_file(), content.name


def test_every_caption_is_read_by_an_entry():
    contents = catalogue.entries().values()
    used = {
        f"{content.template or content.name}.md"
        for content in contents
        if content.figure and content.caption is None
    }
    used |= {
        f"table-{content.name}.md"
        for content in contents
        if content.table and content.table_caption is None
    }
    assert {path.name for path in TEMPLATES.glob("*.md")} == used


@pytest.mark.parametrize(
    ("figure", "fragments"),
    [
        ("stem-full-30", ["1,000 training examples", "−0.5000 to 2.000", "1.0 × 10⁻⁶", "40 steps"]),
        ("stem-batch-32-30", ["−0.9000 to 6.000", "−0.5000 and 2.000", "3.0 times"]),
        ("stem-augmented-10-30", ["10,000 examples", "−0.4500 and 1.800"]),
        ("boxplot-largest-32", ["of 2 batches", "epoch 30: 5.25 against 2.00"]),
        ("variance", ["7.50 along random", "24,000 along the top", "7.50 × 10⁻⁵"]),
        ("variance", ["25,500 (VGG16, B = 128) and 38,000 (PreResNet110, B = 256)"]),
        ("theory_vs_empirical", ["over 16 batches", "misses 10 % of the shift"]),
        (
            "learning_curves",
            ["After epoch 30", "0.0100", "is 100 % on the training data and 87 %"],
        ),
        ("shrinkage", ["epoch 30"]),
        (
            "stem-batchnorm-64-30",
            ["chunks of 64", "2.000 by running and 20.00 by batch", "−0.5000 and −1.500"],
        ),
    ],
)
def test_captions_give_the_numbers_of_the_run(figure, fragments):
    tables = {
        "extremal_ritz_values": extremal_frame(),
        "variance": VARIANCE,
        "theory_vs_empirical": THEORY,
        "shrinkage": SHRINKAGE,
        "batchnorm": BATCHNORM,
    }
    text = caption(bare_run(tables=tables, training=TRAINING), figure)
    for fragment in fragments:
        assert fragment in text


@pytest.mark.parametrize(
    "figure",
    [
        "stem-full-1",
        "stem-batch-2-1",
        "stem-augmented-2-1",
        "stem-noise-2-1",
        "stem-ggn-1",
        "stem-batchnorm-2-1",
        "boxplot-largest-2",
        "boxplot-smallest-2",
        "variance",
        "theory_vs_empirical",
        "learning_curves",
        "shrinkage",
        "true_hessian",
    ],
)
def test_captions_do_without_the_tables(figure):
    text = caption(bare_run(), figure)
    assert len(text) > 20
    assert "None" not in text
    assert "nan" not in text


def test_a_caption_that_does_not_exist_is_empty():
    assert caption(bare_run(), "of-my-own") == ""


def headlines(**tables):
    sentences = findings.headlines(tables, num_examples=1000)
    return [sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in sentences]


def test_headlines_compare_the_smallest_batches_with_the_full_data_and_the_predictions():
    largest, smallest, overall = headlines(theory_vs_empirical=THEORY)
    assert largest == (
        "At epoch 30 and B = 32 the largest eigenvalue of the mini-batch Hessian is 5.00 ± 0.25 "
        "on average over 16 batches, 2.5 times the full-data value of 2.00. Of the shift of 3.00, "
        "the GOE prediction accounts for 3 %, the directional one for 110 % and the subspace one "
        "for 90 %."
    )
    assert smallest.endswith(
        "full-data value of −0.500; the shift is within 2 standard errors of zero."
    )
    assert "over 2 of 3 combinations" in overall  # the row within its error does not count
    assert "GOE by 98 %, directional by 30 %, subspace by 10 %" in overall


def test_the_error_of_the_chosen_prediction_is_that_of_the_prediction_it_names():
    frame = THEORY.assign(chosen=["directional", "directional", "subspace"])
    missed = errors.missed(frame)
    assert list(missed["chosen"]) == pytest.approx([0.3 / 3, 0.1])
    assert list(missed["directional"]) == pytest.approx([0.3 / 3, 0.5])


def test_a_single_case_is_no_median_and_fewer_cases_are_owned_up_to():
    (*_, overall) = headlines(theory_vs_empirical=THEORY.iloc[:2])
    assert "Of 2 combinations of epoch, batch size and end, one has a shift" in overall
    assert "median" not in overall
    (*_, overall) = headlines(theory_vs_empirical=THEORY.assign(subspace=[4.7, -0.6, np.nan]))
    assert "directional by 30 %, subspace by 10 % (of 1) and" in overall


def test_headlines_without_any_prediction_report_the_measurement_alone():
    bare = dict.fromkeys(["goe", "directional", "subspace"], np.nan)
    sentences = headlines(theory_vs_empirical=THEORY.assign(**bare))
    assert len(sentences) == 2
    assert sentences[0].endswith("2.5 times the full-data value of 2.00.")


def test_headlines_set_the_variance_along_the_top_vector_against_random_directions():
    (sentence,) = headlines(variance=VARIANCE)
    assert "3,200 times" in sentence
    assert "V = 24,000" in sentence
    assert "Pσ² = 7.50" in sentence


def test_headlines_say_where_negative_curvature_is_proved_and_what_training_data_understate():
    bottom, top = headlines(true_hessian=TRUE_HESSIAN)
    assert "smallest eigenvalue is negative at epoch 1 and open at epoch 60; along" in bottom
    assert "the curvature −0.253 ± 0.031 at epoch 1, z = −8.2." in bottom
    assert "At epoch 60 the largest eigenvalue of the training Hessian is 0.788" in top
    assert "% 0.993 to 1.60): the training Hessian understates it" in top
    assert top.endswith("Few of these examples carry it, about 7.")


def test_headlines_give_a_bound_where_nothing_more_is_known():
    frame = TRUE_HESSIAN.assign(
        estimate=np.nan, estimate_high=np.nan, estimate_low=[np.nan, 1.1, np.nan, 0.7]
    )
    (top,) = headlines(true_hessian=frame)
    assert "(at least 0.700): the two agree." in top
    assert headlines(true_hessian=frame.assign(estimate_low=np.nan)) == []


def test_headlines_follow_an_eigenvalue_to_larger_samples_and_to_its_limit():
    change, limit = headlines(shrinkage=SHRINKAGE)
    assert "From 1,000 to 10,000 examples the smallest eigenvalue at epoch 30" in change
    assert "from −0.400 to −0.300; pure noise would shrink by a factor of 3.16" in change
    assert "tends to −0.290" in limit
    assert "95 % interval −0.330 to −0.250, which excludes zero" in limit
    assert limit.endswith("fits worse.")


def test_headlines_say_how_far_the_noise_reaches_and_how_it_scales():
    noise = pd.DataFrame({"largest": [6.0, 9.0], "smallest": [-4.0, np.nan], "edge": [2.0, 3.0]})
    rows = [
        ("0", "frobenius_norm", 9, 8, 10),
        ("all", "frobenius_norm", 0.47, 0.4, 0.54),
        ("all", "largest", 0.1, 0, 1),
    ]
    scaling = pd.DataFrame(rows, columns=["epoch", "quantity", "exponent", "low", "high"])
    reach, scales = headlines(noise=noise, noise_scaling=scaling)
    assert "lie 2.0 to 3.0 times as far out as the edge" in reach
    assert "to the power of 0.47 (95 % interval 0.40 to 0.54)" in scales


def test_headlines_say_what_cross_validation_leaves_of_the_bias():
    rows = [
        {"epoch": epoch, "num_examples": size, "end": end, "estimator": name, "truth": truth}
        | {"bias": truth * share, "coverage": coverage}
        for epoch in (0, 1)
        for size in (64, 128)
        for end, truth in (("largest", 2.0), ("smallest", -1.0))
        for name, share, coverage in (
            ("naive", 0.2 if size == 64 else 0.0, 0.5),
            ("cross_validated", 0.02, 0.8 + 0.1 * epoch),
        )
    ]
    largest, smallest = headlines(self_test=pd.DataFrame(rows))
    for sentence in (largest, smallest):
        assert "Where 64 of the examples play the data set" in sentence
        assert "biased outward by 20 %" in sentence
        assert "leaves 10 % of the bias" in sentence
        assert "hold the truth in 85 % of the cases" in sentence


def test_tables_that_are_empty_say_nothing():
    assert headlines(theory_vs_empirical=THEORY.iloc[:0], shrinkage=SHRINKAGE.iloc[:0]) == []


def test_files_left_by_another_experiment_are_kept_out(tmp_path):
    root = write_run(tmp_path)
    kept = [path for path in root.rglob("*.*") if path.stem != "stem-full-30"]
    (run,) = report.collect(tmp_path, ["run"], kept)
    assert "variance" in run.figures
    assert "stem-full-30" not in run.figures
