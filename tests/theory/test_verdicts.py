"""What is said of an eigenvalue of the true Hessian never contradicts itself."""

import math

import pytest
from hypothesis import given, settings, strategies as st

from truehessian.theory import verdicts
from truehessian.theory.verdicts import CONTRADICTION, OPENINGS, Evidence, judge

NAN = math.nan
# Values that round, touch and exceed each other often.
values = st.one_of(
    st.just(NAN), st.sampled_from([-2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0]), st.floats(-5, 5)
)
errors = st.one_of(st.just(NAN), st.sampled_from([0.0, 0.1, 0.3, 1.0]), st.floats(0, 3))


@st.composite
def rows(draw):
    """Everything that a row may hold: any estimate may be missing, and they agree by chance."""
    inner, value, outer = sorted(draw(st.floats(-5, 5)) for _ in range(3))
    if draw(st.booleans()):
        inner = value = outer = NAN
    low, high = draw(values), draw(values)
    if low > high:
        low, high = high, low
    return Evidence(
        end=draw(st.sampled_from(["largest", "smallest"])),
        rank=draw(st.integers(1, 3)),
        empirical=draw(values),
        held_out=draw(values),
        held_out_standard_error=draw(errors),
        bracket_low=low,
        bracket_high=high,
        cross_validated=value,
        cross_validated_low=inner,
        cross_validated_high=outer,
        inverted=draw(values),
        variance=draw(errors),
        test=draw(values),
        effective_examples=draw(st.floats(0, 1000)),
        num_examples=1000,
    )


def mirrored(evidence):
    """The same matrix with its sign changed."""
    other = {
        field: -value
        for field, value in evidence._asdict().items()
        if field not in ("end", "rank", "variance", "effective_examples", "num_examples")
        and "error" not in field
    }
    low, high = "bracket_low", "bracket_high"
    other[low], other[high] = other[high], other[low]
    low, high = "cross_validated_low", "cross_validated_high"
    other[low], other[high] = other[high], other[low]
    end = {"largest": "smallest", "smallest": "largest"}[evidence.end]
    return evidence._replace(end=end, **other)


property_test = settings(max_examples=400, derandomize=True, deadline=None)


@property_test
@given(rows())
def test_the_interval_holds_the_estimate_and_says_the_sign(evidence):
    found = judge(evidence)
    assert not found.value < found.low
    assert not found.value > found.high
    assert not found.low > found.high
    assert found.sign == ("positive" if found.low > 0 else "negative" if found.high < 0 else "open")


@property_test
@given(rows())
def test_there_is_one_sign_in_words_and_it_is_that_of_the_interval(evidence):
    found = judge(evidence)
    said = {sign for (_, sign), words in OPENINGS.items() if words in found.words}
    if math.isnan(found.low) and math.isnan(found.high):
        assert not said
        assert found.words.startswith("no estimate")
    else:
        assert said == {found.sign}
        assert found.words.startswith(OPENINGS[evidence.end, found.sign])
    assert "not distinguishable" not in found.words


@property_test
@given(rows())
def test_curvature_shown_along_one_direction_is_that_of_the_outermost_eigenvalue(evidence):
    """Unless it is said aloud that the estimates cannot both be right."""
    evidence = evidence._replace(rank=1)
    found = judge(evidence)
    z, outward = verdicts.z_of(evidence), 1 if evidence.end == "largest" else -1
    if outward * z > 3.001:
        shown = "positive" if outward > 0 else "negative"
        assert found.sign == shown or CONTRADICTION in found.words
        assert f"{shown}" in found.words or CONTRADICTION in found.words
        reach = 3 * evidence.held_out_standard_error
        if CONTRADICTION in found.words:
            assert found.low <= evidence.held_out <= found.high
        else:
            inner = found.low if outward > 0 else -found.high
            assert inner >= outward * evidence.held_out - reach - 1e-12


