"""What a deployment's form accepts, as the JSON schema with which the server checks a run before it exists.

The server's messages for patterns are raw regular expressions, and repeat the value. So each rule here is an `if` whose
`then` has a sentence as its `const`: the message is then `'a name of a-z, ...' was expected`.
An override is checked by its setting's name, type, range and choices; what only a whole config can tell (a setting of
another kind, two settings that do not fit) and what is inside `{...}` and `[...]` is told when the run starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from flows.server.ranges import above, below
from tasks.config import RunConfig
from tasks.settings.addresses import SECRET
from tasks.store.place import NAME

Schema = dict[str, Any]
"""A JSON schema."""

OVERRIDE = "override"
"""The definition that holds the rules of all settings; by name, so that the page shows a plain text field."""
NO_SECRET = (
    "an address without a password, token or signature (credentials belong in the environment of the worker: "
    "AWS_ACCESS_KEY_ID, ...)"
)
A_NAME = "a name of a-z, 0-9, '.', '_' and '-' that begins with a letter or digit"
A_SETTING = "one setting with its value, such as filter.low=0.5"

A_LEAF = "a shorter name: this setting has no further parts"
DOT, ANY = r"\.", r"[\w-]+"
"""The patterns of a dot in a setting's name, and of a name that the user chooses."""
NUMBER, WHOLE = r"\d[\d_]*(\.\d*)?([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?", r"\d[\d_]*"


def form(schema: Schema) -> Schema:
    """A flow's parameter schema with this project's rules: unknown parameters and secrets are refused."""
    fields = {name: _with_rules(name, field) for name, field in schema.get("properties", {}).items()}
    definitions = {**schema.get("definitions", {}), OVERRIDE: _override_rules()}
    return {**schema, "properties": fields, "definitions": definitions, "additionalProperties": False}


def _with_rules(name: str, field: Schema) -> Schema:
    """A field with the rules of its kind: of overrides, of a run's name, of other text."""
    if name == "overrides":
        return {**field, "items": {"type": "string", "title": "Setting", "$dynamicRef": f"#/definitions/{OVERRIDE}"}}
    if field.get("type") != "string":
        return field
    plain = {key: value for key, value in field.items() if key != "pattern"}
    is_name = {"else": _unless(f"^{NAME}$", A_NAME)} if name == "run" else {}
    return {**plain, "if": {"pattern": SECRET}, "then": {"const": NO_SECRET}, **is_name}


def _unless(pattern: str, sentence: str) -> Schema:
    return {"if": {"not": {"pattern": pattern}}, "then": {"const": sentence}}


@cache
def _override_rules() -> Schema:
    """The rules of one override, by the name of its setting."""
    values = dict[str, set[Value]]()
    model = RunConfig.model_json_schema()
    for name, value in _settings(model, model["$defs"], ""):
        values.setdefault(name, set()).add(value)
    rules = [
        {"if": {"pattern": SECRET}, "then": {"const": NO_SECRET}},
        _unless(r"^\s*[\w-]+(\.[\w-]+)*\s*=", A_SETTING),
        *_name_rules(list(values)),
        *(_rule(name, choices) for name, choices in values.items()),
    ]
    return {"allOf": rules}


def _name_rules(names: Sequence[str]) -> Iterator[Schema]:
    """For each group of settings, that the next part of the name is one of the group's; a name ends where they end."""
    groups = dict[str, list[str]]()
    for name in names:
        group, _, part = name.rpartition(DOT)
        groups.setdefault(group, []).append(part)
    for group, parts in groups.items():
        start = f"{group}{DOT}" if group else ""
        sentence = f"{_shown(start)}NAME=..., NAME being one of {', '.join(map(_shown, parts))}"
        pattern = rf"^\s*{start}({'|'.join(parts)})(\s*=|{DOT})"
        yield {"if": {"pattern": rf"^\s*{start}[\w-]+[^=]*="}, "then": _unless(pattern, sentence)}
    leaves = "|".join(name for name in names if name not in groups)
    yield {"if": {"pattern": rf"^\s*({leaves}){DOT}[^=]*="}, "then": {"const": A_LEAF}}


