"""YAML config files laid over each other, with dotted overrides on top; a mistake in them is reported in one line.

A file may say `extends: other.yaml` (a file in the same folder). Mappings merge key by key; any other value replaces
the value below. A mapping whose `kind` differs from the one below replaces it as a whole: the settings of one engine
mean nothing to another.
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


def find_config(name: str | Path, what: str = "config") -> Path:
    """The path of a config: `name` as given, or in `configs/`, with or without `.yaml`. UserError if it is unknown.

    `what` is `config`, or `rates` for a file of rates, whose name begins with `rates-`.
    """
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path
    found = sorted(path.name for path in CONFIGS.glob("*.yaml") if isinstance(_yaml(path), dict))
    known = ", ".join(file for file in found if file.startswith("rates-") == (what == "rates"))
    raise UserError(f"{what} {name} is not a file: give a path, or one of {known}")


def read_config(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's settings, laid over those of the files that it extends."""
    if path in below:
        raise UserError(f"config {path} extends itself through {', '.join(str(other) for other in below)}")
    data = _mapping(path)
    base = data.pop("extends", None)
    if isinstance(data.get("domains"), str):
        data["domains"] = read_list(path.parent / data["domains"])
    return data if base is None else merge(read_config(path.parent / base, (*below, path)), data)


def read_list(path: Path) -> list[Any]:
    """The list in a YAML file."""
    data = _yaml(path)
    if not isinstance(data, list):
        raise UserError(f"{path} must hold a list")
    return data


def override(settings: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """`settings` with each `a.b=value` laid over them; values are YAML (`[1, 2]` is a list, `null` is None)."""
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not all(key.strip().split(".")):
            raise UserError(f"override {assignment!r} is not of the form a.b=value")
        nested = _parse(value, f"override {assignment!r}")
        if key.strip() == "domains" and isinstance(nested, str):
            nested = read_list(find_config(nested))
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        settings = merge(settings, nested)
    return settings


def merge(below: Mapping[str, Any], above: Mapping[str, Any], kind: Any = None) -> dict[str, Any]:
    """`above` laid over `below`; neither is changed. `kind`: that of `below` where it names none."""
    if "kind" in above and above["kind"] != below.get("kind", kind or above["kind"]):
        return dict(above)
    merged, defaults = dict(below), below.get("defaults")
    default_kind = defaults.get("kind") if isinstance(defaults, Mapping) else None
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merge(old, value, default_kind)
        merged[key] = value
    return merged


def validate(model: type[M], settings: Mapping[str, Any], source: str) -> M:
    """`settings` as a `model`. UserError names the first wrong key and, where it is unknown, the most similar key."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UserError(f"{source}: {_message(model, settings, errors[0])}{more}") from None


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of `model`, with the keys of every member of a union."""
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


def _message(model: type[BaseModel], settings: Mapping[str, Any], error: ErrorDetails) -> str:
    """One of pydantic's errors in one line."""
    key = _dotted(error["loc"], settings)
    if error["type"] == "extra_forbidden":
        known = list(dict.fromkeys(keys(model)))
        if key in known:
            return f"{key} is a setting of another kind"
        near = _nearest(key, known)
        return f"unknown key {key}" + (f"; did you mean {near}?" if near else "")
    if error["type"] == "missing":
        return f"{key} is missing"
    message = error["msg"].removeprefix("Value error, ").replace("\n", " ")
    given = "" if isinstance(error["input"], Mapping | BaseModel) else f" (given: {error['input']!r})"
    return f"{key}: {message}{given}" if key else message


def _within(settings: Any, part: str | int) -> Any:
    """The value at one key or index; None where there is none."""
    if isinstance(settings, Mapping):
        return settings.get(part)
    return settings[part] if isinstance(settings, list) and isinstance(part, int) else None


def _dotted(loc: Sequence[str | int], settings: Any) -> str:
    """The key as the user wrote it: without the names that pydantic inserts for members of a union."""
    parts = []
    for number, part in enumerate(loc):
        known = part in settings if isinstance(settings, Mapping) else isinstance(part, int)
        if known or number == len(loc) - 1:
            parts.append(str(part))
            settings = _within(settings, part)
    return ".".join(parts)


def _nearest(key: str, known: Sequence[str]) -> str | None:
    """The known key most similar to `key`, else one whose last part is similar to its last part."""
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
