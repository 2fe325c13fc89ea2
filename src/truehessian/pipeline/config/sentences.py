"""One sentence for what a model does not accept: its dotted path, what is allowed, what came."""

import contextlib
import difflib
import math
import types
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Self, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_UNKNOWN = ("extra_forbidden", "invalid_key")
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    list: "a list",
    type(None): "null",
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
    found = [_Mistake.of(item, model) for item in error.errors(include_url=False)]
    return _sentence(min(found, key=lambda mistake: mistake.urgency(found)))


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


class _Mistake(NamedTuple):
    """An error of pydantic's, with what the models say of the place.

    Attributes
    ----------
    error
        As pydantic gives it.
    path
        Keys and positions that lead to the value.
    parent
        Type of what holds it.
    annotation
        What it may be.
    alternative
        Whether the error says that, of several types, the value is not one of them.
    """

    error: ErrorDetails
    path: tuple[int | str, ...]
    parent: Any
    annotation: Any
    alternative: bool

    @classmethod
    def of(cls, error: ErrorDetails, model: type[BaseModel]) -> Self:
        """Follow the way of an error through models, lists and mappings.

        Where there are several types, pydantic puts the one that it has tried into the way.
        """
        path: list[int | str] = []
        parent, annotation, tried = None, cast(Any, model), None
        for part in error["loc"]:
            kinds = _kinds(annotation)
            if tried is None and len(kinds) > 1:
                tried = next(
                    (kind for kind in kinds if getattr(kind, "__name__", "") == part), kinds[0]
                )
                continue
            parent, tried = tried or kinds[0], None
            annotation = _inside(parent, part)
            path.append(part)
        return cls(error, tuple(path), parent, annotation, tried is not None)

    def urgency(self, others: Iterable["_Mistake"]) -> tuple[bool, bool, int]:
        """Sort: what one of several types finds fault with comes before that it is no other."""
        depth = len(self.path)
        inside = (len(it.path) > depth and it.path[:depth] == self.path for it in others)
        known = self.error["type"] not in _UNKNOWN
        ends_with_key = self.error["type"] in (*_UNKNOWN, "missing")
        return known, self.alternative and any(inside), depth - ends_with_key


def _sentence(mistake: _Mistake) -> str:
    kind, value = mistake.error["type"], mistake.error["input"]
    *owner, last = mistake.path or ("",)
    path = ".".join(map(str, mistake.path))
    if kind in _UNKNOWN:
        known = getattr(mistake.parent, "model_fields", {})
        return f"unknown key {path}{nearest(str(last), known)}"
    if kind == "missing":
        return f"{path} is missing"
    if last == "[key]":
        context = mistake.error.get("ctx", {})
        wanted = f"match {context['pattern']}" if "pattern" in context else "be text"
        where = ".".join(map(str, owner[:-1]))
        name = "the name of a run" if where == "runs" else f"a name in {where}"
        return f"{name} must {wanted}, got {value!r}"
    return f"{path} {_reason(mistake.error, mistake.annotation)}".strip()


def _reason(error: ErrorDetails, annotation: Any) -> str:
    """Say what is wrong with a value, of which the model says that it is an `annotation`."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind.endswith("_type"):
        return f"must be {_worded(annotation)}, got {value!r}{_spelling(value, kind)}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"must be {words} {context[key]:g}, got {value}"
    if kind == "literal_error":
        return one_of(get_args(_kinds(annotation)[0]), value)
    if kind == "too_short":
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}, got {value!r}"
    return error["msg"]  # written by validators of our own


def _inside(kind: Any, key: int | str) -> Any:
    """Say what lies behind a key of a model or mapping, or at a position of a list."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(key))
        return Any if field is None else field.annotation
    return (get_args(kind) or (Any,))[-1]


def _kinds(annotation: Any) -> list[Any]:
    """Take apart what may be of several types, without null."""
    return [kind for kind in _alternatives(annotation) if kind is not type(None)]


def _alternatives(annotation: Any) -> list[Any]:
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _alternatives(annotation.__origin__)
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _alternatives(part)]
    return [annotation]


def _worded(annotation: Any) -> str:
    """Name the types that are allowed."""
    words: list[str] = []
    for kind in _alternatives(annotation):
        literal = get_origin(kind) is Literal
        words += map(str, get_args(kind)) if literal else [_word(kind)]
    return " or ".join(dict.fromkeys(words))


def _word(kind: Any) -> str:
    return _WORDS.get(get_origin(kind) or kind, "a mapping")


def _spelling(value: Any, kind: str) -> str:
    """Help with numbers that YAML takes for text, such as 1e-5."""
    with contextlib.suppress(ValueError, TypeError):
        if isinstance(value, str) and kind == "float_type" and math.isfinite(float(value)):
            return "; YAML needs a point and a signed exponent, as in 1.0e-5, and no quotes"
    return ""
