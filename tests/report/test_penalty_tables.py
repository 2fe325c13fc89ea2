"""A penalty on the weights moves all eigenvalues alike, and so all that is said of them."""

import numpy as np
import pandas as pd
import pytest
from table_cases import NUM_EXAMPLES, NUM_PARAMETERS, make_spectrum, spectra, variance

from truehessian.report import page
from truehessian.report.papers import confrontation, published
from truehessian.report.tables import extremes, sampling, shrinkage, summary, truth
from truehessian.theory.predictions import PREDICTIONS
from truehessian.theory.predictions.noise import SubspaceNoise

DECAY = 0.75


def moved(measured):
    """The same spectrum of the loss with the penalty; of noise there is none."""
    if measured.metadata["operator"] == "noise":
        return measured
    return measured._replace(
        ritz_values=measured.ritz_values + DECAY,
        diagonal=measured.diagonal + DECAY,
        metadata={**measured.metadata, "weight_decay": DECAY},
    )


@pytest.fixture
def both():
    """Spectra of the loss alone, and with the penalty."""
    parts = make_spectrum([[[-1.3, 4.4]], [[-1.2, 4.2]]], num_examples=100, parts=2)
    plain = [*spectra(0), parts]
    return plain, [*map(moved, plain)]


def subspace(end_values=(4.0, 3.9, -1.2, -1.1)):
    draw = np.random.default_rng(0)
    groups = draw.standard_normal((NUM_EXAMPLES // 5, 4, 4))
    groups = np.diag(end_values) + (groups + groups.transpose(0, 2, 1)) / 3
    return SubspaceNoise(np.array(end_values), groups, np.eye(4), 5, NUM_EXAMPLES)


def assert_moved(after, before, eigenvalues):
    """Some columns are larger by the weight decay, all others are the same."""
    assert {*eigenvalues} <= {*before.columns}
    pd.testing.assert_frame_equal(
        after, before.assign(**{c: before[c] + DECAY for c in eigenvalues})
    )


def test_predictions_move_with_the_spectrum(both):
    """Though each of them divides by an eigenvalue, or sets noise against it."""
    third = make_spectrum([[[-1.5, 0.0, 5.1]], [[-1.4, 0.1, 4.7]]], num_examples=20, batch_size=20)
    before, after = (
        sampling.outliers([*part[:-1], more], variance(), {0: subspace()}, ranks=2, resamples=3)
        for part, more in zip(both, (third, moved(third)), strict=True)
    )
    predicted = ["goe", "directional", "subspace", "subspace_low", "extrapolated"]
    assert before[predicted].notna().all(axis=None)
    values = [
        name
        for name in before.columns
        if name in ("full", "batch_mean", "weyl")
        or (
            name.startswith((*PREDICTIONS, "chosen_", "batch_q"))
            and not name.endswith(("standard_deviation", "passes", "exponent", "_size", "_error"))
        )
    ]
    assert_moved(after, before, values)


def test_laws_of_noise_are_those_of_the_loss_alone(both):
    before, after = (
        shrinkage.shrinkage(
            extremes.extremal_ritz_values(part[:-1]),
            extremes.extremal_ritz_values(part[-1:]),
            decay,
        )
        for part, decay in zip(both, (0.0, DECAY), strict=True)
    )
    assert before["exponent"].notna().any()
    values = [
        "value",
        "inherent_limit",
        "inherent_low",
        "inherent_high",
        "inherent_fit",
        "vanishing_fit",
    ]
    assert_moved(after, before, values)


def test_estimates_move_and_signs_are_those_with_the_penalty(both):
    before = pd.DataFrame(
        {"epoch": 0, "end": ["largest", "smallest"], "rank": 1, "empirical": [4.0, -1.2],
         "held_out": [3.5, -0.5], "held_out_standard_error": 0.1, "bracket_low": [3.0, -1.5],
         "bracket_high": [4.5, -0.4], "num_examples": 77, "bracket_folds": 2,
         "bracket_deviation": 1.0}
    )  # fmt: skip
    values = ["empirical", "held_out", "bracket_low", "bracket_high"]
    after = before.assign(**{name: before[name] + DECAY for name in values})
    before, after = (
        truth.true_hessian(extremes.extremal_ritz_values(part), variance(), frame, decay)
        for part, frame, decay in zip(both, (before, after), (0.0, DECAY), strict=True)
    )
    assert before["inverted_directional"].notna().all()
    assert "the training data's vector shows it too (z = -5.0)" in before["verdict"][1]
    assert "the sign is not known (z = 2.5)" in after["verdict"][1]
    signs = ["z", "verdict", "disagreements"]  # words with numbers in them
    values += ["inverted_goe", "inverted_directional", "test", "cross_validated"]
    values += ["cross_validated_low", "cross_validated_high"]
    values += ["estimate", "estimate_low", "estimate_high"]
    assert_moved(after.drop(columns=signs), before.drop(columns=signs), values)


def test_ratios_are_those_of_the_loss_alone(both):
    before, after = (
        summary.augmentation(extremes.extremal_ritz_values(part[:-1]), variance(), decay)
        for part, decay in zip(both, (0.0, DECAY), strict=True)
    )
    assert_moved(after, before, ["value", "goe"])
    running = make_spectrum([[-1.0, 4.0]], chunk_size=None)
    batch = make_spectrum([[-0.5, 5.0]], chunk_size=32)
    before, after = (
        summary.batchnorm([running], [batch]),
        summary.batchnorm([moved(running)], [moved(batch)]),
    )
    assert_moved(after, before, ["running", "batch"])


def test_published_numbers_are_compared_with_the_loss_alone(both):
    found = []
    for part, decay in zip(both, (0.0, DECAY), strict=True):
        frame = extremes.extremal_ritz_values(part)
        theory = sampling.theory_vs_empirical(sampling.outliers(part[:-1], variance()))
        results = confrontation.Results(
            frame, theory, variance(), NUM_PARAMETERS, NUM_EXAMPLES, decay
        )
        found.append(
            confrontation.beside_published(results, "digits", {"name": "mlp"}, published.load())
        )
    before, after = found
    assert {"broadening", "goe_over_batch"} <= {*before["quantity"]}
    pd.testing.assert_frame_equal(after, before)


def test_the_page_says_what_eigenvalues_have_beside_the_loss():
    assert page._of_weight_decay(0.0) == []
    (sentence,) = page._of_weight_decay(5e-4)
    assert "larger by the weight decay of 0.0005" in sentence
