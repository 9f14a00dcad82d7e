"""Run history: from which team a run resumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.history import TRAINED, read_history, team_of
from flows.round import round_place
from tasks.config import load_config
from tasks.filter import filter_questions
from tasks.players.hub import HubModel
from tasks.promote import promote
from tasks.records import Decision, Row, Step
from tasks.report import report_round
from tasks.reporting.facts import LabelAccuracy
from tasks.settings.errors import UserError
from tasks.store import Output, Store
from tests.fixtures.old_store import rewrite_as_version_0_1
from tests.fixtures.run_rows import DECISION
from tests.fixtures.stages import FOLDER


def test_a_run_whose_hub_model_has_a_new_commit_says_how_to_resume(tmp_path: object) -> None:
    store = Store(str(tmp_path))
    place = round_place(store, "r", 1)
    played = HubModel(repository="owner/model", commit="a" * 40)
    with place.hold(wait=False):
        for stage in TRAINED.values():
            place.commit(stage, Step, Output([]), {"team": {"model": played.model_dump()}}, 0.0)
    with pytest.raises(UserError, match=f"resume with --set model=owner/model@{'a' * 40}, or give another --run"):
        team_of(load_config(), store, "r", 1)


def test_a_promoted_round_with_outdated_row_classes_is_not_complete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Verdict(Row):
        label: str

    store = Store(str(tmp_path))
    place = round_place(store, "r", 1)
    with place.hold(wait=False):
        place.commit(filter_questions.name, Verdict, Output([Verdict(label="4")]), {"version": 1}, 0.0)
        place.commit(promote.name, Decision, Output([DECISION]), {"version": 1}, 0.0)
        place.commit(report_round.name, LabelAccuracy, Output([]), {"version": 1}, 0.0)
    rewrite_as_version_0_1(place)
    assert read_history(store, "r").next_round == 1
    (line,) = caplog.messages
    assert f"{FOLDER['filter']} holds rows of Verdict, not LabelledQuestion, since another version wrote it" in line
