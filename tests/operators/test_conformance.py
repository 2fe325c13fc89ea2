"""Each operator, checked by all that operators have in common."""

import pytest
import torch
from conformance import COUNT, OperatorConformance, close
from dense import block_diagonal, dense_fisher, dense_ggn, dense_gradient, dense_hessian

from truehessian.operators import (
    GGN,
    CompiledHessian,
    DiagonalBlocks,
    EmpiricalFisher,
    GradientCovariance,
    Hessian,
    LinearCombination,
    Noise,
)

GROUPS = {"weights": ["*weight"], "biases": ["*[!m].bias", "1.bias"]}


class TestHessian(OperatorConformance):
    def make(self, model, data, **settings):
        return Hessian(model, data, **settings)

    def dense(self, model, inputs, targets, loss):
        return dense_hessian(model, inputs, targets, loss)


class TestGGN(OperatorConformance):
    def make(self, model, data, **settings):
        return GGN(model, data, **settings)

    def dense(self, model, inputs, targets, loss):
        return dense_ggn(model, inputs, targets, loss)


class TestEmpiricalFisher(OperatorConformance):
    def make(self, model, data, **settings):
        return EmpiricalFisher(model, data, **settings)

    def dense(self, model, inputs, targets, loss):
        return dense_fisher(model, inputs, targets, loss)


class TestGradientCovariance(OperatorConformance):
    def make(self, model, data, **settings):
        return GradientCovariance(model, data, **settings)

    def dense(self, model, inputs, targets, loss):
        gradient = dense_gradient(model, inputs, targets, loss)
        return dense_fisher(model, inputs, targets, loss) - torch.outer(gradient, gradient)


class TestNoise(OperatorConformance):
    """Of the first four examples, or the first batch."""

    def make(self, model, data, **settings):
        first = data[0] if isinstance(data, list) else tuple(part[:4] for part in data)
        full, batch = (Hessian(model, part, **settings) for part in (data, first))
        return Noise(batch, full)

    def dense(self, model, inputs, targets, loss):
        batch = dense_hessian(model, inputs[:4], targets[:4], loss)
        return batch - dense_hessian(model, inputs, targets, loss)

    def test_unequal_batches_count_by_their_size(self, model):
        inputs, targets = self.problem.data(COUNT)
        batches = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
        operator = self.operator(model, batches)
        block = self.vectors(operator)
        reference = self.dense(model, inputs, targets, self.problem.loss)
        close(operator @ block, reference @ block)


class TestLinearCombination(OperatorConformance):
    def make(self, model, data, **settings):
        return 2.0 * Hessian(model, data, **settings) - 0.5 * GGN(model, data, **settings)

    def dense(self, model, inputs, targets, loss):
        hessian = dense_hessian(model, inputs, targets, loss)
        return 2.0 * hessian - 0.5 * dense_ggn(model, inputs, targets, loss)


class TestDiagonalBlocks(OperatorConformance):
    """Two groups that interleave, and parameters of none."""

    kind, whole = Hessian, staticmethod(dense_hessian)

    def make(self, model, data, **settings):
        return DiagonalBlocks(self.kind(model, data, **settings), GROUPS)

    def dense(self, model, inputs, targets, loss):
        return block_diagonal(self.whole(model, inputs, targets, loss), model, GROUPS)

    def parts(self, operator):
        if isinstance(operator, LinearCombination):
            return super().parts(operator)
        return [block.operator for block in operator._blocks]


class TestDiagonalBlocksOfGGN(TestDiagonalBlocks):
    kind, whole = GGN, staticmethod(dense_ggn)


class TestDiagonalBlocksOfEmpiricalFisher(TestDiagonalBlocks):
    kind, whole = EmpiricalFisher, staticmethod(dense_fisher)


@pytest.mark.slow
class TestCompiledHessian(OperatorConformance):
    """Each chunk size is compiled anew, which takes its time."""

    def make(self, model, data, **settings):
        return CompiledHessian(model, data, **settings)

    def dense(self, model, inputs, targets, loss):
        return dense_hessian(model, inputs, targets, loss)

    test_on_a_device_it_is_the_same = None  # the compiler does not take a device that is none
