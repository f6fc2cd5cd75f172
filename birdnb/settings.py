"""Describe a setting once: type, default, range and meaning, in the field of a frozen dataclass.

Checks, errors and the options of the command line are all read from these fields.
"""

import ast
import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import ConfigDict, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from birdnb.files import BirdnbError, user_path

T = TypeVar("T")
BOUNDS = {
    "ge": "{:g} or more", "gt": "more than {:g}", "le": "at most {:g}", "lt": "less than {:g}",
    "multiple_of": "a multiple of {:g}",
}  # fmt: skip
TYPES = {  # for people
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple[str, ...]: "a list of names",
}
YAML = " (YAML reads 1e-4 as text: write 1.0e-4)"


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Settings:
    """Settings of one kind; what is wrong with them is a BirdnbError in one line."""

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, values: Any, handler: Any) -> Any:
        try:
            return handler(values)
        except ValidationError as error:
            raise BirdnbError(_in_words(cls, error)) from None


def fields_of(kind: type) -> dict[str, FieldInfo]:
    """Return the fields of a kind of settings by name: annotation, default, bounds, description."""
    return kind.__pydantic_fields__  # type: ignore[attr-defined]


def bounds(field: FieldInfo) -> str:
    """Say the range of a setting, such as "0 or more, less than 1"; empty when there is none."""
    found = [(text, getattr(m, key, None)) for m in field.metadata for key, text in BOUNDS.items()]
    return ", ".join(text.format(value) for text, value in found if value is not None)


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the words that a setting may be; empty when it is not one of a few words."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def plain(value: Any) -> str:
    """Write a value as people type it: true, 0.05, none for an empty text."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def placed(run: dict[str, Any], profile: Path) -> dict[str, Any]:
    """Give weights that lie beside a profile their whole path: notebooks run in another folder."""
    model = run.get("model")
    given = model.get("pretrained") if isinstance(model, dict) else None
    if not isinstance(given, str) or given in ("", "synthetic") or user_path(given).is_absolute():
        return run
    path = os.path.abspath(profile.parent / given)
    return merge(run, {"model": {"pretrained": path}}) if os.path.exists(path) else run


def literal(text: str) -> Any:
    """Read a value that was typed: a Python literal, true, false, null, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def _in_words(kind: type, error: ValidationError) -> str:
    """Say in one line which setting is wrong, what it is, and what it may be."""
    first, fields = error.errors()[0], fields_of(kind)
    place = first["loc"][0]
    name = list(fields)[place] if isinstance(place, int) else place
    if name not in fields:
        return unknown(name, fields)
    field, value = fields[name], first["input"]
    if choices(field):
        return f"{name} is {value!r:.60}: choose one of {', '.join(choices(field))}"
    if set(first.get("ctx", ())) & set(BOUNDS):
        return f"{name} is {value!r}: give {bounds(field)}"
    kinds = [TYPES[k] for k in (field.annotation, *get_args(field.annotation)) if k in TYPES]
    wanted = ", ".join(filter(None, [" or ".join(kinds), bounds(field)]))
    hint = YAML if field.annotation is float and isinstance(literal(str(value)), float) else ""
    return f"{name} is {value!r:.60}: give {wanted}{hint}"


def unknown(name: str, known: Iterable[str]) -> str:
    """Say that no setting has this name, which one may be meant, and which there are."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"no setting is called {name!r}: {hint}known are {', '.join(known)}"


def filled(kind: type[T], values: dict[str, Any], where: str) -> T:
    """Build settings from a mapping. Raises BirdnbError that begins with ``where``."""
    try:
        return kind(**values)
    except BirdnbError as error:
        raise BirdnbError(f"{where}: {error}") from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises BirdnbError for one that is damaged or names something twice."""
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), _OnceOnly)
    except (OSError, UnicodeDecodeError) as error:
        raise BirdnbError(f"{path} cannot be read ({error}): it must be text in UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a 30th of February
        what = " ".join(str(error).split())
        raise BirdnbError(f"{path} is not valid YAML: {what}") from error


class _OnceOnly(yaml.SafeLoader):
    """Refuses a name that stands twice in a mapping, where YAML would forget the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Read a mapping. Raises yaml.YAMLError for a name that stands twice."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"{twice!r} stands twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def merge(first: dict, second: dict) -> dict:
    """Lay the second mapping over the first, at any depth; an empty one changes nothing."""
    merged = dict(first)
    for key, value in second.items():
        below = merged.get(key)
        merged[key] = merge(below, value or {}) if isinstance(below, dict) else value
    return merged


def check_shape(where: str, value: Any, depth: int) -> None:
    """Raise BirdnbError unless the value is a mapping by names, ``depth`` of them, or empty."""
    if value is None:
        return
    if not isinstance(value, dict):
        raise BirdnbError(f"{where} is {value!r}: write settings there, as in {{epochs: 3}}")
    for key, part in value.items():
        if not isinstance(key, str):
            raise BirdnbError(f"{where}: {key!r} is no name: put it between quotation marks")
        if depth > 1:
            check_shape(f"{where}.{key}", part, depth - 1)
