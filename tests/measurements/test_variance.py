"""The variance of per-example curvature against its definition on dense Hessians."""

import itertools
from types import SimpleNamespace

import fake_cuda
import pytest
import torch
from cases import Smooth, examples, network
from dense import dense_hessian

from truehessian.measurements import slabs
from truehessian.measurements.leak_sketch import LeakSketch
from truehessian.measurements.variance import along_directions, of_subspace
from truehessian.operators import GGN, Hessian, Stream
from truehessian.operators.weights import Weights
from truehessian.spectra import bases

COUNT = 24
WHERE = {"cuda": "on the cuda device", "host": "in host memory"}
SLAB = 1 << 18  # bytes in work at once, so that there are several slabs


@pytest.fixture(scope="module")
def model():
    return network(Smooth)


@pytest.fixture(scope="module")
def hessians(model):
    inputs, targets = examples(COUNT)
    return torch.stack(
        [dense_hessian(model, inputs[i : i + 1], targets[i : i + 1]) for i in range(COUNT)]
    )


def unit_vectors(count: int, num_params: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, num_params, generator=generator, dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def shuffled(seed: int, count: int = COUNT):
    inputs, targets = examples(COUNT)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))[:count]
    return inputs[order], targets[order]


def test_single_examples_give_the_definition(model, hessians):
    directions = unit_vectors(3, hessians.shape[1])
    operator = Hessian(model, examples(COUNT), chunk_size=1, precision="float64")
    estimate = along_directions(operator, directions)
    images = (hessians - hessians.mean(0)) @ directions.T  # (N, P, K)
    covariance = torch.einsum("npk,npl->kl", images, images) / COUNT
    torch.testing.assert_close(estimate.covariance, covariance, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(estimate.variance, covariance.diagonal(), rtol=1e-9, atol=1e-12)
    quotient = torch.einsum("kp,pq,kq->k", directions, hessians.mean(0), directions)
    torch.testing.assert_close(estimate.quotient, quotient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("group_size", [7, 12])
def test_groups_of_any_size_are_unbiased(model, hessians, group_size):
    """Over random partitions the mean is V(u), short last groups (24 = 7 + 7 + 7 + 3) included."""
    direction = unit_vectors(1, hessians.shape[1])
    truth = ((hessians - hessians.mean(0)) @ direction[0]).pow(2).sum(1).mean().item()
    values = torch.tensor(
        [
            along_directions(
                Hessian(model, shuffled(seed), chunk_size=group_size, precision="float64"),
                direction,
            ).variance.item()
            for seed in range(60)
        ]
    )
    assert abs(values.mean() - truth) < 4 * values.std() / len(values) ** 0.5
    assert values.std() > 0


def test_mean_over_random_directions_is_the_element_variance_times_order(model, hessians):
    """E V(u) = P sigma^2 for u uniform on the sphere (Eq. 9 with a unit vector)."""
    num_params = hessians.shape[1]
    expected = (hessians - hessians.mean(0)).pow(2).sum((1, 2)).mean() / num_params
    directions = torch.linalg.qr(unit_vectors(num_params, num_params).T)[0].T  # a whole basis
    operator = Hessian(model, examples(COUNT), chunk_size=1, precision="float64")
    torch.testing.assert_close(along_directions(operator, directions).variance.mean(), expected)


def test_standard_errors_match_the_spread_over_samples(model):
    """Fresh samples of a population: reported and actual spread of V and of the quotient agree."""
    inputs, targets = examples(4000, seed=9)
    direction = unit_vectors(1, 83)
    estimates = [
        along_directions(
            Hessian(
                model,
                (inputs[i : i + 100], targets[i : i + 100]),
                chunk_size=4,
                precision="float64",
            ),
            direction,
        )
        for i in range(0, 4000, 100)
    ]
    for value, error in (("variance", "standard_error"), ("quotient", "quotient_standard_error")):
        actual = torch.cat([getattr(e, value) for e in estimates]).std()
        reported = torch.cat([getattr(e, error) for e in estimates]).mean()
        assert 0.7 < (reported / actual) < 1.4


def test_projected_groups_average_to_the_projected_matrix(model, hessians):
    directions = unit_vectors(3, hessians.shape[1])
    operator = Hessian(model, examples(COUNT), chunk_size=6, precision="float64")
    projected = along_directions(operator, directions).projected
    assert projected.shape == (4, 3, 3)
    expected = directions @ hessians.mean(0) @ directions.T
    torch.testing.assert_close(projected.mean(0), expected)


def test_other_operators_have_a_variance_too(model):
    operator = GGN(model, examples(COUNT), chunk_size=3, precision="float64")
    assert along_directions(operator, unit_vectors(2, operator.num_params)).variance.min() > 0


def test_batch_statistics_and_single_groups_are_refused(model):
    direction = unit_vectors(1, 83)
    with pytest.raises(ValueError, match="batchnorm: eval"):
        along_directions(Hessian(model, examples(8), chunk_size=2, batchnorm="train"), direction)
    with pytest.raises(ValueError, match="smaller group_size"):
        along_directions(Hessian(model, examples(8), chunk_size=8), direction)
    with pytest.raises(ValueError, match="unit vectors"):
        along_directions(Hessian(model, examples(8), chunk_size=2), 2 * direction)


@pytest.mark.parametrize("count", [0, 4])
def test_noise_within_vectors_and_leaks_is_that_of_dense_matrices(model, hessians, count):
    values, vectors = torch.linalg.eigh(hessians.mean(0))
    columns = [-1, -2, 0, 1]
    ritz = vectors.T[columns]
    operator = Hessian(model, examples(COUNT), chunk_size=1, precision="float64")
    sketch = LeakSketch(list(ritz.chunk(2)), count // 2)
    random = unit_vectors(2, hessians.shape[1])
    estimate = along_directions(operator, torch.cat([random, ritz]), sketch=sketch)
    noise = of_subspace(operator, ritz, values[columns].numpy(), estimate, sketch)

    basis = torch.cat([ritz, sketch.directions()])
    assert len(basis) == 4 + count
    projected = basis @ hessians @ basis.T
    assert noise.projected == pytest.approx(projected.numpy(), abs=1e-9)
    if count:
        assert noise.hessian == pytest.approx(projected.mean(0).numpy(), abs=1e-9)
    away = (hessians - hessians.mean(0)) @ basis.T
    away = away - basis.T @ (basis @ away)
    leak = torch.einsum("npk,npl->kl", away, away).numpy() / COUNT
    assert noise.leak[:4, :4] == pytest.approx(leak[:4, :4], abs=1e-9)
    assert noise.leak[4:, 4:] == pytest.approx(leak[4:, 4:], abs=1e-9)


def test_leak_directions_take_more_of_the_leak_than_random_ones(model, hessians):
    ritz = torch.linalg.eigh(hessians.mean(0))[1].T[[-1, 0]]
    operator = Hessian(model, examples(COUNT), chunk_size=1, precision="float64")
    sketch = LeakSketch(list(ritz.chunk(2)), 3)
    estimate = along_directions(operator, ritz, sketch=sketch)
    found = of_subspace(operator, ritz, torch.zeros(2).numpy(), estimate, sketch)
    without = of_subspace(operator, ritz, torch.zeros(2).numpy(), estimate, LeakSketch([ritz], 0))
    assert found.leak[:2, :2].trace() < 0.6 * without.leak.trace()


@pytest.mark.parametrize("seed", range(2))
def test_intervals_cover_the_variance_over_random_orders(model, hessians, seed):
    direction = unit_vectors(1, hessians.shape[1], seed)
    truth = ((hessians - hessians.mean(0)) @ direction[0]).pow(2).sum(1).mean()
    covered = 0
    for order in range(60):
        operator = Hessian(model, shuffled(order), chunk_size=2, precision="float64")
        estimate = along_directions(operator, direction)
        covered += bool((estimate.variance[0] - truth).abs() < 1.96 * estimate.standard_error[0])
    assert covered >= 48


class Known:
    """What `along_directions` sees of an operator, of matrices that are written down by example.

    Its groups are those of `order` in turn, of the sizes given.
    """

    batchnorm, chunk_size, device, dtype = "eval", 1, torch.device("cpu"), torch.float64

    def __init__(self, matrices, sizes, order=None, weights=None):
        self.matrices, self.num_examples = matrices, len(matrices)
        self.data = SimpleNamespace(sizes=sizes)
        self.of_examples = torch.ones(len(matrices)) if weights is None else weights
        self.of_examples = self.of_examples.double()
        order = torch.arange(len(matrices)) if order is None else torch.as_tensor(order)
        self.groups = order.split(sizes)

    @property
    def weights(self):
        chunks = [self.of_examples[group].sum().item() for group in self.groups]
        equal = bool((self.of_examples == 1).all())
        return Weights(chunks, self.of_examples.sum().item(), equal)

    def chunk_products(self, block):
        for group in self.groups:
            weights = self.of_examples[group, None, None]
            total = (weights * self.matrices[group]).sum(0)
            yield len(group), block @ (total / weights.sum().clamp(min=1e-300))


def known_matrices(count: int, order: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    rows = torch.randn(count, order, order, generator=generator, dtype=torch.float64).exp()
    return rows + rows.mT


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [3, 1, 4, 1, 5], [2, 0, 7, 1, 0]])
@pytest.mark.parametrize("sizes", [(1, 4), (2, 3), (1, 1, 3), (2, 1, 2), (1, 1, 1, 1, 1)])
def test_groups_of_unequal_sizes_are_unbiased(sizes, weights):
    """Exactly: the means over all orders of five examples are the definitions."""
    matrices, weights = known_matrices(5), torch.tensor(weights).double()
    directions = unit_vectors(2, 4)
    shares = (weights / weights.mean())[:, None, None]
    mean = (shares * matrices).mean(0)
    images = shares * (matrices - mean) @ directions.T  # (N, P, K)
    covariance = torch.einsum("npk,npl->kl", images, images) / 5
    quotient = torch.einsum("kp,pq,kq->k", directions, mean, directions)
    estimates = [
        along_directions(Known(matrices, sizes, order, weights), directions)
        for order in itertools.permutations(range(5))
    ]
    expected = torch.stack([estimate.covariance for estimate in estimates]).mean(0)
    torch.testing.assert_close(expected, covariance, rtol=1e-12, atol=1e-12)
    for estimate in estimates[:3]:
        torch.testing.assert_close(estimate.quotient, quotient, rtol=1e-12, atol=1e-12)
    squares = torch.stack([e.quotient_standard_error.square() for e in estimates]).mean(0)
    influences = mean + shares * (matrices - mean)
    single = torch.einsum("kp,npq,kq->nk", directions, influences, directions)
    torch.testing.assert_close(squares, single.var(0) / 5, rtol=1e-12, atol=1e-12)
    found = torch.stack([estimate.projected.sum(0) for estimate in estimates]).mean(0)
    torch.testing.assert_close(
        found / len(estimates[0].projected),
        torch.einsum("kp,pq,lq->kl", directions, mean, directions),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [(1, 2, 3, 4) * 10, (20,) + (1,) * 80])
def test_standard_errors_match_the_spread_for_unequal_sizes(sizes, weighted):
    """Of 100 examples out of a population, in groups of one to twenty."""
    population, direction = known_matrices(20000), unit_vectors(1, 4)
    weights = torch.ones(20000).double()
    if weighted:
        weights = torch.randint(0, 9, (20000,), generator=torch.Generator().manual_seed(1))
    estimates = [
        along_directions(Known(part, list(sizes), weights=own), direction)
        for part, own in zip(population.split(100), weights.double().split(100), strict=True)
    ]
    for value, error in (("variance", "standard_error"), ("quotient", "quotient_standard_error")):
        actual = torch.cat([getattr(e, value) for e in estimates]).std()
        squares = torch.cat([getattr(e, error) for e in estimates]).square()
        assert 0.75 < squares.mean().sqrt() / actual < 1.33


@pytest.mark.parametrize("kind", [list, Stream])
def test_groups_are_the_batches_of_the_user(model, kind):
    """Of the same examples, whatever `chunk_size` says, and a short last one where it is."""
    inputs, targets = examples(COUNT)
    for size in (6, 7):
        batches = list(zip(inputs.split(size), targets.split(size), strict=True))
        own = Hessian(model, kind(batches), chunk_size=COUNT, precision="float64")
        cut = Hessian(model, (inputs, targets), chunk_size=size, precision="float64")
        directions = unit_vectors(2, own.num_params)
        found, known = along_directions(own, directions), along_directions(cut, directions)
        assert found.group_size == known.group_size == size
        assert len(found.projected) == COUNT // size
        for value, expected in zip(found, known, strict=True):
            torch.testing.assert_close(value, expected)


def test_what_needs_groups_of_one_size_is_refused_before_it_is_measured(model):
    one = [examples(COUNT)]
    with pytest.raises(ValueError, match="24 examples make one group of 24"):
        along_directions(Hessian(model, one, chunk_size=2), unit_vectors(1, 83))
    matrices = known_matrices(5)
    ritz = torch.linalg.eigh(matrices.mean(0))[1].T[[-1, 0]]
    operator, sketch = Known(matrices, [2, 3]), LeakSketch([ritz], 1)
    estimate = along_directions(operator, ritz, sketch=sketch)
    assert estimate.variance.min() > 0
    operator.chunk_products = None
    with pytest.raises(ValueError, match="at least two groups of one size, got 1 of 2 examples"):
        of_subspace(operator, ritz, torch.zeros(2).numpy(), estimate, sketch)


class Long:
    """Groups of eight examples of an operator with many parameters, on the fake GPU."""

    batchnorm, chunk_size, num_examples = "eval", 8, 48
    data, weights = SimpleNamespace(sizes=[8] * 6), Weights([8.0] * 6, 48.0, True)
    num_params, dtype = 20_000, torch.float32

    def __init__(self, device):
        self.device = device

    def chunk_products(self, block):
        generator = torch.Generator().manual_seed(3)
        for _ in range(6):
            factor = torch.randn(2, self.num_params, generator=generator) / 100
            products = (block.cpu() @ factor.T @ factor).to(self.device)
            yield 8, products
            del products  # as for a caller who keeps none


def measured_of_long(device, **how):
    """Everything that is made of a pass with a sketch, without the signs of vectors."""
    operator = Long(device)
    directions = torch.linalg.qr(unit_vectors(6, Long.num_params).T)[0].T
    sketch = LeakSketch(list(directions[2:].chunk(2)), 3)
    onto = unit_vectors(2, Long.num_params, seed=1)
    estimate = along_directions(operator, directions, beside=onto, sketch=sketch, **how)
    leaks = sketch.directions().cpu()
    return [value.cpu() for value in estimate[:9]], leaks.T @ (
        leaks @ unit_vectors(1, Long.num_params)[0]
    )


def small_slabs(monkeypatch):
    monkeypatch.setattr(slabs, "_IN_WORK", {"cpu": SLAB, "cuda": SLAB})


def test_numbers_do_not_depend_on_slabs_or_on_where_large_arrays_lie(monkeypatch):
    known, leaks = measured_of_long(torch.device("cpu"))
    small_slabs(monkeypatch)
    room = bases._room

    def without_host(place, *arguments):
        return 0 if place == "cpu" else room(place, *arguments)

    for host, memory in ((True, None), (True, 8 * 10 * Long.num_params), (False, 0)):
        with fake_cuda.installed(), monkeypatch.context() as patch:
            if not host:
                patch.setattr(bases, "_room", without_host)
            found, other = measured_of_long(fake_cuda.DEVICE, memory=memory)
        for value, expected in zip(found, known, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(other, leaks, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("budget", ["all", "too little", "nothing"])
@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("plain", {"mean of the products": 6}),
        ("beside", {"vectors beside the directions": 2, "mean of the products": 6}),
        ("sketch", {"mean of the products": 6, "span of the leaks": 4, "sketch of the leaks": 4}),
    ],
)
def test_memory_on_the_device_is_what_is_said_and_stays_in_the_budget(
    monkeypatch, caplog, kind, rows, budget
):
    """Directions and products in float32, and in float64 mean and sketch if they may lie there."""
    small_slabs(monkeypatch)
    caplog.set_level("INFO")
    params = Long.num_params
    directions = torch.linalg.qr(unit_vectors(6, params).T)[0].T
    allowed = {"all": sum(rows.values()), "too little": sum(rows.values()) - 0.1, "nothing": 0}
    with fake_cuda.installed() as memory:
        along_directions(
            Long(fake_cuda.DEVICE),
            directions,
            beside=directions[:2] if kind == "beside" else None,
            sketch=LeakSketch(list(directions[2:].chunk(2)), 2) if kind == "sketch" else None,
            memory=int(8 * params * allowed[budget]),
        )
    places = dict.fromkeys(rows, "cuda" if budget == "all" else "host")
    if budget == "too little":
        places = dict.fromkeys(rows, "cuda") | {list(rows)[-1]: "host"}
    held = sum(count for name, count in rows.items() if places[name] == "cuda")
    expected = 4 * params * 2 * 6 + 8 * params * held
    assert expected <= memory.peak <= expected + SLAB
    for name, place in places.items():
        said = [line for line in caplog.messages if line.startswith(f"{name}: ")]
        # What is beside lies on the host already, and is not copied there.
        assert len(said) == (name != "vectors beside the directions" or place == "cuda")
        assert all(f", {WHERE[place]} (allowed" in line for line in said)
