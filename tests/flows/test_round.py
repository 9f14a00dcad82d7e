"""A whole round through Prefect: the scripted engine answers, CLIP and TRL are real but tiny."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.force import withdraw
from flows.history import read_history, start_of, team_of
from flows.round import play_round
from flows.selfplay import play_rounds
from tasks.config import RunConfig, load_config
from tasks.execution.dry_run import NotYetComputed, dry_run
from tasks.settings.errors import UserError
from tasks.store import Place, Store
from tests.fixtures.tiny_clip import write_tiny_clip
from tests.fixtures.tiny_vlm import write_tiny_vlm

STAGES = [
    "1-probe", "2-train-searcher", "3-search", "4-train-questioner", "5-synthesize", "6-filter", "7-train-solver",
    "8-evaluate", "9-promote", "10-report",
]  # fmt: skip

SCRIPT = [
    {
        "prompt": "^\\s*search : (?P<domain>.*)$",
        "texts": ["<type>chart</type><query>\\g<domain></query>", "<type>photo</type><query>a view</query>", "none"],
    },
    {
        "prompt": "^\\s*ask$",
        "texts": [
            "<think>t</think><type>numeric_value</type><question>how many bars ?</question><answer>3</answer>",
            "<think>t</think><type>numeric_value</type><question>how many slices ?</question><answer>3</answer>",
            "I would rather not",
        ],
    },
    {"prompt": "bars", "texts": ["\\boxed{3}", "3 \\boxed{3}", "\\boxed{4}"]},
    {"prompt": "slices", "texts": ["\\boxed{5}"]},
    {"texts": ["\\boxed{1}", "\\boxed{2}"]},
]
"""Questions about bars are near the frontier, those about slices are too easy."""

ENDS_THE_ROUND = """
import sys, time
from tasks.reporting.facts import LabelAccuracy
from tasks.store import Output, Place, Store
place = Place.round(Store(sys.argv[1]), "r", 2)
with place.hold(wait=False):
    print("holds", flush=True)
    time.sleep(3)
    place.commit("10-report", LabelAccuracy, Output([]), {}, 0.0)
