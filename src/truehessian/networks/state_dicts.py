"""State dicts of other programs: which names they mean, what may be missing, what must not be."""

import collections
import logging
import os
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

logger = logging.getLogger(__name__)

# Components of names that wrappers put in anywhere: torch.compile, FSDP, recomputed activations.
_INNER = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_OUTER = ("module.", "model.")  # of networks that are wrapped themselves, such as in DataParallel
_COUNTER = "num_batches_tracked"  # of batch normalisation, without a part in what it computes
_LISTED = 3  # names in a sentence


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Give the state dict of a network.

    Raises
    ------
    ValueError
        Something in it is no tensor, such as the extra state of quantised layers.
    """
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"the network keeps {name} ({type(value).__name__}), which is no tensor and has no "
                "place in a checkpoint; use a network without such a state"
            )
    return state


def load(model: nn.Module, tensors: Mapping[str, Tensor], source: str | os.PathLike) -> None:
    """Put a user's weights and buffers into a network, in place.

    All names may stand under a prefix (`module.`, `state_dict.model.`, ...), in the file or in the
    network; entries outside of the prefix are left out with a warning. Numbers are rounded to the
    network's precision. Weights may be missing whose memory the network shares with others that
    are there, and so may buffers of integers, such as counters and tables of positions, which
    the network has made itself.

    Parameters
    ----------
    model
        The network, in memory.
    tensors
        By name, on the CPU.
    source
        The file, for errors.

    Raises
    ------
    ValueError
        Names are missing, unknown or ambiguous; a shape differs; whole numbers stand for weights;
        a weight is not finite; or weights that the network shares have two values.
    """
    expected = tensors_of(model)
    found = _matched(source, tensors, expected)
    misshapen = [name for name in found if _shapes_differ(found, expected, name)]
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name in found.keys() & expected.keys():
        _check_values(source, name, found[name], expected[name], finite=name in parameters)
    # Layers may know older names of their weights, so PyTorch is asked which are missing.
    fitting = {name: tensor for name, tensor in found.items() if name not in misshapen}
    try:
        missing, unknown = model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"{source} does not fit the model: {' '.join(str(error).split())}"
        ) from error
    needed = set(missing) - _dispensable(expected, found.keys(), parameters) | set(misshapen)
    refused = {name: found[name] for name in (*unknown, *misshapen)}
    check_fit(source, {name: expected[name] for name in expected if name in needed}, refused)
    _check_loaded(source, expected, found)


def check_fit(
    source: str | os.PathLike, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Refuse names and shapes that are not those expected, with the first of them."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not expected" for name in found if name not in expected]
    problems += [
        f"{name} has shape {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if _shapes_differ(found, expected, name)
    ]
    if problems:
        raise ValueError(f"{source} does not fit the model: {_some(problems)}")


def _matched(
    source: str | os.PathLike, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give a file's tensors the names of the network, as far as it has them."""
    outer = _common_prefix(expected)
    known = {_unwrapped(name).removeprefix(outer): name for name in expected}
    theirs = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    if len(theirs) < len(tensors):
        raise ValueError(f"{source} holds weights both of a wrapped network and of a plain one")
    prefix = _prefix_of(source, theirs, known, outer)
    outside = [name for name in theirs if not name.startswith(prefix)]
    if outside:
        logger.warning("%s: only names under %s are taken, not %s", source, prefix, _some(outside))
    found = {}
    for name, tensor in theirs.items():
        inner = name.removeprefix(prefix)
        is_counter = inner.rpartition(".")[2] == _COUNTER
        if name in outside or (is_counter and inner not in known):
            continue
        ours = known.get(inner, inner)
        single = ours in expected and expected[ours].ndim == 0 and tensor.numel() == 1
        found[ours] = tensor.reshape(()) if single else tensor
    return found


def _prefix_of(
    source: str | os.PathLike, theirs: Iterable[str], known: Collection[str], own: str
) -> str:
    """Find the prefix under which most of the known names are found, the network's `own` first."""
    counts = collections.Counter(
        name[: len(name) - len(rest)] for name in theirs for rest in _endings(name) if rest in known
    )
    most = max(counts.values(), default=0)
    best = [prefix for prefix, count in counts.items() if count == most]
    for preferred in ("", own):
        if preferred in best or not best:
            return preferred
    if len(best) > 1:
        raise ValueError(
            f"{source} holds the weights several times, under {' and '.join(sorted(best))}; save "
            "only those that are meant"
        )
    return best[0]


def _endings(name: str) -> Iterable[str]:
    """Give the name, the name without its first component, without its first two, and so on."""
    parts = name.split(".")
    return (".".join(parts[first:]) for first in range(len(parts)))


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _INNER)


def _common_prefix(names: Iterable[str]) -> str:
    """Find what all names of a wrapped network begin with."""
    rest, prefix = [_unwrapped(name) for name in names], ""
    while rest and (found := [p for p in _OUTER if all(name.startswith(p) for name in rest)]):
        prefix += found[0]
        rest = [name.removeprefix(found[0]) for name in rest]
    return prefix


def _shapes_differ(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str) -> bool:
    return name in found and name in expected and found[name].shape != expected[name].shape


def _check_values(
    source: str | os.PathLike, name: str, tensor: Tensor, expected: Tensor, *, finite: bool
) -> None:
    """Refuse numbers that the network's precision cannot stand for."""
    if expected.is_floating_point() or expected.is_complex():
        if not tensor.is_floating_point() and not (tensor.is_complex() and expected.is_complex()):
            raise ValueError(
                f"{source}: {name} has {tensor.dtype} instead of {expected.dtype}, perhaps because "
                "the weights are quantised; save them as floating-point numbers"
            )
        if finite and not tensor.to(expected.dtype).isfinite().all():
            raise ValueError(
                f"{source}: {name} is not finite in {expected.dtype}; the weights have diverged or "
                "are damaged"
            )
    elif not tensor.to(expected.dtype).to(tensor.dtype).equal(tensor):
        raise ValueError(
            f"{source}: {name} has values of {tensor.dtype} that {expected.dtype} does not have"
        )


def _dispensable(
    expected: Mapping[str, Tensor], found: Collection[str], parameters: Collection[str]
) -> set[str]:
    """Names that a file need not have: of shared memory, and of buffers that nobody trains."""
    covered = {_view(expected[name]) for name in found if name in expected}
    whole = {
        expected[name].untyped_storage().data_ptr()
        for name in found
        if name in expected and expected[name].nbytes == expected[name].untyped_storage().nbytes()
    }
    return {
        name
        for name, tensor in expected.items()
        if _view(tensor) in covered
        or tensor.untyped_storage().data_ptr() in whole
        or (name not in parameters and not (tensor.is_floating_point() or tensor.is_complex()))
    }


def _view(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor's numbers lie."""
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)


def _check_loaded(
    source: str | os.PathLike, loaded: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Refuse a file with two values for weights that the network shares: the last one has won."""
    for name in loaded.keys() & found.keys():
        if not _equal(loaded[name], found[name].to(loaded[name].dtype)):
            raise ValueError(
                f"{source}: {name} shares its memory with other weights of the network, but the "
                "file has other values for them; use a network that does not share them"
            )


def _equal(tensor: Tensor, other: Tensor) -> bool:
    return bool(((tensor == other) | ((tensor != tensor) & (other != other))).all())


def _some(items: list[str]) -> str:
    more = f", and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return f"{', '.join(items[:_LISTED])}{more}"
