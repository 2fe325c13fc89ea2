"""One call answers one question, with an error that holds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import Smooth, examples, network
from dense import Dense, dense_ggn, dense_hessian
from torch import nn

import truehessian as th

SPECTRUM = torch.cat([torch.tensor([-3.0, 5.0, 7.0, 11.0]), torch.linspace(-1, 1, 96)]).double()


@pytest.fixture(scope="module")
def matrix():
    """A symmetric matrix of prescribed eigenvalues, a few of them outliers."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(100, 100, generator=generator, dtype=torch.float64))[0]
    return Dense(basis @ torch.diag(SPECTRUM) @ basis.T)


@pytest.fixture(scope="module")
def model():
    return network(Smooth)


DATA = examples(12)

# ------------------------------------------------------------------------------------- eigenpairs


@pytest.mark.parametrize(
    ("which", "k", "expected"),
    [
        ("largest", 3, [11.0, 7.0, 5.0]),
        ("smallest", 2, [-3.0, -1.0]),
        ("both", 1, [11.0, -3.0]),
        ("magnitude", 4, [11.0, 7.0, 5.0, -3.0]),
    ],
)
def test_eigenpairs_are_those_of_the_matrix(matrix, which, k, expected):
    pairs = th.eigenpairs(matrix, k=k, which=which, tolerance=1e-8)
    assert pairs.converged
    assert pairs.values.numpy() == pytest.approx(expected, abs=1e-5)
    assert pairs.vectors.shape == (len(expected), 100)
    assert torch.allclose(pairs.vectors @ pairs.vectors.T, torch.eye(len(expected)).double())
    apart = matrix @ pairs.vectors.T - pairs.vectors.T * pairs.values
    assert (apart.norm(dim=0) <= 1.01 * pairs.residuals + 1e-12).all()


def test_all_eigenpairs_of_a_small_matrix_are_found(matrix):
    pairs = th.eigenpairs(matrix, k=100)
    assert pairs.converged
    assert pairs.values.numpy() == pytest.approx(SPECTRUM.sort(descending=True)[0].numpy())


def test_residuals_are_not_below_the_precision_of_the_products(model):
    """Single precision cannot know an eigenvalue to ten digits, and does not say so."""
    exact = torch.linalg.eigvalsh(dense_hessian(model, *DATA))[-1]
    pairs = th.eigenpairs(model, DATA, precision="float32", tolerance=1e-12)
    assert abs(pairs.values[0] - exact) <= pairs.residuals[0]
    assert pairs.residuals[0] > 1e-9 * exact


def test_too_few_steps_are_said(matrix, caplog):
    pairs = th.eigenpairs(matrix, k=3, steps=4, tolerance=1e-10)
    assert not pairs.converged
    assert "have not converged" in caplog.text
    assert "NOT converged in 4 steps" in repr(pairs)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"k": 101}, ValueError, "k must be in 1 .. 100, up to P, got 101"),
        ({"k": 0}, ValueError, "k must be in 1 .. 100"),
        ({"k": 51, "which": "both"}, ValueError, "k must be in 1 .. 50, up to P / 2"),
        ({"k": 1.0}, TypeError, "k must be a whole number of eigenpairs, got float"),
        ({"which": "LM"}, ValueError, "which must be one of largest, smallest, both, magnitude"),
        ({"k": 3, "steps": 2}, ValueError, "steps must be in 3 .. 100"),
    ],
)
def test_eigenpairs_that_cannot_be_are_refused(matrix, settings, error, words):
    with pytest.raises(error, match=words):
        th.eigenpairs(matrix, **settings)


# ---------------------------------------------------------------------------------------- spectrum


def test_a_spectrum_is_the_same_from_an_operator_and_from_its_parts(model):
    hessian = th.Hessian(model, DATA, precision="float64")
    direct = th.spectrum(hessian, steps=10, seed=3)
    parts = th.spectrum(model, DATA, steps=10, seed=3, precision="float64")
    assert np.array_equal(direct.ritz_values, parts.ritz_values)
    assert direct.ritz_values.shape == (1, 10)


def test_there_are_no_more_steps_than_parameters(model):
    hessian = th.Hessian(model, DATA, parameters=["3.bias"], precision="float64")
    found = th.spectrum(hessian)
    exact = torch.linalg.eigvalsh(hessian @ torch.eye(3, dtype=torch.float64))
    assert found.ritz_values[0] == pytest.approx(exact.numpy(), abs=1e-12)


