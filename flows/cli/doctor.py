"""Is this machine ready for a round? Each check is one line, with what to do where it is not well."""

from __future__ import annotations

import json
import math
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from flows.cli import doctor_prefect as cli_doctor_prefect
from flows.cli.check import Check
from tasks.benchmarks import open_benchmark
from tasks.config import RunConfig
from tasks.corpora import CorpusConfig, WorldCorpus
from tasks.corpus import place_of
from tasks.index import build_index
from tasks.players.hub import HubModel
from tasks.players.weights import base_model, model_folder
from tasks.settings.errors import UserError
from tasks.settings.overlay import ROOT
from tasks.store import Store
from tasks.store.faults import StoreFault

LOCKS = ROOT / "infra" / "locks"
SHARE = 0.8
"""Of the memory that weights may take."""
LEAST_GB, LEAST_DISK_GB = 5.0, 2.0
"""What a round of the embedded profile takes, with some to spare."""
PYTHON = (3, 11)


def examine(config: RunConfig, store: Store) -> list[Check]:
    """All checks, each on its own: one that breaks is a failed check."""
    checks: dict[str, Callable[[], Check]] = {
        "python": _python,
        "packages": _packages,
        "memory": _memory,
        "disk": lambda: _disk(store),
        "device": lambda: _device(config),
        "memory plan": lambda: _plan(config),
        "store": lambda: _store(store),
        "model": lambda: _model(config),
        "corpus": lambda: _corpus(config, store),
        "benchmarks": lambda: _benchmarks(config),
        **cli_doctor_prefect.checks(),
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
    import psutil

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


def _device(config: RunConfig) -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("device", "pass", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}")
    if config.engine.kind == "vllm" or getattr(config.engine, "device", "auto") == "cuda":
        return Check("device", "fail", f"engine {config.engine.kind} needs a GPU, and there is none: another --config")
    return Check("device", "pass", f"no GPU; {torch.get_num_threads()} CPU threads")


def _plan(config: RunConfig) -> Check:
    """Weights of engine and trainer against the memory that they share. Activations and KV cache come on top."""
    import psutil
    import torch

    count = parameters(config)
    if count is None:
        return Check("memory plan", "warn", f"how large {config.model} is cannot be told before it is downloaded")
    gpu = torch.cuda.is_available()
    total = torch.cuda.mem_get_info()[1] if gpu else psutil.virtual_memory().total
    engine = count * (2 if gpu else 4) * getattr(config.engine, "workers", 1)
    trainer = count * (2 if gpu else 4)
    planned = f"{(engine + trainer) / 1e9:.1f} GB of weights (engine {engine / 1e9:.1f}, trainer {trainer / 1e9:.1f})"
    room = f"{total / 1e9:.0f} GB of {'GPU ' if gpu else ''}memory"
    if engine + trainer > SHARE * total:
        advice = "take a smaller model, fewer engine.workers, or a larger machine"
        return Check("memory plan", "warn", f"{planned} leave too little of {room}: {advice}")
    return Check("memory plan", "pass", f"{planned} in {room}")


def parameters(config: RunConfig) -> int | None:
    """Of the base model: by its files, else by its name (`Qwen2.5-VL-7B`); None where neither says."""
    if (folder := model_folder(config.model)) is not None:
        return sum(map(_weights, folder.glob("*.safetensors")))
    if (named := re.search(r"(\d+(?:\.\d+)?)B\b", config.model, re.IGNORECASE)) is not None:
        return int(float(named[1]) * 1e9)
    base_model(config.model)  # UserError where there is none of that name
    return None


def _weights(file: Path) -> int:
    """Numbers in a safetensors file, read from its header."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")


def _store(store: Store) -> Check:
    """Write, read, write where something is, and delete a file of its own name; nothing else is touched."""
    path, token = f"{store.root}/doctor-{secrets.token_hex(8)}", secrets.token_bytes(32)
    made = not store.files.exists(store.root)
    try:
        if not store.files.create(path, token) or store.files.read(path) != token:
            return Check("store", "fail", f"{store.url} gives back other bytes than were written: use another store")
        if store.files.create(path, token[::-1]) or store.files.read(path) != token:
            advice = "two players of one round could both win: use a store that knows If-None-Match"
            return Check("store", "fail", f"{store.url} overwrites what must only be created: {advice}")
        store.files.remove(path)
    except (OSError, StoreFault) as error:
        return Check("store", "fail", f"{store.url} cannot be written ({error}): set ACTIVE_ZERO_STORE")
    if made and store.url.startswith("file://"):
        Path(store.root).rmdir()
    return Check("store", "pass", f"{store.url} takes, gives back, creates only once and deletes")


def _model(config: RunConfig) -> Check:
    model = base_model(config.model)
    if isinstance(model, HubModel) and not model.is_here():
        return Check("model", "warn", f"{model} is downloaded when it is first used")
    folder = model if isinstance(model, Path) else model.folder()
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return Check("model", "pass", f"{model}, {size / 1e6:.0f} MB")


def _corpus(config: RunConfig, store: Store) -> Check:
    """The index's fingerprint, and whether its files are what was committed."""
    place = place_of(store, config.corpus.at)
    where = f"{place.store.url}/{place.prefix}"
    if (manifest := place.manifest(build_index.name)) is not None:
        place.verify(manifest)
        prints = f"index {manifest.fingerprint[:12]}, embedder {str(manifest.fingerprinted.get('embedder'))[:12]}"
        return Check("corpus", "pass", f"{where}, {manifest.rows} rows, {prints}, files whole")
    if config.corpus.source is not None:
        return _source(config.corpus.source, where)
    return Check("corpus", "fail", f"nothing at {where}: build it with `active-zero corpus build SHARDS --out {where}`")


def _source(source: CorpusConfig, where: str) -> Check:
    """What a corpus that is not built yet would be built from."""
    if isinstance(source, WorldCorpus):
        return Check("corpus", "pass", f"{where} will be built in the first round")
    try:
        shards = len(source.listing())
    except UserError as error:
        advice = "set corpus.source, or corpus.source=null and corpus.at to a corpus that is built"
        return Check("corpus", "fail", f"nothing at {where}, and nothing to build it from: {error} Or {advice}")
    return Check("corpus", "pass", f"{where} will be built in the first round from {shards} shards")


def _benchmarks(config: RunConfig) -> Check:
    """Whether what decides and what is reported is there."""
    missing = {name: told for name in config.evaluate.benchmarks if (told := _missing(name))}
    if not missing:
        return Check("benchmarks", "pass", ", ".join(config.evaluate.benchmarks))
    others = f" Also missing: {', '.join(list(missing)[1:])}." if len(missing) > 1 else ""
    advice = "Or choose others: evaluate.gate, evaluate.report"
    return Check("benchmarks", "fail", f"{next(iter(missing.values()))}{others} {advice}")


def _missing(benchmark: str) -> str:
    """Why it cannot be opened; empty where it can."""
    try:
        open_benchmark(benchmark)
    except UserError as error:
        return str(error)
    return ""


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
