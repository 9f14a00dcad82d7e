"""Whole rounds through Prefect: the scripted engine answers; CLIP and TRL are real but tiny.

Two rounds are played once; each test works on its own copy of their store.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.force import withdraw
from flows.history import read_history, start_of, team_of
from flows.round import FOLDERS, Round, play_round
from flows.selfplay import play_rounds
from tasks.config import RunConfig, load_config
from tasks.execution.dry_run import NotYetComputed, dry_run
from tasks.settings.errors import UserError
from tasks.store import Manifest, Place, Store
from tests.fixtures.overrides import as_overrides
from tests.fixtures.stages import FOLDER
from tests.fixtures.tiny_clip import write_tiny_clip
from tests.fixtures.tiny_vlm import write_tiny_vlm

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

COMPLETE_ROUND_2 = """
import sys, time
from tasks.reporting.facts import LabelAccuracy
from tasks.store import Output, Place, Store
place = Place.round(Store(sys.argv[1]), "r", 2)
with place.hold(wait=False):
    print("holds the lease", flush=True)
    time.sleep(3)
    place.commit(sys.argv[2], LabelAccuracy, Output([]), {}, 0.0)
"""

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]

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
    return as_overrides(settings)


@pytest.fixture(scope="module")
def config(overrides: tuple[str, ...]) -> RunConfig:
    return load_config("tiny", overrides)


@dataclass(frozen=True)
class PlayedRounds:
    """Two rounds of run `r`, both rolled back."""

    store: Store
    results: tuple[Round, ...]


@pytest.fixture(scope="module")
def played(overrides: tuple[str, ...], prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> PlayedRounds:
    """Play the first round, then up to three more, of which patience leaves one."""
    with pytest.MonkeyPatch.context() as patch:
        store = Store(str(tmp_path_factory.mktemp("store")))
        patch.setenv("ACTIVE_ZERO_STORE", store.url)
        results = [*play_rounds("r", overrides=overrides), *play_rounds("r", rounds=3, overrides=overrides)]
    return PlayedRounds(store, tuple(results))


@pytest.fixture
def store(played: PlayedRounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the played rounds, which a test may change. The corpus is shared: a copied shard counts as changed."""
    shutil.copytree(f"{played.store.root}/runs", tmp_path / "store/runs")
    (tmp_path / "store/corpora").symlink_to(f"{played.store.root}/corpora")
    monkeypatch.setenv("ACTIVE_ZERO_STORE", str(tmp_path / "store"))
    return Store(str(tmp_path / "store"))


def complete(store: Store, number: int) -> dict[str, Manifest]:
    """The manifests of a round's complete stages, in order."""
    return {name: manifest for name, manifest in store.stages("r", number) if manifest}


def created(store: Store, number: int) -> Mapping[str, datetime]:
    return {name: manifest.created for name, manifest in complete(store, number).items()}


def test_a_round_leaves_every_stage_complete_and_browsable(played: PlayedRounds) -> None:
    first = played.results[0]
    assert tuple(complete(played.store, 1)) == FOLDERS
    assert first.number == 1
    assert not first.decision.promoted
    assert [name for name, _ in played.store.stages("r", 0)] == [FOLDER["evaluate"]]


@pytest.mark.usefixtures("played")
def test_the_page_of_a_round_shows_its_results_and_links() -> None:
    with get_client(sync_client=True) as client:
        of_round = ArtifactFilter(key=ArtifactFilterKey(like_="r-round-1-%"))
        artifacts = {str(artifact.key): artifact for artifact in client.read_artifacts(artifact_filter=of_round)}
    data = {key.removeprefix("r-round-1-"): str(artifact.data) for key, artifact in artifacts.items()}
    tables = {name: json.loads(data[name]) for name in ("stages", "scores")}
    assert [row["stage"] for row in tables["stages"]] == list(FOLDERS)
    assert [row["figure"] for row in tables["scores"]] == ["mean of 2", "greedy"] * 2
    assert " to " in tables["scores"][0]["95 % interval"]
    head, _, *questions = data["curriculum"].splitlines()
    assert head == "| picture | domain | question | label | agreement | answers |"
    assert all("](data:image/jpeg;base64," in line and "| how many bars ? |" in line for line in questions)
    assert "](data:image/png;base64," in data["chart"]
    assert "report.md](file://" in data["report"]
    (rows,) = re.findall(r"for pandas or datasets: `(.*)`", data["report"])
    assert len(pd.read_parquet(rows)) >= len(questions) > 0
    assert len(datasets.load_dataset("parquet", data_files=rows, split="train")) == len(pd.read_parquet(rows))
    assert all(artifact.description for artifact in artifacts.values())
    assert all(len(text) < 1_000_000 for text in data.values())


def test_the_curriculum_is_in_the_window_and_rejects_have_reasons(played: PlayedRounds) -> None:
    stages = complete(played.store, 1)
    questions, labelled = stages[FOLDER["synthesize"]], stages[FOLDER["filter"]]
    assert questions.counters["no question"] > 0
    assert labelled.counters["kept"] > 0
    assert labelled.counters["too easy"] > 0
    assert sum(labelled.counters.values()) == labelled.rows
    assert labelled.rows == questions.counters["kept"] + labelled.counters["gold item"]
    assert labelled.counters["gold item"] >= 0.1 * labelled.rows


