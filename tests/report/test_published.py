"""Published numbers, what they imply, and the numbers of runs beside them."""

import math

import pandas as pd
import pytest
from table_cases import spectra, variance

from truehessian.report.papers import confrontation, published
from truehessian.report.tables import extremes, sampling
from truehessian.theory.predictions import isotropic

NUMBERS = published.load()
IMPLIED = NUMBERS[NUMBERS["quantity"] == "isotropic_variance"]
PRERESNET = {"name": "preresnet", "depth": 8}


def number(quantity, architecture, epoch=None, status=None):
    chosen = NUMBERS[(NUMBERS["quantity"] == quantity) & (NUMBERS["architecture"] == architecture)]
    chosen = chosen if epoch is None else chosen[chosen["epoch"] == epoch]
    chosen = chosen if status is None else chosen[chosen["status"] == status]
    return chosen["published"].iloc[0]


@pytest.mark.parametrize("architecture", published.ARCHITECTURES)
def test_every_network_of_the_papers_has_a_stated_number_of_parameters(architecture):
    stated = number("num_parameters", architecture)
    counted = published.ARCHITECTURES[architecture].num_parameters
    assert stated == pytest.approx(counted, rel=0.02)  # one is stated in round figures


def test_every_number_names_its_source_and_a_network():
    assert NUMBERS[["paper", "item", "source", "published"]].notna().all(axis=None)
    assert set(NUMBERS["architecture"]) == set(published.ARCHITECTURES)


@pytest.mark.parametrize(
    ("architecture", "branch", "low", "high"),
    [("VGG16", "edge", 25_450, 25_550), ("PreResNet110", "outlier", 37_950, 38_050)],
)
def test_the_branch_that_applies_gives_the_published_prediction_back(
    architecture, branch, low, high
):
    full, predicted = (number(key, architecture) for key in ("full_largest", "goe_largest"))
    size = {"VGG16": 128, "PreResNet110": 256}[architecture]
    noise = published.implied_variance(full, predicted, size)
    assert noise.branch == branch
    assert low < noise.applying < high
    factor = (50_000 - size) / (size * 50_000)
    again = isotropic.goe(full, factor, noise.applying, "largest")
    assert float(again) == pytest.approx(predicted, rel=1e-12)
    other = noise.outlier if branch == "edge" else noise.edge
    assert float(isotropic.goe(full, factor, other, "largest")) != pytest.approx(predicted, 1e-3)


def test_both_branches_are_listed_and_one_of_them_applies():
    for _, rows in IMPLIED.groupby(["architecture", "epoch"]):
        assert sorted(rows["status"]) == [published.IMPLIED, published.OTHER_BRANCH]
    assert number("isotropic_variance", "VGG16", status=published.OTHER_BRANCH) == pytest.approx(
        23_695, rel=1e-3
    )
    order = published.ARCHITECTURES["VGG16"].num_parameters
    element = number("element_variance", "VGG16")
    assert element * order == number("isotropic_variance", "VGG16", status=published.IMPLIED)


def test_a_prediction_inside_of_the_full_value_implies_no_noise():
    with pytest.raises(ValueError, match=r"beyond full = 10\.35 > 0, got 9"):
        published.implied_variance(10.35, 9, 128)


def test_ratios_follow_from_the_stated_numbers():
    assert number("broadening", "VGG16") == 36.09 / 10.35
    assert number("goe_broadening", "PreResNet110") == 24.41 / 13.38
    assert number("goe_over_batch", "PreResNet110") == 24.41 / 20.78


def results(num_parameters, num_examples=50_000, epoch=0, **changes):
    measured = list(spectra(epoch))
    found = confrontation.Results(
        extremes.extremal_ritz_values(measured),
        sampling.theory_vs_empirical(sampling.outliers(measured, variance(epoch), draws=2)),
        variance(epoch),
        num_parameters,
        num_examples,
    )
    return found._replace(**changes)


def test_a_paper_network_needs_its_data_all_of_them_and_its_parameters():
    assert confrontation.architecture_of("cifar100", 50_000, 1_169_972) == "PreResNet110"
    assert confrontation.architecture_of("cifar10", 50_000, 1_169_972) is None
    assert confrontation.architecture_of("cifar100", 45_000, 1_169_972) is None
    assert confrontation.architecture_of("cifar100", 50_000, 1_146_842) is None


