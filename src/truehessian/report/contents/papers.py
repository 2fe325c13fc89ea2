"""The numbers of a run beside published ones."""

from truehessian.report.contents.base import Content, Table

PAPERS = Content("papers", "papers", table=Table())