def test_after_a_rolled_back_round_the_base_is_the_current_team(config: RunConfig, played: PlayedRounds) -> None:
    history = read_history(played.store, "r", before=2)
    assert (history.next_round, history.team_round, history.rolled_back) == (2, 0, 1)
    assert team_of(config, played.store, "r", history.team_round).solver is None


def test_a_run_plays_the_next_round_and_stops_when_patience_ends(played: PlayedRounds) -> None:
    assert [result.number for result in played.results] == [1, 2]
    history = read_history(played.store, "r")
    assert (history.next_round, history.team_round, history.rolled_back) == (3, 0, 2)


def test_an_interrupted_round_reuses_its_complete_stages(overrides: tuple[str, ...], store: Store) -> None:
    before, base = created(store, 2), dict(store.stages("r", 0))[FOLDER["evaluate"]]
    first_lost = FOLDERS.index(FOLDER["train-solver"])
    for stage in FOLDERS[first_lost:]:
        (Path(store.root) / "runs/r/round-002" / stage / "manifest.json").unlink()
    play_rounds("r", overrides=overrides)
    after = created(store, 2)
    assert [name for name in FOLDERS if after[name] == before[name]] == list(FOLDERS[:first_lost])
    assert dict(store.stages("r", 0))[FOLDER["evaluate"]] == base


def test_a_dry_run_names_the_setting_that_runs_a_stage_again(config: RunConfig, store: Store) -> None:
    changed = config.model_copy(update={"filter": config.filter.model_copy(update={"high": 0.75})})
    for settings, first_played in ((config, "none"), (changed, FOLDER["filter"])):
        with dry_run() as planned, suppress(NotYetComputed):
            play_round(settings, store, "r", 2, start_of(settings, store, "r", 2))
        in_round = [stage for stage in planned.stages if stage.place == "runs/r/round-002"]
        assert [stage.stage for stage in in_round] == list(FOLDERS)
        assert next((stage.stage for stage in in_round if stage.will_run), "none") == first_played
    reasons = {stage.stage: stage.why for stage in planned.stages if stage.will_run}
    assert reasons[FOLDER["filter"]] == "config.high: 0.8 -> 0.75"
    assert f"after {FOLDER['filter']}" in reasons[FOLDER["train-solver"]]


def test_force_from_a_stage_plays_a_complete_round_again_from_it(overrides: tuple[str, ...], store: Store) -> None:
    before = created(store, 2)
    (again,) = play_rounds("r", overrides=overrides, force_from_stage=FOLDER["promote"])
    after = created(store, 2)
    assert again.number == 2
    forced = [name for name in FOLDERS if after[name] != before[name]]
    assert forced == list(FOLDERS[FOLDERS.index(FOLDER["promote"]) :])


def test_approval_is_asked_only_for_a_new_promotion(config: RunConfig, store: Store) -> None:
    start = start_of(config, store, "r", 2)
    play_round(config, store, "r", 2, start, approve=True)
    other = config.promote.model_copy(update={"least_mean_gain": 1.0})
    with pytest.raises(UserError, match="approve needs a run of a deployment"):
        play_round(config.model_copy(update={"promote": other}), store, "r", 2, start, approve=True)


def test_a_request_to_force_counts_once_however_often_it_is_retried(store: Store) -> None:
    withdraw(store, "r", FOLDER["report"], "request-7")
    assert dict(store.stages("r", 2))[FOLDER["report"]] is None
    withdraw(store, "r", FOLDER["promote"], "request-7")
    assert dict(store.stages("r", 2))[FOLDER["promote"]] is not None


def test_a_process_that_waited_for_a_round_plays_the_next_one(overrides: tuple[str, ...], store: Store) -> None:
    withdraw(store, "r", FOLDER["report"], "a request")
    assert read_history(store, "r").next_round == 2
    command, root = [sys.executable, "-c", COMPLETE_ROUND_2, store.url, FOLDER["report"]], Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as other:
        assert other.stdout and other.stdout.readline() == "holds the lease\n"
        results = play_rounds("r", overrides=overrides, wait=True)
    assert [result.number for result in results] == [3]


def test_a_run_does_not_resume_from_another_base_model(config: RunConfig, store: Store, tmp_path: Path) -> None:
    other = config.model_copy(update={"model": str(write_tiny_vlm(tmp_path / "other", seed=1))})
    assert Place.round(store, "r", 1).manifest(FOLDER["train-solver"])
    with pytest.raises(UserError, match="another base model"):
        team_of(other, store, "r", 1)


def test_a_retried_flow_run_plays_only_the_missing_rounds(
    overrides: tuple[str, ...], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    endings = iter([RuntimeError("killed after the round"), None])

    def fail_once(*_: object) -> None:
        if error := next(endings):
            raise error

    monkeypatch.setattr("flows.selfplay.reason_to_end", fail_once)
    state = play_rounds.with_options(retries=1)("r", overrides=overrides, return_state=True)
    assert state.message == "1 of 1 rounds of r played, 0 promoted"
    assert read_history(store, "r").next_round == 4
