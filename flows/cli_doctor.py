"""Is this machine ready for a round? Each check is one line, with what to do where it is not well."""

from __future__ import annotations

import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from flows.cli_corpus import place_of
from flows.cli_iterate import checked_model
from tasks.config import RunConfig
from tasks.errors import UserError
from tasks.overlay import ROOT
from tasks.store import Store

State = Literal["pass", "warn", "fail"]

LOCKS = ROOT / "infra" / "locks"
LEAST_GB, LEAST_DISK_GB = 5.0, 2.0
"""What a round of the embedded profile takes, with some to spare."""
PYTHON = (3, 11)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    told: str
    """What was found, and, unless it passed, what to do."""


def examine(config: RunConfig, store: Store) -> list[Check]:
    """All checks, each on its own: one that breaks is a failed check."""
    checks: dict[str, Callable[[], Check]] = {
        "python": _python,
        "packages": _packages,
        "memory": _memory,
        "disk": lambda: _disk(store),
        "device": _device,
        "store": lambda: _store(store),
        "model": lambda: _model(config),
        "corpus": lambda: _corpus(config, store),
    }
    return [_safely(name, check) for name, check in checks.items()]


def _safely(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except UserError as error:
        return Check(name, "fail", str(error))
    except Exception as error:  # a diagnosis goes on, whatever is broken
        return Check(name, "fail", f"{type(error).__name__}: {error}")


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == PYTHON:
        return Check("python", "pass", version)
    return Check("python", "fail", f"{version} instead of {'.'.join(map(str, PYTHON))}: run `make setup` with PYTHON=")


def _packages() -> Check:
    """Versions against the lock. Another version may work, but nobody has tried it."""
    lock = LOCKS / ("gpu.txt" if _installed("faiss-gpu") else "cpu.txt")
    if not lock.is_file():
        return Check("packages", "warn", f"no lock at {lock}: versions cannot be compared")
    wanted = dict(locked(lock.read_text()))
    other = {name: _installed(name) for name, version in wanted.items() if _installed(name) != version}
    missing = [name for name, version in other.items() if version is None]
    if missing:
        return Check("packages", "fail", f"not installed: {_listed(missing)}: run `make setup`")
    if other:
        differing = [f"{name} {version} (locked: {wanted[name]})" for name, version in other.items()]
        return Check("packages", "warn", f"{_listed(differing)}: run `make setup` for the tried versions")
    return Check("packages", "pass", f"{len(wanted)} as in {lock.name}")


def locked(text: str) -> Iterator[tuple[str, str]]:
    """Names and versions of a requirements-style lock, as far as they concern this platform."""
    from packaging.markers import Marker

    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*])?==([^\s;\\]+)\s*(?:;\s*([^\\]+))?", line)
        if match and (match[3] is None or Marker(match[3].strip()).evaluate()):
            yield match[1], match[2]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> Check:
    import psutil  # type: ignore[import-untyped]

    free = psutil.virtual_memory().available / 1e9
    if free >= LEAST_GB:
        return Check("memory", "pass", f"{free:.1f} GB free")
    return Check("memory", "warn", f"{free:.1f} GB free, a round may take {LEAST_GB:.0f}: end something else first")


def _disk(store: Store) -> Check:
    if not store.url.startswith("file://"):
        return Check("disk", "pass", "the store is not on a disk of this machine")
    folder = next(path for path in (Path(store.root), *Path(store.root).parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if free >= LEAST_DISK_GB:
        return Check("disk", "pass", f"{free:.0f} GB free at {folder}")
    return Check("disk", "warn", f"{free:.1f} GB free at {folder}: make room, or set ACTIVE_ZERO_STORE")


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("device", "pass", torch.cuda.get_device_name())
    return Check("device", "pass", f"no GPU; {torch.get_num_threads()} CPU threads")


def _store(store: Store) -> Check:
    """Write, read and delete a file of its own name; nothing else is touched."""
    path, token = f"{store.root}/doctor-{secrets.token_hex(8)}", secrets.token_bytes(32)
    made = not store.fs.exists(store.root)
    try:
        store.fs.makedirs(store.root, exist_ok=True)
        store.fs.pipe_file(path, token)
        if store.fs.cat_file(path) != token:
            return Check("store", "fail", f"{store.url} gives back other bytes than were written: use another store")
        store.fs.rm_file(path)
    except OSError as error:
        return Check("store", "fail", f"{store.url} cannot be written ({error}): set ACTIVE_ZERO_STORE")
    if made and store.url.startswith("file://"):
        Path(store.root).rmdir()
    return Check("store", "pass", f"{store.url} takes, gives back and deletes files")


def _model(config: RunConfig) -> Check:
    model = checked_model(config)
    if isinstance(model, Path):
        size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
        return Check("model", "pass", f"{model}, {size / 1e6:.0f} MB")
    return Check("model", "warn", f"{model} is a hub name: it is downloaded when it is first used")


def _corpus(config: RunConfig, store: Store) -> Check:
    place = place_of(store, config.corpus.at)
    where = f"{place.store.url}/{place.prefix}"
    if (manifest := place.manifest("index")) is not None:
        return Check("corpus", "pass", f"{where}, {manifest.rows} rows")
    if config.corpus.source is not None:
        return Check("corpus", "pass", f"{where} will be built in the first round")
    return Check("corpus", "fail", f"nothing at {where}: build it with `active-zero corpus build SHARDS --out {where}`")


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
