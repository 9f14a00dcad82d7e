"""When the process of a flow run ends: what it finds at the server."""

from __future__ import annotations

from typing import Any

import pytest

from flows.server.api import FlowRun, State
from flows.server.supervise import end_of


def run_in(type: Any, count: int = 1) -> FlowRun:
    return FlowRun(id="r", name="r", state=State(type=type, name=type), run_count=count, parameters={}, labels={})


def test_a_running_run_goes_on() -> None:
    assert end_of(run_in("RUNNING"), 1) is None


@pytest.mark.parametrize("state", ["PAUSED", "CANCELLING", "CANCELLED", "FAILED", "CRASHED", "COMPLETED", "SCHEDULED"])
def test_a_run_that_was_taken_away_ends_its_process(state: str) -> None:
    assert end_of(run_in(state), 1) is not None


def test_a_deleted_run_ends_its_process() -> None:
    end = end_of(None, 1)
    assert end is not None
    assert (end.reason, end.run, end.tasks) == ("the run was deleted", None, None)


def test_a_run_that_was_started_again_leaves_the_stages_to_the_new_process() -> None:
    end = end_of(run_in("RUNNING", count=2), 1)
    assert end is not None
    assert (end.run, end.tasks) == (None, None)


def test_a_cancelled_stage_is_cancelled_not_crashed() -> None:
    end = end_of(run_in("CANCELLING"), 1)
    assert end is not None
    assert end.tasks is not None
    assert (end.tasks.type, end.run) == ("CANCELLED", end.tasks)
