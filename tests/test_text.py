"""Numbers and sizes in words: each function has one meaning."""

import numpy as np
import pytest

from truehessian import text as writing


@pytest.mark.parametrize(
    ("number", "text"), [(12, "12"), (1200, "1.2 k"), (15.3e6, "15.3 M"), (2.5e9, "2.5 G")]
)
def test_counts_are_written_with_prefixes(number, text):
    assert writing.prefixed(number) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (999, "999 B"), (6.12e9, "6.1 GB")])
def test_sizes_are_written_with_units(number, text):
    assert writing.size(number) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (24450.0, "24,400"),
        (-0.0474, "−0.0474"),
        (9.996, "10.0"),
        (3.2e-7, "3.20 × 10⁻⁷"),
        (-1.5e12, "−1.50 × 10¹²"),
        (np.nan, "–"),
        (np.inf, "–"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert writing.number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-0.2534, 0.0311, "−0.253 ± 0.031"),
        (1234.5, 99.6, "1,234 ± 100"),
        (2.0, np.nan, "2.00"),
        (2e-7, 3e-8, "2.00 × 10⁻⁷ ± 3.0 × 10⁻⁸"),
    ],
)
def test_errors_have_two_significant_digits_and_values_as_many_places(value, error, text):
    assert writing.with_error(value, error).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (-12.345, "−12.35"), (2.0, "2")])
def test_labels_have_no_trailing_zeros(value, text):
    assert writing.compact(value) == text


def test_counts_have_separators_and_shares_per_cent():
    assert writing.count(24450) == "24,450"
    assert writing.percent(0.253) == "25\N{NO-BREAK SPACE}%"
    assert writing.percent(0.0012) == "0.1\N{NO-BREAK SPACE}%"
    assert writing.listing(["a", "b", "c"]) == "a, b and c"
