import io
import itertools
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import fontTools.subset
import matplotlib
import numpy as np
import pandas as pd
import pytest
from fontTools.ttLib import TTFont
from matplotlib import pyplot
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from truehessian.report import plots
from truehessian.theory import rmt

MAGIC = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG"}


def labelled(axes, label):
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    return handles[label]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def extremal_frame(epochs=(0, 5), folds=4):
    common = {"operator": "hessian", "split": "train", "end": "largest", "factor": np.nan}
    rows = [
        {**common, "epoch": epoch, "batch_size": 32, "fold": fold, "value": 2.0 + epoch + fold}
        for epoch in epochs
        for fold in range(folds)
    ]
    rows += [{**common, "epoch": epoch, "batch_size": np.nan, "value": 1.0} for epoch in epochs]
    distractors = [
        {"operator": "noise"},
        {"split": "test"},
        {"end": "smallest"},
        {"factor": 10, "batch_size": np.nan},
    ]
    rows += [{**rows[0], "value": 999.0, **change} for change in distractors]
    return pd.DataFrame(rows)


def variance_frame(epochs=(0, 5)):
    directions = {"random-1": 6.0, "random-2": 10.0, "top-1": 2e4, "top-2": 9e3, "bottom-1": 90.0}
    return pd.DataFrame(
        [
            {
                "epoch": epoch,
                "direction": direction,
                "variance": value,
                "standard_error": 0.1 * value,
                "num_parameters": 1000,
            }
            for epoch in epochs
            for direction, value in directions.items()
        ]
    )


def theory_frame(epochs=(0, 5), sizes=(32, 128)):
    return pd.DataFrame(
        [
            {
                "epoch": epoch,
                "batch_size": size,
                "end": end,
                "full": sign * 1.0,
                "batch_mean": sign * (1 + 32 / size),
                "batch_standard_error": 0.1,
                "batch_standard_deviation": 0.4,
                "folds": 16,
                "goe": sign * 1.01,
                "directional": sign * (1 + 30 / size),
                "subspace": sign * (1 + 28 / size),
                "subspace_standard_deviation": 0.3,
                "chosen": "subspace" if sign > 0 else "directional",
                "weyl": sign * 1e4,
            }
            for epoch in epochs
            for size in sizes
            for end, sign in (("largest", 1), ("smallest", -1))
        ]
    )


def outlier_frame(epochs=(0, 5), sizes=(32, 128)):
    frame = theory_frame(epochs, sizes).assign(rank=1)
    for kind, centre in (("batch", "batch_mean"), ("subspace", "subspace")):
        for number, name in enumerate(("q05", "q25", "q50", "q75", "q95")):
            frame[f"{kind}_{name}"] = frame[centre] + 0.1 * (number - 2)
    overlaps = {"overlap": 0.7, "overlap_standard_error": 0.05, "overlap_goe": 1.0}
    frame = frame.assign(**overlaps, overlap_directional=0.6, overlap_subspace=0.65)
    return pd.concat([frame, frame.assign(rank=2, full=99.0, batch_q50=99.0)], ignore_index=True)


def noise_frame(epochs=(0, 5), sizes=(32, 128)):
    rows = [
        {
            "epoch": epoch,
            "batch_size": size,
            "fold": 0,
            "largest": 8.0,
            "smallest": -3.0,
            "edge": 2.0,
            "semicircle_distance": 0.4,
            "marchenko_pastur_distance": 0.2,
        }
        for epoch in epochs
        for size in sizes
    ]
    return pd.DataFrame(rows)


def scaling_frame():
    rows = [
        (epoch, quantity, 0.55, 0.45, 0.65)
        for epoch in ("0", "all")
        for quantity in ("frobenius_norm", "largest", "smallest")
    ]
    return pd.DataFrame(rows, columns=["epoch", "quantity", "exponent", "low", "high"])


