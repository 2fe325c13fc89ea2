"""A configuration against its JSON schema: defaults filled in, errors as readable sentences."""

import contextlib
import difflib
import math
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def complete(config: dict[str, Any], schema: Path) -> str | None:
    """Fill in defaults, in place, and find what the schema does not allow.

    Parameters
    ----------
    config
        Any configuration.
    schema
        The YAML file of the JSON schema.

    Returns
    -------
    str or None
        The first error as a sentence: an unknown key with its dotted path and the nearest known
        one, a missing key, or a wrong type or value.
    """
    errors = sorted(_validator(schema).iter_errors(config), key=_depth)
    return _sentence(errors[0]) if errors else None


def nearest(name: str, known: Iterable[Any]) -> str:
    """Suggest the known name that is spelt most alike, as the end of a sentence; else all."""
    names = [str(item) for item in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(names)}" if names else ""


@cache
def _validator(path: Path) -> Any:
    schema = yaml.safe_load(path.read_text(encoding="utf-8"))
    descend = Draft202012Validator.VALIDATORS["properties"]

    def with_defaults(validator: Any, properties: Any, instance: Any, schema: Any) -> Any:
        if isinstance(instance, dict):
            for name, part in properties.items():
                if "default" in part:
                    instance.setdefault(name, _copy(part["default"]))
        yield from descend(validator, properties, instance, schema)

    # JSON takes 8.0 for a whole number; Python's range and array shapes do not.
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    extended = jsonschema.validators.extend(
        Draft202012Validator, {"properties": with_defaults}, type_checker=types
    )
    return extended(schema)


def _copy(value: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(value))


def _depth(error: ValidationError) -> tuple[bool, int]:
    # An unknown key explains a missing one, not the other way round.
    return error.validator != "additionalProperties", len(error.path)


def _sentence(error: ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    value = error.instance
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties":
            known = list(schema["properties"])
            unknown = next(key for key in value if key not in known)
            full = f"{path}.{unknown}" if path else str(unknown)
            return f"unknown key {full}{nearest(str(unknown), known)}"
        case "required":
            missing = next(key for key in schema["required"] if key not in value)
            return f"{path + '.' if path else ''}{missing} is missing"
        case "type":
            wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            allowed = " or ".join(_TYPES[name] for name in wanted)
            return f"{path} must be {allowed}, got {value!r}{_spelling(value, wanted)}"
        case "enum":
            allowed = ", ".join(map(str, schema["enum"]))
            hint = nearest(str(value), map(str, schema["enum"]))
            return f"{path} must be one of {allowed}, got {value!r}{hint}"
        case "minimum":
            return f"{path} must be at least {schema['minimum']}, got {value}"
        case "exclusiveMinimum":
            return f"{path} must be above {schema['exclusiveMinimum']}, got {value}"
        case "exclusiveMaximum":
            return f"{path} must be below {schema['exclusiveMaximum']}, got {value}"
        case "minItems" | "minProperties":
            return f"{path} must not be empty"
        case "uniqueItems":
            return f"{path} must not name anything twice, got {value}"
        case "pattern":
            if "propertyNames" in error.absolute_schema_path:
                return f"the name of a run must match {schema['pattern']}, got {value!r}"
            return f"{path} must match {schema['pattern']}, got {value!r}"
    return f"{path}: {error.message}"


def _spelling(value: Any, wanted: Collection[str]) -> str:
    """Help with numbers that YAML takes for text, such as 1e-5."""
    with contextlib.suppress(ValueError, TypeError):
        if isinstance(value, str) and "number" in wanted and math.isfinite(float(value)):
            return "; YAML needs a point and a signed exponent, as in 1.0e-5, and no quotes"
    return ""