def _shown(pattern: str) -> str:
    """The name that a pattern stands for."""
    return pattern.replace(DOT, ".").replace(ANY, "NAME").replace("\\", "")


@dataclass(frozen=True, order=True)
class Value:
    """What a setting may be: a pattern of its text in an override, and the words for it."""

    words: str
    pattern: str


def _rule(name: str, values: set[Value]) -> Schema:
    """The rule of one setting."""
    pattern = "|".join(value.pattern for value in sorted(values))
    words = " or ".join(value.words for value in sorted(values))
    return {
        "if": {"pattern": rf"^\s*{name}\s*="},
        "then": _unless(rf"^[^=]*=\s*({pattern})\s*$", f"{_shown(name)}={words}"),
    }


def _settings(schema: Schema, models: Mapping[str, Schema], prefix: str) -> Iterator[tuple[str, Value]]:
    """Patterns of the dotted names below a model, each with a value it may have; a union has those of all members."""
    for name, field in schema.get("properties", {}).items():
        yield from _setting(field, models, prefix + re.escape(name))
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _setting(schema["additionalProperties"], models, prefix + ANY)


def _setting(field: Schema, models: Mapping[str, Schema], name: str) -> Iterator[tuple[str, Value]]:
    for kind in _kinds(field, models):
        if kind.get("type") == "object":
            yield name, Value("{...}", r"\{[\s\S]*\}")
            yield from _settings(kind, models, f"{name}{DOT}")
        else:
            yield name, _value(kind)


def _kinds(field: Schema, models: Mapping[str, Schema]) -> Iterator[Schema]:
    """The members of a union, with references followed."""
    if "$ref" in field:
        yield from _kinds(models[field["$ref"].rpartition("/")[2]], models)
        return
    members = [member for key in ("anyOf", "oneOf", "allOf") for member in field.get(key, ())]
    for member in members:
        yield from _kinds(member, models)
    if not members:
        yield field


def _value(kind: Schema) -> Value:
    """The text of a value in YAML."""
    if choices := kind.get("enum", [kind["const"]] if "const" in kind else []):
        texts = [str(choice) for choice in choices]
        return Value(" or ".join(texts), "|".join(rf"['\"]?{re.escape(text)}['\"]?" for text in texts))
    match kind.get("type"):
        case "number" | "integer" as type:
            return _number(kind, whole=type == "integer")
        case "boolean":
            return Value("true or false", "(?i:true|false|yes|no|on|off)")
        case "null":
            return Value("null", "null|~|")
        case "array":
            return Value("[...]", r"\[[\s\S]*\]|[\w./-]+")  # a list, or the name of a file that holds one
        case _:
            return Value("text", r"[\s\S]*\S")


def _number(kind: Schema, whole: bool) -> Value:
    """A number in its range. The range is checked where the number has no exponent and no underscore."""
    ranges = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{words} {kind[key]}" for key, words in ranges.items() if key in kind]
    outside = "".join(f"(?!{pattern})" for pattern in _outside(kind))
    words = ", ".join(["a whole number" if whole else "a number", *limits])
    return Value(words, f"{outside}{_sign(kind)}({WHOLE if whole else NUMBER})")


def _outside(kind: Schema) -> Iterator[str]:
    """Patterns of the numbers beyond each limit."""
    for key, exclusive in (("minimum", False), ("exclusiveMinimum", True)):
        if key in kind:
            bound = kind[key]
            yield rf"\+?{below(bound, exclusive)}" if bound >= 0 else f"-{above(-bound, exclusive)}"
    for key, exclusive in (("maximum", False), ("exclusiveMaximum", True)):
        if key in kind:
            yield rf"\+?{above(kind[key], exclusive)}"


def _sign(kind: Schema) -> str:
    positive = any(kind.get(key, -1) >= 0 for key in ("minimum", "exclusiveMinimum"))
    return r"\+?" if positive else "[-+]?"
