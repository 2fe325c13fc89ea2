"""A configuration as text: every key with what it means, as the models say."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from truehessian.pipeline.config.fields import Section
from truehessian.pipeline.config.run import Run

_WIDTH = 100


def configuration(name: str, run: Run, remarks: Mapping[str, str], heading: str) -> str:
    """Write the configuration of one run, as YAML.

    Parameters
    ----------
    name
        Of the run, which is the one to do.
    run
        With all that it has.
    remarks
        On keys, by their dotted paths below the run; they go behind what the models say.
    heading
        Comment above everything.
    """
    above = [f"# {line}" for line in textwrap.wrap(heading, _WIDTH - 2)]
    body = _keys(run, run.model_dump(), remarks, "", "    ")
    return "\n".join([*above, "", f"analyse: {_flow([name])}", "runs:", f"  {name}:", *body, ""])


def _keys(
    model: BaseModel, values: Mapping[str, Any], remarks: Mapping[str, str], path: str, indent: str
) -> Iterator[str]:
    fields = type(model).model_fields
    for key, value in values.items():
        where = f"{path}{key}"
        part = getattr(model, key, None)
        said = fields[key].description if key in fields else None
        kind = _section_of(fields[key].annotation) if key in fields else None
        if isinstance(part, Section):
            yield from _comment(_joined(said, type(part), remarks.get(where)), indent)
            yield f"{indent}{key}:"
            yield from _keys(part, value, remarks, f"{where}.", f"{indent}  ")
            continue
        line = f"{indent}{key}: {_flow(value)}"
        comment = _joined(said, kind if value is None else None, remarks.get(where))
        if len(line) + len(comment) + 3 <= _WIDTH:
            yield f"{line} # {comment}" if comment else line
        else:
            yield from _comment(comment, indent)
            yield line


def _joined(said: str | None, section: type[Section] | None, remark: str | None) -> str:
    """Put together what a field, its section and a remark say."""
    doc = (section.__doc__ or "").strip().partition("\n")[0] if section else None
    return " ".join(filter(None, [said, doc, remark and f"{remark[0].upper()}{remark[1:]}."]))


def _section_of(annotation: Any) -> type[Section] | None:
    """Find the section that a field may be beside null."""
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    found = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section))
    return next(found, None)


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH - len(indent) - 2):
        yield f"{indent}# {line}"


def _flow(value: Any) -> str:
    """Write a value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