def shrinkage_frame(epochs=(0, 5), sizes=(100, 1000, 10000)):
    return pd.DataFrame(
        [
            {
                "epoch": epoch,
                "end": end,
                "num_examples": size,
                "value": sign * (2 + epoch + 50 / size),
                "inherent_limit": sign * (2.0 + epoch),
                "inherent_low": sign * (2.0 + epoch) - 0.1,
                "inherent_high": sign * (2.0 + epoch) + 0.1,
                "inherent_slope": sign * 50.0,
                "vanishing_coefficient": sign * 30.0,
            }
            for epoch in epochs
            for end, sign in (("largest", 1), ("smallest", -1))
            for size in sizes
        ]
    )


def true_hessian_frame(epochs=(0, 5)):
    return pd.DataFrame(
        [
            {
                "epoch": epoch,
                "end": end,
                "rank": rank,
                "empirical": sign * 2.0 / rank,
                "inverted_goe": sign * 1.9 / rank,
                "inverted_directional": sign * 1.5 / rank,
                "held_out": sign * 1.8 / rank,
                "held_out_standard_error": 0.1,
                "z": sign * 18.0,
                "bracket_low": 1.6 * sign - 0.2 if rank == 1 else np.nan,
                "bracket_high": 1.6 * sign + 0.2 if rank == 1 else np.nan,
                "verdict": "",
            }
            for epoch in epochs
            for end, sign in (("largest", 1), ("smallest", -1))
            for rank in (1, 2)
        ]
    )


def self_test_frame(epochs=(0, 5)):
    return pd.DataFrame(
        [
            {
                "epoch": epoch,
                "num_examples": size,
                "end": end,
                "estimator": estimator,
                "truth": sign * 2.0,
                "bias": sign * share * 32 / size,
                "bias_standard_error": 0.05,
            }
            for epoch in epochs
            for size in (64, 128, 256)
            for end, sign in (("largest", 1), ("smallest", -1))
            for estimator, share in (("naive", 1.0), ("goe", 0.9), ("cross_validated", 0.1))
        ]
    )


def training_frame(epochs=(0, 1, 2)):
    columns = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    return pd.DataFrame({"epoch": epochs} | {column: [0.5] * len(epochs) for column in columns})


def every_figure(epochs=(0, 5)):
    values = np.array([[-1.0, 0.0, 3.0]])
    weights = np.array([[1e-6, 0.9, 1e-4]])
    return {
        "stem": plots.stem(values, weights, "a title", reference=(-0.5, 2.0)),
        "boxplot": plots.boxplot(extremal_frame(epochs), 32, "largest"),
        "variance": plots.variance(variance_frame(epochs)),
        "theory_vs_empirical": plots.theory_vs_empirical(theory_frame(epochs)),
        "distributions": plots.distributions(outlier_frame(epochs), "a title"),
        "overlaps": plots.overlaps(outlier_frame(epochs)),
        "noise": plots.noise(noise_frame(epochs), scaling_frame()),
        "shrinkage": plots.shrinkage(shrinkage_frame(epochs)),
        "true_hessian": plots.true_hessian(true_hessian_frame(epochs)),
        "self_test": plots.self_test(self_test_frame(epochs)),
        "learning_curves": plots.learning_curves(training_frame()),
    }


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_a_figure_drawn_and_saved_twice_gives_the_same_bytes_in_the_right_format(tmp_path, suffix):
    for name in ("first", "second"):
        plots.save(plots.variance(variance_frame()), [tmp_path / f"{name}.{suffix}"])
    first, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "second"))
    assert first.read_bytes().startswith(MAGIC[suffix])
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_a_format_that_nobody_asked_for_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must end in one of"):
        plots.save(plots.variance(variance_frame()), [tmp_path / "figure.eps"])


def test_drawing_leaves_the_callers_style_and_pyplot_alone():
    before = dict(matplotlib.rcParams)
    every_figure()
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


