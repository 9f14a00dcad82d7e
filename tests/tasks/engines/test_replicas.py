"""Replicas on Ray give what one engine gives, however many there are, and also where one of them is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.engines import Ray, Transformers
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.protocol import Engine
from tasks.engines.replicas import parts, replicas_on
from tasks.engines.request import Adapter, Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import fingerprint_value
from tests.fixtures.ray_cluster import actor_processes, ray_cluster

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


def test_the_number_of_replicas_follows_what_the_cluster_has() -> None:
    cpus, gpus = {"CPU": 6.0}, {"CPU": 64.0, "GPU": 8.0}
    assert replicas_on(cpus, Ray(of=ONE), 0) == 6
    assert replicas_on(gpus, Ray(of=ONE), 1) == 8
    assert replicas_on(gpus, Ray(of=ONE), 4) == 2
    assert replicas_on(gpus, Ray(of=ONE, replicas=3), 1) == 3
    with pytest.raises(UserError, match=r"engine.replicas is 9, at 1 GPU each; the cluster has 8"):
        replicas_on(gpus, Ray(of=ONE, replicas=9), 1)
    with pytest.raises(UserError, match=r"at 4 GPU each; the cluster has 0"):
        replicas_on(cpus, Ray(of=ONE), 4)


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
