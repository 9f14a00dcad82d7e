from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from tasks.execution.dry_run import NotYetComputed, PlannedStage, dry_run
from tasks.execution.stage import stage
from tasks.records import Row
from tasks.store import Artifact, Output, Place, Store


class Number(Row):
    value: int


class CountConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = 3


@stage("1-count", Number)
def count(place: Place, config: CountConfig) -> Output[Number]:
    return Output([Number(value=value) for value in range(config.count)])


@stage("2-double", Number)
def double(place: Place, numbers: Artifact[Number]) -> Output[Number]:
    return Output([Number(value=2 * row.value) for row in numbers.read()])


@stage("10-add", Number)
def add(place: Place, config: CountConfig, numbers: tuple[Artifact[Number], ...]) -> Output[Number]:
    return Output([Number(value=config.count + sum(row.value for artifact in numbers for row in artifact.read()))])


def run_all(place: Place, config: CountConfig, last: CountConfig | None = None) -> Artifact[Number]:
    numbers = count(place, config)
    return add(place, last or config, (numbers, double(place, numbers)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.round(Store(str(tmp_path)), "default", 1)


def plan(place: Place, config: CountConfig, force: str | None = None) -> list[tuple[str, bool, str]]:
    with dry_run((place.prefix, force) if force else None) as planned:
        run_all(place, config)
    return [(stage.stage, stage.will_run, stage.why) for stage in planned.stages]


def test_a_dry_run_of_an_empty_place_runs_all_and_makes_nothing(place: Place) -> None:
    nothing = "no complete artifact"
    assert plan(place, CountConfig()) == [
        ("1-count", True, nothing),
        ("2-double", True, f"{nothing}; after 1-count"),
        ("10-add", True, f"{nothing}; after 1-count, 2-double"),
    ]
    assert place.store.runs() == []


def test_a_dry_run_of_what_is_complete_reuses_everything(place: Place) -> None:
    run_all(place, CountConfig())
    entries = place.journal.entries()
    assert [(name, will_run) for name, will_run, _ in plan(place, CountConfig())] == [
        ("1-count", False), ("2-double", False), ("10-add", False),
    ]  # fmt: skip
    assert place.journal.entries() == entries


def test_a_dry_run_names_the_setting_and_the_inputs_that_changed(place: Place) -> None:
    run_all(place, CountConfig())
    (first, second, third) = plan(place, CountConfig(count=4))
    assert first == ("1-count", True, "config.count: 3 -> 4")
    assert second == ("2-double", True, "numbers: other input; after 1-count")
    assert third[1] and third[2].startswith("config.count: 3 -> 4; numbers: ")


def test_a_changed_setting_of_a_late_stage_leaves_the_earlier_ones(place: Place) -> None:
    run_all(place, CountConfig())
    with dry_run() as planned:
        run_all(place, CountConfig(), CountConfig(count=9))
    assert [stage.will_run for stage in planned.stages] == [False, False, True]
    assert planned.stages[-1] == PlannedStage(place.prefix, "10-add", True, "config.count: 3 -> 9")


def test_a_forced_stage_and_the_stages_after_it_run(place: Place) -> None:
    run_all(place, CountConfig())
    assert plan(place, CountConfig(), force="2-double") == [
        ("1-count", False, "unchanged"),
        ("2-double", True, "--force-from"),
        ("10-add", True, "--force-from; after 2-double"),
    ]


def test_after_a_damaged_stage_the_rest_may_be_reused(place: Place) -> None:
    artifact = count(place, CountConfig())
    double(place, artifact)
    Path(artifact.uri.removeprefix("file://"), artifact.manifest.files[0].path).write_bytes(b"damaged")
    with dry_run() as planned:
        double(place, count(place, CountConfig()))
    first, second = planned.stages
    assert first.will_run and "bytes instead of" in first.why
    assert second.will_run and second.why.endswith("reused if that input comes out unchanged")
    assert "same input, other contents" in second.why


def test_a_planned_artifact_cannot_be_read(place: Place) -> None:
    with dry_run(), pytest.raises(NotYetComputed, match="depends on the output of 1-count"):
        count(place, CountConfig()).read()
