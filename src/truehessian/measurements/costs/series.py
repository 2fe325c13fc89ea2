"""What all measurements cost alike: Lanczos recurrences, and products along given directions."""

from typing import NamedTuple


class Series(NamedTuple):
    """Products of one kind that a job makes, at most; `tolerance` may stop recurrences earlier.

    Attributes
    ----------
    name
        What is measured, as its file is called.
    examples
        Examples per product.
    steps
        Lanczos steps per start vector.
    probes
        Start vectors of each matrix.
    matrices
        How many matrices there are, such as those of the folds.
    held
        Of how many of them the Lanczos vectors are held at once.
    further
        Products beside those of the recurrences.
    number
        Batch size, factor and the like that the name ends with; 0 where it ends with none.
    """

    name: str
    examples: int
    steps: int = 0
    probes: int = 1
    matrices: int = 1
    held: int = 1
    further: int = 0
    number: int = 0

    @property
    def products(self) -> int:
        """Products with a curvature matrix."""
        return self.matrices * self.probes * self.steps + self.further

    @property
    def basis_vectors(self) -> int:
        """Lanczos vectors of length P that are held at once."""
        return self.held * self.probes * self.steps

    @property
    def work(self) -> int:
        """Products times examples."""
        return self.products * self.examples
