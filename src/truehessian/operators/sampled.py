"""The Fisher information matrix, of targets that the network draws itself."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian import streams
from truehessian.operators import closed_forms
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.batches import Data, TensorData, cast
from truehessian.operators.closed_forms import Weigher
from truehessian.operators.fisher import EmpiricalFisher, check_rows
from truehessian.operators.frozen import FrozenNetwork
from truehessian.operators.ggn import slope_of
from truehessian.operators.losses import Loss, name_of
from truehessian.operators.memory import is_out_of_memory
from truehessian.operators.precision import arithmetic

_PURPOSE = "fisher"  # of the streams of random numbers
_CHUNK = 128  # examples whose targets are drawn at once where no product says how many
_AT_ONCE = 2**20  # probabilities that are summed up at once
_KEPT = 2**18  # numbers that a chunk's gradients by the outputs may have, to be kept with its graph


class Fisher(EmpiricalFisher):
    """F = (1/N) sum_i (1/S) sum_s g_is g_isᵀ with gradients g_is at targets drawn from the model.

    The targets of the data have no part in it. Where the loss is cross-entropy, S classes are drawn
    for each prediction from the softmax of its logits, and where an example has several predictions
    (pixels, tokens) their matrices are averaged. Where it is the mean of squares, they are drawn
    from the normal distribution around the outputs whose negative logarithm it is: its variance is
    half the number of outputs of an example. Over all draws the mean of the matrix is the GGN.

    Parameters
    ----------
    model, data, **settings
        As of `NetworkOperator`. The loss is PyTorch's `cross_entropy` or `mse_loss`; smoothing of
        labels is left out.
    num_samples
        S, draws per example.
    seed
        Of the draws, which are made once, before the first product, and kept: as many numbers as
        S times the targets. Each example has a stream of its own.

    Raises
    ------
    ValueError
        The loss is another one, or it weighs classes; `num_samples` is no whole number from 1 on;
        batch statistics are on.
    TypeError
        `seed` is no integer.

    References
    ----------
    Martens (2020), New insights and perspectives on the natural gradient method, JMLR 21(146).
    """

    name = "fisher"

    def __init__(
        self,
        model: nn.Module,
        data: object,
        *,
        num_samples: int = 1,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise ValueError(f"num_samples must be a whole number from 1 on, got {num_samples!r}")
        streams.generator(seed, _PURPOSE)  # complains about what is no seed
        self.drawn_loss = DrawnLoss(settings.get("loss", F.cross_entropy))
        super().__init__(model, data, **{**settings, "loss": self.drawn_loss})
        self.num_samples, self.seed = num_samples, seed
        self.data = self._drawn(self.data)

    def with_data(self, data: Data, chunk_size: int) -> Self:
        """As of every operator; targets are drawn for data that have none of ours."""
        return super().with_data(self._drawn(data), chunk_size)

    def describe(self) -> dict[str, Any]:
        """As every operator, with what decides the draws."""
        return {**super().describe(), "num_samples": self.num_samples, "sampling_seed": self.seed}

    def _drawn(self, data: Data) -> "DrawnTargets":
        if isinstance(data, DrawnTargets):
            return data
        how = Drawing(self.network, self.drawn_loss, self.num_samples, self.seed, self.precision)
        return DrawnTargets(data, how)

    def _weigher(self, outputs: Tensor, targets: Tensor, how: ByDefinition) -> Weigher:
        del how
        loss, predictions = self.loss, self.drawn_loss.predictions(outputs)
        count, samples = len(outputs) * predictions, targets.shape[1]
        shape = (len(outputs), -1, predictions)

        def gradients(number: int) -> Tensor:  # of each prediction's own loss
            drawn = targets[:, number : number + 1]
            return (slope_of(loss, outputs, drawn, curved=False)[1] * count).reshape(shape)

        few = samples * outputs.numel() <= _KEPT
        kept = [gradients(number) for number in range(samples)] if few else []

        def weigh(pushed: Tensor) -> Tensor:
            pushed = pushed.reshape(shape)
            weighted = torch.zeros_like(pushed)
            own: Tensor
            for own in kept or map(gradients, range(samples)):
                weighted += own * ((own * pushed).sum(1, keepdim=True) / (count * samples))
            return weighted.view(outputs.shape)

        return weigh


class DrawnLoss:
    """The loss of a distribution, averaged over S targets drawn for each example.

    Parameters
    ----------
    loss
        PyTorch's `cross_entropy` or `mse_loss`, as in `closed_forms.known`.

    Raises
    ------
    ValueError
        It is another one, or weighs classes.
    """

    def __init__(self, loss: Loss) -> None:
        known = closed_forms.known(loss)
        self.__name__ = name_of(loss)
        if known is None:
            raise ValueError(
                "the fisher matrix needs a loss that says how targets are distributed, torch's "
                f"cross_entropy or mse_loss with reduction='mean', got {self.__name__}; take the "
                "operator ggn for others"
            )
        self.is_categorical = isinstance(known, closed_forms.Softmax)
        if isinstance(known, closed_forms.Softmax) and known.weight is not None:
            raise ValueError(
                f"the fisher matrix of {self.__name__} has no weights of classes, since the model "
                "draws its targets itself; leave them out, or take the operator ggn"
            )

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss for outputs (B, C, ..) and targets (B, S, ..), a mean over all."""
        function = F.cross_entropy if self.is_categorical else F.mse_loss
        values = [function(outputs, targets[:, number]) for number in range(targets.shape[1])]
        return torch.stack(values).mean()

    def predictions(self, outputs: Tensor) -> int:
        """Count the targets of an example that are drawn independently of each other."""
        return outputs[0, 0].numel() if self.is_categorical else 1

    def draw(self, outputs: Tensor, seed: int, first: int, num_samples: int) -> Tensor:
        """Draw targets from the distribution that the outputs are the parameters of.

        Parameters
        ----------
        outputs
            Shape (B, C, ..), on the CPU.
        seed, first
            Of the user, and the number of the first example among all.
        num_samples
            S.

        Returns
        -------
        Tensor
            Classes (B, S, ..), or normal numbers (B, S, C, ..) in the outputs' precision.
        """
        generators = [streams.generator(seed, _PURPOSE, first + i) for i in range(len(outputs))]
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
        for inputs, _ in data.chunks(size, dtype):
            parts.append(self._of(inputs, first))
            first += len(inputs)
        with torch.inference_mode(False):
            return torch.cat(parts)

    def _of(self, inputs: Tensor, first: int) -> Tensor:
        """Draw targets of some examples, in halves where the memory is short."""
        try:
            with arithmetic(self.precision), torch.no_grad():
                outputs = self.network(inputs.to(self.network.device))
                self._check(outputs, len(inputs))
                return self.loss.draw(outputs.cpu(), self.seed, first, self.num_samples)
        except Exception as error:
            if len(inputs) < 2 or not is_out_of_memory(error):
                raise
        half = len(inputs) // 2
        return torch.cat([self._of(inputs[:half], first), self._of(inputs[half:], first + half)])

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

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over inputs and the targets that were drawn for them."""
        targets = self._drawn(size, dtype)
        begin = 0
        for inputs, _ in self._data.chunks(size, dtype):
            yield inputs, cast(targets[begin : begin + len(inputs)], dtype)
            begin += len(inputs)

    def subset(self, order: Tensor) -> "DrawnTargets":
        """Put the examples into another order, each with its targets; batches stay as they are."""
        data: Any = self._data
        if isinstance(data, TensorData):
            places = order.to(data.inputs.device)
            data = TensorData(data.inputs[places], data.targets[order.to(data.targets.device)])
        elif hasattr(data, "subset"):
            data = data.subset(order)
        else:
            return self
        targets = self._drawn(_CHUNK, self._how.network.dtype)
        return DrawnTargets(data, self._how, targets[order.cpu()])

    def _drawn(self, size: int, dtype: torch.dtype) -> Tensor:
        if self._targets is None:
            self._targets = self._how.targets(self._data, size, dtype)
        return self._targets
