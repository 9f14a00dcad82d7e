"""Fingerprints: what was computed, apart from where and how fast.

A stage is reused when its fingerprint is unchanged. The fingerprinted values are plain JSON, which the manifest keeps,
a person can read, and `differences` compares field by field. A field or argument declared
`Annotated[T, NotFingerprinted]` (device, workers, batch split, an output path) is left out.

How a value is fingerprinted:

- a model: its fields by name, without `NotFingerprinted` ones. A member of a union is fingerprinted as the class that
  it is, not as the class that the union declares, so members need a discriminating field (`kind`).
- settings that say only where other settings are run (`stands_for`): those other settings.
- a number: a whole float as the integer (YAML's `1` and the default `1.0` are one setting), `nan` and infinities as
  their names. Bools stay bools.
- a tuple or list: a list, in order. A set: a sorted list. A mapping: keys as text.
- a path: the sha256 of the file or folder, because its contents were computed with, not its location. Declare a path
  `NotFingerprinted` where its contents do not matter or another input names them. (A path given as plain text is
  fingerprinted as text.)
- an artifact: `artifact:<fingerprint>@<digest of its contents>`. An input that ran again with other contents is another
  input, although its settings are the same.

Anything else raises TypeError: a value that was silently left out could make two computations look the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Protocol, Union, get_args, get_origin, runtime_checkable

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from tasks.settings.errors import UserError

SAME_SETTINGS = "same input, other contents"
"""How `differences` reports an input with the same fingerprint and other contents."""


class NotFingerprinted:
    """Marks a field or argument that does not enter fingerprints: `Annotated[int, NotFingerprinted]`."""


@runtime_checkable
class Fingerprinted(Protocol):
    """A value that knows its own fingerprint: an artifact."""

    @property
    def content_id(self) -> str: ...


@runtime_checkable
class StandsFor(Protocol):
    """Settings that say only where other settings are run: those are fingerprinted in their place."""

    @property
    def stands_for(self) -> BaseModel: ...


def fingerprint_fields(model: BaseModel) -> dict[str, JsonValue]:
    """The model's fields as JSON, recursively, without those declared `NotFingerprinted`."""
    fields = type(model).model_fields
    return {name: fingerprint_value(getattr(model, name)) for name, info in fields.items() if _is_fingerprinted(info)}


def fingerprint_value(value: object) -> JsonValue:
    """A value as JSON, as the module docstring describes. TypeError for a type that is not listed there."""
    match value:
        case None | bool() | int() | str() if not isinstance(value, Enum):
            return value
        case float():
            return _number(value)
        case StandsFor():
            return fingerprint_value(value.stands_for)
        case BaseModel():
            return fingerprint_fields(value)
        case Enum():
            return fingerprint_value(value.value)
        case Path():
            return f"sha256:{contents(value)}"
        case Mapping():
            return {str(key): fingerprint_value(item) for key, item in value.items()}
        case tuple() | list():
            return [fingerprint_value(item) for item in value]
        case set() | frozenset():
            return sorted((fingerprint_value(item) for item in value), key=canonical)
        case Fingerprinted():
            return value.content_id
    raise TypeError(
        f"a {type(value).__name__} has no fingerprint: pass a model, or declare it Annotated[..., NotFingerprinted]"
    )


def digest(value: object) -> str:
    """sha256 of the value's canonical JSON, in hexadecimal. Takes every value that `fingerprint_value` takes."""
    return hashlib.sha256(canonical(fingerprint_value(value)).encode()).hexdigest()


def canonical(value: JsonValue) -> str:
    """Canonical JSON, so that equal values have one text: sorted keys, no white space, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def marks_not_fingerprinted(annotation: Any) -> bool:
    """Whether an annotation, or a member of its union, is declared `Annotated[..., NotFingerprinted]`."""
    if get_origin(annotation) is Annotated:
        return NotFingerprinted in get_args(annotation)[1:] or marks_not_fingerprinted(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return any(marks_not_fingerprinted(member) for member in get_args(annotation))
    return False


def contents(path: Path) -> str:
    """sha256 of a file's bytes, or of a folder's relative names and their files' sha256. UserError if it is missing."""
    if path.is_file():
        status = path.stat()
        return _cached_sha256(path, status.st_size, status.st_mtime_ns)
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give the path of a file or folder.")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest({file.relative_to(path).as_posix(): contents(file) for file in files})


def differences(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> list[str]:
    """The changes between two fingerprinted values: `config.window_low: 0.3 -> 0.4`, `questions: other input`."""
    before, after = dict(_leaves(dict(old))), dict(_leaves(dict(new)))
    names = [*after, *(name for name in before if name not in after)]
    return [_change(name, before, after) for name in names if before.get(name, _ABSENT) != after.get(name, _ABSENT)]


_ABSENT = object()


def _change(name: str, before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> str:
    old, new = before.get(name), after.get(name)
    if isinstance(old, str) and isinstance(new, str) and old.startswith("artifact:") and new.startswith("artifact:"):
        same_settings = old.partition("@")[0] == new.partition("@")[0]
        return f"{name}: {SAME_SETTINGS}" if same_settings else f"{name}: other input"
    if isinstance(old, str) and isinstance(new, str) and old.startswith("sha256:") and new.startswith("sha256:"):
        return f"{name}: other contents"
    return f"{name}: {_shown(name, before)} -> {_shown(name, after)}"


def _shown(name: str, leaves: Mapping[str, JsonValue]) -> str:
    if name not in leaves:
        return "(absent)"
    text = canonical(leaves[name])
    return text if len(text) <= 60 else f"{text[:57]}..."


def _leaves(value: JsonValue, name: str = "") -> Iterator[tuple[str, JsonValue]]:
    """The dotted name of every leaf. Empty containers are leaves, and so are lists of plain values."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for position, item in enumerate(value):
            yield from _leaves(item, f"{name}[{position}]")
    else:
        yield name, value


def _number(value: float) -> JsonValue:
    if not math.isfinite(value):
        return repr(value)
    return int(value) if value.is_integer() else value


def _is_fingerprinted(info: FieldInfo) -> bool:
    return NotFingerprinted not in info.metadata and not marks_not_fingerprinted(info.annotation)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=4096)
def _cached_sha256(path: Path, size: int, modified_ns: int) -> str:
    """Cached by size and time of change: the base model is an input of every stage."""
    return file_sha256(path)
