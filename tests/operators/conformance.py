"""What every operator has to do. A test class per operator inherits all of it."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES
from torch import Tensor

from truehessian.operators import LinearCombination, Operator

COUNT = 10


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    actual = actual.cpu() if actual.is_cuda else actual
    scale = expected.abs().max().item()
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale)


class OperatorConformance:
    """Define `make` and `dense`, and inherit every check."""

    def make(self, model: Any, data: Any, **settings: Any) -> Operator:
        raise NotImplementedError

    def dense(self, model: Any, inputs: Tensor, targets: Tensor, loss: Any) -> Tensor:
        raise NotImplementedError

    @pytest.fixture(params=["convolutional", "squares"], autouse=True)
    def case(self, request):
        self.problem = CASES[request.param]

    @pytest.fixture
    def model(self, case):
        return self.problem.model()

    @pytest.fixture
    def reference(self, model):
        return self.dense(model, *self.problem.data(COUNT), self.problem.loss)

    def operator(self, model, data=None, **settings) -> Operator:
        settings = {"precision": "float64", "loss": self.problem.loss, **settings}
        return self.make(model, data or self.problem.data(COUNT), **settings)

    def vectors(self, operator: Operator, count: int = 3) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        shape = (operator.num_params, count)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    @pytest.mark.parametrize("memory", [None, 0], ids=["kept", "anew"])
    @pytest.mark.parametrize("chunk_size", [1, 4, 5, 100])
    def test_it_is_the_dense_matrix_for_every_chunk_size(
        self, model, reference, chunk_size, memory
    ):
        operator = self.operator(model, chunk_size=chunk_size, memory=memory)
        block = self.vectors(operator)
        for _ in range(2):  # the second time from graphs that were kept
            close(operator @ block, reference @ block)

    def test_its_products_with_the_unit_vectors_are_the_matrix(self, model, reference):
        operator = self.operator(model, chunk_size=4)
        close(operator @ torch.eye(operator.num_params, dtype=torch.float64), reference)

    def test_unequal_batches_count_by_their_size(self, model, reference):
        inputs, targets = self.problem.data(COUNT)
        cuts = [slice(0, 1), slice(1, 7), slice(7, None)]
        operator = self.operator(model, [(inputs[cut], targets[cut]) for cut in cuts])
        block = self.vectors(operator)
        close(operator @ block, reference @ block)

    def test_it_is_symmetric_and_linear(self, model):
        operator = self.operator(model, chunk_size=4)
        u, v, w = self.vectors(operator).T
        close(u @ (operator @ v), v @ (operator @ u))
        close(operator @ (2 * u - 0.5 * w), 2 * (operator @ u) - 0.5 * (operator @ w))

    def test_blocks_are_their_vectors(self, model):
        operator = self.operator(model, chunk_size=4, memory=0)
        block = self.vectors(operator, 20)  # more than pass through at once
        close(operator @ block, torch.stack([operator @ v for v in block.T], 1))
        close(operator.matmat(block.T.contiguous()), (operator @ block).T)
        assert (operator @ block[:, :0]).shape == (operator.num_params, 0)

    def test_the_same_vector_gives_the_same_bits(self, model):
        operator = self.operator(model, chunk_size=4, precision="float32")
        block = self.vectors(operator)
        first = operator @ block
        assert first.dtype == torch.float64
        assert torch.equal(operator @ block, first)
        again = self.operator(model, chunk_size=4, precision="float32")
        assert torch.equal(again @ block, first)

    def test_single_precision_is_accurate_to_single_precision(self, model, reference):
        operator = self.operator(model, precision="float32")
        block = self.vectors(operator)
        close(operator @ block, reference @ block, 1e-4)

    def test_a_lack_of_memory_changes_nothing(self, model, reference, monkeypatch):
        """However little fits: of kept graphs, of vectors, of examples at once."""
        operator = self.operator(model, chunk_size=5)
        block = self.vectors(operator, 6)
        operator @ block
        for part in self.parts(operator):
            apply = part._apply_some
            left = [3]

            def failing(graph, vectors, keep, out, apply=apply, left=left):
                if len(vectors) > 1 or left[0] > 0:
                    left[0] -= 1
                    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..")
                return apply(graph, vectors, keep, out)

            monkeypatch.setattr(part, "_apply_some", failing)
        close(operator @ block, reference @ block)

    @pytest.mark.parametrize("failing", [1, 3, 6])
    def test_memory_that_is_short_at_the_end_of_a_product_changes_nothing(
        self, model, reference, monkeypatch, failing
    ):
        """Even where a graph would have been used up by then."""
        operator = self.operator(model, chunk_size=5, memory=0)
        block = self.vectors(operator, 6)
        operator @ block[:, :1]  # looks at the first examples
        for part in self.parts(operator):
            apply, calls = part._apply, []

            def short(graph, vector, keep, apply=apply, calls=calls):
                calls.append(keep)
                products = apply(graph, vector, keep)
                if len(calls) == failing:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return products

            monkeypatch.setattr(part, "_apply", short)
            # Several at once would not come this way.
            monkeypatch.setattr(part, "_vectorised", False, raising=False)
        close(operator @ block, reference @ block)

    def test_on_a_device_it_is_the_same(self, model, reference, cuda):
        operator = self.operator(model, device=cuda, chunk_size=4)
        block = self.vectors(operator)
        for given in (block, block.to(cuda)):
            product = operator @ given
            assert product.device.type == "cuda"
            close(product, reference @ block)
            assert torch.equal(operator @ given, product)

    def test_scipy_gets_the_same_products(self, model, reference):
        wrapped = self.operator(model).to_scipy()
        block = self.vectors(self.operator(model)).numpy()
        np.testing.assert_allclose(wrapped.matmat(block), reference.numpy() @ block, atol=1e-9)
        np.testing.assert_allclose(wrapped.matvec(block[:, 0]), reference.numpy() @ block[:, 0])
        np.testing.assert_allclose(wrapped.T @ block[:, 0], reference.numpy() @ block[:, 0])

    def test_it_can_be_added_and_multiplied(self, model, reference):
        operator, other = self.operator(model), self.operator(model, chunk_size=3)
        for combination, factor in (
            (operator + other, 2.0),
            (2 * operator - other, 1.0),
            (-operator, -1.0),
            (operator * 0.5 + (other - operator) * 3, 0.5),
        ):
            assert isinstance(combination, LinearCombination)
            block = self.vectors(operator)
            close(combination @ block, factor * (reference @ block), 1e-9)

    def test_it_leaves_the_model_as_it_was_and_does_not_follow_it(self, model, reference):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.train()
        operator = self.operator(model)
        block = self.vectors(operator)
        close(operator @ block, reference @ block)
        assert model.training
        assert all(p.grad is None for p in model.parameters())
        for name, tensor in model.state_dict().items():
            assert torch.equal(before[name], tensor)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        close(operator @ block, reference @ block)

    def test_it_says_what_it_is(self, model):
        operator = self.operator(model)
        operator @ self.vectors(operator)
        told = operator.describe()
        assert json.loads(json.dumps(told)) == told
        assert told["num_parameters"] == operator.num_params
        assert isinstance(told["operator"], str)

    def parts(self, operator: Operator) -> list[Any]:
        """The operators that go through data, of which this one is made."""
        if isinstance(operator, LinearCombination):
            return [part for _, term in operator.terms for part in self.parts(term)]
        return [getattr(operator, "fisher", operator)]
