"""Figures: arrays and DataFrames in, matplotlib `Figure` out, and a deterministic `save`.

One style for all: colours and markers mean the same in every figure, text is 8 to 9 pt at the
printed size, and no figure touches the global state of pyplot.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
