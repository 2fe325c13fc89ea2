"""Losses by name, or by the import path of a user's own.

A loss is a function (outputs, targets) -> scalar, a mean over the examples that it is given. Where
examples do not count alike it has a method `weights(targets)` as well; see `base.WeightedLoss`.
"""

from truehessian.registry import Registry

_HERE = "truehessian.networks.losses."

LOSSES = Registry(
    "loss",
    {
        "cross_entropy": _HERE + "cross_entropy:CrossEntropy",
        "next_token": _HERE + "next_token:NextToken",
        "nll_loss": _HERE + "log_likelihood:NegativeLogLikelihood",
        "mse": _HERE + "squares:MeanSquaredError",
        "binary_cross_entropy": _HERE + "binary:BinaryCrossEntropy",
    },
    own=True,
)