def test_the_matrix_and_the_loss_can_be_chosen(model):
    exact = torch.linalg.eigvalsh(dense_ggn(model, *DATA))[-1].item()
    ggn = th.spectrum(model, DATA, operator="ggn", steps=20, precision="float64")
    assert ggn.ritz_values[0, -1] == pytest.approx(exact)
    inputs, targets = DATA
    squares = th.spectrum(model, (inputs, F.one_hot(targets, 3).double()), loss=F.mse_loss, steps=5)
    assert squares.metadata["operator"] == "hessian"


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "words"),
    [
        ((np.ones(3),), {}, TypeError, "expected an operator.* got ndarray"),
        ((Smooth(),), {}, TypeError, "a network needs data"),
        (
            (Smooth(), DATA),
            {"operator": "fischer"},
            ValueError,
            "operator must be one of .*hessian",
        ),
        ((Smooth(), DATA), {"stesp": 3}, TypeError, "stesp"),
        ((Smooth(), DATA), {"steps": 0}, ValueError, "steps must be a whole number from 1 on"),
        ((Smooth(), DATA), {"probes": 0}, ValueError, "probes must be a whole number from 1 on"),
        ((nn.Flatten(), DATA), {}, ValueError, "parameter"),
    ],
)
def test_what_is_no_matrix_is_refused(arguments, settings, error, words):
    with pytest.raises(error, match=words):
        th.spectrum(*arguments, **settings)


def test_an_operator_comes_without_data_and_settings(matrix):
    with pytest.raises(TypeError, match="its own data and settings, got data, loss beside it"):
        th.spectrum(matrix, DATA, loss=F.mse_loss)


# ------------------------------------------------------------------------------------------- trace


@pytest.mark.parametrize(("method", "probes"), [("hutchinson", 20), ("hutch++", 24)])
def test_traces_are_unbiased_with_errors_that_hold(matrix, method, probes):
    exact = SPECTRUM.sum().item()
    found = [th.trace(matrix, probes=probes, method=method, seed=seed) for seed in range(40)]
    values, errors = (np.array([getattr(t, n) for t in found]) for n in ("value", "standard_error"))
    assert abs(values.mean() - exact) < 5 * values.std() / np.sqrt(len(values))
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.4)
    assert found[0].mean_eigenvalue == pytest.approx(found[0].value / 100)


def test_taking_outliers_exactly_makes_a_trace_better(matrix):
    plain, deflated = (th.trace(matrix, probes=30, method=m) for m in ("hutchinson", "hutch++"))
    assert deflated.standard_error < plain.standard_error


def test_a_trace_of_low_rank_is_exact():
    matrix = Dense(torch.diag(torch.tensor([4.0, 3.0, *[0.0] * 8]).double()))
    found = th.trace(matrix, probes=9, method="hutch++")
    assert found.value == pytest.approx(7.0, abs=1e-12)
    assert found.standard_error < 1e-12
    assert th.trace(matrix, probes=60, method="hutch++").value == pytest.approx(7.0)


def test_traces_that_cannot_be_are_refused(matrix):
    with pytest.raises(ValueError, match="from 2 on"):
        th.trace(matrix, probes=1)
    with pytest.raises(ValueError, match="from 6 on"):
        th.trace(matrix, probes=5, method="hutch++")
    with pytest.raises(ValueError, match="method must be one of hutchinson"):
        th.trace(matrix, method="xtrace")


# ---------------------------------------------------------------------------------------- variance


def dense_variance(model, direction):
    mean = dense_hessian(model, *DATA)
    each = [dense_hessian(model, x[None], y[None]) for x, y in zip(*DATA, strict=True)]
    return np.mean([((own - mean) @ direction).norm().item() ** 2 for own in each])


def test_a_variance_over_single_examples_is_its_definition(model):
    hessian = th.Hessian(model, DATA, precision="float64")
    direction = th.eigenpairs(hessian).vectors[0]
    found = th.variance(hessian, 3 * direction, group_size=1)
    assert found.variance.numpy() == pytest.approx([dense_variance(model, direction)])
    assert found.num_examples == 12


def test_a_variance_does_not_depend_on_the_order_of_the_examples(model):
    """Sorted by class, consecutive groups would not be random ones."""
    order = DATA[1].argsort()
    hessian = th.Hessian(model, (DATA[0][order], DATA[1][order]), precision="float64")
    directions = th.eigenpairs(hessian, which="both").vectors
    found = th.variance(hessian, directions, group_size=2)
    assert found.group_size == 2
    for estimate, error, direction in zip(
        found.variance, found.standard_error, directions, strict=True
    ):
        assert abs(estimate - dense_variance(model, direction)) < 5 * error


def test_a_variance_is_that_of_the_parameters_of_the_operator(model):
    hessian = th.Hessian(model, DATA, parameters=["3.*"], precision="float64")
    assert th.variance(hessian, torch.ones(hessian.num_params)).variance.shape == (1,)


