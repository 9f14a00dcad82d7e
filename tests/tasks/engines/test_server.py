"""The server engine gives the same replies whatever the servers do, and fails in one line when none answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tasks.engines import Server, server
from tasks.engines.inputs import Encoder, load_processor
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.engines.protocol import Engine
from tasks.engines.request import Adapter, Completion, Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.settings.errors import UserError
from tests.fixtures.faulty_server import FAULTS, FaultyServer, serving


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(server, "LONGEST_PAUSE", 0.05)


@pytest.fixture
def servers(model_folder: Path) -> Iterator[list[FaultyServer]]:
    encoder = Encoder(load_processor(str(model_folder), OWN_LIMITS))
    with ExitStack() as stack:
        yield [stack.enter_context(serving(FaultyServer(encoder, random=Random(i)))) for i in range(2)]


def requests_for(pictures: list[Picture], *adapters: Adapter | None) -> list[Request]:
    return [
        Request(Prompt(f"How many {i}?"), pictures[i % 4] if i % 5 else None, adapter, Sampling(8), n=3, seed=i)
        for i in range(20)
        for adapter in adapters
    ]


def opened(servers: list[FaultyServer], model: Path, deadline: float = 20.0) -> Engine:
    urls = tuple(each.url for each in servers)
    return Server(urls=urls, requests=4, timeout=5.0, deadline=deadline).open(str(model), OWN_LIMITS)


def replies(
    servers: list[FaultyServer], model: Path, requests: list[Request], counts: list[int] | None = None
) -> list[list[Completion]]:
    engine = opened(servers, model)
    try:
        return engine.generate(requests, None if counts is None else counts.append)
    finally:
        engine.close()


def test_replies_come_in_order_and_a_picture_goes_to_one_server(
    servers: list[FaultyServer], model_folder: Path, pictures: list[Picture], adapter: Adapter
) -> None:
    requests, counts = requests_for(pictures, None, adapter), list[int]()
    found = replies(servers, model_folder, requests, counts)
    assert [len(group) for group in found] == [3] * 40 and sum(counts) == 120
    assert len({completion.text for group in found for completion in group}) == 120
    assert found == [replies(servers, model_folder, [request])[0] for request in requests]
    assert not servers[0].pictures & servers[1].pictures
    assert {completion.tokens for group in found for completion in group} == {3}


def test_faults_change_no_reply(
    servers: list[FaultyServer], model_folder: Path, pictures: list[Picture], adapter: Adapter, other_adapter: Adapter
) -> None:
    """Two answers in five are faults of some kind; another server may answer instead."""
    requests = requests_for(pictures, None, adapter, other_adapter)
    whole = replies(servers, model_folder, requests)
    for each in servers:
        each.share = 0.4
    assert replies(servers, model_folder, requests) == whole
    assert all(sum(each.answered[fault] for each in servers) > 0 for fault in FAULTS)


def test_a_server_that_is_down_is_replaced_by_another(
    servers: list[FaultyServer], model_folder: Path, pictures: list[Picture], adapter: Adapter
) -> None:
    requests = requests_for(pictures, adapter)
    whole, engine = replies(servers, model_folder, requests), opened(servers, model_folder)
    servers[0].down = True
    assert engine.generate(requests) == whole
    engine.close()


def test_all_servers_down_is_one_line_within_the_deadline(
    servers: list[FaultyServer], model_folder: Path, pictures: list[Picture]
) -> None:
    engine = opened(servers, model_folder, deadline=1.0)
    for each in servers:
        each.down = True
    started = time.monotonic()
    with pytest.raises(UserError, match=r"no server has answered for 1 s; last: http.*Start them, then resume the run"):
        engine.generate(requests_for(pictures, None))
    assert time.monotonic() - started < 5
    engine.close()


def test_servers_that_come_back_are_used_again(
    servers: list[FaultyServer], model_folder: Path, pictures: list[Picture], adapter: Adapter
) -> None:
    requests = requests_for(pictures, adapter)
    whole, engine = replies(servers, model_folder, requests), opened(servers, model_folder)
    for each in servers:
        each.down = True
        each.adapters.clear()

    def come_back() -> None:
        for each in servers:
            each.down = False

    timer = threading.Timer(0.5, come_back)
    timer.start()
    assert engine.generate(requests) == whole
    timer.join()
    engine.close()


def test_another_picture_budget_is_named_with_what_mends_it(
    servers: list[FaultyServer], model_folder: Path, pictures: list[Picture]
) -> None:
    budget = PictureBudget(min_pixels=28 * 28 * 40, max_pixels=28 * 28 * 64)
    engine = Server(urls=(servers[0].url,)).open(str(model_folder), budget)
    with pytest.raises(UserError, match=r"reads a prompt of \d+ tokens as \d+: .*--mm-processor-kwargs .*31360"):
        engine.generate([Request(Prompt("How many?"), pictures[0], None, Sampling(8))])
    engine.close()


def test_the_key_comes_from_the_environment(
    servers: list[FaultyServer], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers[0].key = "secret"
    request = Request(Prompt("How many?"), None, None, Sampling(8))
    with pytest.raises(UserError, match="set VLLM_API_KEY to the servers' key"):
        replies(servers[:1], model_folder, [request])
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    assert replies(servers[:1], model_folder, [request])[0][0].finished
