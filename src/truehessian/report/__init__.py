"""The report: results of runs in, one self-contained HTML page out.

`collect` reads what a run has left in its folder, `render` makes the page. Every number in its
sentences is computed from the tables; what a run did not make is left out with a note.
"""

from truehessian.report.page import render
from truehessian.report.run import RunReport, collect

__all__ = ["RunReport", "collect", "render"]
