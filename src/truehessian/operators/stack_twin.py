"""The twin of a stack: each batch's few examples by themselves, differentiated plainly."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree, all_finite, cast
from truehessian.operators.autograd.bilinear import RulesDoNotHold
from truehessian.operators.diagnosis import ComputationError, words
from truehessian.operators.enlivened import Enlivened
from truehessian.operators.folded import FoldedNetwork
from truehessian.operators.mean import NetworkOperator
from truehessian.operators.memory import is_out_of_memory, saved_bytes
from truehessian.operators.precision import arithmetic
from truehessian.operators.stack import Stack
from truehessian.operators.twin import TOLERANCE, gap
from truehessian.operators.weights import that_count

_SEED = 20_232  # of the vectors of the comparison, which have no part in any result


class Verdict(NamedTuple):
    """What a comparison shows.

    Attributes
    ----------
    reason
        Why batches do not go in one graph; empty where they do.
    bytes_per_example
        That the graph saves.
    bytes_per_layer
        Of them in the mean over the tensors that it saves.
    """

    reason: str
    bytes_per_example: float = 0.0
    bytes_per_layer: float = 0.0


@arithmetic("float32")  # never in less than the operator's own, as TF32 would be
def examine(
    operator: NetworkOperator, batches: Sequence[tuple[Tree, Tree]], network: FoldedNetwork
) -> Verdict:
    """Compare products in one graph with plain ones of two examples of each of two batches.

    Parameters
    ----------
    operator
        Settled.
    batches
        Examples of two batches, as many of each.
    network
        The operator's for two batches.

    Returns
    -------
    Verdict
        Whether they agree, and what the graph takes.
    """
    chosen = [_two(operator, *pair) for pair in batches]
    if len({trees.count(targets) for _, targets in chosen}) > 1:
        return Verdict("batches have different numbers of examples that count")
    directions = _directions(operator, len(chosen))
    operator = operator.with_loss(Enlivened(operator.loss))
    operator._audit = None
    try:
        with saved_bytes(besides=network.leaves) as saved:
            stack = Stack.of_examples(operator, network, chosen)
        together = stack.products(directions)
        reason = _deviation(operator, network, chosen, directions, together)
    except (RulesDoNotHold, ComputationError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        return Verdict(words(error))
    examples = sum(trees.count(targets) for _, targets in chosen)
    per_example = saved.bytes / examples
    return Verdict(reason, per_example, per_example / max(saved.storages, 1))


def _two(operator: NetworkOperator, inputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
    """Take two examples that count, or the one that there is."""
    inputs, targets = (trees.moved(tree, operator.device) for tree in (inputs, targets))
    first = that_count(operator.loss, targets, 2)
    return trees.rows(inputs, first), trees.rows(targets, first)


def _directions(operator: NetworkOperator, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(_SEED)
    shape = (count, operator.num_params)
    return torch.randn(shape, generator=generator, dtype=operator.dtype).to(operator.device)


def _plain(
    operator: NetworkOperator, batches: Sequence[tuple[Tree, Tree]], directions: Tensor
) -> Tensor:
    """Multiply the matrix of each batch by itself, by plain differentiation."""
    return torch.stack(
        [
            operator.try_out(*pair, [direction], plain=True)[1][0]
            for pair, direction in zip(batches, directions, strict=True)
        ]
    )


def _deviation(
    operator: NetworkOperator,
    network: FoldedNetwork,
    batches: Sequence[tuple[Tree, Tree]],
    directions: Tensor,
    together: Tensor,
) -> str:
    """Tell whether products in one graph are others than plain ones by more than rounding."""
    plain = _plain(operator, batches, directions)
    if not all_finite([plain]):
        return ""  # for the product to complain about
    if _gap(operator, together, plain) <= TOLERANCE[operator.dtype]:
        return ""
    if operator.dtype != torch.float64:
        operator, directions = operator.double(), directions.double()
        batches = [cast(pair, torch.float64) for pair in batches]
        network = FoldedNetwork(operator.network, network.folds)
        together = Stack.of_examples(operator, network, batches).products(directions)
        plain = _plain(operator, batches, directions)
    apart = _gap(operator, together, plain)
    if apart <= TOLERANCE[torch.float64]:
        return ""
    return f"products in one graph deviate from plain ones by {apart:.1e}"


def _gap(operator: NetworkOperator, together: Tensor, plain: Tensor) -> float:
    return max(gap(operator, *pair) for pair in zip(together, plain, strict=True))
