"""How many requests the reading commands send to an S3 server: `tests.bench.s3_reading` measures them at full size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from tasks.store import Store
from tests.bench.s3_reading import copied_runs, counted
from tests.fixtures.command_line import output_of
from tests.fixtures.small_s3 import FaultyProxy, small_s3

RUNS, ROUNDS = 4, 2


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyProxy]:
    """An S3 server with some runs, whose requests are counted."""
    with small_s3() as upstream, pytest.MonkeyPatch.context() as monkey:
        proxy = FaultyProxy(upstream)
        with proxy.open() as address:
            keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
            store = {"AWS_ENDPOINT_URL": address, "ACTIVE_ZERO_STORE": "s3://reading/store"}
            for name, value in {**keys, **store}.items():
                monkey.setenv(name, value)
            copied_runs("s3://reading/store", tmp_path_factory.mktemp("played"), RUNS, ROUNDS)
            yield proxy


def test_runs_sends_at_most_three_requests_a_run(line: FaultyProxy, capsys: pytest.CaptureFixture[str]) -> None:
    with counted(line) as requests:
        found = json.loads(output_of(capsys, "runs", "--json"))
    assert [(run["run"], run["rounds"]) for run in found] == [(f"run-{n:02d}", ROUNDS) for n in range(RUNS)]
    assert requests() <= 3 * RUNS


def test_runs_reads_a_round_that_has_changed_since_it_was_indexed(
    line: FaultyProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.from_environment()
    (rows,) = store.fs.glob(f"{store.root}/runs/run-03/round-002/9-promote/part-*.parquet")
    kept = store.files.read(rows)
    store.files.remove(rows)
    try:
        found = json.loads(output_of(capsys, "runs", "--json"))
        assert [run["rounds"] for run in found] == [ROUNDS, ROUNDS, ROUNDS, 1]
    finally:
        store.fs.pipe_file(rows, kept)


@pytest.mark.parametrize(
    "arguments", [["show", "run-00", "--round", "1"], ["curriculum", "run-00", "--format", "jsonl"]]
)
def test_a_round_is_shown_with_at_most_twenty_requests(
    arguments: list[str], line: FaultyProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    with counted(line) as requests:
        assert output_of(capsys, *arguments)
    assert requests() <= 20


def test_a_missing_bucket_is_told_before_anything_starts(
    line: FaultyProxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", "s3://missing/store")
    for arguments in (["ui", "--port", "4999"], ["iterate"]):
        assert command(arguments) == USER
        assert "There is no bucket missing for the store s3://missing/store: make it" in capsys.readouterr().err


def test_a_refused_request_is_not_taken_for_a_missing_bucket(line: FaultyProxy) -> None:
    line.refused = 0.5
    try:
        assert all(Store.from_environment().files.has_bucket() for _ in range(10))
    finally:
        line.refused = 0.0