HOSTILE = """
text.usetex: True
text.latex.preamble: \\usepackage{no-such-package}
font.family: fantasy
font.size: 31
mathtext.default: bf
mathtext.fontset: stix
savefig.dpi: 7
savefig.transparent: True
savefig.bbox: tight
savefig.pad_inches: 3
savefig.facecolor: red
figure.dpi: 17
figure.facecolor: green
figure.autolayout: True
axes.prop_cycle: cycler('color', ['y', 'm'])
axes.grid: True
axes.formatter.use_locale: True
axes.xmargin: 0.4
axes.unicode_minus: False
boxplot.notch: True
lines.dashed_pattern: 1, 9
lines.scale_dashes: False
legend.fancybox: True
legend.shadow: True
hatch.color: red
path.sketch: 1, 100, 2
path.simplify: False
pdf.compression: 0
pdf.fonttype: 3
svg.fonttype: none
svg.hashsalt: none
xtick.top: True
ytick.direction: inout
"""
DRAW = """
import sys
sys.path.insert(0, sys.argv[1])
import matplotlib, test_plots
assert matplotlib.rcParams["text.usetex"]
test_plots.save_every_figure(sys.argv[2])
assert matplotlib.rcParams["text.usetex"]
"""


def save_every_figure(folder):
    for number, (name, figure) in enumerate(every_figure().items()):
        suffixes = ("svg", "pdf", "png") if number == 0 else ("svg",)  # the layout is for all
        plots.save(figure, [Path(folder) / f"{name}.{suffix}" for suffix in suffixes])