def test_of_a_paper_network_every_number_is_listed_with_ratio_and_difference():
    frame = confrontation.beside_published(results(1_169_972), "cifar100", PRERESNET)
    assert list(frame.columns) == list(confrontation.COLUMNS)
    assert len(frame) == (NUMBERS["architecture"] == "PreResNet110").sum()
    assert (frame["network"] == confrontation.SAME).all()
    counted = frame[frame["quantity"] == "num_parameters"].iloc[0]
    assert (counted["ours"], counted["ratio"], counted["difference"]) == (1_169_972, 1, 0)
    absent = frame[frame["quantity"] == "full_largest"]  # at epochs 100 and 200, of which is none
    assert absent["ours"].isna().all()
    assert absent["setting"].str.startswith("not measured: epoch").all()


def test_at_the_published_setting_the_numbers_are_those_of_the_tables():
    numbers = NUMBERS[NUMBERS["epoch"] == 200].replace({"batch_size": {256: 40}})
    run = results(1_169_972, epoch=200)
    frame = confrontation.beside_published(run, "cifar100", PRERESNET, numbers)
    ours = frame.drop_duplicates("quantity").set_index("quantity")
    batches = run.extremal.query("operator == 'hessian' and batch_size == 40 and end == 'largest'")
    assert ours.loc["full_largest", "ours"] == 4.0
    assert ours.loc["full_largest", "ratio"] == pytest.approx(4 / 13.38)
    assert ours.loc["full_largest", "difference"] == pytest.approx(4 - 13.38)
    assert ours.loc["batch_largest", "ours"] == pytest.approx(batches["value"].mean())
    assert ours.loc["batch_largest", "standard_error"] == pytest.approx(batches["value"].sem())
    assert ours.loc["broadening", "ours"] == pytest.approx(batches["value"].mean() / 4)
    assert ours.loc["isotropic_variance", "ours"] == 2.0
    assert ours.loc["variance_along_top", "ours"] == 60.0
    assert ours.loc["element_variance", "ours"] == 2.0 / 1_169_972
    theory = run.theory.query("batch_size == 40 and end == 'largest'")["goe"].iloc[0]
    assert ours.loc["goe_largest", "ours"] == theory
    assert ours.loc["goe_over_batch", "ours"] == pytest.approx(theory / batches["value"].mean())
    assert ours.loc["batch_largest", "setting"] == "epoch 200, B = 40, N = 50,000, training split"


def test_another_network_has_ratios_only_and_says_that_it_is_another():
    frame = confrontation.beside_published(results(50, 200), "digits", PRERESNET)
    assert (frame["network"] == confrontation.OTHER).all()
    assert set(frame["architecture"]) == {"PreResNet110"}
    assert set(frame["quantity"]) <= set(confrontation.DIMENSIONLESS)
    assert not frame.duplicated(["architecture", "quantity"]).any()
    rows = frame.set_index("quantity")
    assert rows.loc["parameters_per_example", "ours"] == 50 / 200
    assert rows.loc["smallest_contraction", "ours"] == pytest.approx(1.1 / 1.2)
    assert rows.loc["broadening", "setting"].startswith("epoch 0, B = 40")  # nearest to 256
    assert frame["ours"].notna().all()


def test_without_batches_and_variance_there_is_little_to_compare():
    run = results(50, 200, theory=None, variance=None)
    only_full = run.extremal[run.extremal["batch_size"].isna() & run.extremal["factor"].isna()]
    run = run._replace(extremal=only_full)
    frame = confrontation.beside_published(run, "digits", {"name": "mlp"})
    assert set(frame["quantity"]) == {"parameters_per_example"}
    assert set(frame["architecture"]) == {"PreResNet110", "VGG16BN"}
    run = run._replace(num_examples=50_000, num_parameters=15_291_300)
    paper = confrontation.beside_published(run, "cifar100", {"name": "vgg"})
    assert paper["ours"].notna().sum() == 1


def test_kinds_of_vgg_are_told_apart():
    plain, normalised = ({"name": "vgg", "batch_norm": flag} for flag in (False, True))
    vgg16, vgg16bn = (published.ARCHITECTURES[name] for name in ("VGG16", "VGG16BN"))
    assert vgg16.is_kind_of(plain)
    assert vgg16.is_kind_of({"name": "vgg"})
    assert not vgg16.is_kind_of(normalised)
    assert vgg16bn.is_kind_of(normalised)


def test_tables_that_were_read_back_give_the_same_comparison(tmp_path):
    run = results(50, 200)
    run.extremal.to_csv(tmp_path / "extremal.csv", index=False)
    again = run._replace(extremal=pd.read_csv(tmp_path / "extremal.csv"))
    pd.testing.assert_frame_equal(
        confrontation.beside_published(run, "digits", PRERESNET),
        confrontation.beside_published(again, "digits", PRERESNET),
    )
    assert math.isfinite(confrontation.beside_published(run, "digits", PRERESNET)["ours"].sum())
