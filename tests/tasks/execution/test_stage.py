from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ConfigDict

from tasks.execution.kept import keep_open
from tasks.execution.progress import Snapshot, listen
from tasks.execution.stage import Stage, partial_results, stage, workspace
from tasks.records import Row
from tasks.settings.fingerprint import NotFingerprinted
from tasks.store import Artifact, Output, Place, Store
from tests.fixtures.old_store import rewrite_as_version_0_1


class Number(Row):
    value: int


class CountConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = 3
    threads: Annotated[int, NotFingerprinted] = 1


calls: list[str] = []


@stage("1-count", Number)
def count_numbers(place: Place, config: CountConfig, *, label: Annotated[str, NotFingerprinted] = "") -> Output[Number]:
    """Count."""
    calls.append("count")
    (workspace() / "numbers.txt").write_text(str(config.count))
    rows = [Number(value=value) for value in range(config.count)]
    return Output(rows, {"kept": config.count}, {"numbers.txt": workspace() / "numbers.txt"})


@stage("2-double", Number)
def double_numbers(place: Place, numbers: Artifact[Number], earlier: Artifact[Number] | None = None) -> Output[Number]:
    calls.append("double")
    return Output([Number(value=2 * row.value) for row in numbers.read()])


@stage("3-fail", Number)
def fail(place: Place) -> Output[Number]:
    calls.append(str(workspace()))
    raise RuntimeError("no luck")


@stage("4-draw", Number)
def draw_numbers(place: Place, config: CountConfig) -> Output[Number]:
    """Keeps a partial result and fails the first time; finds it the second time."""
    kept, local = partial_results(), workspace() / "drawn"
    assert kept is not None
    if kept.fetch("drawn", local):
        return Output([Number(value=int(local.read_text()))])
    local.write_text(str(config.count))
    kept.keep("drawn", local)
    raise RuntimeError("killed")


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    url = f"memory://{uuid4().hex}" if request.param == "memory" else str(tmp_path)
    return Place.round(Store(url), "default", 1)


