"""What cross-validation takes off a biased eigenvalue, where theory says how much that is.

A sample of n examples sees H + E. Along H + t E the extreme eigenvalue is a power series in t,
l + c1 t + c2 t² + ..., whose coefficients have the means 0, κ2, κ3 and so on for the noise of one
example, with t² the sampling factor. Its eigenvector has the quotient l - c2 t² - 2 c3 t³ - 3 c4 t⁴
on examples left out.
"""

import numpy as np
import pytest

from truehessian.theory.estimates.cross_validation import cross_validate


def symmetric(generator, order, draws=()):
    noise = generator.standard_normal((*draws, order, order))
    return (noise + np.swapaxes(noise, -1, -2)) / np.sqrt(2)


def seen(hessian, noise, scale):
    """Largest eigenvalue of H + scale E, and the quotient of its eigenvector with H."""
    values, vectors = np.linalg.eigh(hessian + scale * noise)
    top = vectors[..., -1]
    return values[..., -1], np.einsum("...i,ij,...j->...", top, hessian, top)


def test_the_quotient_on_what_was_left_out_is_the_eigenvalue_less_its_growth_with_the_noise():
    """l(t) - t l'(t): the whole series, by the theorem of Hellmann and Feynman."""
    generator = np.random.default_rng(0)
    hessian, noise = np.diag([3.0, 1.0, 0.5, -1.0, 0.0]), symmetric(generator, 5)
    for scale in (0.1, 0.5, 2.0):
        value, quotient = seen(hessian, noise, scale)
        step = 1e-5
        outer, inner = (seen(hessian, noise, scale + move)[0] for move in (step, -step))
        growth = (outer - inner) / (2 * step)
        assert quotient == pytest.approx(value - scale * growth, abs=1e-8)


def test_half_of_the_difference_is_the_bias_to_second_order():
    generator = np.random.default_rng(1)
    diagonal = np.array([3.0, 1.0, 0.5, -1.0, 0.0])
    noise = symmetric(generator, 5)
    noise[0, 0] = 0.0  # the term of first order, which has no mean
    second = (noise[0, 1:] ** 2 / (3.0 - diagonal[1:])).sum()
    errors = []
    for scale in (0.1, 0.05, 0.025):
        value, quotient = seen(np.diag(diagonal), noise, scale)
        errors.append(abs((value - quotient) / 2 / scale**2 - second))
        assert (value - 3) / scale**2 == pytest.approx(second, abs=10 * scale)
        assert (3 - quotient) / scale**2 == pytest.approx(second, abs=20 * scale)
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.2)


def expected(hessian, noise, count, fitted):
    """Mean naive value of `count` examples, and the mean corrected one, over draws of the noise.

    The same draws for every size: what is of odd order cancels between E and -E.
    """
    noise = np.concatenate([noise, -noise])
    naive = seen(hessian, noise, count**-0.5)[0].mean()
    value, crossed = (part.mean() for part in seen(hessian, noise, fitted**-0.5))
    return naive, cross_validate(
        naive, value, crossed, 0.0, fitted=fitted, num_examples=count
    ).value  # fmt: skip


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_the_bias_that_is_left_falls_with_the_square_of_the_number_of_examples(share):
    """The naive one falls with the number itself."""
    generator = np.random.default_rng(2)
    hessian, noise = np.diag([2.0, 1.0, 0.5, -1.0, 0.0, 0.2]), symmetric(generator, 6, (2000,))
    naive, left = zip(
        *(expected(hessian, noise, count, share * count) for count in (200, 400, 800)), strict=True
    )
    for biases, order in ((np.array(naive) - 2, 1), (np.array(left) - 2, 2)):
        ratios = biases[:-1] / biases[1:]
        np.testing.assert_allclose(ratios, 2**order, rtol=0.12)
    assert abs(left[0] - 2) < 0.2 * abs(naive[0] - 2)


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_without_a_gap_less_than_half_of_the_bias_is_taken_off(share):
    """Two equal eigenvalues: noise parts them at first order, and √share / 2 of it is seen."""
    generator = np.random.default_rng(3)
    hessian, noise = 2.0 * np.eye(2), symmetric(generator, 2, (500,))
    naive, corrected = expected(hessian, noise, 400, share * 400)
    assert (naive - corrected) / (naive - 2) == pytest.approx(np.sqrt(share) / 2, rel=1e-6)


def test_without_a_gap_the_bias_falls_with_the_root_of_the_number_of_examples():
    generator = np.random.default_rng(4)
    hessian, noise = np.diag([2.0, 2.0, -1.0, 0.0]), symmetric(generator, 4, (2000,))
    biases = [expected(hessian, noise, count, count / 2)[1] - 2 for count in (4000, 16000)]
    assert biases[0] / biases[1] == pytest.approx(2, rel=0.05)


def test_of_examples_with_directions_of_their_own_half_of_the_bias_is_left():
    """Each of N examples has curvature along its own direction; a sample of n takes N/n for one."""
    population, count, folds = 400, 40, 4
    curvatures = np.zeros(population)
    curvatures[:count] = np.linspace(1.0, 2.0, count)  # those in the sample
    truth = 2.0 / population
    fitted, crossed = [], []
    for part in np.array_split(np.random.default_rng(0).permutation(count), folds):
        rest = np.setdiff1d(np.arange(count), part)
        fitted.append(curvatures[rest].max() / len(rest))
        crossed.append(0.0)  # along the direction of another example
    naive = 2.0 / count
    found = cross_validate(
        naive, np.mean(fitted), np.mean(crossed), 0.0, fitted=30, num_examples=count
    )
    assert naive == pytest.approx(10 * truth)
    assert (naive - found.value) / naive == pytest.approx(0.5, abs=0.01)
