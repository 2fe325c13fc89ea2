"""Curvature matrices of a network's mean loss, known by their products with vectors.

Every operator is a fixed symmetric matrix: it keeps its own copy of the weights and a fixed,
ordered set of examples, and two products with the same vector give the same bits on one device.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
