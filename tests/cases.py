"""Tiny networks with everything that products have to cope with, and dense references."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from truehessian.operators import Operator


class Convolutional(nn.Module):
    """Convolution, BatchNorm, ReLU, max-pooling, dropout, a frozen layer and an unused one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.5)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(8, 3)
        self.head.bias.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.pool(torch.relu(self.norm(self.conv(inputs))))
        return self.head(self.dropout(hidden.flatten(1)))


class Smooth(nn.Sequential):
    """Two tanh layers: every second derivative is at work."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3))


def network(kind: type[nn.Module], seed: int = 0, example: Tensor | None = None) -> nn.Module:
    """Build a network in float64; an example settles the shapes of its lazy layers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind().double()
        if example is not None:
            model.eval()(example)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
    return model


def examples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 1, 4, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (count,), generator=generator)


@sdpa_kernel(SDPBackend.MATH)
def dense_hessian(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The Hessian by differentiating twice, in the order of `named_parameters`, in eval mode."""
    model = copy.deepcopy(model).eval()
    shapes = {name: p.shape for name, p in model.named_parameters()}
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([shape.numel() for shape in shapes.values()])
        parameters = {
            name: part.view(shape)
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }
        return F.cross_entropy(torch.func.functional_call(model, parameters, (inputs,)), targets)

    # Row by row: torch.func, which batches the rows, gives no symmetric matrix with LayerNorm.
    flat.requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(flat), flat, create_graph=True)
    rows = [torch.autograd.grad(entry, flat, retain_graph=True)[0] for entry in gradient]
    return torch.stack(rows)


@sdpa_kernel(SDPBackend.MATH)
def dense_ggn(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Jᵀ (diag p - p pᵀ) J averaged over examples, with the Jacobian by torch.func."""
    model = copy.deepcopy(model).eval()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    jacobians = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, (inputs,)))(
        parameters
    )
    jacobian = torch.cat([j.flatten(2) for j in jacobians.values()], dim=2)  # (N, C, P)
    p = torch.softmax(torch.func.functional_call(model, parameters, (inputs,)), 1)
    weight = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("ncp,ncd,ndq->pq", jacobian, weight, jacobian) / len(targets)


@sdpa_kernel(SDPBackend.MATH)
def dense_by_two_passes(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Any = F.cross_entropy
) -> Tensor:
    """The Hessian in float64 and eval mode, row by row, with nothing but autograd."""
    model = copy.deepcopy(model).double().eval()
    leaves = [p.requires_grad_() for p in model.parameters()]
    options = {"allow_unused": True, "materialize_grads": True}
    torch.set_default_dtype(torch.float64)  # of what the network makes on the way
    try:
        value = loss(model(inputs), targets)
        gradient = torch.autograd.grad(value, leaves, create_graph=True, **options)
    finally:
        torch.set_default_dtype(torch.float32)
    rows = [
        torch.autograd.grad(entry, leaves, retain_graph=True, **options)
        if entry.requires_grad
        else [torch.zeros_like(leaf) for leaf in leaves]
        for entry in torch.cat([part.reshape(-1) for part in gradient])
    ]
    return torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])


@sdpa_kernel(SDPBackend.MATH)
def dense_fisher(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The mean of g gᵀ over examples, with each example's gradient by torch.func."""
    model = copy.deepcopy(model).eval()
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def losses(p: dict[str, Tensor]) -> Tensor:
        outputs = torch.func.functional_call(model, p, (inputs,))
        return F.cross_entropy(outputs, targets, reduction="none")

    gradients = torch.func.jacrev(losses)(parameters)
    matrix = torch.cat([g.flatten(1) for g in gradients.values()], dim=1)  # (N, P)
    return matrix.T @ matrix / len(targets)


class Dense(Operator):
    """A matrix that is written down."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(len(matrix), torch.float64, torch.device("cpu"))
        self.matrix = matrix

    def matmat(self, block: Tensor) -> Tensor:
        return block @ self.matrix

    def describe(self) -> dict[str, Any]:
        return {"operator": "dense", "num_parameters": self.num_params}
