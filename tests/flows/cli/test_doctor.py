from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.doctor_machine import locked
from flows.cli.doctor_settings import benchmarks, corpus, parameters
from flows.cli.main import FAILURE, command
from tasks.config import load_config
from tasks.store import Store
from tests.fixtures.command_line import contents
from tests.fixtures.shards import sample, write_shard


def test_a_doctor_prints_what_is_wrong_and_what_to_do(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(store)
    assert command(["doctor", "--json", "--set", "model=/nowhere/at/all"]) == FAILURE
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["store"]["state"] == "pass"
    assert checks["model"]["state"] == "fail"
    assert "/nowhere/at/all" in checks["model"]["told"]
    assert checks["corpus"]["state"] == "pass"
    assert checks["memory plan"]["state"] == "fail"
    assert {"port", "prefect server", "device"} <= set(checks)
    assert contents(store) == before


def test_a_doctor_looks_for_the_shards_and_benchmarks_of_a_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config("qwen2.5-vl-7b")
    shards_check, benchmarks_check = corpus(config, store), benchmarks(config)
    assert (shards_check.state, benchmarks_check.state) == ("fail", "fail")
    assert "there is no folder data/laion" in shards_check.message and "set corpus.source" in shards_check.message
    assert "put VLMEvalKit's MathVista_MINI.tsv into benchmarks" in benchmarks_check.message
    assert "Also missing: mathverse, logicvista, mmstar." in benchmarks_check.message
    shards = write_shard(tmp_path / "shards", "00000", sample("a", 1)).parent
    existing = load_config("qwen2.5-vl-7b", [f"corpus.source.shards={shards}"])
    assert corpus(existing, store).message.endswith("will be built in the first round from 1 shards")
    assert benchmarks(load_config()).state == "pass"


def test_a_doctor_leaves_no_store_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", str(tmp_path / "new"))
    command(["doctor"])
    assert "pass  store: " in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_a_doctor_names_a_configured_server_that_is_silent(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert command(["doctor", "--json"]) == FAILURE
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["prefect server"]["state"] == "fail"
    assert "http://127.0.0.1:1/api" in checks["prefect server"]["told"]


def test_parameters_are_counted_in_the_files_or_read_in_the_name() -> None:
    assert parameters(load_config("qwen2.5-vl-7b")) == 7_000_000_000
    assert 1_000_000 < (parameters(load_config()) or 0) < 4_000_000


def test_a_lock_is_read_for_this_platform() -> None:
    lines = [
        "a-b[x]==1.2 \\",
        "    --hash=sha256:00",
        'c==3 ; sys_platform == "no-such" \\',
        'd==4.post1 ; python_version >= "3"',
    ]
    assert dict(locked("\n".join(lines))) == {"a-b": "1.2", "d": "4.post1"}
