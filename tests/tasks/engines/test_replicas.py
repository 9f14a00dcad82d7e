"""Replicas on Ray give what one engine gives, however many there are, and also where one of them is killed."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.server.server import free_port
from tasks.engines import Ray, Transformers
from tasks.engines.cluster import connect
from tasks.engines.parts import parts
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.protocol import Engine
from tasks.engines.replicas import check_room, room_on
from tasks.engines.request import Adapter, Request, Sampling
from tasks.engines.scripted import Rule
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import fingerprint_value
from tests.fixtures.ray_cluster import actor_processes, ray_cluster
from tests.fixtures.talking_engine import Talking

ONE = Transformers(device="cpu")


def requests_for(pictures: list[Picture], adapter: Adapter | None, n: int = 3) -> list[Request]:
    return [
        Request(Prompt(f"How many circles {i}?"), pictures[i % 4] if i % 5 else None, adapter, Sampling(12), n, seed=i)
        for i in range(10)
    ]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster():
        yield


@pytest.fixture(scope="module")
def alone(model_folder: Path) -> Iterator[Engine]:
    engine = ONE.open(str(model_folder), OWN_LIMITS)
    yield engine
    engine.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_any_number_of_replicas_gives_the_completions_of_one_engine(
    cluster: None, alone: Engine, model_folder: Path, pictures: list[Picture], adapter: Adapter, replicas: int
) -> None:
    requests = [*requests_for(pictures, None), *requests_for(pictures, adapter)]
    seen: list[int] = []
    engine = Ray(of=ONE, replicas=replicas, rows=6).open(str(model_folder), OWN_LIMITS)
    try:
        assert engine.generate(requests, seen.append) == alone.generate(requests)
        assert sum(seen) == 60 and len(seen) > 2
        with pytest.raises(UserError, match=r"nothing lacks adapter_config\.json"):
            engine.generate(requests_for(pictures, Adapter("missing", model_folder / "nothing")))
    finally:
        engine.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_replica_is_replaced_and_its_requests_are_drawn_again(
    cluster: None, alone: Engine, model_folder: Path, pictures: list[Picture], adapter: Adapter
) -> None:
    requests = requests_for(pictures, adapter, n=20)
    engine = Ray(of=ONE, replicas=2, rows=20).open(str(model_folder), OWN_LIMITS)
    killed: list[int] = []

    def kill(done: int) -> None:
        if not killed:
            killed.append(min(actor_processes("Replica")))
            os.kill(killed[0], signal.SIGKILL)

    try:
        assert engine.generate(requests, kill) == alone.generate(requests)
        assert killed and killed[0] not in actor_processes("Replica")
        assert engine.generate(requests) == alone.generate(requests)
    finally:
        engine.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_closed_engine_leaves_no_process_and_an_incomplete_model_is_named(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model folder"):
        Ray(of=ONE, replicas=2).open(str(tmp_path / "nothing"), OWN_LIMITS)
    end = time.monotonic() + 20
    while actor_processes("Replica") and time.monotonic() < end:
        threading.Event().wait(0.1)
    assert not actor_processes("Replica")


class Heard:
    """The warnings of replicas in this process's log."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog, self._seen = caplog, 0

    def new(self) -> list[str]:
        """Those since the last call, without the machine's name."""
        texts = [
            f"{record.name.removeprefix('tasks.engines.')}: {record.getMessage()}" for record in self._caplog.records
        ]
        found = [text.replace(f" on {socket.gethostname()}", "") for text in texts if ": replica " in text]
        self._seen, start = len(found), self._seen
        return found[start:]


def ask(engine: Engine, *texts: str) -> None:
    engine.generate([Request(Prompt(text), None, None, Sampling(4), 1, seed=0) for text in texts])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_replicas_warnings_come_once_with_its_number(
    cluster: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also those of a replica that was started again, and those before an error."""
    heard, death = Heard(caplog), f"die {tmp_path / 'died'}"
    engine = Ray(of=Talking(rules=(Rule(texts=("yes",)),)), replicas=2).open("none", OWN_LIMITS)
    try:
        assert sorted(heard.new()) == ["talking: replica 1: opened", "talking: replica 2: opened"]
        ask(engine, "why", "print what was printed")
        lines = heard.new()
        one = lines[0].split(": ")[1]
        assert lines == [f"talking: {one}: asked why", f"replica_logs: {one}: what was printed"]
        ask(engine, death)
        died, asked = heard.new()
        assert "died, others take its parts" in died
        assert asked.endswith(f": asked {death}")
        with pytest.raises(Exception, match="no luck"):
            ask(engine, "fail no luck")
    finally:
        engine.close()
    (line,) = heard.new()
    assert line.endswith(": asked fail no luck")
    assert capfd.readouterr() == ("", "")  # Ray's notes about the death are in the log alone
    notes = [record.getMessage() for record in caplog.records if "/ray/" in record.pathname]
    assert any("died" in note for note in notes)


def test_a_cluster_that_is_not_there_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test's cluster may be open
    with pytest.raises(UserError, match=f"no Ray cluster answers at RAY_ADDRESS={address}"):
        connect()


def test_the_number_of_replicas_follows_what_the_machines_have() -> None:
    cpus, gpus = [{"CPU": 4.0}, {"CPU": 2.0}], [{"CPU": 64.0, "GPU": 5.0}, {"CPU": 64.0, "GPU": 3.0}, {"CPU": 0.0}]
    assert (room_on(cpus, 0), room_on(gpus, 1), room_on(gpus, 2)) == (6, 8, 3)
    check_room(gpus, Ray(of=ONE, replicas=8), 1)
    with pytest.raises(UserError, match=r"engine.replicas is 9, at 1 GPU each; the cluster has room for 8"):
        check_room(gpus, Ray(of=ONE, replicas=9), 1)
    with pytest.raises(UserError, match=r"at 4 GPU each; the cluster has room for 0"):
        check_room(cpus, Ray(of=ONE), 4)


def test_a_part_holds_a_pictures_requests_together(pictures: list[Picture], adapter: Adapter) -> None:
    requests = [*requests_for(pictures, None), *requests_for(pictures, adapter)]
    found = parts(requests, rows=6)
    assert sorted(index for part in found for index in part) == list(range(20))
    for key in {request.picture.key for request in requests if request.picture}:
        for role in (None, adapter):
            holding = [
                part
                for part in found
                if any(
                    requests[i].picture and requests[i].picture.key == key and requests[i].adapter == role for i in part
                )
            ]
            assert len(holding) == 1
    assert parts([], 6) == []


def test_a_fingerprint_does_not_know_of_replicas() -> None:
    assert fingerprint_value(Ray(of=ONE, replicas=7, rows=9)) == fingerprint_value(ONE)
    assert fingerprint_value(Ray(of=Transformers(dtype="bfloat16"))) != fingerprint_value(ONE)
