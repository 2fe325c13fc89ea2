"""Parts of single examples' Hessians, from which batches are put together.

A pass over the data for each Ritz vector of the full Hessian, one for each step of a short
recurrence on every example's own Hessian, and two for the curvature of what is left; all examples
of a chunk in one graph where that pays.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian import streams, text
from truehessian.measurements import chunks_kept, measuring
from truehessian.measurements.costs import parts as costs
from truehessian.measurements.example_spaces import Arrays, of_examples
from truehessian.measurements.inner_products import Coordinates
from truehessian.operators import NetworkOperator, penalty
from truehessian.operators.folds import Folds, Group
from truehessian.theory.predictions.examples import ExampleParts

logger = logging.getLogger(__name__)

# Examples of a chunk, which may have so many bytes of vectors in work. Both are fixed, so that a
# run that was killed goes on with the same chunks.
_AT_ONCE = 64
_IN_WORK = 512 << 20
_OF_EXAMPLES = ("within", "values", "inside", "outside", "rest", "rest_values")
_SUMS = ("mean_rest", "errors")


class PartsSettings(Protocol):
    """How many examples, and what of each is kept; see `measure`."""

    examples: int | None
    vectors: int
    steps: int
    pairs: int
    dimension: int
    seed: int


class _Matrices(NamedTuple):
    """The Hessians of a group of single examples."""

    group: Group

    def each(self, vectors: Tensor) -> Tensor:
        own = dict(zip(self.group.numbers, vectors, strict=True))
        return torch.stack(self.group.products(own)).to(vectors.dtype)

    def all(self, block: Tensor) -> Tensor:
        return self.group.products_of_all(block, block.dtype)


def measure(
    operator: NetworkOperator,
    vectors: Tensor,
    values: NDArray,
    how: PartsSettings,
    *,
    state: Path | None = None,
) -> ExampleParts:
    """Measure what single examples bring to the Hessians of batches.

    Parameters
    ----------
    operator
        Mean over examples that can be taken one by one, of the loss alone; its chunks do not
        matter.
    vectors, values
        K extremal Ritz vectors as rows, shape (K, P), those of the upper end first and as many of
        the lower one, from the outermost inwards; and their values.
    how
        `examples`: how many random ones at most, None for all; `steps` of Lanczos on each one's own
        matrix; `pairs` of Ritz values kept at each end; `dimension` of the coordinates that parts
        are kept in; `seed` of the choice of examples and of the coordinates.
    state
        Folder for finished chunks, from which a run that was killed goes on to the same bits.

    Raises
    ------
    TypeError
        The data cannot be taken one by one.
    ValueError
        The operator has batch statistics or a weight decay, K is odd, there are too many pairs
        for the steps or too few examples, or `state` belongs to another run.
    FloatingPointError
        A product holds NaN or infinity.
    """
    chosen = _chosen(operator, vectors, how)
    operator.settle()
    vectors = vectors.to(operator.device, operator.dtype)
    coordinates = Coordinates(
        operator.num_params, how.dimension, how.seed, operator.device, operator.dtype
    )
    data: Any = operator.data
    singles = [operator.with_data(data.subset(torch.tensor([i])), 1) for i in chosen]
    weights = operator.with_data(data, 1).weights
    influence = np.array(weights.chunks)[chosen] / (weights.total / operator.num_examples)
    folds = Folds.over(singles)
    found = []
    keep = chunks_kept.Chunks(state, _mark(operator, vectors, how))
    for numbers in _chunks(len(singles), operator, vectors, how):
        arrays = keep.take(numbers)
        if arrays is None:
            arrays = _of_numbers(folds, numbers, vectors, coordinates, influence, how)
            keep.put(numbers, arrays)
        found.append(arrays)
        logger.info("parts of %s of %s examples", numbers[-1] + 1, text.count(len(singles)))
    return _together(found, operator, values, chosen, influence, how, exact=coordinates.is_exact)


def _chosen(operator: NetworkOperator, vectors: Tensor, how: PartsSettings) -> NDArray:
    """Look that all can be done, and draw the examples."""
    penalty.check_absent(operator)
    total = operator.num_examples
    if operator.batchnorm == "train":
        raise ValueError(
            "single examples have no Hessian with batch statistics; use batchnorm: eval"
        )
    if not hasattr(operator.data, "subset"):
        raise TypeError(
            "parts are those of single examples, and these data come in batches of their own; give "
            "a pair of tensors (inputs, targets) or examples"
        )
    if len(vectors) % 2 or not len(vectors):
        raise ValueError(
            f"vectors must hold as many of either end, at least one, got {len(vectors)} in all"
        )
    if not 1 <= how.pairs <= how.steps // 2 or how.steps > operator.num_params:
        raise ValueError(
            f"pairs must be from 1 to half of the {how.steps} steps, and steps at most the "
            f"{operator.num_params} parameters, got {how.pairs} pairs"
        )
    count = total if how.examples is None else min(how.examples, total)
    if count < 2:
        raise ValueError(f"examples must be at least 2, got {count}")
    order = streams.generator(how.seed, "examples with parts").permutation(total)
    return np.sort(order[:count])


def _chunks(
    count: int, operator: NetworkOperator, vectors: Tensor, how: PartsSettings
) -> Iterator[list[int]]:
    """Cut the numbers of the examples into chunks whose vectors fit into memory."""
    rows = 3 * len(vectors) + how.steps + 6 * how.pairs + 6
    each = rows * operator.num_params * operator.dtype.itemsize
    at_once = int(min(max(_IN_WORK // each, 1), _AT_ONCE))
    for begin in range(0, count, at_once):
        yield list(range(begin, min(begin + at_once, count)))


def _mark(operator: NetworkOperator, vectors: Tensor, how: PartsSettings) -> str:
    """Write down what a state belongs to: Ritz vectors tell matrices apart."""
    digest = hashlib.sha256(vectors.cpu().numpy().tobytes()).hexdigest()
    numbers = (how.examples, how.steps, how.pairs, how.dimension, how.seed)
    return f"{measuring.mark_of(operator)} {digest} {numbers}"


def _of_numbers(
    folds: Folds,
    numbers: Sequence[int],
    vectors: Tensor,
    coordinates: Coordinates,
    influence: NDArray,
    how: PartsSettings,
) -> Arrays:
    """Find the parts of the examples of a chunk; one that does not count has none."""
    count, k, parts = len(numbers), len(vectors), 2 * how.pairs
    shapes = {
        "within": (k, k),
        "values": (parts,),
        "inside": (parts, k),
        "outside": (parts, coordinates.dimension),
        "rest": (k, k),
        "rest_values": (2,),
    }
    # Coordinates of a random map are good to a few per cent, and half precision to a thousandth.
    single = vectors.dtype == torch.float32
    kinds: dict[str, Any] = dict.fromkeys(shapes, np.float32 if single else np.float64)
    if single and not coordinates.is_exact:
        kinds["outside"] = np.float16
    found: Arrays = {name: np.zeros((count, *shapes[name]), kinds[name]) for name in shapes}
    found["mean_rest"] = np.zeros((k, coordinates.dimension))
    found["errors"] = np.zeros(2)
    counted = [number for number in numbers if influence[number] > 0]
    for group in folds.groups(counted) if counted else []:
        own = torch.from_numpy(influence[group.numbers]).to(vectors)
        arrays = of_examples(_Matrices(group), vectors, coordinates, own, how.steps, how.pairs)
        group.free()
        places = [number - numbers[0] for number in group.numbers]
        for name in _OF_EXAMPLES:
            found[name][places] = arrays[name]
        for name in _SUMS:
            found[name] += arrays[name]
    return found


def _together(
    found: Sequence[Arrays],
    operator: NetworkOperator,
    values: NDArray,
    chosen: NDArray,
    influence: NDArray,
    how: PartsSettings,
    *,
    exact: bool,
) -> ExampleParts:
    arrays = {name: np.concatenate([own[name] for own in found]) for name in _OF_EXAMPLES}
    sums = {name: np.sum([own[name] for own in found], axis=0) for name in _SUMS}
    count, total = len(chosen), operator.num_examples
    mean = np.tensordot(influence / influence.sum(), arrays["within"], 1)
    if not (influence == 1).all():
        # Influences H + r (H_i - H); what of this lies outside U is r times that of H_i.
        arrays["within"] = mean + influence[:, None, None] * (arrays["within"] - mean)
    offset = sums["mean_rest"] / count
    squares, number = map(float, sums["errors"])
    return ExampleParts(
        ritz_values=np.asarray(values, dtype=np.float64),
        indices=chosen,
        **arrays,
        offset=offset.astype(arrays["inside"].dtype),
        num_examples=total,
        num_parameters=operator.num_params,
        passes=costs.products(how, ritz_vectors=len(mean)) * count / total,
        sketch_error=0.0 if exact else float(np.sqrt(squares / max(number, 1))),
    )
