"""Names of flow runs. A name that a person gives stays; the server's random names are replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import JsonValue

ITERATE = "iterate"
"""The deployment that plays rounds."""


def is_generated(name: str) -> bool:
    """Whether a name looks like one that the server (`bald-monkey`) or its page (`chi5-sefalla`) makes up."""
    return re.fullmatch(r"[a-z]+\d*-[a-z]+\d*", name) is not None


def waiting_name(deployment: str, parameters: Mapping[str, JsonValue], schedule: str | None) -> str:
    """The name of a run that has not started: `default, 3 rounds, nightly`."""
    if deployment == ITERATE:
        rounds = parameters.get("rounds", 1)
        count = "1 round" if rounds == 1 else f"{rounds} rounds"
        return with_schedule(f"{parameters.get('run', 'default')}, {count}", schedule)
    subject = parameters.get("out") or parameters.get("benchmark") or deployment
    return with_schedule(str(subject), schedule)


def playing_name(run: str, first: int, rounds: int) -> str:
    """The name of a run that plays rounds: `default, rounds 4 to 6`."""
    numbers = f"round {first}" if rounds == 1 else f"rounds {first} to {first + rounds - 1}"
    return f"{run}, {numbers}"


def with_schedule(name: str, schedule: str | None) -> str:
    """The name with the schedule's, if there is one."""
    return f"{name}, {schedule}" if schedule else name