def test_figures_do_not_depend_on_personal_settings(tmp_path):
    """A matplotlibrc that changes whatever it can, a backend that there is not: the same bytes."""
    (tmp_path / "matplotlibrc").write_text(HOSTILE)
    for name in ("plain", "hostile"):
        (tmp_path / name).mkdir()
    with matplotlib.style.context("default"):
        save_every_figure(tmp_path / "plain")
    environment = {
        **os.environ,
        "MATPLOTLIBRC": str(tmp_path),
        "MPLBACKEND": "module://no_such_backend",
    }
    command = [sys.executable, "-c", DRAW, str(Path(__file__).parent), str(tmp_path / "hostile")]
    subprocess.run(command, env=environment, check=True)
    for path in sorted((tmp_path / "plain").iterdir()):
        assert (tmp_path / "hostile" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("epochs", [(7,), (0, 5), tuple(range(30))])
def test_every_text_of_every_figure_lies_inside_the_figure(epochs):
    for name, figure in every_figure(epochs).items():
        figure.draw_without_rendering()
        box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
        assert box.xmin >= -1, name
        assert box.ymin >= -1, name
        assert box.xmax <= figure.bbox.xmax + 1, name
        assert box.ymax <= figure.bbox.ymax + 1, name


def test_no_text_of_any_figure_has_to_be_parsed_as_a_formula():
    """To parse one costs more than to draw the panel around it."""
    for name, figure in every_figure().items():
        figure.draw_without_rendering()
        assert not [text for text in figure.findobj(Text) if "$" in text.get_text()], name


@pytest.mark.parametrize(
    ("values", "labels"),
    [((1e-7, 1e5), {"10⁻⁷", "10⁻¹", "10⁵"}), ((2100, 4900), {"3 × 10³", "4 × 10³"})],
)
def test_decades_are_labelled_in_plain_text(values, labels):
    frame = variance_frame().query("direction == 'random-1'")
    figure = plots.variance(frame.assign(variance=values, standard_error=0.0))
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    shown = {label.get_text() for label in axis.get_ticklabels(which="both")}
    assert labels <= {label.replace("\N{THIN SPACE}", " ") for label in shown}


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_each_file_is_drawn_once_after_one_layout(tmp_path, monkeypatch, suffix):
    done = []
    for kind, name in ((Figure, "draw"), (ConstrainedLayoutEngine, "execute")):
        act = getattr(kind, name)
        monkeypatch.setattr(
            kind, name, lambda *args, act=act, name=name: (done.append(name), act(*args))
        )
    paths = [tmp_path / f"{name}.{suffix}" for name in ("first", "second")]
    plots.save(plots.variance(variance_frame()), paths)
    assert done == ["execute", "draw", "draw"]


def test_fonts_in_pdf_files_hold_all_outlines_and_nothing_that_sets_text(tmp_path):
    options = fontTools.subset.Options
    plots.save(plots.stem(np.array([[-1.0, 2.0]]), np.array([[0.1, 0.9]])), [tmp_path / "a.pdf"])
    streams = re.findall(
        rb"stream\r?\n(.*?)\r?\nendstream", (tmp_path / "a.pdf").read_bytes(), re.S
    )
    files = [zlib.decompress(each) for each in streams if each.startswith(b"x")]
    fonts = [TTFont(io.BytesIO(each)) for each in files if each.startswith(b"\0\1\0\0")]
    names = {name for font in fonts for name in font.getGlyphOrder()}
    assert {"R", "one", "minus", "onesuperior", "uni207B"} <= names
    for font in fonts:
        assert {"glyf", "hmtx"} <= set(font.keys())
        assert not {"GSUB", "GPOS", "kern"} & set(font.keys())
    assert fontTools.subset.Options is options


@pytest.mark.parametrize("lowest", [1e-3, 1e-9, 1e-16])
@pytest.mark.parametrize("extreme", [3e-7, 1.125e-3, 0.123, 1.8e4, 3e8])
@pytest.mark.parametrize(("title", "name"), [(None, None), ("a title", "data"), ("Q", "x" * 40)])
def test_the_margins_of_stems_hold_every_text(lowest, extreme, title, name):
    """They are fixed, whatever the numbers and however many rows the legend has."""
    values, weights = np.array([[-extreme, extreme]]), np.array([[lowest, 1 - lowest]])
    known = {} if name is None else {"reference": (-extreme, extreme), "reference_name": name}
    figure = plots.stem(values, weights, title, **known)
    figure.draw_without_rendering()
    box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert min(box.xmin, box.ymin) >= 0
    assert box.xmax <= figure.bbox.xmax
    assert box.ymax <= figure.bbox.ymax
    (axes,) = figure.axes
    label = axes.xaxis.label.get_window_extent()
    assert all(label.ymin > legend.get_window_extent().ymax for legend in figure.legends)


def test_tick_labels_of_many_epochs_do_not_overlap():
    figure = plots.variance(variance_frame(range(100, 400, 5)))
    figure.draw_without_rendering()
    labels = figure.axes[0].get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert len(labels) > 5
    assert all(left.xmax < right.xmin for left, right in itertools.pairwise(boxes))


def test_stems_reach_from_the_floor_to_the_pooled_weights():
    """With n probes each weight counts 1/n, so that all of them sum to 1."""
    values = np.array([[-2.0, 0.0, 5.0], [-1.0, 0.5, 4.0]])
    weights = np.array([[1e-5, 0.99999, 0.0], [1e-3, 0.9, 0.099]])
    axes = plots.stem(values, weights).axes[0]
    (stems,) = (artist for artist in axes.collections if isinstance(artist, LineCollection))
    tops = {segment[1, 0]: segment[1, 1] for segment in stems.get_segments()}
    assert tops == pytest.approx({-2: 5e-6, 0: 0.499995, -1: 5e-4, 0.5: 0.45, 4: 0.0495})
    assert all(segment[0, 1] == axes.get_ylim()[0] for segment in stems.get_segments())


def test_the_extremes_of_the_first_fold_are_written_beside_their_stems():
    values = np.array([[[-0.1234567, 0.0, 10.351]], [[-7.0, 0.0, 99.0]]])
    figure = plots.stem(values, np.full(values.shape, 1 / 3))
    assert texts(figure) == ["−0.1235", "10.35"]


def test_other_folds_and_the_extremes_of_the_full_data_are_drawn_on_request():
    values = np.array([[[-1.0, 3.0]], [[-7.0, 99.0]]])
    weights = np.full(values.shape, 0.5)
    bare = plots.stem(values, weights).axes[0]
    assert bare.get_legend_handles_labels() == ([], [])
    full = plots.stem(values, weights, reference=(-0.5, 2.0), other_folds=True).axes[0]
    assert list(labelled(full, "other batches").get_xdata()) == [-7, 99]
    assert labelled(full, "full data: −0.5").get_xdata() == [-0.5, -0.5]
    assert labelled(full, "full data: 2").get_xdata() == [2, 2]


def test_a_spectrum_of_a_single_value_and_one_of_huge_range_can_be_drawn():
    assert texts(plots.stem(np.array([[2.5]]), np.array([[1.0]]))) == ["2.5"]
    wide = plots.stem(np.array([[-1e-9, 1e9]]), np.array([[1.0, 1e-40]]))
    assert wide.axes[0].get_ylim()[0] > 1e-18


@pytest.mark.parametrize("shape", [(3,), (1, 1, 1, 3)])
def test_spectra_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="must both have shape"):
        plots.stem(np.ones(shape), np.ones(shape))


