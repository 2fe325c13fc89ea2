"""Captions of figures and tables: Markdown templates, filled with the numbers of the run."""

from typing import Any

import markdown
from jinja2 import Environment, Template, TemplateNotFound
from markupsafe import Markup

from truehessian.report.contents import CONTENTS, catalogue
from truehessian.report.run import RunReport


def of_figure(engine: Environment, run: RunReport, name: str) -> Markup:
    """Write the caption of a figure, `stem-batch-32-5`; empty if there is none for its kind."""
    kind, numbers = catalogue.parse(name)
    if kind not in CONTENTS:
        return Markup()
    content = CONTENTS.load(kind)
    template = _template(engine, content.caption, content.template or kind)
    return _rendered(template, _facts(run, numbers) | content.facts(run, numbers))


def of_table(engine: Environment, run: RunReport, name: str) -> Markup:
    """Write the caption of a table; empty if there is none."""
    if name not in CONTENTS:
        return Markup()
    content = CONTENTS.load(name)
    template = _template(engine, content.table_caption, f"table-{name}")
    return _rendered(template, _facts(run, {}) | content.facts(run, {}))


def _facts(run: RunReport, numbers: dict[str, int]) -> dict[str, Any]:
    return {"run": run, "summary": run.summary, **numbers}


def _template(engine: Environment, text: str | None, file: str) -> Template | None:
    if text is not None:
        return engine.from_string(text)
    try:
        return engine.get_template(f"{file}.md")
    except TemplateNotFound as error:
        if error.name != f"{file}.md":
            raise
        return None


def _rendered(template: Template | None, facts: dict[str, Any]) -> Markup:
    if template is None:
        return Markup()
    # The template engine has escaped every value; what remains of HTML is the template's own.
    return Markup(markdown.markdown(template.render(facts), output_format="html"))  # noqa: S704
