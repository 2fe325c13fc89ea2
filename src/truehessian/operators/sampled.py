"""The Fisher information matrix, of targets that the network draws itself."""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian import streams
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.batches import Data
from truehessian.operators.closed_forms import Weigher
from truehessian.operators.draws import PURPOSE, Drawing, DrawnLoss, DrawnTargets
from truehessian.operators.fisher import EmpiricalFisher
from truehessian.operators.ggn import slope_of

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
        streams.generator(seed, PURPOSE)  # complains about what is no seed
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
        loss, drawn_loss = self.loss, self.drawn_loss
        samples, count = targets.shape[1], drawn_loss.count(targets)

        def view(tensor: Tensor) -> Tensor:
            return drawn_loss.view(tensor, targets[:, 0])

        def gradients(number: int) -> Tensor:  # of each prediction's own loss
            drawn = targets[:, number : number + 1]
            return view(slope_of(loss, outputs, drawn, curved=False)[1]) * count

        few = samples * outputs.numel() <= _KEPT
        kept = [gradients(number) for number in range(samples)] if few else []
        axes = [1] if drawn_loss.is_categorical else list(range(1, outputs.ndim))

        def weigh(pushed: Tensor) -> Tensor:
            weighted = torch.zeros_like(pushed)
            seen, written = view(pushed), view(weighted)
            own: Tensor
            for own in kept or map(gradients, range(samples)):
                written += own * ((own * seen).sum(axes, keepdim=True) / (count * samples))
            return weighted

        return weigh
