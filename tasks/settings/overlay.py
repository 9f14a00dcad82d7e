"""YAML files laid over each other, dotted overrides on top, and mistakes in them told in one line.

A file may say `extends: other.yaml` (beside it). Mappings merge key by key; everything else replaces what it covers.
A mapping whose `kind` differs from the one below replaces it whole: settings of one engine mean nothing to another.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tasks.settings.errors import UserError

M = TypeVar("M", bound=BaseModel)

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"


def find(name: str | Path) -> Path:
    """The config file `name`: as given, or by its name (with or without `.yaml`) in `configs/`."""
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.name for path in CONFIGS.glob("*.yaml") if isinstance(_yaml(path), dict)))
    raise UserError(f"config {name} is not a file; give a path, or one of {known}")


def read(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's settings over those of the files that it extends."""
    if path in below:
        raise UserError(f"config {path} extends itself through {', '.join(str(other) for other in below)}")
    data = _mapping(path)
    base = data.pop("extends", None)
    if isinstance(data.get("domains"), str):
        data["domains"] = read_list(path.parent / data["domains"])
    return data if base is None else merge(read(path.parent / base, (*below, path)), data)


def read_list(path: Path) -> list[Any]:
    """A YAML file that holds a list."""
    data = _yaml(path)
    if not isinstance(data, list):
        raise UserError(f"{path} must hold a list")
    return data


def override(settings: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """`settings` with each `a.b=value` laid over them; values are YAML (`[1, 2]` is a list, `null` is none)."""
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not all(key.strip().split(".")):
            raise UserError(f"override {assignment!r} is not of the form a.b=value")
        nested = _parse(value, f"override {assignment!r}")
        if key.strip() == "domains" and isinstance(nested, str):
            nested = read_list(find(nested))
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        settings = merge(settings, nested)
    return settings


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`; neither is changed."""
    if "kind" in above and above["kind"] != below.get("kind", above["kind"]):
        return dict(above)
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def validated(model: type[M], settings: Mapping[str, Any], source: str) -> M:
    """`settings` as `model`; mistakes become one UserError that names the key and, if unknown, its neighbour."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(f"{source}: {_told(model, settings, wrong[0])}{more}") from None


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key that `model` knows, those of all the variants of a union included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for nested in _models(field.annotation):
            yield from keys(nested, f"{prefix}{name}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    elif getattr(annotation, "__origin__", None) is not tuple:
        for argument in get_args(annotation):
            yield from _models(argument)


def _told(model: type[BaseModel], settings: Mapping[str, Any], error: ErrorDetails) -> str:
    key = _dotted(error["loc"], settings)
    if error["type"] == "extra_forbidden":
        near = _nearest(key, list(dict.fromkeys(keys(model))))
        return f"unknown key {key}" + (f"; did you mean {near}?" if near else "")
    if error["type"] == "missing":
        return f"{key} is missing"
    message = error["msg"].removeprefix("Value error, ").replace("\n", " ")
    given = "" if isinstance(error["input"], Mapping | BaseModel) else f" (given: {error['input']!r})"
    return f"{key}: {message}{given}" if key else message


def _within(settings: Any, part: str | int) -> Any:
    """What lies under one key or at one place; None where nothing does."""
    if isinstance(settings, Mapping):
        return settings.get(part)
    return settings[part] if isinstance(settings, list) and isinstance(part, int) else None


def _dotted(loc: Sequence[str | int], settings: Any) -> str:
    """The error's place as the user wrote it: without the names that pydantic puts in for a union's variant."""
    parts = []
    for number, part in enumerate(loc):
        known = part in settings if isinstance(settings, Mapping) else isinstance(part, int)
        if known or number == len(loc) - 1:
            parts.append(str(part))
            settings = _within(settings, part)
    return ".".join(parts)


def _nearest(key: str, known: Sequence[str]) -> str | None:
    """The valid key most like `key`, else one whose last part is like its last part."""
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.8):
        return near[0]
    last = difflib.get_close_matches(key.rpartition(".")[2], [name.rpartition(".")[2] for name in known], 1, 0.7)
    return next((name for name in known if last and name.rpartition(".")[2] == last[0]), None)


def _mapping(path: Path) -> dict[str, Any]:
    data = _yaml(path)
    if not isinstance(data, dict):
        raise UserError(f"config {path} must hold a mapping of settings")
    return data


def _yaml(path: Path) -> Any:
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config {path} cannot be read: {error.__class__.__name__}") from None


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
