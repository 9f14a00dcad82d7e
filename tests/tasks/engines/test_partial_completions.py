"""Completions and checkpoints in the store: a stage that was killed resumes, and damaged files are replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from tasks.engines import partial_completions
from tasks.engines.partial_completions import chunks, generate_or_resume
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Completion, Request, Sampling
from tasks.engines.scripted import Rule, Scripted
from tasks.records.prompt import Prompt
from tasks.store import PartialResults, Place, Store
from tasks.trainers.checkpoints import StoredCheckpoints

ENGINE = Scripted(rules=(Rule(texts=("one", "two", "three")),)).open("", OWN_LIMITS)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_completions, "CHUNK", 10)
    monkeypatch.setattr(partial_completions, "WORTH_KEEPING", 0.0)


@pytest.fixture(params=["file", "memory"])
def open_partial(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., PartialResults]:
    """Opens the partial results again, as another process does."""
    url = f"memory://{uuid4().hex}" if request.param == "memory" else str(tmp_path / "store")
    return lambda **fingerprinted: Place.round(Store(url), "default", 1).partial_results("6-filter", fingerprinted)


def requests(count: int, n: int = 4) -> list[Request]:
    return [Request(Prompt(f"question {i}"), None, None, Sampling(8), n, seed=i) for i in range(count)]


class Counting:
    """The scripted engine, interrupted at the call numbered `killed_at`."""

    def __init__(self, killed_at: int = -1) -> None:
        self.calls, self.killed_at = 0, killed_at

    def __call__(self, parts: Sequence[Sequence[Request]]) -> Iterator[tuple[int, list[list[Completion]]]]:
        for number, part in enumerate(parts):
            if self.calls == self.killed_at:
                raise KeyboardInterrupt
            self.calls += 1
            yield number, ENGINE.generate(part)


def nothing(count: int) -> None:
    return None


def test_chunks_hold_every_request_once_and_few_completions() -> None:
    wanted = requests(7)
    cut = list(chunks(wanted))
    assert [request for chunk in cut for request in chunk] == wanted
    assert [len(chunk) for chunk in cut] == [2, 2, 2, 1]
    assert [len(chunk) for chunk in chunks(requests(3, n=50))] == [1, 1, 1]
    assert list(chunks([])) == []


def test_a_chunk_that_is_gone_or_of_another_version_is_resampled(
    open_partial: Callable[..., PartialResults], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = requests(7)
    generate_or_resume(open_partial(), wanted, Counting(), nothing)
    partial = open_partial()
    first, second, *_ = partial.names
    partial.files.remove(f"{partial.folder}/{first}.{partial._paths[first].rpartition('.')[2]}")
    (tmp_path / "older").write_text('[{"texts": []}]')
    partial.discard(second)
    partial.keep(second, tmp_path / "older")
    again = Counting()
    assert generate_or_resume(partial, wanted, again, nothing) == generate_or_resume(None, wanted, Counting(), nothing)
    assert again.calls == 2
    assert "is missing" in caplog.text and "by another version" in caplog.text


def test_a_killed_sampling_resumes_after_its_last_chunk(open_partial: Callable[..., PartialResults]) -> None:
    wanted = requests(7)
    with pytest.raises(KeyboardInterrupt):
        generate_or_resume(open_partial(), wanted, Counting(killed_at=2), nothing)
    rest, read = Counting(), list[int]()
    resumed = generate_or_resume(open_partial(), wanted, rest, read.append)
    assert rest.calls == 4 - 2
    assert sum(read) == 2 * 2 * 4
    assert resumed == generate_or_resume(None, wanted, Counting(), nothing)


def test_chunks_that_are_complete_in_another_order_come_in_the_order_of_the_requests(
    open_partial: Callable[..., PartialResults],
) -> None:
    """An engine of many replicas mixes chunks."""
    wanted, again = requests(7), Counting()
    expected = generate_or_resume(None, wanted, Counting(), nothing)
    assert generate_or_resume(open_partial(), wanted, lambda parts: reversed([*Counting()(parts)]), nothing) == expected
    assert len(open_partial().names) == 4
    assert generate_or_resume(open_partial(), wanted, again, nothing) == expected
    assert again.calls == 0


def test_another_fingerprint_or_request_reads_no_chunk(open_partial: Callable[..., PartialResults]) -> None:
    wanted = requests(4)
    generate_or_resume(open_partial(seed=1), wanted, Counting(), nothing)
    for partial, other in ((open_partial(seed=2), wanted), (open_partial(seed=1), requests(4, n=3))):
        again = Counting()
        generate_or_resume(partial, other, again, nothing)
        assert again.calls == 2


def test_a_damaged_chunk_is_logged_and_resampled(
    open_partial: Callable[..., PartialResults], caplog: pytest.LogCaptureFixture
) -> None:
    wanted, partial = requests(4), open_partial()
    whole = generate_or_resume(partial, wanted, Counting(), nothing)
    first, _ = partial.files.listing(partial.folder)[0]
    partial.files.replace(first.path, b"[]")
    again = Counting()
    with caplog.at_level(logging.WARNING):
        assert generate_or_resume(open_partial(), wanted, again, nothing) == whole
    assert again.calls == 1
    assert f"{first.path} is damaged" in caplog.text
    assert len(open_partial().names) == 2


def test_completions_that_were_quick_to_sample_are_not_kept(
    open_partial: Callable[..., PartialResults], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_completions, "WORTH_KEEPING", 60.0)
    generate_or_resume(open_partial(), requests(4), Counting(), nothing)
    assert open_partial().names == []


def test_the_last_checkpoint_is_restored_and_earlier_ones_removed(
    open_partial: Callable[..., PartialResults], tmp_path: Path
) -> None:
    for updates in (8, 16):
        checkpoint = tmp_path / f"checkpoint-{updates}"
        checkpoint.mkdir()
        (checkpoint / "state.json").write_text(f"{updates}")
        StoredCheckpoints(open_partial()).save(checkpoint)
    assert len(open_partial().names) == 1
    StoredCheckpoints(open_partial()).restore(tmp_path / "scratch")
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["checkpoint-16"]
    assert (tmp_path / "scratch/checkpoint-16/state.json").read_text() == "16"


def test_without_a_checkpoint_nothing_is_restored(open_partial: Callable[..., PartialResults], tmp_path: Path) -> None:
    StoredCheckpoints(open_partial()).restore(tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
