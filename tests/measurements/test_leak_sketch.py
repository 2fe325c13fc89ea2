"""Leak directions from a stream against the singular vectors of all of it."""

import pytest
import torch

from truehessian.measurements.leak_sketch import LeakSketch


def deviations(groups=30, k=4, order=40, seed=0):
    """Rows that leak mostly into five directions, each group as shape (k, order)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    strong = torch.linalg.qr(normal(order, 5))[0].T
    return [5 * normal(k, 5) @ strong + 0.1 * normal(k, order) for _ in range(groups)]


def span(k=4, order=40):
    return torch.eye(order, dtype=torch.float64)[:k]


def test_the_sketch_holds_the_principal_leaks_and_nothing_of_the_span():
    vectors, rows = span(), deviations()
    sketch = LeakSketch([vectors], 5)
    for part, inside in zip(rows, torch.linspace(-1e3, 1e3, len(rows)), strict=True):
        sketch.add(part + inside * vectors)  # what stays in the span is no leak, loud as it is
    found = sketch.directions()
    assert found.shape == (5, 40)
    torch.testing.assert_close(found @ found.T, torch.eye(5, dtype=torch.float64))
    assert (found @ vectors.T).abs().max() < 1e-12
    leaks = torch.cat(rows)
    leaks[:, :4] = 0
    best = torch.linalg.svd(leaks, full_matrices=False).Vh[:5]
    assert torch.linalg.svdvals(best @ found.T).min() > 0.999


def test_both_ends_get_directions_however_loud_one_of_them_is():
    order = 40
    quiet, loud = torch.eye(order, dtype=torch.float64)[[20, 30]]
    sketch = LeakSketch([span()[:2], span()[2:]], 1)
    for sign in (1.0, -1.0, 1.0):
        sketch.add(sign * torch.stack([1e7 * loud, 0 * loud, quiet, 0 * quiet]))
    found = sketch.directions()
    assert found.shape == (2, order)
    torch.testing.assert_close(
        (found @ torch.stack([quiet, loud]).T).norm(dim=0), torch.ones(2).double()
    )


@pytest.mark.parametrize("count", [0, 3])
def test_no_more_directions_than_asked_for_or_there_are(count):
    sketch = LeakSketch([span()], count)
    for part in deviations(groups=3):
        sketch.add(0 * part + torch.eye(40, dtype=torch.float64)[10])
    assert len(sketch.directions()) == min(count, 1)


def test_the_span_may_hold_vectors_whose_products_are_not_looked_at():
    """What they hold is told apart from what leaks, and the directions are orthogonal to them."""
    order = 40
    axes, rows = torch.eye(order, dtype=torch.float64), deviations(k=2)
    sketch = LeakSketch([axes[:1], axes[1:2]], 30, axes[20:23])
    for part in rows:
        sketch.add(part)
    streams = torch.stack(rows)  # (groups, 2, order)
    span = [0, 1, 20, 21, 22]
    torch.testing.assert_close(sketch.inside, streams[:, :, span].square().sum(0))
    away = streams.clone()
    away[:, :, span] = 0
    torch.testing.assert_close(sketch.outside, away.square().sum((0, 2)))
    gram, part = sketch.gram(), sketch.part_of_rows()
    for number in range(2):
        own = gram[part == number][:, part == number]
        torch.testing.assert_close(own.trace(), sketch.outside[number])
        torch.testing.assert_close(own, torch.diag(own.diagonal()), atol=1e-9, rtol=0)
    sketch.keep([int(gram.diagonal().argmax()), 0])
    found = sketch.directions()
    assert found.shape == (2, order)
    assert found[:, span].abs().max() < 1e-12
    own = away[:, int(part[gram.diagonal().argmax()])]
    loudest = torch.linalg.svd(own, full_matrices=False).Vh[0]
    assert (found @ loudest).norm() > 0.999
