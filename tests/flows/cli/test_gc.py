from __future__ import annotations

import json

import pytest

from flows.cli.curriculum import labelled_questions
from tasks.records import LabelledQuestion
from tasks.store import Output, Place, Store
from tests.fixtures.command_line import contents, output_of
from tests.fixtures.run_rows import labelled_question
from tests.fixtures.stages import FOLDER


def test_garbage_is_printed_by_a_dry_run_and_then_removed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = Output([labelled_question(3, None)], {"kept": 1})
    Place.round(store, "r", 1).commit(FOLDER["filter"], LabelledQuestion, labelled, {"version": 2}, 4.2)
    before = contents(store)
    dry = output_of(capsys, "gc", "--older-than", "0", "--dry-run")
    assert "replaced" in dry and "1 files, 0.0 MB would be removed" in dry
    assert contents(store) == before
    assert output_of(capsys, "gc").startswith("No garbage.")  # it is younger than a day
    (removed,) = json.loads(output_of(capsys, "gc", "--older-than", "0", "--json"))["removed"]
    left = {path for path in contents(store) if "_journal" not in path}
    assert left == {path for path in before if "_journal" not in path} - {removed["path"]}
    assert labelled_questions(store, "r", 1)[1] == [labelled_question(3, None)]
