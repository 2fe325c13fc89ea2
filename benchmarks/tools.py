"""One interface for all that multiply with Hessians, and the two that need no other package.

Everybody multiplies flat vectors (P,) with the Hessian of one `Problem`. A tool that can keep the
graph of a single batch over its products does so where `keep` is set, the others ignore it.
"""

import copy
import importlib.metadata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import NotInstalledError, Product, Stopwatch
from benchmarks.workloads import Problem
from truehessian.operators import CompiledHessian, Hessian
from truehessian.spectra import lanczos

MEMORY = 1 << 40  # bytes that a kept graph may take: as many as it likes


class Ends(NamedTuple):
    """Extreme Ritz values of a Lanczos run, and the seconds that its products took."""

    smallest: float
    largest: float
    product_seconds: float


class Tool:
    """Something that multiplies with Hessians and runs Lanczos on them.

    Attributes
    ----------
    name, distribution
        As its users say, and as the registry says; None for code of this folder.
    keeps_graph
        Whether the graph of a single batch can be kept over products.
    recurrence
        What is to be known of its Lanczos, for the table.
    """

    name: str
    distribution: str | None
    keeps_graph = False
    recurrence = ""

    @property
    def label(self) -> str:
        """Name and version."""
        if self.distribution is None:
            return self.name
        try:
            return f"{self.name} {importlib.metadata.version(self.distribution)}"
        except importlib.metadata.PackageNotFoundError:
            return self.name

    def require(self) -> None:
        """Raise `NotInstalledError` where the tool is missing."""
        if self.distribution is not None:
            try:
                importlib.metadata.version(self.distribution)
            except importlib.metadata.PackageNotFoundError:
                raise NotInstalledError from None

    def product(self, problem: Problem, *, keep: bool) -> Product:
        """Prepare v -> H v."""
        raise NotImplementedError

    def compiled(self, problem: Problem) -> Product:
        """Prepare v -> H v by functions that `torch.compile` makes at the first product."""
        raise NotImplementedError

    def run(self, problem: Problem, steps: int) -> Ends:
        """Do Lanczos steps from a random vector, everything included."""
        raise NotImplementedError


class TrueHessian(Tool):
    """What is measured here against the others."""

    name, distribution = "truehessian", "truehessian"
    keeps_graph = True
    recurrence = "once or more, float64"

    def require(self) -> None:
        """Be there, since this module has imported it."""

    def operator(self, problem: Problem, *, keep: bool, chunk: int | None = None) -> Hessian:
        """Make the operator; `chunk` replaces that of the problem."""
        return Hessian(
            problem.model,
            (problem.inputs, problem.targets),
            chunk_size=chunk or problem.chunk,
            precision=problem.precision,
            memory=MEMORY if keep else 0,
        )

    def product(self, problem: Problem, *, keep: bool) -> Product:
        """Prepare v -> H v."""
        return self.operator(problem, keep=keep).matvec

    def compiled(self, problem: Problem) -> Product:
        """Prepare v -> H v by a function that `torch.compile` makes at the first product."""
        return CompiledHessian(
            problem.model,
            (problem.inputs, problem.targets),
            chunk_size=problem.chunk,
            precision=problem.precision,
        ).matvec

    def run(self, problem: Problem, steps: int) -> Ends:
        """Do Lanczos steps from a random vector, everything included."""
        return self.converged(problem, steps, tolerance=None)[0]

    def converged(self, problem: Problem, steps: int, tolerance: float | None) -> tuple[Ends, int]:
        """Stop when both ends have converged; also tells the number of products."""
        hessian = self.operator(problem, keep=True)
        watch = Stopwatch(hessian.matvec, problem.device)
        with hessian.unwatched():  # as `measurements` does it
            run = lanczos.tridiagonalise(
                watch, problem.vector(), steps, dtype=hessian.dtype, tolerance=tolerance
            )
        values = lanczos.ritz(run).values
        return Ends(values[0], values[-1], watch.seconds), watch.calls


class ByHand(Tool):
    """What the papers describe: two backward passes per chunk, the basis on the host in float32."""

    name, distribution = "two backward passes by hand", None
    recurrence = "once, float32, on the host"

    def product(self, problem: Problem, *, keep: bool) -> Product:
        """Prepare v -> H v."""
        model = copy.deepcopy(problem.model)
        parameters = list(model.parameters())

        def multiply(vector: Tensor) -> Tensor:
            total = torch.zeros_like(vector)
            for inputs, targets in problem.batches:
                model.zero_grad()
                with cycles_are_known():
                    F.cross_entropy(model(inputs), targets).backward(create_graph=True)
                gradient = flatten([p.grad for p in parameters])
                model.zero_grad()
                (gradient @ vector).backward()
                share = len(inputs) / len(problem.inputs)
                total += flatten([p.grad for p in parameters]) * share
            return total

        return multiply

    def run(self, problem: Problem, steps: int) -> Ends:
        """Do Lanczos steps from a random vector, everything included."""
        watch = Stopwatch(self.product(problem, keep=False), problem.device)
        basis = torch.zeros(steps, problem.num_params)
        vector = problem.vector().float().cpu()
        diagonal, off_diagonal = torch.zeros(steps), torch.zeros(steps)
        for step in range(steps):
            basis[step] = vector / vector.norm()
            product = watch(basis[step].to(problem.device, problem.dtype)).float().cpu()
            diagonal[step] = product @ basis[step]
            vector = product - basis[: step + 1].T @ (basis[: step + 1] @ product)
            off_diagonal[step] = vector.norm()
        return ends_of(jacobi_values(diagonal, off_diagonal[:-1]), watch)


def kept_by_hand(problem: Problem) -> Product:
    """Keep the gradient's graph of a single chunk, in the plainest way."""
    model = copy.deepcopy(problem.model)
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(problem.inputs), problem.targets)
    pieces = torch.autograd.grad(loss, parameters, create_graph=True)

    def multiply(vector: Tensor) -> Tensor:
        parts = split(vector, parameters)
        return flatten(torch.autograd.grad(pieces, parameters, parts, retain_graph=True))

    return multiply


def split(vector: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    parts = vector.split([p.numel() for p in parameters])
    return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


def flatten(tensors: Any) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def jacobi_values(diagonal: Tensor, off_diagonal: Tensor) -> Tensor:
    matrix = torch.diag(diagonal) + torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1)
    return torch.linalg.eigvalsh(matrix)


def ends_of(values: Tensor, watch: Stopwatch) -> Ends:
    return Ends(values.min().item(), values.max().item(), watch.seconds)


@contextmanager
def cycles_are_known() -> Iterator[None]:
    """Silence the warning that `backward(create_graph=True)` makes reference cycles."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*reference cycle")
        yield