def test_boxes_hold_the_folds_of_their_batch_size_end_and_split_alone():
    axes = plots.boxplot(extremal_frame(), 32, "largest").axes[0]
    points = [line for line in axes.lines if line.get_label() == "one batch"]
    assert [list(line.get_ydata()) for line in points] == [[2, 3, 4, 5], [7, 8, 9, 10]]
    assert [round(float(np.mean(line.get_xdata()))) for line in points] == [0, 1]
    diamonds = labelled(axes, "full data")
    assert (list(diamonds.get_xdata()), list(diamonds.get_ydata())) == ([0, 1], [1, 1])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "5"]
    assert axes.get_title("left") == "B = 32"


def test_boxes_are_the_same_for_columns_of_nullable_integers():
    frame = extremal_frame()
    nullable = frame.astype({"batch_size": "Int64", "factor": "Int64", "fold": "Int64"})
    left, right = (plots.boxplot(table, 32, "largest").axes[0] for table in (frame, nullable))
    assert [list(line.get_ydata()) for line in left.lines] == [
        list(line.get_ydata()) for line in right.lines
    ]


def test_a_single_fold_makes_a_box_and_an_unknown_batch_size_an_error():
    axes = plots.boxplot(extremal_frame(folds=1), 32, "largest").axes[0]
    assert labelled(axes, "one batch").get_ydata() == [7]
    with pytest.raises(ValueError, match=r"one of \[.*32.*\].*got 64"):
        plots.boxplot(extremal_frame(), 64, "largest")


def test_the_variance_along_random_directions_is_a_mean_with_the_error_of_that_mean():
    container = labelled(plots.variance(variance_frame()).axes[0], "random, Pσ²")
    line, _, (bars,) = container
    assert list(line.get_ydata()) == [8, 8]  # of 6 and 10: s.d. 2 √2, standard error 2
    assert bars.get_segments()[0][:, 1] == pytest.approx([6, 10])


def test_a_lone_direction_keeps_its_own_standard_error():
    container = labelled(plots.variance(variance_frame()).axes[0], "top Ritz vector")
    _, _, (bars,) = container
    assert bars.get_segments()[0][:, 1] == pytest.approx([1.8e4, 2.2e4])


def test_predictions_and_measurements_share_the_panel_of_their_end_and_batch_size():
    figure = plots.theory_vs_empirical(theory_frame())
    assert len(figure.axes) == 4
    assert [axes.get_title("left") for axes in figure.axes[:2]] == ["B = 32", "B = 128"]
    second = figure.axes[1]
    assert list(labelled(second, "directional").get_ydata()) == pytest.approx([1.234375] * 2)
    measured, _, (bars,) = labelled(second, "measured, mean ± s.e.")
    assert list(measured.get_ydata()) == [1.25, 1.25]
    assert bars.get_segments()[0][:, 1] == pytest.approx([1.15, 1.35])


def test_the_chosen_prediction_is_ringed():
    upper, _, lower, _ = plots.theory_vs_empirical(theory_frame()).axes
    for axes, chosen in ((upper, "subspace"), (lower, "directional")):
        ring = labelled(axes, "chosen beforehand")
        assert np.array_equal(ring.get_xydata(), labelled(axes, chosen).get_xydata())