@pytest.fixture(autouse=True)
def no_calls(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    calls.clear()


def test_a_stage_resumes_from_its_partial_results_and_removes_them(place: Place) -> None:
    for count in (3, 4):  # partial results of other settings are not used
        with pytest.raises(RuntimeError, match="killed"):
            draw_numbers(place, CountConfig(count=count))
    assert [row.value for row in draw_numbers(place, CountConfig(count=4)).read()] == [4]
    left = [path for path in place.store.fs.find(place.store.root) if "partial" in path]
    assert len(left) == 1
    assert partial_results() is None


def test_a_call_returns_the_artifact(place: Place) -> None:
    artifact = double_numbers(place, count_numbers(place, CountConfig()))
    assert [row.value for row in artifact.read()] == [0, 2, 4]
    assert artifact == place.find("2-double", Number)


def test_a_second_call_reuses_every_stage_and_logs_it(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    first = double_numbers(place, count_numbers(place, CountConfig()))
    again = double_numbers(place, count_numbers(place, CountConfig()))
    assert calls == ["count", "double"]
    assert again == first
    assert "1-count: reused, 3 rows at" in caplog.text and "2-double: reused" in caplog.text


def test_resources_do_not_make_a_stage_run_again(place: Place) -> None:
    count_numbers(place, CountConfig())
    count_numbers(place, CountConfig(threads=8), label="elsewhere")
    assert calls == ["count"]


def test_a_changed_setting_is_named_and_dependent_stages_run_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    double_numbers(place, count_numbers(place, CountConfig()))
    artifact = double_numbers(place, count_numbers(place, CountConfig(count=4)))
    assert calls == ["count", "double"] * 2
    assert artifact.rows == 4
    assert "1-count: runs again: config.count: 3 -> 4" in caplog.messages
    assert "2-double: runs again: numbers: other input" in caplog.messages


def test_a_call_is_complete_for_its_own_settings_and_inputs_only(place: Place) -> None:
    assert not count_numbers.is_complete(place, CountConfig())
    numbers = count_numbers(place, CountConfig())
    double_numbers(place, numbers)
    assert count_numbers.is_complete(place, CountConfig(threads=8))
    assert double_numbers.is_complete(place, numbers)
    assert not count_numbers.is_complete(place, CountConfig(count=4))
    assert not double_numbers.is_complete(place, count_numbers(place, CountConfig(count=4)))


def test_another_version_makes_the_stage_run_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    count_numbers(place, CountConfig())
    Stage(count_numbers.work, "1-count", Number, version=2)(place, CountConfig())
    assert calls == ["count", "count"]
    assert "1-count: runs again: made by version 1 of the stage, now version 2" in caplog.messages


class OldNumber(Row):
    """The row class of an older version."""

    value: int


def test_stages_of_a_0_1_store_run_again_and_log_why(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.commit("1-count", OldNumber, Output([OldNumber(value=0)]), {"stage": "1-count", "version": 1}, 0.0)
    rewrite_as_version_0_1(place)
    renewed = Stage(count_numbers.work, "1-count", Number, version=2)
    assert renewed(place, CountConfig()).rows == 3
    assert renewed(place, CountConfig()).rows == 3
    assert calls == ["count"]
    assert [line for line in caplog.messages if "1-count" in line and "rows" not in line] == [
        "1-count: runs again: made by version 1 of the stage, now version 2"
    ]


def test_rows_of_another_class_make_the_stage_run_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    fingerprinted = count_numbers.fingerprinted(place, CountConfig())
    place.commit("1-count", OldNumber, Output([OldNumber(value=0)]), fingerprinted, 0.0)
    assert count_numbers(place, CountConfig()).rows == 3
    assert "1-count holds rows of OldNumber, not Number" in caplog.text


def test_other_columns_make_the_stage_run_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    class Wider(Number):
        unit: str | None = None

    def wider(place: Place, config: CountConfig) -> Output[Wider]:
        return Output([Wider(value=1)])

    count_numbers(place, CountConfig())
    wider.__annotations__ = {"place": Place, "config": CountConfig, "return": Output[Wider]}
    assert stage("1-count", Wider)(wider)(place, CountConfig()).read() == [Wider(value=1)]
    assert 'columns.unit: (absent) -> "string"' in caplog.text


def test_the_same_call_elsewhere_has_the_same_fingerprint(place: Place) -> None:
    other = Place.round(place.store, "other", 7)
    assert count_numbers.fingerprinted(place, CountConfig()) == count_numbers.fingerprinted(other, CountConfig())
    assert count_numbers(place, CountConfig()).content_id == count_numbers(other, CountConfig()).content_id


def test_an_input_with_other_contents_makes_the_stage_run_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    numbers = count_numbers(place, CountConfig())
    double_numbers(place, numbers)
    unstable = place.commit("1-count", Number, Output([Number(value=9)]), numbers.manifest.fingerprinted, 0.0)
    assert double_numbers(place, unstable).read() == [Number(value=18)]
    assert "2-double: runs again: numbers: same input, other contents" in caplog.messages


def test_a_damaged_artifact_makes_the_stage_run_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    artifact = count_numbers(place, CountConfig())
    fs, address = place.store.fs, f"{place.store.root}/{place.prefix}/1-count/{artifact.manifest.files[0].path}"
    data = bytearray(fs.cat_file(address))
    data[len(data) // 2] ^= 4
    fs.pipe_file(address, bytes(data))
    assert count_numbers(place, CountConfig()).read() == [Number(value=0), Number(value=1), Number(value=2)]
    assert calls == ["count", "count"]
    assert "1-count: runs again: " in caplog.text and "sha256 differs" in caplog.text


def test_a_stage_that_fails_leaves_no_artifact_and_no_workspace(place: Place) -> None:
    with pytest.raises(RuntimeError, match="no luck"):
        fail(place)
    assert place.find("3-fail", Number) is None
    assert not Path(calls[0]).exists()


def test_attached_files_outlive_the_workspace(place: Place) -> None:
    assert count_numbers(place, CountConfig()).file("numbers.txt").read_text() == "3"


def test_an_argument_without_fingerprint_is_refused(place: Place) -> None:
    with pytest.raises(TypeError, match="stage 2-double: a object has no fingerprint"):
        double_numbers(place, object())  # type: ignore[arg-type]


def test_an_argument_cannot_use_a_fingerprint_field() -> None:
    def work(place: Place, version: int) -> Output[Number]:
        return Output([])

    with pytest.raises(TypeError, match="rename version"):
        stage("1-count", Number)(work)


def test_progress_is_reported_under_the_stage(place: Place) -> None:
    heard: list[Snapshot] = []
    with listen(heard.append):
        count_numbers(place, CountConfig())
    assert [(s.path, s.finished) for s in heard] == [(("1-count",), False), (("1-count",), True)]


def test_in_prefect_a_stage_ends_completed_and_then_reused(prefect_server: None, tmp_path: Path) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    place = Place.round(Store(str(tmp_path)), "default", 1)

    @flow
    def run() -> Artifact[Number]:
        return double_numbers(place, count_numbers(place, CountConfig()))

    final_states = [run(return_state=True) for _ in range(2)]
    assert [state.result() for state in final_states] == [place.find("2-double", Number)] * 2
    assert calls == ["count", "double"]
    own_runs = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id for state in final_states]))
    with get_client(sync_client=True) as client:
        runs = sorted(client.read_task_runs(flow_run_filter=own_runs), key=lambda run: run.start_time or run.created)
    found = {name: place.find(name, Number) for name in ("1-count", "2-double")}
    addresses = {name: artifact.rows_at for name, artifact in found.items() if artifact}
    assert [len(pq.read_table(address.removeprefix("file://"))) for address in addresses.values()] == [3, 3]
    states = [(run.name, run.state.name, run.state.message) for run in runs if run.state]
    assert states == [
        (f"round-001/{name}", state, uri) for state in ("Completed", "Reused") for name, uri in addresses.items()
    ]
    (edge,) = runs[1].task_inputs["numbers"]
    assert edge.id == runs[0].id  # the UI draws the stages as a graph


@stage("4-stumble", Number)
def stumble(place: Place, error: str) -> Output[Number]:
    """Fails at the first attempt."""
    calls.append(error)
    if len(calls) == 1:
        raise {"transient": ConnectionResetError(), "lasting": PermissionError("closed")}[error]
    return Output([])


CLUSTER = "of-a-kept-round"


@stage("5-use", Number, gpu=True)
def use_gpu(place: Place, value: int) -> Output[Number]:
    calls.append(f"slots {slots_in_use()}")
    return Output([Number(value=value)])


def slots_in_use() -> int:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        (limit,) = [each for each in client.read_global_concurrency_limits() if each.name == f"gpu-{CLUSTER}"]
    return limit.active_slots


@pytest.mark.parametrize("kept", [True, False])
def test_in_prefect_a_round_holds_one_gpu_slot_to_its_end(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Its engines stay on the GPU between its stages. A stage outside a round holds the slot for itself alone."""
    from prefect import flow
    from prefect.client.orchestration import get_client

    monkeypatch.setenv("ACTIVE_ZERO_CLUSTER", CLUSTER)
    monkeypatch.setattr("tasks.execution.gpu_slots._has_gpu", lambda: True)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(f"gpu-{CLUSTER}", 1)
    calls.clear()

    @flow
    def play() -> None:
        with keep_open() if kept else nullcontext():
            for value in (1, 2):
                use_gpu(Place.round(Store(str(tmp_path)), "r", value), value)
                calls.append(f"between {slots_in_use()}")

    play()
    between = f"between {int(kept)}"
    assert calls == ["slots 1", between, "slots 1", between]
    assert slots_in_use() == 0


@pytest.mark.parametrize(("error", "tries"), [("transient", 2), ("lasting", 1)])
def test_in_prefect_only_transient_errors_are_retried(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, tries: int
) -> None:
    from prefect import flow

    monkeypatch.setattr("tasks.execution.stage.PAUSES", [0.0, 0.0])
    again = stage("4-stumble", Number)(stumble.work)  # a new task with these pauses

    @flow
    def run() -> Artifact[Number]:
        return again(Place.round(Store(str(tmp_path)), "default", 1), error)

    with nullcontext() if tries > 1 else pytest.raises(PermissionError):
        run()
    assert len(calls) == tries


def test_in_prefect_a_failing_stage_raises_what_the_work_raised(prefect_server: None, tmp_path: Path) -> None:
    from prefect import flow

    @flow
    def run() -> Artifact[Number]:
        return fail(Place.round(Store(str(tmp_path)), "default", 1))

    with pytest.raises(RuntimeError, match="no luck"):
        run()
