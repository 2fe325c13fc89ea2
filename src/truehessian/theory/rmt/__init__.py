"""Random matrix theory: laws of noise, free sums of spectra, and what noise does to eigenvalues.

Usable alone, on NumPy arrays: nothing else of this package and no PyTorch is imported.

One sign convention throughout: g(z) = ∫ dμ(λ) / (z - λ), so that g ~ 1/z far away.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
