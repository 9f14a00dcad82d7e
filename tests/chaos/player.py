"""A program that plays rounds or builds corpora in forked children, so that hundreds can be killed without new imports.

    python -m tests.chaos.player light
    python -m tests.chaos.player corpus
    python -m tests.chaos.player tiny.yaml

Reads a JSON object a line: where to play, and when the child is killed: after so many seconds, or by its own hand
after so many requests to the store. Answers with the child's exit status (negative: the signal) and its error.
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
    play = player_of(kind)
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(fate(play, **json.loads(line))), flush=True)


def player_of(kind: str) -> Callable[..., None]:
    """The light round, or the round of a config; what it needs is imported here, once."""
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


def fate(
    play: Callable[..., None],
    store: str,
    run: str,
    seconds: float | None = None,
    calls: int | None = None,
    during: str = "",
    how: str = "SIGKILL",
    environment: Mapping[str, str] | None = None,
    **how_to_play: Any,
) -> dict[str, Any]:
    """Play in a child and see how it ends. `calls` count from the first request that concerns `during`.

    A child that stops (`how` is SIGSTOP) goes on with the next line that is read.
    """
    said, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        os.environ.update(environment or {})
        if calls is not None:
            after_calls(calls, during, signal.Signals[how])
        os._exit(_live(lambda: play(store, run, **how_to_play), says))
    os.close(says)
    status = _wait(child, seconds)
    with os.fdopen(said) as told:
        return {"status": status, "error": told.read()}


def _live(play: Callable[[], None], says: int) -> int:
    try:
        play()
    except BaseException as error:
        os.write(says, f"{type(error).__name__}: {error}".encode())
        return 1
    return 0


def after_calls(calls: int, during: str, what: signal.Signals) -> None:
    """A signal to this process, once so many requests were answered since one that names `during`."""
    from tasks.store.files import Files

    ask, left, begun = Files._request, calls, False

    def counted(self: Files, doing: str, path: str, call: Callable[[], Any]) -> Any:
        nonlocal left, begun
        answer = ask(self, doing, path, call)
        begun = begun or during in path
        if begun:
            left -= 1
            if left == -1:
                os.kill(os.getpid(), what)
        return answer

    Files._request = counted  # type: ignore[method-assign, assignment]


def _wait(child: int, seconds: float | None) -> int:
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
