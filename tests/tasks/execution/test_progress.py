from __future__ import annotations

import logging

import pytest

from tasks.execution.progress import LogLines, Snapshot, duration, line, listen, listening, track


def snapshot(done: int, total: int | None, seconds: float, **figures: float) -> Snapshot:
    return Snapshot(1, ("6-filter", "answers"), done, total, figures, seconds)


def test_a_listener_hears_start_progress_and_end() -> None:
    heard: list[Snapshot] = []
    with listen(heard.append), track(3, "answers") as progress:
        assert listening()
        progress.advance(2, reward=0.5)
    assert [(s.done, s.total, dict(s.figures), s.finished) for s in heard] == [
        (0, 3, {}, False),
        (2, 3, {"reward": 0.5}, False),
        (2, 3, {"reward": 0.5}, True),
    ]
    assert not listening()


def test_failed_work_is_reported_as_finished() -> None:
    heard: list[Snapshot] = []
    with pytest.raises(RuntimeError), listen(heard.append), track(3, "answers"):
        raise RuntimeError
    assert heard[-1].finished


def test_nested_work_is_reported_with_its_path() -> None:
    heard: list[Snapshot] = []
    with listen(heard.append), track(None, "6-filter"), track(10, "answers"):
        pass
    assert {s.path for s in heard} == {("6-filter",), ("6-filter", "answers")}
    assert len({s.key for s in heard}) == 2


def test_time_left_follows_the_mean_speed() -> None:
    assert snapshot(25, 100, seconds=10).left == 30
    assert snapshot(0, 100, seconds=10).left is None
    assert snapshot(5, None, seconds=10).left is None
    assert snapshot(120, 100, seconds=10).left == 0


def test_a_line_shows_counts_figures_and_time_left() -> None:
    text = line(snapshot(120, 480, 60, reward=0.4123))
    assert text == "6-filter, answers: 120/480 (25 %), reward 0.412, 3 min 0 s left"
    assert line(snapshot(120, None, 60)) == "6-filter, answers: 120"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (130, "2 min 10 s"), (7500, "2 h 5 min")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_log_gets_a_line_at_most_every_interval(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("progress-test")
    with caplog.at_level(logging.INFO), listen(LogLines(logger, every=3600)), track(1000, "answers") as progress:
        for _ in range(1000):
            progress.advance()
    assert not caplog.records
    with caplog.at_level(logging.INFO), listen(LogLines(logger, every=0)), track(2, "answers") as progress:
        progress.advance()
    assert caplog.messages[0].startswith("answers: 1/2 (50 %)")
