"""A local command's flow run: what the work did counts, whatever the server does."""

from __future__ import annotations

from typing import Any

import pytest

from flows.cli import local_runs
from tasks.settings.errors import UserError


class FakeFlow:
    """The part of a Prefect flow that `run_flow` uses; `server` stands for the engine around the function."""

    def __init__(self, fn: Any, server: Any) -> None:
        self.fn, self.server = fn, server

    def with_options(self, **_: Any) -> FakeFlow:
        return FakeFlow(self.fn, self.server)

    def __call__(self, *args: Any) -> Any:
        return self.server(self.fn, *args)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reasons: list[str] = []
    monkeypatch.setattr(local_runs, "_tell_gone", reasons.append)
    return reasons


def double(number: int) -> int:
    return 2 * number


def test_a_server_that_does_not_record_the_end_changes_nothing(told: list[str]) -> None:
    def server(fn: Any, *args: Any) -> Any:
        fn(*args)
        raise ConnectionError("gone")

    assert local_runs.run_flow(FakeFlow(double, server), 4) == 8  # type: ignore[arg-type]
    assert told == ["it did not record how the run ended (ConnectionError)"]


def test_a_server_that_does_not_accept_the_run_is_not_needed(told: list[str]) -> None:
    def server(fn: Any, *args: Any) -> Any:
        raise RuntimeError("another version")

    assert local_runs.run_flow(FakeFlow(double, server), 4) == 8  # type: ignore[arg-type]
    assert told == ["it does not accept the run (RuntimeError)"]


def test_the_works_own_error_is_told_not_the_servers() -> None:
    def work() -> None:
        raise UserError("no shards")

    def server(fn: Any, *args: Any) -> Any:
        try:
            fn(*args)
        except UserError:
            raise ConnectionError("gone") from None

    with pytest.raises(UserError, match="no shards"):
        local_runs.run_flow(FakeFlow(work, server))  # type: ignore[arg-type]
