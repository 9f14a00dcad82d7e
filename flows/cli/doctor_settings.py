"""Checks of what the settings name: device, memory for weights, store, model, corpus, benchmarks."""

from __future__ import annotations

import json
import math
import re
import secrets
from pathlib import Path

from flows.cli.check import Check
from tasks.benchmarks import open_benchmark
from tasks.config import RunConfig
from tasks.corpora import CorpusConfig
from tasks.corpus import place_of
from tasks.index import build_index
from tasks.players.hub import HubModel
from tasks.players.weights import base_model, model_folder
from tasks.settings.errors import UserError
from tasks.store import Store
from tasks.store.faults import StoreFault

WEIGHTS_SHARE = 0.8
"""Largest share of the memory for weights; activations and KV cache need the rest."""


def device(config: RunConfig) -> Check:
    """A GPU, or an engine that runs without one."""
    import torch

    if torch.cuda.is_available():
        return Check("device", "pass", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}")
    if config.engine.needs_gpu:
        return Check("device", "fail", f"engine {config.engine.kind} needs a GPU, and there is none: another --config")
    return Check("device", "pass", f"no GPU; {torch.get_num_threads()} CPU threads")


def memory_plan(config: RunConfig) -> Check:
    """The weights of engine and trainer against the memory that they share."""
    import psutil
    import torch

    count = parameters(config)
    if count is None:
        return Check("memory plan", "warn", f"the size of {config.model} is unknown until it is downloaded")
    gpu = torch.cuda.is_available()
    total = torch.cuda.mem_get_info()[1] if gpu else psutil.virtual_memory().total
    engine = count * (2 if gpu else 4) * config.engine.model_copies
    trainer = count * (2 if gpu else 4)
    planned = f"{(engine + trainer) / 1e9:.1f} GB of weights (engine {engine / 1e9:.1f}, trainer {trainer / 1e9:.1f})"
    available = f"{total / 1e9:.0f} GB of {'GPU ' if gpu else ''}memory"
    if engine + trainer > WEIGHTS_SHARE * total:
        advice = "take a smaller model, fewer engine.workers, or a larger machine"
        return Check("memory plan", "warn", f"{planned} leave too little of {available}: {advice}")
    return Check("memory plan", "pass", f"{planned} in {available}")


def parameters(config: RunConfig) -> int | None:
    """The base model's parameter count: from its files, else from its name (`Qwen2.5-VL-7B`); None if unknown."""
    if (folder := model_folder(config.model)) is not None:
        return sum(map(_parameters_in, folder.glob("*.safetensors")))
    if (match := re.search(r"(\d+(?:\.\d+)?)B\b", config.model, re.IGNORECASE)) is not None:
        return int(float(match[1]) * 1e9)
    base_model(config.model)  # raises UserError for a model that does not exist
    return None


def _parameters_in(file: Path) -> int:
    """Parameters in a safetensors file, read from its header."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def store(store: Store) -> Check:
    """Create, read, create again (must be refused) and delete one file with a random name; touch nothing else."""
    path, token = f"{store.root}/doctor-{secrets.token_hex(8)}", secrets.token_bytes(32)
    is_new = not store.files.exists(store.root)
    try:
        if not store.files.create(path, token) or store.files.read(path) != token:
            return Check("store", "fail", f"{store.url} returns other bytes than were written: use another store")
        if store.files.create(path, token[::-1]) or store.files.read(path) != token:
            advice = "two processes could both commit a stage: use a store that supports If-None-Match"
            return Check("store", "fail", f"{store.url} overwrites a file that must only be created: {advice}")
        store.files.remove(path)
    except (OSError, StoreFault) as error:
        return Check("store", "fail", f"{store.url} cannot be written ({error}): set ACTIVE_ZERO_STORE")
    if is_new and store.url.startswith("file://"):
        Path(store.root).rmdir()
    return Check("store", "pass", f"{store.url} writes, reads, creates only once and deletes")


def model(config: RunConfig) -> Check:
    """The base model's files."""
    base = base_model(config.model)
    if isinstance(base, HubModel) and not base.is_here():
        return Check("model", "warn", f"{base} will be downloaded when it is first used")
    folder = base if isinstance(base, Path) else base.folder()
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return Check("model", "pass", f"{base}, {size / 1e6:.0f} MB")


def corpus(config: RunConfig, store: Store) -> Check:
    """The built corpus with verified files, or what it can be built from."""
    place = place_of(store, config.corpus.at)
    where = f"{place.store.url}/{place.prefix}"
    if (manifest := place.manifest(build_index.name)) is not None:
        place.verify(manifest)
        embedder = str(manifest.fingerprinted.get("embedder"))[:12]
        found = f"{manifest.rows} rows, index {manifest.fingerprint[:12]}, embedder {embedder}"
        return Check("corpus", "pass", f"{where}, {found}, files verified")
    if config.corpus.source is not None:
        return _source(config.corpus.source, where)
    advice = f"build it with `active-zero corpus build SHARDS --out {where}`"
    return Check("corpus", "fail", f"nothing at {where}: {advice}")


def _source(source: CorpusConfig, where: str) -> Check:
    try:
        return Check("corpus", "pass", f"{where} will be built in the first round from {source.check()}")
    except UserError as error:
        advice = "set corpus.source, or corpus.source=null and corpus.at to a corpus that is built"
        return Check("corpus", "fail", f"nothing at {where}, and nothing to build it from: {error} Or {advice}")


def benchmarks(config: RunConfig) -> Check:
    """The benchmark that decides on promotion, and those that are reported."""
    errors = {name: error for name in config.evaluate.benchmarks if (error := _error_of(name))}
    if not errors:
        return Check("benchmarks", "pass", ", ".join(config.evaluate.benchmarks))
    others = f" Also missing: {', '.join(list(errors)[1:])}." if len(errors) > 1 else ""
    advice = "Or choose others: evaluate.gate, evaluate.report"
    return Check("benchmarks", "fail", f"{next(iter(errors.values()))}{others} {advice}")


def _error_of(benchmark: str) -> str:
    """Why a benchmark cannot be opened; empty if it can."""
    try:
        open_benchmark(benchmark)
    except UserError as error:
        return str(error)
    return ""
