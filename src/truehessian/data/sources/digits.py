"""The handwritten digits that come with scikit-learn: no disk and no network are needed."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from truehessian.data.catalogue import DatasetInfo, Labelled, Origin


class Digits:
    """1,797 grey images of 8 x 8 pixels, in one set.

    The grey values 0 .. 16 are kept as 0, 15, .. 240, and mean and std are in these units.
    """

    def info(self) -> DatasetInfo:
        """Say what the data are."""
        return DatasetInfo(10, (1, 8, 8), 1797, None, 1, False, (0.2873,), (0.3539,))

    def origin(self, settings: Mapping[str, Any]) -> Origin:
        """Name the distribution that the images come with."""
        return Origin({}, {"scikit-learn": metadata.version("scikit-learn")})

    def read(self, settings: Mapping[str, Any]) -> tuple[Labelled, None]:
        """Read all images, uint8 (N, 1, 8, 8), and their labels."""
        import numpy as np
        import torch
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy((digits.images * 15).astype(np.uint8))[:, None]
        return (images, torch.from_numpy(digits.target.astype(np.int64))), None


DIGITS = Digits()
