"""Each operator, checked by all that operators have in common."""

import copy

import pytest
import torch
import torch.nn.functional as F
from cases import dense_fisher, dense_ggn, dense_hessian, examples
from conformance import COUNT, OperatorConformance, close

from truehessian.operators import (
    GGN,
    CompiledHessian,
    EmpiricalFisher,
    GradientCovariance,
    Hessian,
    Noise,
)


class TestHessian(OperatorConformance):
    def make(self, model, data, **settings):
        return Hessian(model, data, **settings)

    def dense(self, model, inputs, targets):
        return dense_hessian(model, inputs, targets)


class TestGGN(OperatorConformance):
    def make(self, model, data, **settings):
        return GGN(model, data, **settings)

    def dense(self, model, inputs, targets):
        return dense_ggn(model, inputs, targets)


class TestEmpiricalFisher(OperatorConformance):
    def make(self, model, data, **settings):
        return EmpiricalFisher(model, data, **settings)

    def dense(self, model, inputs, targets):
        return dense_fisher(model, inputs, targets)


class TestGradientCovariance(OperatorConformance):
    def make(self, model, data, **settings):
        return GradientCovariance(model, data, **settings)

    def dense(self, model, inputs, targets):
        gradient = mean_gradient(model, inputs, targets)
        return dense_fisher(model, inputs, targets) - torch.outer(gradient, gradient)


class TestNoise(OperatorConformance):
    """Of the first four examples, or the first batch."""

    def make(self, model, data, **settings):
        first = data[0] if isinstance(data, list) else tuple(part[:4] for part in data)
        full, batch = (Hessian(model, part, **settings) for part in (data, first))
        return Noise(batch, full)

    def dense(self, model, inputs, targets):
        batch = dense_hessian(model, inputs[:4], targets[:4])
        return batch - dense_hessian(model, inputs, targets)

    def test_unequal_batches_count_by_their_size(self, model):
        inputs, targets = examples(COUNT)
        operator = self.make(
            model, [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])], precision="float64"
        )
        block = self.vectors(operator)
        close(operator @ block, self.dense(model, inputs, targets) @ block)


class TestLinearCombination(OperatorConformance):
    def make(self, model, data, **settings):
        return 2.0 * Hessian(model, data, **settings) - 0.5 * GGN(model, data, **settings)

    def dense(self, model, inputs, targets):
        hessian = dense_hessian(model, inputs, targets)
        return 2.0 * hessian - 0.5 * dense_ggn(model, inputs, targets)


@pytest.mark.slow
class TestCompiledHessian(OperatorConformance):
    """Each chunk size is compiled anew, which takes its time."""

    def make(self, model, data, **settings):
        return CompiledHessian(model, data, **settings)

    def dense(self, model, inputs, targets):
        return dense_hessian(model, inputs, targets)

    test_on_a_device_it_is_the_same = None  # the compiler does not take a device that is none


def mean_gradient(model, inputs, targets):
    model = copy.deepcopy(model).eval()
    leaves = [p.requires_grad_() for p in model.parameters()]
    loss = F.cross_entropy(model(inputs), targets)
    parts = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return torch.cat([part.reshape(-1) for part in parts])
