"""Plays rounds or builds corpora in forked child processes, so that hundreds can be killed without new imports.

    python -m tests.chaos.player light
    python -m tests.chaos.player corpus
    python -m tests.chaos.player tiny.yaml

Each input line is a JSON object: where to play, and when the child process is killed. That is after `seconds`, or by
itself after `calls` requests to the store. Each output line has its exit status (negative: the signal) and its error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def main(kind: str) -> None:
    """Play once for each line on standard input."""
    play = player_of(kind)
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(play_in_child(play, **json.loads(line))), flush=True)


def player_of(kind: str) -> Callable[..., None]:
    """The function that plays a light round, builds a corpus, or plays the round of a config. It imports only here."""
    if kind == "light":
        import s3fs  # noqa: F401

        from tasks.store.manifest import software
        from tests.chaos import light

        software()
        return light.play
    if kind == "corpus":
        from tests.chaos import corpus

        return corpus.play
    import open_clip  # noqa: F401
    import peft  # noqa: F401
    from trl.trainer import grpo_trainer  # noqa: F401

    from flows.history import start_of
    from flows.round import play_round
    from tasks.config import load_config
    from tasks.store import Place, Store

    config = load_config(kind)

    def play(store: str, run: str) -> None:
        with Place.round(Store(store), run, 1).hold(wait=True):
            play_round(config, Store(store), run, 1, start_of(config, Store(store), run, 1))

    return play


def play_in_child(
    play: Callable[..., None],
    store: str,
    run: str,
    seconds: float | None = None,
    calls: int | None = None,
    during: str = "",
    how: str = "SIGKILL",
    environment: Mapping[str, str] | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Play in a child process. Returns its status and its error.

    `calls` are counted from the first request whose path contains `during`. A child that was stopped (`how` is SIGSTOP)
    continues when the next input line is read.
    """
    errors, error_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(errors)
        os.environ.update(environment or {})
        if calls is not None:
            after_calls(calls, during, signal.Signals[how])
        os._exit(_exit_status(lambda: play(store, run, **arguments), error_end))
    os.close(error_end)
    status = _wait(child, seconds)
    with os.fdopen(errors) as file:
        return {"status": status, "error": file.read()}


def _exit_status(play: Callable[[], None], error_end: int) -> int:
    """0, or 1 after an exception, which is written to the pipe."""
    try:
        play()
    except BaseException as error:
        os.write(error_end, f"{type(error).__name__}: {error}".encode())
        return 1
    return 0


def after_calls(calls: int, during: str, what: signal.Signals) -> None:
    """Send this process a signal after `calls` requests, counted from the first whose path contains `during`."""
    from tasks.store.files import Files

    request, left, begun = Files._request, calls, False

    def counted(self: Files, doing: str, path: str, call: Callable[[], Any]) -> Any:
        nonlocal left, begun
        answer = request(self, doing, path, call)
        begun = begun or during in path
        if begun:
            left -= 1
            if left == -1:
                os.kill(os.getpid(), what)
        return answer

    Files._request = counted  # type: ignore[method-assign, assignment]


def _wait(child: int, seconds: float | None) -> int:
    """The exit status of the child process, which is killed after `seconds`."""
    if seconds is not None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(min(0.005, seconds))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        print(json.dumps({"stopped": child}), flush=True)
        sys.stdin.readline()
        os.kill(child, signal.SIGCONT)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1] == "light" else str(Path(sys.argv[1])))
