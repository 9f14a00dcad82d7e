"""Checks of what the settings name: store, model, corpus, benchmarks, gold items."""

from __future__ import annotations

import secrets
from pathlib import Path

from flows.cli.check import Check
from tasks.benchmarks import WorldBenchmark, open_benchmark
from tasks.config import RunConfig
from tasks.corpora import CorpusConfig
from tasks.corpus import place_of
from tasks.index import build_index
from tasks.players.hub import HubModel
from tasks.players.weights import base_model
from tasks.settings.errors import UserError
from tasks.store import Store
from tasks.store.faults import StoreFault


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


def gold_items(config: RunConfig) -> Check:
    """Gold items of the same kind of pictures as the corpus: their label accuracy stands for that of the questions."""
    name, gold = "gold items", config.filter.gold
    if gold is None:
        return Check(name, "pass", "none: label accuracy is not measured")
    source = open_benchmark(gold.source)
    corpus = config.corpus.source
    if not isinstance(source, WorldBenchmark) or (corpus is not None and corpus.kind == "world"):
        return Check(name, "pass", gold.source)
    found = "the corpus is a built one" if corpus is None else f"the corpus is of kind {corpus.kind}"
    advice = "set filter.gold.source to a benchmark like the corpus, or filter.gold=null"
    return Check(name, "warn", f"{gold.source} holds pictures of the micro world, and {found}: {advice}")
