"""One matrix on several processes: the same products, and what happens when one fails."""

import numpy as np
import pytest
import together
import torch
from torch import nn

from truehessian.operators import Hessian
from truehessian.operators.shared import Shared, shares

PROGRAM = "operators/shared_program.py"


def test_products_are_those_of_one_process():
    for own in together.run(PROGRAM, 3, "products"):
        assert own.status == 0, own.errors
        assert max(own.said.values()) < 1e-13


def test_a_run_whose_process_is_lost_goes_on_with_another_number_of_them(tmp_path, monkeypatch):
    (alone,) = together.run(PROGRAM, 1, "spectrum_alone", str(tmp_path / "alone"), "20")
    monkeypatch.setenv("DIE_AT", "12")
    monkeypatch.setenv("SAVE_OFTEN", "1")
    first, *_, last = together.run(PROGRAM, 3, "spectrum", str(tmp_path / "state"), "20")
    assert last.status == 9
    assert first.status == 1
    assert "lost another one" in first.errors
    monkeypatch.delenv("DIE_AT")
    resumed = together.run(PROGRAM, 2, "spectrum", str(tmp_path / "state"), "20")
    for own in resumed:
        assert own.status == 0, own.errors
        np.testing.assert_allclose(own.said["values"], alone.said["values"], atol=1e-11)
        assert own.said["products"] <= 20 - 11 + 1  # and one that compares


def test_batches_are_dealt_out_and_all_processes_have_all(tmp_path):
    (alone,) = together.run(PROGRAM, 1, "folds", str(tmp_path / "alone"))
    several = together.run(PROGRAM, 2, "folds", str(tmp_path / "two"))
    for own in several:
        assert own.status == 0, own.errors
        np.testing.assert_allclose(own.said["values"], alone.said["values"], atol=1e-11)


def test_all_processes_say_what_went_wrong_in_one():
    first, second, third = together.run(PROGRAM, 3, "failure")
    assert second.said["said"] == "ZeroDivisionError: division by zero"
    for other in (first, third):
        expected = "RuntimeError: rank 1 of 3 failed: ZeroDivisionError: division by zero"
        assert other.said["said"] == expected


@pytest.mark.parametrize(
    ("sizes", "count"), [([4] * 10, 3), ([4, 4, 4, 1], 4), ([1, 1, 8], 2), ([8, 1, 1], 3), ([5], 1)]
)
def test_every_process_has_chunks_and_every_chunk_one_process(sizes, count):
    parts = shares(sizes, count)
    numbers = [number for begin, end in parts for number in range(begin, end)]
    assert numbers == list(range(len(sizes)))
    assert all(begin < end for begin, end in parts)
    most = max(sum(sizes[begin:end]) for begin, end in parts)
    assert most <= sum(sizes) / count + max(sizes)


class Several:
    """Two processes, of which only what is not computed is asked for."""

    number, count = 0, 2


def test_batch_statistics_leave_chunks_whole():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    data = torch.randn(6, 3), torch.randint(0, 2, (6,))
    whole = Hessian(network, data, batchnorm="train", chunk_size=6)
    with pytest.raises(ValueError, match=r"2 processes share 1 chunk\(s\) of 6 examples"):
        Shared(whole, Several())