class Shifted(th.GGN):
    """Needs an argument more than others."""

    def __init__(self, model, data, shift, **settings):
        super().__init__(model, data, **settings)
        self.shift = shift


@pytest.mark.parametrize("products_before", [0, 2])
def test_a_variance_leaves_the_operator_as_it_was(model, products_before):
    operator = Shifted(model, DATA, 1.0, chunk_size=5)
    vector = torch.ones(operator.num_params)
    for _ in range(products_before):
        operator @ vector
    expected = Shifted(model, DATA, 1.0, chunk_size=5) @ vector
    assert th.variance(operator, vector, group_size=2).num_examples == 12
    assert (operator.chunk_size, operator.num_examples) == (5, 12)
    assert torch.equal(operator @ vector, expected)


def test_a_device_gives_the_answers_of_the_cpu(model, cuda):
    answers = []
    for device in ("cpu", cuda):
        hessian = th.Hessian(model, DATA, precision="float64", device=device)
        pairs = th.eigenpairs(hessian, k=2)
        spread = th.variance(hessian, pairs.vectors)
        answers.append(
            [*pairs.values.tolist(), *spread.variance.tolist(), th.trace(hessian, probes=6).value]
        )
        answers[-1].append(th.trace(hessian, probes=6, method="hutch++").value)
    assert answers[0] == pytest.approx(answers[1], rel=1e-7)


def test_batches_of_ones_own_are_the_groups(model):
    batches = [(DATA[0][i : i + 3], DATA[1][i : i + 3]) for i in range(0, 12, 3)]
    hessian = th.GGN(model, batches, precision="float64")
    assert th.variance(hessian, torch.ones(hessian.num_params)).group_size == 3


@pytest.mark.parametrize(
    ("directions", "error", "words"),
    [
        (np.ones(83), TypeError, "directions must be a torch.Tensor, got ndarray"),
        (torch.ones(3), ValueError, r"shape \(n, 83\), got \(3,\)"),
        (torch.zeros(83), ValueError, "finite and other than zero"),
    ],
)
def test_directions_that_are_none_are_refused(model, directions, error, words):
    with pytest.raises(error, match=words):
        th.variance(th.Hessian(model, DATA), directions)


def test_a_variance_needs_a_mean_over_examples(matrix, model):
    with pytest.raises(TypeError, match=r"mean over examples.* got Dense"):
        th.variance(matrix, torch.ones(100))
    with pytest.raises(ValueError, match="group_size must be a whole number"):
        th.variance(th.Hessian(model, DATA), torch.ones(83), group_size=0)


# ----------------------------------------------------------------------------------------- density


def test_a_density_has_the_mass_of_its_spectrum(matrix):
    found = th.density(th.spectrum(matrix, steps=30, probes=4))
    step = found.grid[1] - found.grid[0]
    assert found.value.sum() * step == pytest.approx(1.0, abs=1e-3)
    assert (found.standard_error >= 0).all()
    assert found.bandwidth == pytest.approx(14 / 29, rel=0.05)


def test_a_density_is_where_it_is_asked_for(matrix):
    spectrum = th.spectrum(matrix, steps=10)
    found = th.density(spectrum, [0.0, 1.0], bandwidth=0.3)
    assert found.value.shape == (2,)
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        th.density(spectrum, bandwidth=-1.0)
    with pytest.raises(ValueError, match="grid must have one axis"):
        th.density(spectrum, 0.0)


# ------------------------------------------------------------------------------ how results look


def results(matrix, model):
    spectrum = th.spectrum(model, DATA, steps=10, seed=0)
    return {
        "spectrum": spectrum,
        "eigenpairs": th.eigenpairs(matrix, k=2),
        "trace": th.trace(matrix),
        "variance": th.variance(th.Hessian(model, DATA), torch.eye(83)[:2]),
        "density": th.density(spectrum),
    }


@pytest.mark.parametrize("name", ["spectrum", "eigenpairs", "trace", "variance", "density"])
def test_results_show_facts_and_no_arrays(matrix, model, name):
    result = results(matrix, model)[name]
    for shown in (repr(result), result._repr_html_()):
        assert len(shown) < 1500
        assert "array(" not in shown
        assert "tensor(" not in shown
    assert result._repr_html_().startswith("<table>")


def test_a_spectrum_shows_its_extremes_and_settings(model):
    shown = repr(th.spectrum(model, DATA, steps=10, seed=0))
    title, _, first, *_ = shown.splitlines()
    assert title == ("Spectrum: hessian, P = 83, N = 12, 10 steps, probes: 1, float32, seed 0")
    assert first.split()[:2] == ["largest", "1"]
    assert len(shown.splitlines()) == 8
