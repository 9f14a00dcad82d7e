"""Counts of a round against the requests and completions of a round that is played."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from flows.history import start_of
from flows.round import play_round
from tasks.benchmarks.published import PUBLISHED
from tasks.config import RunConfig, load_config
from tasks.estimates.counts import PUBLISHED_ITEMS, StageCounts, items_of, round_counts
from tasks.execution.stage import Stage
from tasks.players.sampler import Sampler
from tasks.settings.overlay import ROOT
from tasks.store import Store
from tasks.trainers.grpo import GRPO
from tests.fixtures.overrides import as_overrides
from tests.fixtures.tiny_round import write_tiny_config

FEW = {"probe": {"pictures": 2, "answers": 3}, "rewards.answers": 3, "synthesize.questions": 2}


@dataclass
class Played:
    """Requests and completions of frozen roles, and rollouts, by stage."""

    requests: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    completions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rollouts: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunConfig, Played]]:
    """A round's config, and what its stages asked the engine and the trainer for."""
    folder = tmp_path_factory.mktemp("round")
    config = load_config(write_tiny_config(folder), as_overrides(FEW))
    with pytest.MonkeyPatch.context() as patch:
        counted = count_requests(patch)
        store = Store(str(folder / "store"))
        play_round(config, store, "r", 1, start_of(config, store, "r", 1))
        yield config, counted


def count_requests(patch: pytest.MonkeyPatch) -> Played:
    """Watch the sampler and the trainer."""
    counted, stages = Played(), [""]
    complete, sample, run = Sampler._complete, GRPO._sample, Stage._run

    def watched_run(stage: Any, *arguments: Any) -> Any:
        stages.append(stage.name)
        try:
            return run(stage, *arguments)
        finally:
            stages.pop()

    def watched_complete(sampler: Any, role: Any, requests: Sequence[Any], draw: Any) -> Any:
        distinct = set(requests)
        counted.requests[stages[-1]] += len(distinct)
        counted.completions[stages[-1]] += sum(request.n for request in distinct)
        return complete(sampler, role, requests, draw)

    def watched_sample(trainer: Any, requests: Sequence[Any], prompts: Any) -> Any:
        counted.rollouts[stages[-1]] += sum(request.n for request in requests)
        return sample(trainer, requests, prompts)

    patch.setattr(Stage, "_run", watched_run)
    patch.setattr(Sampler, "_complete", watched_complete)
    patch.setattr(GRPO, "_sample", watched_sample)
    return counted


def by_stage(config: RunConfig, teams: int = 2) -> dict[str, StageCounts]:
    return {counts.stage: counts for counts in round_counts(config, teams)}


def test_no_stage_asks_for_more_than_its_counts(played: tuple[RunConfig, Played]) -> None:
    config, actual = played
    for name, counts in by_stage(config).items():
        assert actual.requests[name] <= counts.requests, name
        assert actual.completions[name] <= counts.sampled, name
        assert actual.rollouts[name] <= (counts.rollouts.total if counts.rollouts else 0), name
    assert actual.completions["filter"] > 0 and actual.rollouts["train-solver"] > 0


def test_exact_counts_are_those_of_the_round(played: tuple[RunConfig, Played]) -> None:
    config, actual = played
    counts = by_stage(config)
    exact = {name for name, one in counts.items() if one.exact}
    assert exact == {"search", "evaluate"} | ({"train-solver"} if config.train.solver.passes is None else set())
    for name in exact:
        assert (actual.requests[name], actual.completions[name]) == (counts[name].requests, counts[name].sampled)
    for name, one in counts.items():
        if one.rollouts and one.rollouts.exact:
            assert actual.rollouts[name] == one.rollouts.total


def test_the_probe_asks_one_question_a_picture(played: tuple[RunConfig, Played]) -> None:
    config, actual = played
    questions, answers = by_stage(config)["probe"].completions
    assert (questions.completions, answers.completions) == (32, 96)
    assert 0 < actual.completions["probe"] <= 128


def test_the_default_round_has_these_counts() -> None:
    """600 queries x 5 pictures x 5 questions; gold items are a tenth of the batch, and there are 1248."""
    counts = by_stage(load_config(), teams=1)
    assert counts["synthesize"].sampled == 15_000
    answers, blind = counts["filter"].completions
    assert (answers.requests, answers.completions) == (16_248, 146_232)
    assert (blind.requests, blind.completions, blind.blind) == (15_000, 60_000, True)
    assert counts["evaluate"].sampled == (1248 + 2496) * 9


def test_passes_make_the_rollouts_an_upper_bound() -> None:
    limited = by_stage(load_config("tiny", ["train.solver.passes=2"]))["train-solver"].rollouts
    free = by_stage(load_config("tiny", ["train.solver.passes=null"]))["train-solver"].rollouts
    assert limited is not None and free is not None
    assert not limited.exact and free.exact


def test_every_published_benchmark_has_a_number_of_items() -> None:
    assert set(PUBLISHED_ITEMS) == set(PUBLISHED)


def test_the_items_of_a_file_are_counted() -> None:
    shapes = ROOT / "configs/examples/own-benchmark/shapes.tsv"
    assert items_of(str(shapes)) == len(shapes.read_text().splitlines()) - 1
    assert items_of("world:heldout") == 2496
