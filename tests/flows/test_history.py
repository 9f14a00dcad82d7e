"""From which team a run plays on."""

from __future__ import annotations

import pytest

from flows.history import TRAINED, team_of
from flows.round import round_place
from tasks.config import load_config
from tasks.players.hub import HubModel
from tasks.records import Step
from tasks.settings.errors import UserError
from tasks.store import Output, Store


def test_where_a_hub_model_has_moved_on_the_line_says_how_to_stay_with_the_commit_that_was_played(
    tmp_path: object,
) -> None:
    store = Store(str(tmp_path))
    place = round_place(store, "r", 1)
    then = HubModel(repository="owner/model", commit="a" * 40)
    with place.hold(wait=False):
        for stage in TRAINED.values():
            place.commit(stage, Step, Output([]), {"team": {"model": then.model_dump()}}, 0.0)
    with pytest.raises(UserError, match=f"resume with --set model=owner/model@{'a' * 40}, or give another --run"):
        team_of(load_config(), store, "r", 1)
