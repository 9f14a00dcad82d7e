from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from tasks.engines import partial_results as parts
from tasks.engines.partial_results import sampled
from tasks.engines.request import Completion, Request, Sampling
from tasks.engines.scripted import Rule, Scripted
from tasks.records.prompt import Prompt
from tasks.store import PartialResults, Place, Store
from tasks.trainers.checkpoints import StoredCheckpoints

ENGINE = Scripted(rules=(Rule(texts=("one", "two", "three")),)).open("")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 10)
    monkeypatch.setattr(parts, "WORTH_KEEPING", 0.0)


@pytest.fixture(params=["file", "memory"])
def open_partial(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., PartialResults]:
    """Opened anew, as another process would."""
    url = f"memory://{uuid4().hex}" if request.param == "memory" else str(tmp_path / "store")
    return lambda **fingerprinted: Place.round(Store(url), "default", 1).partial_results("6-filter", fingerprinted)


def requests(count: int, n: int = 4) -> list[Request]:
    return [Request(Prompt(f"question {i}"), None, None, Sampling(8), n, seed=i) for i in range(count)]


class Counting:
    """The scripted engine, killed at the call of that number."""

    def __init__(self, killed_at: int = -1) -> None:
        self.calls, self.killed_at = 0, killed_at

    def __call__(self, part: Sequence[Request]) -> list[list[Completion]]:
        if self.calls == self.killed_at:
            raise KeyboardInterrupt
        self.calls += 1
        return ENGINE.generate(part)


def nothing(count: int) -> None:
    return None


def test_parts_hold_every_request_once_and_few_completions() -> None:
    asked = requests(7)
    cut = list(parts.parts(asked))
    assert [request for part in cut for request in part] == asked
    assert [len(part) for part in cut] == [2, 2, 2, 1]
    assert [len(part) for part in parts.parts(requests(3, n=50))] == [1, 1, 1]
    assert list(parts.parts([])) == []


def test_a_part_that_went_or_is_of_another_version_is_sampled_again(
    open_partial: Callable[..., PartialResults], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = requests(7)
    sampled(open_partial(), asked, Counting(), nothing)
    partial = open_partial()
    first, second, *_ = partial.names
    partial.files.remove(f"{partial.folder}/{first}.{partial._paths[first].rpartition('.')[2]}")
    (tmp_path / "older").write_text('[{"texts": []}]')
    partial.discard(second)
    partial.keep(second, tmp_path / "older")
    again = Counting()
    assert sampled(partial, asked, again, nothing) == sampled(None, asked, Counting(), nothing)
    assert again.calls == 2
    assert "is gone" in caplog.text and "of another version" in caplog.text


def test_a_killed_sampling_goes_on_after_its_last_part(open_partial: Callable[..., PartialResults]) -> None:
    asked = requests(7)
    with pytest.raises(KeyboardInterrupt):
        sampled(open_partial(), asked, Counting(killed_at=2), nothing)
    rest, found = Counting(), list[int]()
    resumed = sampled(open_partial(), asked, rest, found.append)
    assert rest.calls == 4 - 2
    assert sum(found) == 2 * 2 * 4
    assert resumed == sampled(None, asked, Counting(), nothing)


def test_what_computes_something_else_finds_nothing(open_partial: Callable[..., PartialResults]) -> None:
    asked = requests(4)
    sampled(open_partial(seed=1), asked, Counting(), nothing)
    for partial, wanted in ((open_partial(seed=2), asked), (open_partial(seed=1), requests(4, n=3))):
        again = Counting()
        sampled(partial, wanted, again, nothing)
        assert again.calls == 2


def test_a_damaged_part_is_sampled_again_and_told_of(
    open_partial: Callable[..., PartialResults], caplog: pytest.LogCaptureFixture
) -> None:
    asked, partial = requests(4), open_partial()
    whole = sampled(partial, asked, Counting(), nothing)
    first, _ = partial.files.listing(partial.folder)[0]
    partial.files.replace(first.path, b"[]")
    again = Counting()
    with caplog.at_level(logging.WARNING):
        assert sampled(open_partial(), asked, again, nothing) == whole
    assert again.calls == 1
    assert f"{first.path} is damaged" in caplog.text
    assert len(open_partial().names) == 2


def test_what_is_quickly_sampled_is_not_kept(
    open_partial: Callable[..., PartialResults], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "WORTH_KEEPING", 60.0)
    sampled(open_partial(), requests(4), Counting(), nothing)
    assert open_partial().names == []


def test_the_last_whole_checkpoint_comes_back_and_earlier_ones_go(
    open_partial: Callable[..., PartialResults], tmp_path: Path
) -> None:
    for updates in (8, 16):
        checkpoint = tmp_path / f"checkpoint-{updates}"
        checkpoint.mkdir()
        (checkpoint / "state.json").write_text(f"{updates}")
        StoredCheckpoints(open_partial()).keep(checkpoint)
    assert len(open_partial().names) == 1
    StoredCheckpoints(open_partial()).restore(tmp_path / "scratch")
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["checkpoint-16"]
    assert (tmp_path / "scratch/checkpoint-16/state.json").read_text() == "16"


def test_without_a_checkpoint_nothing_is_restored(open_partial: Callable[..., PartialResults], tmp_path: Path) -> None:
    StoredCheckpoints(open_partial()).restore(tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
