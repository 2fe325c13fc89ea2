"""Batches put together from parts: known answers, and errors that are what they say."""

from dataclasses import replace

import numpy as np
import pytest

from truehessian.theory.predictions import batch_model, examples, parts as drawing
from truehessian.theory.predictions.base import Draws, Known, Variance
from truehessian.theory.predictions.examples import ExampleParts
from truehessian.theory.predictions.parts import PARTS

NOTHING = Variance(0.0, 0.0)


def rank_one(count=40, order=12, k=4, seed=0, total=None):
    """Examples of rank two, H_i = t q qᵀ - s r rᵀ, with all of their parts in full coordinates.

    Returns them, and their dense matrices (count, order, order).
    """
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(count, 2, order)) + np.array([2.0] + [0.0] * (order - 1))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    # Eigenvectors are orthogonal.
    along = np.einsum("np,np->n", vectors[:, 0], vectors[:, 1])
    vectors[:, 1] -= along[:, None] * vectors[:, 0]
    vectors[:, 1] /= np.linalg.norm(vectors[:, 1], axis=1, keepdims=True)
    values = np.stack([generator.gamma(1.0, size=count), -generator.gamma(0.5, size=count)], 1)
    dense = np.einsum("nm,nmp,nmq->npq", values, vectors, vectors)
    full, axes = np.linalg.eigh(dense.mean(axis=0))
    chosen = [*range(-1, -1 - k // 2, -1), *range(k // 2)]
    basis = axes[:, chosen]
    inside = vectors @ basis
    made = ExampleParts(
        ritz_values=full[chosen],
        indices=np.arange(count),
        within=basis.T @ dense @ basis,
        values=values,
        inside=inside,
        outside=vectors - inside @ basis.T,
        rest=np.zeros((count, k, k)),
        rest_values=np.zeros((count, 2)),
        offset=np.zeros((k, order)),
        num_examples=total or count,
        num_parameters=order,
        passes=1.0,
        sketch_error=0.0,
    )
    return made, dense


def known(made, end, batch_size, **how):
    order = 1 if end == "largest" else -1
    return Known(
        eigenvalues=np.sort(made.ritz_values)[::-order][:2],
        end=end,
        batch_size=batch_size,
        num_examples=made.num_examples,
        num_parameters=made.num_parameters,
        isotropic=NOTHING,
        along=[NOTHING] * 2,
        noise=None,
        how=Draws(ranks=2, **{"draws": 400, **how}),
        parts=made,
    )


def outer(dense, chosen, end):
    values = np.linalg.eigvalsh(dense[chosen].mean(axis=0))
    return values[-1] if end == "largest" else values[0]


@pytest.mark.parametrize("batch_size", [1, 5, 40])
def test_models_have_the_eigenvalues_of_batches(batch_size):
    made, dense = rank_one()
    spectra = batch_model.modelled_spectra(made, batch_size, draws=6, seed=3)
    batches = batch_model.batches(made, batch_size, 6, 3)
    for found, chosen in zip(spectra, batches, strict=True):
        expected = np.linalg.eigvalsh(dense[chosen].mean(axis=0))
        for values in (found, expected):
            values.sort()
        np.testing.assert_allclose(found[[0, 1, -2, -1]], expected[[0, 1, -2, -1]], atol=1e-6)
        assert found.sum() == pytest.approx(expected.sum(), abs=1e-6)
        assert (found**2).sum() == pytest.approx((expected**2).sum(), rel=1e-6)


@pytest.mark.parametrize("end", ["largest", "smallest"])
def test_the_predicted_mean_is_that_of_all_batches_within_its_error(end):
    made, dense = rank_one()
    generator = np.random.default_rng(8)
    truth = [outer(dense, generator.choice(40, 6, replace=False), end) for _ in range(20_000)]
    found = drawing.draw(made, 6, ranks=2, draws=200)[end]
    assert abs(found.mean[0] - np.mean(truth)) < 4 * found.standard_error[0]
    assert found.standard_error[0] < 0.7 * found.values[:, 0].std() / 200**0.5
    assert found.values[:, 0].std() == pytest.approx(np.std(truth), rel=0.3)


def test_intervals_of_the_mean_cover_it_as_often_as_they_say():
    made, dense = rank_one()
    generator = np.random.default_rng(8)
    truth = np.mean(
        [outer(dense, generator.choice(40, 6, replace=False), "smallest") for _ in range(20_000)]
    )
    hits = 0
    for seed in range(120):
        found = drawing.draw(made, 6, draws=60, seed=seed)["smallest"]
        hits += abs(found.mean[0] - truth) < 1.96 * found.standard_error[0]
    assert 0.87 <= hits / 120 <= 1


def test_a_part_of_the_examples_stands_for_all_of_them():
    """A batch of B = n out of N copies varies as much as one of B out of N."""
    made, _ = rank_one()
    part = replace(made, num_examples=400)
    size = 20
    means = [
        made.within[own].mean(axis=0)[0, 0] for own in batch_model.batches(part, size, 4000, 0)
    ]
    population = made.within[:, 0, 0].var()
    factor = (400 - size) / (size * 399)
    assert np.var(means) == pytest.approx(factor * population, rel=0.1)
    none = drawing.draw(part, size, draws=20)["largest"]
    some = drawing.draw(part, size, draws=20, resamples=10)["largest"]
    assert some.standard_error[0] > none.standard_error[0]
    np.testing.assert_array_equal(some.values, none.values)


def test_batches_without_the_few_that_carry_an_eigenvalue_have_nothing_of_the_other_sign():
    """A part of the examples that has too many carriers says how batches of its own are shifted."""
    made, _ = rank_one()
    positive = made.values.copy()
    positive[:, 1] = 0
    positive[:3, 0] = 50  # three carriers of 40, where all the data have less by far
    low = np.array([0.5, 0.4, 0.0, 0.0])
    within = np.einsum("nm,nmk,nml->nkl", positive, made.inside, made.inside)
    part = replace(made, values=positive, within=within, ritz_values=low, num_examples=4000)
    found = drawing.draw(part, 2, draws=40)
    assert found["smallest"].values.min() > -1e-6
    assert found["largest"].values.max() > 1


def test_many_parts_are_put_together_in_the_coordinates_that_they_are_kept_in():
    """No model has more rows than coordinates, and its eigenvalues are the same either way."""
    made, dense = rank_one()
    wide = replace(
        made,
        outside=np.pad(made.outside, ((0, 0), (0, 0), (0, 100))),
        offset=np.pad(made.offset, ((0, 0), (0, 100))),
    )
    chosen = np.arange(20)
    narrow, root = batch_model.matrix(made, chosen), batch_model.matrix(wide, chosen)
    assert (len(narrow), len(root)) == (4 + 12, 4 + 2 * 20 + 4)
    expected = np.linalg.eigvalsh(dense[chosen].mean(axis=0))[[0, 1, -2, -1]]
    for model in (narrow, root):
        found = np.linalg.eigvalsh(model)[[0, 1, -2, -1]]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_few_examples_make_errors_that_are_honest():
    """The spread of predictions from different samples of 60 examples is the error they state."""
    predictions, errors = [], []
    for seed in range(24):
        made, _ = rank_one(count=60, seed=seed, total=100_000)
        # All from one population: what is known of the full Hessian is the same for all.
        found = drawing.draw(made, 8, draws=60, resamples=12, seed=seed)["smallest"]
        quotient = made.ritz_values[2]
        predictions.append(found.mean[0] - quotient)
        errors.append(found.standard_error[0])
    assert 0.4 < np.mean(errors) / np.std(predictions, ddof=1) < 2


def test_the_rest_adds_its_moments_along_a_ritz_vector():
    """uᵀ M² u and uᵀ M³ u of a batch have the weight of its rest, and this times its curvature."""
    made, _ = rank_one()
    generator = np.random.default_rng(1)
    roots = generator.normal(size=(40, 4, 4))
    grams = roots @ roots.transpose(0, 2, 1)
    theta = np.repeat(generator.normal(size=(40, 1)), 2, axis=1)
    with_rest = replace(made, rest=grams, rest_values=theta, num_examples=10**9)
    chosen = np.arange(7)
    plain, full = (
        batch_model.matrix(own, chosen) for own in (replace(made, num_examples=10**9), with_rest)
    )
    second = (full @ full - np.pad(plain @ plain, (0, len(full) - len(plain))))[:4, :4]
    np.testing.assert_allclose(second, grams[:7].sum(axis=0) / 49, rtol=1e-6, atol=1e-9)
    # What the rest adds to uᵀ M³ u: hW + Wh within U, and theta for each example's own weight.
    h = plain[:4, :4]
    third = full @ full @ full - np.pad(plain @ plain @ plain, (0, len(full) - len(plain)))
    own = third[:4, :4] - h @ second - second @ h
    weighed = np.trace(grams[:7], axis1=1, axis2=2) @ theta[:7, 0] / 7**3
    assert np.trace(own) == pytest.approx(weighed, rel=1e-6)


def test_the_rest_vanishes_in_a_batch_of_all_examples():
    made, dense = rank_one()
    some = replace(made, rest=np.tile(np.eye(4), (40, 1, 1)))
    values = np.linalg.eigvalsh(batch_model.matrix(some, np.arange(40)))
    full = np.linalg.eigvalsh(dense.mean(axis=0))
    np.testing.assert_allclose(values[[0, -1]], full[[0, -1]], atol=1e-6)


def test_inner_products_are_the_same_of_all_examples_and_batch_by_batch(monkeypatch):
    made, _ = rank_one()
    chosen = np.array([1, 5, 5, 9])
    at_once = made.gram(chosen)
    monkeypatch.setattr(examples, "_MOST_AT_ONCE", 0)
    np.testing.assert_allclose(made.gram(chosen), at_once, atol=1e-14)
    assert at_once.shape == (12, 12)


def test_the_number_of_carriers_counts_examples():
    made, _ = rank_one(count=5)
    within = np.zeros((5, 4, 4))
    within[:, 0, 0] = 1
    within[2, 1, 1] = -3
    within[:2, 2, 2] = 1, -1
    found = examples.effective_number(replace(made, within=within))
    np.testing.assert_allclose(found[:3], [5, 1, 2])
    assert np.isnan(found[3])
    found = examples.effective_number(replace(made, within=within, num_examples=50))
    np.testing.assert_allclose(found[:3], [50, 10, 20])


def test_what_is_saved_is_loaded(tmp_path):
    made, _ = rank_one()
    examples.save(tmp_path / "1.parts.npz", made)
    loaded = examples.load(tmp_path / "1.parts.npz")
    for name in ("within", "values", "inside", "outside", "rest", "offset", "indices"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(made, name))
    assert (loaded.num_examples, loaded.passes, loaded.sketch_error) == (40, 1.0, 0.0)
    assert isinstance(loaded.num_examples, int)


@pytest.mark.parametrize("end", ["largest", "smallest"])
def test_the_entry_predicts_mean_interval_distribution_and_overlap(end):
    made, _ = rank_one()
    asked = known(made, end, 6)
    predicted, drawn = PARTS.predict(asked), drawing.draw(made, 6, ranks=2)[end]
    np.testing.assert_allclose(predicted.value, drawn.mean)
    np.testing.assert_allclose(predicted.high - predicted.value, 1.96 * drawn.standard_error)
    assert set(predicted.further) == set(PARTS.further)
    np.testing.assert_allclose(predicted.further["q50"], np.median(drawn.values, axis=0))
    first = 0 if end == "largest" else 2
    carriers = examples.effective_number(made)[first : first + 2]
    np.testing.assert_allclose(predicted.further["carriers"], carriers)
    overlap = PARTS.overlap(asked)
    chosen = next(batch_model.batches(made, 6, 1, 0))
    model = batch_model.matrix(made, chosen)
    _, vectors = np.linalg.eigh(model)
    extreme = vectors[first, -1 if end == "largest" else 0] ** 2
    assert drawn.overlaps[0, 0] == pytest.approx(extreme, rel=1e-6)
    assert 0 < overlap[0] <= 1


def test_without_parts_there_is_no_prediction():
    made, _ = rank_one()
    asked = replace(known(made, "largest", 6), parts=None)
    assert np.isnan(PARTS.predict(asked).value).all()
    assert np.isnan(PARTS.overlap(asked)).all()


def test_more_eigenvalues_than_vectors_are_missing_beyond_them():
    made, _ = rank_one()
    asked = replace(known(made, "largest", 6), eigenvalues=np.ones(4), how=Draws(ranks=4))
    assert np.isnan(PARTS.predict(asked).value).tolist() == [False, False, True, True]
    assert np.isnan(PARTS.overlap(asked)).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 41}, "batch_size must be in 1 .. 40, got 41"),
        ({"batch_size": 4, "ranks": 3}, "ranks in 1 .. 2, got 100 and 3"),
        ({"batch_size": 4, "draws": 4}, "draws must be at least 5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    made, _ = rank_one()
    with pytest.raises(ValueError, match=message):
        drawing.draw(made, **arguments)