@property_test
@given(rows())
def test_every_estimate_beside_the_interval_is_named_and_no_other(evidence):
    found = judge(evidence)
    for name, value in (
        ("the training data's own value", evidence.empirical),
        ("the test split's own value", evidence.test),
        ("the inverted prediction", evidence.inverted),
    ):
        beside = value < found.low or value > found.high
        assert (name in found.disagreements) == beside
    bracket = evidence.bracket_low, evidence.bracket_high
    if any(map(math.isnan, bracket)):
        assert "bracket" not in found.disagreements
    else:
        apart = bracket[0] > found.high or bracket[1] < found.low
        same = verdicts.sign_of_interval(*bracket) == found.sign
        assert ("the bracket" in found.disagreements) == (apart or not same)


@property_test
@given(rows())
def test_both_ends_are_judged_alike(evidence):
    found, other = judge(evidence), judge(mirrored(evidence))
    assert [found.value, found.low, found.high] == pytest.approx(
        [-other.value, -other.high, -other.low], nan_ok=True
    )
    signs = {"positive": "negative", "negative": "positive", "open": "open"}
    assert other.sign == signs[found.sign]
    assert (CONTRADICTION in found.words) == (CONTRADICTION in other.words)


def test_an_interval_below_zero_and_a_vector_that_shows_nothing_make_one_verdict():
    """Both at once used to be said of one row: not distinguishable from zero, and an interval."""
    found = judge(
        Evidence(
            "smallest", empirical=-0.002, held_out=0.1, held_out_standard_error=0.2,
            bracket_low=-2.9, bracket_high=-0.4, cross_validated=-1.65, cross_validated_low=-2.5,
            cross_validated_high=-0.8, variance=4.0, test=-2.1, effective_examples=6.6,
            num_examples=1000,
        )
    )  # fmt: skip
    assert found.sign == "negative"
    assert found.words == (
        "negative curvature is inherent: -1.65 (-2.5 to -0.8); along the training data's vector "
        "the sign is not known (z = 0.5), along others negative; few examples carry this "
        "eigenvalue (about 7 of 1,000)"
    )
    assert found.disagreements == (
        "inversion cannot tell: the training value is inside the noise; the training data's own "
        "value (-0.002) lies above: the weights are fitted to these examples, and sampling moves "
        "extremes outward"
    )


def test_without_a_test_split_the_held_out_quotient_is_a_bound_of_the_outermost_value_only():
    evidence = Evidence("smallest", held_out=-0.5, held_out_standard_error=0.1)
    found = judge(evidence)
    assert (found.sign, found.high) == ("negative", pytest.approx(-0.2))
    assert math.isnan(found.low)
    assert math.isnan(found.value)
    assert found.words.startswith("negative curvature is inherent: at most -0.2; the training")
    inner = judge(evidence._replace(rank=2))
    assert inner.sign == "open"
    assert inner.words.startswith("no estimate")


def test_a_quotient_beyond_the_whole_interval_is_a_contradiction():
    found = judge(
        Evidence("largest", held_out=9.0, held_out_standard_error=0.5, cross_validated=6.0,
                 cross_validated_low=5.0, cross_validated_high=7.0)
    )  # fmt: skip
    assert CONTRADICTION in found.words
    assert (found.low, found.high) == (5.0, 10.5)


@pytest.mark.parametrize(("held_out", "error"), [(1.0, NAN), (NAN, 1.0), (1.0, 0.0)])
def test_without_a_standard_error_there_is_no_z(held_out, error):
    assert math.isnan(
        verdicts.z_of(Evidence("largest", held_out=held_out, held_out_standard_error=error))
    )


def test_few_examples_are_said_to_be_few():
    assert verdicts.carried_by(6.7, 1000) == (
        "few examples carry this eigenvalue (about 7 of 1,000)"
    )
    assert verdicts.carried_by(0.2, 50) == "few examples carry this eigenvalue (about 1 of 50)"
    assert verdicts.carried_by(400, 1000) == verdicts.carried_by(NAN, 1000) == ""


def test_unknown_end_is_refused():
    with pytest.raises(ValueError, match="bottom"):
        judge(Evidence("bottom"))


def test_words_tell_an_eigenvalue_inside_the_noise_from_a_missing_variance():
    words = verdicts.identifiability
    assert words(NAN, 4.0) == "inside the noise, not identifiable"
    assert words(NAN, NAN) == "variance not measured"
    assert words(2.0, 4.0) == "identifiable"