def test_a_prediction_that_is_missing_everywhere_has_no_entry_in_the_legend():
    frame = theory_frame().assign(subspace=np.nan, subspace_standard_deviation=np.nan)
    _, labels = plots.theory_vs_empirical(frame).axes[0].get_legend_handles_labels()
    assert "subspace" not in labels
    assert "directional" in labels


def test_shrinkage_draws_the_laws_of_the_last_epoch_through_their_formulas():
    largest, smallest = plots.shrinkage(shrinkage_frame()).axes
    sizes, inherent = labelled(largest, "fit ℓ + a/T").get_data()
    assert inherent == pytest.approx(7 + 50 / sizes)
    sizes, vanishing = labelled(smallest, "fit c/√T").get_data()
    assert vanishing == pytest.approx(-30 / np.sqrt(sizes))
    band = labelled(largest, "interval of ℓ")
    assert (band.get_y(), band.get_height()) == pytest.approx((6.9, 0.2))


def test_shrinkage_without_a_fit_draws_the_values_alone():
    laws = [column for column in shrinkage_frame() if "inherent" in column or "vanish" in column]
    axes = plots.shrinkage(shrinkage_frame().assign(**dict.fromkeys(laws, np.nan))).axes[0]
    assert axes.get_legend_handles_labels()[1] == ["epoch 0", "epoch 5"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10,000", "1,000", "100"]


def test_the_true_hessian_figure_shows_rank_one_with_brackets_and_errors():
    _, smallest = plots.true_hessian(true_hessian_frame()).axes
    brackets = [patch for patch in smallest.patches if isinstance(patch, Rectangle)]
    assert [(patch.get_y(), patch.get_height()) for patch in brackets] == [
        pytest.approx((-1.8, 0.4))
    ] * 2
    assert list(labelled(smallest, "training data").get_ydata()) == [-2, -2]
    held_out, _, (bars,) = labelled(smallest, "held out, ± s.e.")
    assert list(held_out.get_ydata()) == [-1.8, -1.8]
    assert bars.get_segments()[1][:, 1] == pytest.approx([-1.9, -1.7])


def test_missing_estimates_are_left_out():
    missing = ["inverted_directional", "bracket_low", "held_out", "held_out_standard_error"]
    frame = true_hessian_frame().assign(**dict.fromkeys(missing, np.nan))
    axes = plots.true_hessian(frame).axes[0]
    assert axes.patches[:] == []
    assert "directional inverted" not in axes.get_legend_handles_labels()[1]


def test_augmented_data_are_set_apart_from_the_laws_of_the_original_ones():
    frame = shrinkage_frame(epochs=[5]).assign(data="original")
    more = frame[frame["num_examples"] == 10000].assign(num_examples=50000, data="augmented")
    laws = [column for column in frame if "inherent" in column or "vanish" in column]
    axes = plots.shrinkage(pd.concat([frame, more.assign(**dict.fromkeys(laws, np.nan))])).axes[0]
    solid, _, hollow = axes.get_lines()[:3]
    assert solid.get_xdata().max() == 10000
    assert list(hollow.get_xdata()) == [50000]
    assert any(line.get_label() == "fit ℓ + a/T" for line in axes.get_lines())


def test_the_test_split_and_the_corrected_estimate_are_drawn_where_they_are():
    frame = true_hessian_frame().assign(
        test=3.0, cross_validated=2.5, cross_validated_low=2.0, cross_validated_high=3.5
    )
    labels = plots.true_hessian(frame).axes[0].get_legend_handles_labels()[1]
    assert {"test data", "cross-validated, 90 %"} <= set(labels)
    labels = plots.true_hessian(true_hessian_frame()).axes[0].get_legend_handles_labels()[1]
    assert not {"test data", "cross-validated, 90 %"} & set(labels)


def test_a_bias_away_from_zero_is_drawn_above_zero_at_both_ends():
    figure = plots.self_test(self_test_frame(epochs=[5]))
    for axes in figure.axes:
        naive = next(box for box in axes.containers if box.get_label() == "naive")
        heights = naive.lines[0].get_ydata().astype(float)
        np.testing.assert_allclose(heights, [0.25, 0.125, 0.0625])


@pytest.mark.parametrize(
    ("values", "scale"), [((1, 20), "linear"), ((0.01, 20), "log"), ((-0.01, 20), "symlog")]
)
def test_the_scale_follows_the_range_and_the_signs_of_the_values(values, scale):
    frame = theory_frame(epochs=(0, 1), sizes=(32,)).query("end == 'largest'")
    columns = ["full", "batch_mean", "goe", "directional", "subspace"]
    frame = frame.assign(**dict.fromkeys(columns, values))
    assert plots.theory_vs_empirical(frame).axes[0].get_yscale() == scale


def test_loss_and_accuracy_have_a_panel_each_with_both_splits():
    figure = plots.learning_curves(training_frame())
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    assert list(labelled(figure.axes[1], "test data").get_ydata()) == [0.5] * 3


def test_a_table_without_rows_is_refused():
    with pytest.raises(ValueError, match="must have rows with end"):
        plots.shrinkage(shrinkage_frame().iloc[:0])


def test_a_drawn_box_stands_beside_each_measured_one():
    upper, *_ = plots.distributions(outlier_frame()).axes
    medians = [
        line.get_ydata()[0]
        for line in upper.lines
        if len(line.get_xdata()) == 2 and line.get_ydata()[0] == line.get_ydata()[1]
    ]
    assert {2.0, 1 + 28 / 32} <= set(np.round(medians, 6))
    assert max(medians) < 99
    assert set(upper.get_legend_handles_labels()[1]) == {
        "measured",
        "drawn beforehand",
        "full data",
    }


def test_boxes_without_a_drawn_distribution_are_left_out():
    frame = outlier_frame()
    frame.loc[:, frame.columns.str.startswith("subspace_")] = np.nan
    labels = plots.distributions(frame).axes[0].get_legend_handles_labels()[1]
    assert "drawn beforehand" not in labels


def test_the_noise_is_drawn_in_units_of_its_expected_edge():
    left, middle, right = plots.noise(noise_frame(), scaling_frame()).axes
    assert labelled(left, "largest").get_ydata().tolist() == [4.0, 4.0]
    assert labelled(left, "smallest").get_ydata().tolist() == [1.5, 1.5]
    assert [text.get_text() for text in middle.get_yticklabels()] == [
        "Frobenius",
        "Largest",
        "Smallest",
    ]
    assert labelled(right, "semicircle").get_ydata().tolist() == [0.4, 0.4]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_spectrum_of_the_noise_is_drawn_over_the_laws_of_the_same_moments(sign):
    law = rmt.MarchenkoPastur(0.5, 2.0)
    levels = (np.arange(400) + 0.5) / 400
    nodes = np.sort(sign * (law.quantile(levels) - law.variance)) + 7
    spectrum = (nodes, np.full(400, 1 / 400))
    *_, last = plots.noise(noise_frame(), scaling_frame(), spectrum).axes
    drawn = labelled(last, "Marchenko-Pastur")
    order = np.argsort(drawn.get_xdata())
    found = np.interp((nodes - 7) / 2**0.5, drawn.get_xdata()[order], drawn.get_ydata()[order])
    assert np.abs(found - levels).max() < 0.02
    semicircle = labelled(last, "semicircle")
    assert (semicircle.get_xdata()[0], semicircle.get_xdata()[-1]) == (-2, 2)


def test_another_measure_has_its_panel_and_none_has_none():
    frame = training_frame().drop(columns=["train_accuracy", "test_accuracy"])
    (alone,) = plots.learning_curves(frame).axes
    assert alone.get_ylabel() == "loss"
    frame = frame.assign(train_r_squared=0.5, test_r_squared=[-3.0, 0.25, 0.25])
    _, axes = plots.learning_curves(frame).axes
    assert axes.get_ylabel() == "R²"
    assert list(labelled(axes, "test data").get_ydata()) == [-3.0, 0.25, 0.25]
    assert "%" not in axes.yaxis.get_major_formatter()(0.5, 0)
