"""No secret in logs, manifests or artifacts: every file and message is searched for a key of the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from tests.fixtures.shards import ordinary_shards
from tests.fixtures.small_s3 import small_s3
from tests.fixtures.tiny_clip import write_tiny_clip

KEY = "SECRET7f3a"
SECRETS = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING",
    "POSTGRES_PASSWORD",
)  # fmt: skip
ROOT = Path(__file__).parents[2]

PLAY = """
import logging, os, sys
from tasks.records import Row
from tasks.execution.stage import stage, workspace
from tasks.store import Output, Place, Store, StoreFault

class Note(Row):
    text: str

@stage("1-note", Note)
def write_note(place: Place, note: str) -> Output[Note]:
    (workspace() / "note.txt").write_text(note)
    return Output([Note(text=note)], {"notes": 1}, {"note.txt": workspace() / "note.txt"})

folder = sys.argv[1]
logging.basicConfig(filename=f"{folder}/play.log", level=logging.INFO)
store = Store("s3://bucket/store")
store.fs.mkdir("bucket")
place = Place.round(store, "r", 1)
write_note(place, "hello")
store.fs.get(store.root, f"{folder}/store", recursive=True)
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
store.fs.clear_instance_cache()
try:
    write_note(Place.round(Store(store.url), "r", 1), "again")
except StoreFault as fault:
    logging.exception("the store is down: %s", fault)
    print(fault)
"""


def files_with_key(folder: Path) -> list[str]:
    """The files that contain the key."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_buckets_key_is_in_no_file_message_or_log(tmp_path: Path) -> None:
    settings = {"AWS_ACCESS_KEY_ID": "key", "AWS_DEFAULT_REGION": "us-east-1", "ACTIVE_ZERO_STORE_DEADLINE": "1"}
    environment = {**os.environ, **dict.fromkeys(SECRETS, KEY), **settings}
    with small_s3() as address:
        finished = subprocess.run(
            [sys.executable, "-c", PLAY, str(tmp_path)], env={**environment, "AWS_ENDPOINT_URL": address}, cwd=ROOT,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    output = finished.stdout + finished.stderr
    assert "at http://127.0.0.1:1" in output
    assert "1-note: 1 rows" in (tmp_path / "play.log").read_text()
    assert {"manifest.json", "note.txt", "play.log", "00000001.json"} <= {path.name for path in tmp_path.rglob("*")}
    assert files_with_key(tmp_path) == []
    assert KEY not in output


def test_a_key_in_the_environment_is_in_no_corpus_and_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from flows import corpus
    from flows.cli import runtime
    from tasks.corpora.detect import detect_source
    from tasks.retrieval import RetrievalConfig

    for name in SECRETS:
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    retrieval = RetrievalConfig.model_validate({"clip": {"model": f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"}})
    shards, uri = ordinary_shards(tmp_path / "shards", pictures=3), str(tmp_path / "built")
    with runtime.logging_to(tmp_path / "build.log", Console(stderr=True), verbose=True):
        corpus.build.fn(uri, detect_source(str(shards)), retrieval)
    print(corpus.info(uri).model_dump_json())
    assert "embeddings: 3 rows" in (tmp_path / "build.log").read_text()
    assert files_with_key(tmp_path) == []
    captured = capsys.readouterr()
    assert "embeddings" in captured.err and KEY not in captured.out + captured.err


ADDRESS_WITH_KEY = f"https://user:{KEY}@127.0.0.1:1/shards"


@pytest.mark.parametrize(
    "arguments",
    [
        ["corpus", "build", ADDRESS_WITH_KEY, "--out", "built"],
        ["corpus", "build", f"https://127.0.0.1:1/*.tar?X-Amz-Signature={KEY}", "--out", "built"],
        ["corpus", "build", "shards", "--out", ADDRESS_WITH_KEY],
        ["corpus", "info", ADDRESS_WITH_KEY],
        ["iterate", "--set", f"corpus.at={ADDRESS_WITH_KEY}"],
        ["iterate", f"--set=corpus.source.shards={ADDRESS_WITH_KEY}"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert command(arguments) == USER
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert "in the environment" in line and KEY not in line + captured.out
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_address_holds_a_secret_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", f"s3://key:{KEY}@bucket/store")
    assert command(["runs"]) == USER
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("active-zero: s3://***@bucket/store holds a password") and KEY not in line


def test_flows_refuse_addresses_with_a_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.server import deployments
    from tasks.settings.errors import UserError
    from tasks.store import Store

    with pytest.raises(UserError, match="in the environment"):
        deployments.build_corpus.validate_parameters({"shards": "shards", "out": ADDRESS_WITH_KEY})
    monkeypatch.setenv("ACTIVE_ZERO_STORE", ADDRESS_WITH_KEY)
    with pytest.raises(UserError, match="in the environment"):
        Store.from_environment()
