"""A round on photographs, with vLLM as the engine of all roles and of the rollouts (`make test-vllm`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.round import FOLDERS
from flows.selfplay import play_rounds
from tasks.records import LabelledQuestion, Question, Step
from tasks.store import Place, Store
from tests.fixtures.photograph_round import photograph_overrides
from tests.fixtures.small_vllm import NEEDS_VLLM, SMALL
from tests.fixtures.stages import FOLDER

pytestmark = [*NEEDS_VLLM, pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(1500)]


def test_a_round_on_photographs_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training raises where trainer and engine have other tokens for a prompt."""
    store = Store(str(tmp_path / "store"))
    monkeypatch.setenv("ACTIVE_ZERO_STORE", store.url)
    play_rounds("photographs", overrides=photograph_overrides(tmp_path, engine=SMALL.model_dump()))
    stages = {name: manifest for name, manifest in store.stages("photographs", 1) if manifest}
    assert tuple(stages) == FOLDERS
    place = Place.round(store, "photographs", 1)
    for stage in ("train-searcher", "train-questioner", "train-solver"):
        steps = place.find(FOLDER[stage], Step)
        assert steps is not None and steps.rows > 0
    questions, labelled = (place.find(FOLDER["synthesize"], Question), place.find(FOLDER["filter"], LabelledQuestion))
    assert questions is not None and all(row.reason or row.text for row in questions.read())
    assert labelled is not None and all(row.reason or row.label for row in labelled.read())