"""

TINY_TRAINER = {"steps": 1, "prompts": 2, "updates": 1, "rollouts": 2, "max_tokens": 4, "lora": {"rank": 2}}


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("models")
    clip = write_tiny_clip(folder / "clip")
    settings: dict[str, Any] = {
        "model": write_tiny_vlm(folder / "vlm"),
        "engine": {"kind": "scripted", "rules": SCRIPT},
        "corpus.source": {"kind": "world", "pictures": 60, "per_shard": 30},
        "retrieval.clip.model": f"local-dir:{clip}",
        "train": dict.fromkeys(("searcher", "questioner", "solver"), TINY_TRAINER),
        "probe": {"pictures": 2, "answers": 4},
        "rewards.answers": 2,
        "search.queries": 24,
        "filter": {"answers": 9, "low": 0.3, "high": 0.8, "max_share": 0.5},
        "evaluate": {"samples": 2, "items": 16},
        "patience": 1,
    }
    return tuple(f"{key}={_flow_style(value)}" for key, value in settings.items())


@pytest.fixture(scope="module")
def config(overrides: tuple[str, ...]) -> RunConfig:
    return load_config("tiny", overrides)


def _flow_style(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        store = Store(str(tmp_path_factory.mktemp("store")))
        patch.setenv("ACTIVE_ZERO_STORE", store.url)
        yield store


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.timeout(300)
class TestRounds:
    """Played in order, on one store: a first round, a second one, then one that is interrupted."""

    def test_a_round_leaves_every_stage_complete_and_browsable(self, overrides: tuple[str, ...], store: Store) -> None:
        (played,) = play_rounds("r", overrides=overrides)
        assert [name for name, manifest in store.stages("r", 1) if manifest] == STAGES
        assert played.number == 1
        assert not played.decision.promoted
        assert [name for name, _ in store.stages("r", 0)] == ["8-evaluate"]

    def test_the_page_of_a_round_shows_stages_scores_curriculum_picture_and_links(self) -> None:
        with get_client(sync_client=True) as client:
            mine = ArtifactFilter(key=ArtifactFilterKey(like_="r-round-1-%"))
            found = {one.key: one for one in client.read_artifacts(artifact_filter=mine)}
        tables = {name: json.loads(str(found[f"r-round-1-{name}"].data)) for name in ("stages", "scores", "curriculum")}
        assert [row["stage"] for row in tables["stages"]] == STAGES
        assert [row["figure"] for row in tables["scores"]] == ["mean of 2", "greedy"] * 2
        assert " to " in tables["scores"][0]["95 % interval"]
        assert {row["question"] for row in tables["curriculum"]} == {"how many bars ?"}
        assert str(found["r-round-1-chart"].data).startswith("data:image/png;base64,")
        assert "report.md](file://" in str(found["r-round-1-report"].data)
        assert all(len(str(one.data)) < 1_000_000 for one in found.values())

    def test_the_curriculum_lies_in_the_window_and_rejects_stay_with_their_reasons(self, store: Store) -> None:
        stages = dict(store.stages("r", 1))
        questions, verdicts = stages["5-synthesize"], stages["6-filter"]
        assert questions
        assert questions.counters["no question"] > 0
        assert verdicts
        assert verdicts.counters["kept"] > 0
        assert verdicts.counters["too easy"] > 0
        assert sum(verdicts.counters.values()) == verdicts.rows
        assert verdicts.rows == questions.counters["kept"] + verdicts.counters["gold item"]
        assert verdicts.counters["gold item"] >= 0.1 * verdicts.rows

    def test_a_rolled_back_round_leaves_the_base_to_play_on(self, config: RunConfig, store: Store) -> None:
        stands = read_history(store, "r")
        assert (stands.next_round, stands.team_round, stands.rolled_back) == (2, 0, 1)
        assert team_of(config, store, "r", stands.team_round).solver is None

    def test_played_again_it_goes_on_with_the_next_round_and_stops_when_patience_ends(
        self, overrides: tuple[str, ...], store: Store
    ) -> None:
        played = play_rounds("r", rounds=3, overrides=overrides)
        assert [one.number for one in played] == [2]

    def test_an_interrupted_round_reuses_what_is_complete_and_measures_no_solver_twice(
        self, overrides: tuple[str, ...], store: Store
    ) -> None:
        created = {name: manifest.created for name, manifest in store.stages("r", 2) if manifest}
        base = dict(store.stages("r", 0))["8-evaluate"]
        for stage in STAGES[6:]:
            (Path(store.root) / "runs/r/round-002" / stage / "manifest.json").unlink()
        play_rounds("r", overrides=overrides)
        after = {name: manifest.created for name, manifest in store.stages("r", 2) if manifest}
        assert [name for name in STAGES if after[name] == created[name]] == STAGES[:6]
        assert dict(store.stages("r", 0))["8-evaluate"] == base

    def test_a_plan_of_what_is_complete_reuses_it_and_names_the_setting_that_would_change_that(
        self, config: RunConfig, store: Store
    ) -> None:
        changed = config.model_copy(update={"filter": config.filter.model_copy(update={"high": 0.75})})
        for settings, first_played in ((config, "none"), (changed, "6-filter")):
            with dry_run() as planned, suppress(NotYetComputed):
                play_round(settings, store, "r", 2, start_of(settings, store, "r", 2))
            here = [one for one in planned.stages if one.place == "runs/r/round-002"]
            assert [one.stage for one in here] == STAGES
            assert next((one.stage for one in here if one.played), "none") == first_played
        why = {one.stage: one.why for one in planned.stages if one.played}
        assert why["6-filter"] == "config.high: 0.8 -> 0.75"
        assert "after 6-filter" in why["7-train-solver"]

    def test_forced_from_a_stage_on_a_complete_round_is_played_again_from_there(
        self, overrides: tuple[str, ...], store: Store
    ) -> None:
        created = {name: manifest.created for name, manifest in store.stages("r", 2) if manifest}
        (played,) = play_rounds("r", overrides=overrides, force_from_stage="9-promote")
        after = {name: manifest.created for name, manifest in store.stages("r", 2) if manifest}
        assert played.number == 2
        assert [name for name in STAGES if after[name] != created[name]] == STAGES[8:]

    def test_who_is_to_approve_is_asked_for_what_was_not_promoted_yet_and_for_nothing_else(
        self, config: RunConfig, store: Store
    ) -> None:
        play_round(config, store, "r", 2, start_of(config, store, "r", 2), approve=True)
        other = config.promote.model_copy(update={"least_mean_gain": 1.0})
        with pytest.raises(UserError, match="approve needs a deployment's run"):
            play_round(
                config.model_copy(update={"promote": other}), store, "r", 2, start_of(config, store, "r", 2), True
            )

    def test_a_request_to_force_counts_once_however_often_it_is_retried(self, store: Store) -> None:
        withdraw(store, "r", "10-report", "request-7")
        assert dict(store.stages("r", 2))["10-report"] is None
        withdraw(store, "r", "9-promote", "request-7")
        assert dict(store.stages("r", 2))["9-promote"] is not None

    def test_who_waited_while_another_process_ended_the_round_plays_the_next_one(
        self, overrides: tuple[str, ...], store: Store
    ) -> None:
        assert read_history(store, "r").next_round == 2  # its report was withdrawn
        command = [sys.executable, "-c", ENDS_THE_ROUND, store.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as other:
            assert other.stdout and other.stdout.readline() == "holds\n"
            played = play_rounds("r", overrides=overrides, wait=True)
        assert [one.number for one in played] == [3]

    def test_a_run_does_not_go_on_from_another_base_model(
        self, config: RunConfig, store: Store, tmp_path: Path
    ) -> None:
        other = config.model_copy(update={"model": str(write_tiny_vlm(tmp_path / "other", seed=1))})
        assert Place.round(store, "r", 1).manifest("7-train-solver")
        with pytest.raises(UserError, match="another base model"):
            team_of(other, store, "r", 1)
