"""No secret in logs, manifests or artifacts: a canary key stands in the environment, and is looked for everywhere."""

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

CANARY = "CANARY7f3a"
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

class Told(Row):
    text: str

@stage("1-tell", Told)
def tell(place: Place, note: str) -> Output[Told]:
    (workspace() / "note.txt").write_text(note)
    return Output([Told(text=note)], {"told": 1}, {"note.txt": workspace() / "note.txt"})

folder = sys.argv[1]
logging.basicConfig(filename=f"{folder}/play.log", level=logging.INFO)
store = Store("s3://canary/store")
store.fs.mkdir("canary")
place = Place.round(store, "r", 1)
tell(place, "hello")
store.fs.get(store.root, f"{folder}/store", recursive=True)
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
store.fs.clear_instance_cache()
try:
    tell(Place.round(Store(store.url), "r", 1), "again")
except StoreFault as fault:
    logging.exception("away: %s", fault)
    print(fault)
"""


def canaries(folder: Path) -> list[str]:
    """The files that hold it."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_a_key_of_a_bucket_is_in_nothing_that_lies_in_it_and_no_message_or_log(tmp_path: Path) -> None:
    known = {"AWS_ACCESS_KEY_ID": "key", "AWS_DEFAULT_REGION": "us-east-1", "ACTIVE_ZERO_STORE_DEADLINE": "1"}
    environment = {**os.environ, **dict.fromkeys(SECRETS, CANARY), **known}
    with small_s3() as address:
        ran = subprocess.run(
            [sys.executable, "-c", PLAY, str(tmp_path)], env={**environment, "AWS_ENDPOINT_URL": address}, cwd=ROOT,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    said = ran.stdout + ran.stderr
    assert "at http://127.0.0.1:1" in said
    assert "1-tell: 1 rows" in (tmp_path / "play.log").read_text()
    assert {"manifest.json", "note.txt", "play.log", "00000001.json"} <= {path.name for path in tmp_path.rglob("*")}
    assert canaries(tmp_path) == []
    assert CANARY not in said


def test_a_key_in_the_environment_is_in_no_part_of_a_corpus_and_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from flows import corpus
    from flows.cli import runtime as cli_work
    from tasks.corpora.detect import detect_source
    from tasks.retrieval import RetrievalConfig

    for name in SECRETS:
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library = RetrievalConfig.model_validate({"clip": {"model": f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"}})
    shards, uri = ordinary_shards(tmp_path / "shards", pictures=3), str(tmp_path / "built")
    with cli_work.logging_to(tmp_path / "build.log", Console(stderr=True), verbose=True):
        corpus.build.fn(uri, detect_source(str(shards)), library)
    print(corpus.info(uri).model_dump_json())
    assert "embeddings: 3 rows" in (tmp_path / "build.log").read_text()
    assert canaries(tmp_path) == []
    told = capsys.readouterr()
    assert "embeddings" in told.err and CANARY not in told.out + told.err


HELD = f"https://user:{CANARY}@127.0.0.1:1/shards"


@pytest.mark.parametrize(
    "arguments",
    [
        ["corpus", "build", HELD, "--out", "built"],
        ["corpus", "build", f"https://127.0.0.1:1/*.tar?X-Amz-Signature={CANARY}", "--out", "built"],
        ["corpus", "build", "shards", "--out", HELD],
        ["corpus", "info", HELD],
        ["iterate", "--set", f"corpus.at={HELD}"],
        ["iterate", f"--set=corpus.source.shards={HELD}"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_an_address_with_a_secret_is_refused_and_nothing_repeats_it(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert command(arguments) == USER
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert "in the environment" in line and CANARY not in line + told.out
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_address_holds_a_secret_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", f"s3://key:{CANARY}@bucket/store")
    assert command(["runs"]) == USER
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("active-zero: s3://***@bucket/store holds a password") and CANARY not in line


def test_flows_refuse_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.server import deployments as deployed
    from tasks.settings.errors import UserError
    from tasks.store import Store

    with pytest.raises(UserError, match="in the environment"):
        deployed.build_corpus.validate_parameters({"shards": "shards", "out": HELD})
    monkeypatch.setenv("ACTIVE_ZERO_STORE", HELD)
    with pytest.raises(UserError, match="in the environment"):
        Store.from_environment()
