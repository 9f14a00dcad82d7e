"""Rounds that would use the same GPUs take turns; rounds on other clusters do not wait for them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from flows.server.deploy import _register_limit
from tasks.config import load_config
from tasks.execution.gpu_slots import Gpus, gpu_slots, limit_name, using_gpus
from tasks.settings.errors import UserError
from tests.fixtures.overrides import as_overrides


@pytest.fixture
def on(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Go to a cluster, whose limit gets so many slots where they are not 0."""

    def go(cluster: str, slots: int = 0) -> None:
        monkeypatch.setenv("ACTIVE_ZERO_CLUSTER", cluster)
        if slots:
            register(slots)

    return go


def register(gpus: int | None) -> None:
    """What `active-zero deploy --gpus N` does."""
    from prefect import get_client

    async def run() -> None:
        async with get_client() as client:
            await _register_limit(client, gpus)

    asyncio.run(run())


def slots() -> tuple[int, int]:
    """Slots of the present cluster's limit that are taken, and all of them."""
    from prefect import get_client

    with get_client(sync_client=True) as client:
        limit = client.read_global_concurrency_limit_by_name(limit_name())
    return limit.active_slots, limit.limit


@contextmanager
def a_round(gpus: Gpus | None) -> Iterator[None]:
    with using_gpus(gpus), gpu_slots():
        yield


def in_flow(work: Callable[[], None]) -> None:
    from prefect import flow

    flow(name="gpu-slots")(work)()


def test_rounds_on_different_clusters_do_not_wait_for_each_other(on: Callable[..., None]) -> None:
    on("one", 4)
    on("other", 2)

    def play() -> None:
        on("one")
        with a_round("all"):
            assert slots() == (4, 4)
            on("other")
            with a_round(1), a_round(1):
                assert slots() == (2, 2)
            assert slots() == (0, 2)

    in_flow(play)
    on("one")
    assert slots() == (0, 4)


def test_a_round_waits_until_its_gpus_are_free(on: Callable[..., None]) -> None:
    on("full", 4)
    started, free = threading.Event(), threading.Event()
    times: dict[str, float] = {}

    def first() -> None:
        with a_round(3):
            started.set()
            assert free.wait(60)
            times["freed"] = time.monotonic()

    def second() -> None:
        with a_round(2):
            times["began"] = time.monotonic()
            assert slots() == (2, 4)

    with ThreadPoolExecutor(2) as pool:
        rounds = [pool.submit(in_flow, first)]
        assert started.wait(60)
        rounds.append(pool.submit(in_flow, second))
        time.sleep(5)
        assert "began" not in times
        free.set()
        for done in rounds:
            done.result(60)
    assert times["began"] >= times["freed"]


def test_a_round_takes_no_more_slots_than_there_are(on: Callable[..., None]) -> None:
    on("small", 2)

    def play() -> None:
        with a_round(8):
            assert slots() == (2, 2)

    in_flow(play)


def test_a_round_without_a_gpu_or_a_limit_does_not_wait(
    on: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.execution.gpu_slots._has_gpu", lambda: False)
    on("idle", 1)

    def play() -> None:
        with a_round(1):
            with a_round(None), a_round(0):  # none of its own, and replicas on processors
                assert slots() == (1, 1)
            on("nobody-registered-it")
            with a_round("all"):
                pass

    in_flow(play)


def test_deploying_again_keeps_the_slots_unless_they_are_given(on: Callable[..., None]) -> None:
    on("kept")
    for given, found in ((None, 1), (8, 8), (None, 8), (4, 4)):
        register(given)
        assert slots() == (0, found)


def test_without_a_name_the_limit_is_gpu_and_a_bad_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIVE_ZERO_CLUSTER", raising=False)
    assert limit_name() == "gpu"
    monkeypatch.setenv("ACTIVE_ZERO_CLUSTER", "a/b")
    with pytest.raises(UserError, match="ACTIVE_ZERO_CLUSTER=a/b is no name"):
        limit_name()


@pytest.mark.parametrize(
    ("engine", "gpus"),
    [
        ({"kind": "transformers"}, None),
        ({"kind": "ray"}, "all"),
        ({"kind": "ray", "replicas": 3, "gpus": 2}, 6),
        ({"kind": "ray", "replicas": 2, "of": {"kind": "vllm", "tensor_parallel_size": 4}}, 8),
        ({"kind": "ray", "of": {"kind": "transformers", "device": "cpu"}}, 0),
    ],
)
def test_a_round_takes_the_gpus_of_its_replicas(engine: dict[str, object], gpus: Gpus | None) -> None:
    assert load_config("tiny", as_overrides({"engine": engine})).cluster_gpus == gpus


@pytest.mark.parametrize(("share", "gpus"), [(True, 3), (False, 5)])
def test_ranks_take_gpus_of_their_own_unless_they_share(share: bool, gpus: int) -> None:
    engine = {"kind": "ray", "replicas": 3, "share": share}
    settings = as_overrides({"engine": engine, "train.searcher.workers": 2})
    assert load_config("tiny", settings).cluster_gpus == gpus
