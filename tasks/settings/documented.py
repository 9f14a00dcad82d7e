"""Settings as a YAML file in which every setting is preceded by its documentation as a comment.

The text is a config file: it loads to equal settings. A comment is the field's description; a nested model's field
without one has the first paragraph of the model's docstring. Items of lists and values of mappings have no comments of
their own: the comment of a list of models lists the documented fields of an item.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

WIDTH = 120
INDENT = "  "


def documented_yaml(settings: BaseModel) -> str:
    """`settings` as YAML with comments; nested models are indented, and a union is its chosen variant."""
    return "".join(f"{line}\n" for line in _lines(settings, ""))


def _lines(settings: BaseModel, indent: str) -> Iterator[str]:
    values = settings.model_dump(mode="json", by_alias=True)
    fields = {name: field for name, field in type(settings).model_fields.items() if not field.exclude}
    for number, (name, field) in enumerate(fields.items()):
        value = getattr(settings, name)
        if number and not indent:
            yield ""
        yield from _comment(field.description, value, indent)
        key = field.alias or name
        if isinstance(value, BaseModel) and type(value).model_fields:
            yield f"{indent}{key}:"
            yield from _lines(value, indent + INDENT)
        else:
            yield from _dumped({key: values[key]}, indent)


def _comment(description: str | None, value: object, indent: str) -> Iterator[str]:
    text = description or (_summary(type(value)) if isinstance(value, BaseModel) else "")
    for paragraph in (text, *_item_fields(value)):
        yield from textwrap.wrap(
            " ".join(paragraph.split()), WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def _item_fields(value: object) -> list[str]:
    """`name: description` for each documented field of a list's items."""
    if not (isinstance(value, Sequence) and value and isinstance(value[0], BaseModel)):
        return []
    fields = type(value[0]).model_fields
    return [f"{name}: {field.description}" for name, field in fields.items() if field.description]


def _summary(model: type[BaseModel]) -> str:
    """The first paragraph of a model's docstring."""
    return inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and lists of plain values in one line."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _list_node(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    is_plain = not any(isinstance(item, dict | list) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=is_plain)


_Dumper.add_representer(str, _text_node)
_Dumper.add_representer(list, _list_node)


def _dumped(mapping: dict[str, Any], indent: str) -> list[str]:
    text = yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return textwrap.indent(text, indent).splitlines()
