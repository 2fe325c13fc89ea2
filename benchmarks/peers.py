"""The peers, each used in its best documented way. All of them are optional."""

import copy
import importlib
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.timing import Product, Stopwatch
from benchmarks.tools import (
    ByHand,
    Ends,
    Tool,
    TrueHessian,
    cycles_are_known,
    ends_of,
    flatten,
    jacobi_values,
    kept_by_hand,
    split,
)
from benchmarks.workloads import Problem


class PyHessian(Tool):
    """The gradient's graph is kept for a single batch; BatchNorm in evaluation mode always."""

    name, distribution = "PyHessian", "pyhessian"
    keeps_graph = True
    recurrence = "once, float32"

    def _operator(self, problem: Problem, keep: bool) -> Any:
        from pyhessian import hessian

        single = keep and len(problem.batches) == 1
        data = {"data": problem.batches[0]} if single else {"dataloader": problem.batches}
        model = copy.deepcopy(problem.model)
        return hessian(model, nn.CrossEntropyLoss(), cuda=problem.device.type == "cuda", **data)

    def product(self, problem: Problem, *, keep: bool) -> Product:
        """Prepare v -> H v."""
        from pyhessian.utils import hessian_vector_product

        with cycles_are_known():
            operator = self._operator(problem, keep)

        def multiply(vector: Tensor) -> Tensor:
            parts = split(vector, operator.params)
            if not operator.full_dataset:
                return flatten(hessian_vector_product(operator.gradsH, operator.params, parts))
            with cycles_are_known():
                return flatten(operator.dataloader_hv_product(parts)[1])

        return multiply

    def run(self, problem: Problem, steps: int) -> Ends:
        """Do Lanczos steps from a random vector, everything included."""
        from pyhessian import hessian as module

        module = importlib.import_module(module.__module__)
        original = module.hessian_vector_product
        watch = Stopwatch(lambda call: original(*call), problem.device)
        # Its density calls torch.eig, which PyTorch has dropped.
        with (
            cycles_are_known(),
            mock.patch.object(module, "hessian_vector_product", lambda *call: watch(call)),
            mock.patch.object(torch, "eig", _eig, create=True),
        ):
            values, _ = self._operator(problem, keep=True).density(iter=steps, n_v=1)
        return Ends(min(values[0]), max(values[0]), watch.seconds)


class Curvlinops(Tool):
    """Forward over reverse by torch.func, a `vmap` over the columns."""

    name, distribution = "curvlinops", "curvlinops-for-pytorch"
    recurrence = "none, float32"

    def _operator(self, problem: Problem) -> Any:
        from curvlinops import HessianLinearOperator

        model = copy.deepcopy(problem.model)
        parameters = [p for p in model.parameters() if p.requires_grad]
        return HessianLinearOperator(
            model, nn.CrossEntropyLoss(), parameters, problem.batches, check_deterministic=False
        )

    def product(self, problem: Problem, *, keep: bool) -> Product:
        """Prepare v -> H v."""
        operator = self._operator(problem)
        return lambda vector: operator @ vector

    def compiled(self, problem: Problem) -> Product:
        """Compile the product of a batch, as the next release does it by itself."""
        operator = self._operator(problem)
        operator._mp = torch.compile(operator._mp, dynamic=False)
        return lambda vector: operator @ vector

    def run(self, problem: Problem, steps: int) -> Ends:
        """Do Lanczos steps from a random vector, everything included."""
        from curvlinops.papyan2020traces.spectrum import fast_lanczos

        watch = Stopwatch(self.product(problem, keep=True), problem.device)
        values, _ = fast_lanczos(_Matrix(watch, problem), steps)
        return ends_of(values, watch)


class Eigenthings(Tool):
    """Averages over batches whatever their size."""

    name, distribution = "hessian-eigenthings", "hessian-eigenthings"
    recurrence = "once, float32"

    def product(self, problem: Problem, *, keep: bool) -> Product:
        """Prepare v -> H v."""
        from hessian_eigenthings import HessianOperator, supervised_loss

        model = copy.deepcopy(problem.model)
        return HessianOperator(
            model, problem.batches, supervised_loss(nn.CrossEntropyLoss())
        ).matvec

    def run(self, problem: Problem, steps: int) -> Ends:
        """Do Lanczos steps from a random vector, everything included."""
        from hessian_eigenthings import LambdaOperator, lanczos_tridiagonal

        watch = Stopwatch(self.product(problem, keep=True), problem.device)
        operator = LambdaOperator(watch, problem.num_params, problem.device, problem.dtype)
        run = lanczos_tridiagonal(operator, problem.vector(), steps, reorthogonalize=True)
        return ends_of(jacobi_values(run.alphas, run.betas), watch)


class GPyTorch(Tool):
    """Lanczos of linear_operator; it has no products, so that it gets a graph kept by hand."""

    name, distribution = "linear_operator (GPyTorch)", "linear-operator"
    keeps_graph = True
    recurrence = "once or more, float32"

    def run(self, problem: Problem, steps: int) -> Ends:
        """Do Lanczos steps from a random vector, everything included."""
        from linear_operator.utils.lanczos import lanczos_tridiag

        watch = Stopwatch(kept_by_hand(problem), problem.device)
        _, matrix = lanczos_tridiag(
            lambda block: watch(block[:, 0])[:, None],
            steps,
            problem.dtype,
            problem.device,
            (problem.num_params, problem.num_params),
            init_vecs=problem.vector()[:, None],
        )
        return ends_of(torch.linalg.eigvalsh(matrix.reshape(len(matrix), len(matrix))), watch)


class _Matrix(NamedTuple):
    """What `fast_lanczos` asks of a matrix."""

    product: Product
    problem: Problem

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.product(vector)

    @property
    def shape(self) -> tuple[int, int]:
        return self.problem.num_params, self.problem.num_params

    @property
    def device(self) -> torch.device:
        return self.problem.device

    @property
    def dtype(self) -> torch.dtype:
        return self.problem.dtype


def _eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
    """Do what torch.eig did: real and imaginary parts of the eigenvalues in two columns."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], dim=1), vectors


TOOLS: list[Tool] = [TrueHessian(), PyHessian(), Curvlinops(), Eigenthings(), ByHand()]
RUNNERS: list[Tool] = [*TOOLS[:-1], GPyTorch(), ByHand()]
COMPILED: list[Tool] = [tool for tool in TOOLS if type(tool).compiled is not Tool.compiled]
