"""The Hessian in the geometry of Adam against the one that is written down."""

import pytest
import torch
import torch.nn.functional as F
from dense import dense_hessian
from torch import nn

from truehessian.measurements import geometry
from truehessian.measurements.source import Source
from truehessian.operators.hessian import Hessian


@pytest.fixture
def problem(tmp_path):
    """A network that Adam has trained for a few steps, its data, and the file of its state."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    data = torch.randn(30, 4), torch.arange(30) % 3
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.8, 0.99), eps=1e-3)
    for _ in range(5):
        optimiser.zero_grad()
        F.cross_entropy(model(data[0]), data[1]).backward()
        optimiser.step()
    path = tmp_path / "adam.pt"
    torch.save({"optimizer": optimiser.state_dict()}, path)
    return model, data, optimiser, str(path)


@pytest.mark.parametrize("parameters", [None, ["2.*", "0.bias"]])
def test_it_is_the_largest_eigenvalue_of_the_quotient(problem, parameters, tmp_path):
    model, data, optimiser, path = problem
    hessian = Hessian(model, data, precision="float64", parameters=parameters)
    source = Source(model, None, {}, None)
    how = {"steps": hessian.num_params, "seed": 0, "state": tmp_path / "state"}
    found = geometry.preconditioned_sharpness(source, hessian, path, **how)

    chosen, diagonal = [], []
    for name, parameter in model.named_parameters():
        own = optimiser.state[parameter]
        second = own["exp_avg_sq"].double() / (1 - 0.99**5)
        diagonal.append(((1 - 0.8**5) * (second.sqrt() + 1e-3)).reshape(-1))
        kept = parameters is None or name in ("2.weight", "2.bias", "0.bias")
        chosen.append(torch.full((parameter.numel(),), kept))
    diagonal, chosen = torch.cat(diagonal), torch.cat(chosen)
    matrix = dense_hessian(model, data[0].double(), data[1]) / diagonal[:, None]
    largest = torch.linalg.eigvals(matrix[chosen][:, chosen]).real.max().item()
    assert found["preconditioned"] == pytest.approx(largest, rel=1e-8)
    assert found["preconditioned_residual"] < 1e-6 * largest
    assert found["preconditioned_limit"] == pytest.approx(2 * 1.8 / (0.2 * 0.01))
