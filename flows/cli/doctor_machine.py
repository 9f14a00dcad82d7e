"""Checks of the machine: Python, packages, memory, disk."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from flows.cli.check import Check
from tasks.settings.overlay import ROOT
from tasks.store import Store

LOCKS = ROOT / "infra" / "locks"
LEAST_GB, LEAST_DISK_GB = 5.0, 2.0
"""What a round of `tiny.yaml` takes, with a margin."""
PYTHON = (3, 11)


def python() -> Check:
    """The Python version against the one that the locks are for."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == PYTHON:
        return Check("python", "pass", version)
    return Check("python", "fail", f"{version} instead of {'.'.join(map(str, PYTHON))}: run `make setup` with PYTHON=")


def packages() -> Check:
    """Installed versions against the lock. Other versions may work, but are untested."""
    lock = LOCKS / ("gpu.txt" if _installed("faiss-gpu") else "cpu.txt")
    if not lock.is_file():
        return Check("packages", "warn", f"no lock at {lock}: versions cannot be compared")
    wanted = dict(locked(lock.read_text()))
    other = {name: _installed(name) for name, version in wanted.items() if _installed(name) != version}
    missing = [name for name, version in other.items() if version is None]
    if missing:
        return Check("packages", "fail", f"not installed: {_first(missing)}: run `make setup`")
    if other:
        differing = [f"{name} {version} (locked: {wanted[name]})" for name, version in other.items()]
        return Check("packages", "warn", f"{_first(differing)}: run `make setup` for the tested versions")
    return Check("packages", "pass", f"{len(wanted)} as in {lock.name}")


def locked(text: str) -> Iterator[tuple[str, str]]:
    """Names and versions in a requirements file, without those of other platforms."""
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


def _first(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def memory() -> Check:
    """Free main memory."""
    import psutil

    free = psutil.virtual_memory().available / 1e9
    if free >= LEAST_GB:
        return Check("memory", "pass", f"{free:.1f} GB free")
    return Check("memory", "warn", f"{free:.1f} GB free, a round may take {LEAST_GB:.0f}: end other programs first")


def disk(store: Store) -> Check:
    """Free space on the store's disk, if it is a local one."""
    if not store.url.startswith("file://"):
        return Check("disk", "pass", "the store is not on a disk of this machine")
    folder = next(path for path in (Path(store.root), *Path(store.root).parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if free >= LEAST_DISK_GB:
        return Check("disk", "pass", f"{free:.0f} GB free at {folder}")
    return Check("disk", "warn", f"{free:.1f} GB free at {folder}: make room, or set ACTIVE_ZERO_STORE")
