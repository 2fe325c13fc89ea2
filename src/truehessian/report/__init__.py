"""The report: results of runs in, one self-contained HTML page out.

`collect` reads what a run has left in its folder, `render` makes the page. Every number in its
sentences is computed from the tables; what a run did not make is left out with a note.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
