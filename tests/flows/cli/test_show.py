from __future__ import annotations

import json

import pytest

from tasks.store import Place, Store
from tests.fixtures.command_line import output_of
from tests.fixtures.stages import FOLDER


def test_show_tells_complete_from_unfinished_and_damaged(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    stages = json.loads(output_of(capsys, "show", "r", "--json"))
    assert [(stage["round"], stage["stage"], stage["state"]) for stage in stages] == [
        (1, FOLDER["filter"], "complete"), (1, FOLDER["promote"], "complete"), (1, FOLDER["report"], "complete"),
        (2, FOLDER["filter"], "unfinished"), (3, FOLDER["filter"], "damaged"),
    ]  # fmt: skip
    manifest = Place.round(store, "r", 1).manifest(FOLDER["filter"])
    assert manifest
    first = stages[0]
    assert (first["fingerprint"], first["rows"], first["seconds"]) == (manifest.fingerprint, 2, 4.2)
    assert first["counters"] == {"kept": 1, "too easy": 1}
    (chosen,) = json.loads(output_of(capsys, "show", "r", "--round", "1", "--stage", FOLDER["filter"], "--json"))
    assert chosen == first
    assert manifest.fingerprint[:12] in output_of(capsys, "show", "r", "--round", "1")
