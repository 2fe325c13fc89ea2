"""Targets that a network draws itself, and the loss of the distribution that they come from."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from truehessian import streams
from truehessian.data import trees
from truehessian.data.trees import Tree, cast
from truehessian.networks.losses.base import made
from truehessian.networks.losses.cross_entropy import IGNORED, CrossEntropy
from truehessian.networks.losses.recognition import recognised
from truehessian.networks.losses.squares import MeanSquaredError
from truehessian.operators.batches import Data
from truehessian.operators.fisher import check_rows
from truehessian.operators.frozen import FrozenNetwork
from truehessian.operators.losses import Loss, logits_of, name_of
from truehessian.operators.memory import is_out_of_memory
from truehessian.operators.precision import arithmetic

PURPOSE = "fisher"  # of the streams of random numbers
_CHUNK = 128  # examples whose targets are drawn at once where no product says how many
_AT_ONCE = 2**20  # probabilities that are summed up at once


class DrawnLoss:
    """The loss of a distribution, averaged over S targets drawn for each example.

    Parameters
    ----------
    loss
        `cross_entropy`, `next_token` or `mse` of `networks.losses`, or PyTorch's.

    Raises
    ------
    ValueError
        It is another one, or weighs classes.
    """

    def __init__(self, loss: Loss | str) -> None:
        known = recognised(made(loss) if isinstance(loss, str) else loss)
        self.__name__ = loss if isinstance(loss, str) else name_of(loss)
        if not isinstance(known, CrossEntropy | MeanSquaredError):
            raise ValueError(
                "the fisher matrix needs a loss that says how targets are distributed, torch's "
                f"cross_entropy or mse_loss with reduction='mean', got {self.__name__}; take the "
                "operator ggn for others"
            )
        self.is_categorical = isinstance(known, CrossEntropy)
        self._known: Any = known
        if getattr(known, "weight", None) is not None:
            raise ValueError(
                f"the fisher matrix of {self.__name__} has no weights of classes, since the model "
                "draws its targets itself; leave them out, or take the operator ggn"
            )

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss for outputs and targets drawn for them, a mean over all."""
        function = F.cross_entropy if self.is_categorical else F.mse_loss
        draws = [targets[:, number] for number in range(targets.shape[1])]
        return torch.stack([function(self.view(outputs, drawn), drawn) for drawn in draws]).mean()

    takes_logits = True

    def weights(self, targets: Tensor) -> Tensor | None:
        """Count the predictions of each example that are drawn for."""
        if not self.is_categorical:
            return None
        return (targets[:, 0] != IGNORED).reshape(len(targets), -1).sum(1).double()

    def count(self, targets: Tensor) -> int:
        """Count the predictions that are drawn for independently of each other."""
        weights = self.weights(targets)
        return len(targets) if weights is None else int(weights.sum())

    def view(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Give what targets are drawn for, (B, C, ..), as a view of the outputs."""
        if not self.is_categorical:
            return outputs
        logits: Tensor = self._known.arranged(outputs, targets)
        return logits

    def ignored(self, targets: Tensor) -> Tensor:
        """Tell which predictions do not count, by the targets of the data; as targets are drawn."""
        found: Tensor = self._known.aligned(targets) == self._known.ignore_index
        return found

    def draw(self, outputs: Tensor, seed: int, first: int, num_samples: int) -> Tensor:
        """Draw targets from the distribution that the outputs are the parameters of.

        Parameters
        ----------
        outputs
            Shape (B, C, ..), see `view`, on the CPU.
        seed, first
            Of the user, and the number of the first example among all.
        num_samples
            S.

        Returns
        -------
        Tensor
            Classes (B, S, ..), or normal numbers (B, S, C, ..) in the outputs' precision.
        """
        generators = [streams.generator(seed, PURPOSE, first + i) for i in range(len(outputs))]
        if not self.is_categorical:
            shape = (num_samples, *outputs.shape[1:])
            normal = torch.stack([torch.from_numpy(g.standard_normal(shape)) for g in generators])
            scale = (outputs[0].numel() / 2) ** 0.5
            return (outputs[:, None] + scale * normal).to(outputs.dtype)
        shape = (num_samples, *outputs.shape[2:])
        uniform = torch.stack([torch.from_numpy(g.random(shape)) for g in generators])
        rows = max(1, _AT_ONCE // outputs[0].numel())
        parts = zip(outputs.split(rows), uniform.split(rows), strict=True)
        return torch.cat([_classes(*part) for part in parts])


def _classes(logits: Tensor, uniform: Tensor) -> Tensor:
    """Turn logits (B, C, ..) and numbers in [0, 1), (B, S, ..), into classes (B, S, ..)."""
    rising = logits.double().softmax(1).cumsum(1).movedim(1, -1).contiguous()
    wanted = (uniform.movedim(1, -1) * rising[..., -1:]).contiguous()
    found = torch.searchsorted(rising, wanted, right=True)  # never a class that is impossible
    return found.clamp(max=logits.shape[1] - 1).movedim(-1, 1).contiguous()


class Drawing(NamedTuple):
    """How targets are drawn."""

    network: FrozenNetwork
    loss: DrawnLoss
    num_samples: int
    seed: int
    precision: str

    def targets(self, data: Data, size: int, dtype: torch.dtype) -> Tensor:
        """Draw the targets of all examples, shape (N, S, ..), on the CPU."""
        parts: list[Tensor] = []
        first = 0
        for chunk in data.chunks(size, dtype):
            parts.append(self._of(*chunk, first))
            first += trees.count(chunk[1])
        with torch.inference_mode(False):
            return torch.cat(parts)

    def _of(self, inputs: Tree, targets: Tree, first: int) -> Tensor:
        """Draw targets of some examples, in halves where the memory is short."""
        count = trees.count(targets)
        try:
            with arithmetic(self.precision), torch.no_grad():
                outputs = logits_of(self.network(trees.moved(inputs, self.network.device)))
                self._check(outputs, count)
                return self._drawn(outputs.cpu(), trees.moved(targets, "cpu"), first)
        except Exception as error:
            if count < 2 or not is_out_of_memory(error):
                raise
        halves = [slice(0, count // 2), slice(count // 2, count)]
        return torch.cat(
            [
                self._of(trees.rows(inputs, half), trees.rows(targets, half), first + half.start)
                for half in halves
            ]
        )

    def _drawn(self, outputs: Tensor, targets: Tree, first: int) -> Tensor:
        """Draw targets where those of the data are not ignored."""
        if not self.loss.is_categorical:
            return self.loss.draw(outputs, self.seed, first, self.num_samples)
        logits = self.loss.view(outputs, targets)
        drawn = self.loss.draw(logits, self.seed, first, self.num_samples)
        ignored = self.loss.ignored(targets)
        if ignored.shape == (len(logits), *logits.shape[2:]):
            drawn.masked_fill_(ignored[:, None], IGNORED)
        return drawn

    def _check(self, outputs: Any, count: int) -> None:
        if not isinstance(outputs, Tensor):
            raise ValueError(
                "the fisher needs a network whose output is one tensor, and this one gives a "
                f"{type(outputs).__name__}; wrap it in a module that gives what the loss needs"
            )
        check_rows(outputs, count)
        if self.loss.is_categorical and outputs.ndim < 2:
            raise ValueError(
                f"the fisher of cross_entropy needs logits of shape ({count}, classes, ..), got "
                f"outputs of shape {tuple(outputs.shape)}"
            )


class DrawnTargets:
    """Examples whose targets the network has drawn, once for all passes.

    Parameters
    ----------
    data
        The inputs.
    how
        Draws the targets, when they are first asked for.
    targets
        Those that have been drawn already, shape (N, S, ..).
    """

    def __init__(self, data: Data, how: Drawing, targets: Tensor | None = None) -> None:
        self._data, self._how, self._targets = data, how, targets

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return self._data.num_examples

    @property
    def sizes(self) -> list[int]:
        """Number of examples of each batch, where the data are batches."""
        found: list[int] = self._data.sizes  # type: ignore[attr-defined]
        return found

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tree, Tensor]]:
        """Iterate over inputs and the targets that were drawn for them."""
        targets = self._drawn(size, dtype)
        begin = 0
        for inputs, own in self._data.chunks(size, dtype):
            end = begin + trees.count(own)
            yield inputs, cast(targets[begin:end], dtype)
            begin = end

    def subset(self, order: Tensor) -> "DrawnTargets":
        """Put the examples into another order, each with its targets; batches stay as they are."""
        data: Any = self._data
        if not hasattr(data, "subset"):
            return self
        targets = self._drawn(_CHUNK, self._how.network.dtype)
        return DrawnTargets(data.subset(order), self._how, targets[order.cpu()])

    def _drawn(self, size: int, dtype: torch.dtype) -> Tensor:
        if self._targets is None:
            self._targets = self._how.targets(self._data, size, dtype)
        return self._targets
