"""One sentence for what a model does not accept: its dotted path, what is allowed, what came."""

import contextlib
import difflib
import math
import types
from collections.abc import Iterable, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_UNKNOWN = ("extra_forbidden", "invalid_key")
_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}


def of_error(error: ValidationError, model: type[BaseModel]) -> str:
    """Put the first thing that a model does not accept into a sentence.

    Unknown keys come first, because they explain missing ones and not the other way round; then
    what lies least deep.

    Parameters
    ----------
    error
        What the model has raised.
    model
        The model.
    """
    return _sentence(min(error.errors(include_url=False), key=_urgency), model)


def nearest(name: str, known: Iterable[Any]) -> str:
    """Suggest the known name that is spelt most alike, as the end of a sentence; else all."""
    names = [str(item) for item in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(names)}" if names else ""


def one_of(known: Iterable[Any], value: object) -> str:
    """Say that something, whose name goes before, has to be one of what is known."""
    names = [str(item) for item in known]
    hint = nearest(str(value), names)
    return f"must be one of {', '.join(names)}, got {value!r}{hint}"


def _urgency(error: ErrorDetails) -> tuple[bool, int]:
    inside = error["type"] in (*_UNKNOWN, "missing")  # the path ends with the key itself
    return error["type"] not in _UNKNOWN, len(error["loc"]) - inside


def _sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind, place, value = error["type"], error["loc"], error["input"]
    path = ".".join(map(str, place))
    if kind in _UNKNOWN:
        parent = _without_null(_annotation(model, place[:-1]))
        return f"unknown key {path}{nearest(str(place[-1]), parent.model_fields)}"
    if kind == "missing":
        return f"{path} is missing"
    if place[-1:] == ("[key]",):
        pattern = f" match {error['ctx']['pattern']}" if "ctx" in error else " be text"
        where = "of a run" if len(place) == 3 else f"in {'.'.join(map(str, place[:-2]))}"
        return f"the name {where} must{pattern}, got {value!r}"
    return f"{path} {_reason(error, _annotation(model, place))}".strip()


def _reason(error: ErrorDetails, annotation: Any) -> str:
    """Say what is wrong with a value, of which the model says that it is an `annotation`."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in _TYPES:
        allowed = _TYPES[kind] + (" or null" if _has_null(annotation) else "")
        return f"must be {allowed}, got {value!r}{_spelling(value, kind)}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"must be {words} {context[key]:g}, got {value}"
    if kind == "literal_error":
        return one_of(get_args(_without_null(annotation)), value)
    if kind == "too_short":
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}, got {value!r}"
    return error["msg"]  # written by validators of our own


def _annotation(model: type[BaseModel], place: Sequence[int | str]) -> Any:
    """Find the type of what lies at a path through models, lists and mappings."""
    found: Any = model
    for part in place:
        inner = _without_null(found)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            field = inner.model_fields.get(str(part))
            found = Any if field is None else field.annotation
        else:
            found = (get_args(inner) or (Any,))[-1]  # of lists the items, of mappings the values
    return found


def _has_null(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def _without_null(annotation: Any) -> Any:
    """Take `Annotated` and `| None` off a type."""
    if hasattr(annotation, "__metadata__"):
        return _without_null(annotation.__origin__)
    if get_origin(annotation) in (Union, types.UnionType):
        first, *_ = (part for part in get_args(annotation) if part is not type(None))
        return _without_null(first)
    return annotation


def _spelling(value: Any, kind: str) -> str:
    """Help with numbers that YAML takes for text, such as 1e-5."""
    with contextlib.suppress(ValueError, TypeError):
        if isinstance(value, str) and kind == "float_type" and math.isfinite(float(value)):
            return "; YAML needs a point and a signed exponent, as in 1.0e-5, and no quotes"
    return ""
