"""Help, exit codes and errors of all commands."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import pytest

from flows.cli.main import FAILURE, USER, command
from flows.cli.options import DEFAULT_CONFIG
from flows.round import FOLDERS
from tasks.config import DEFAULT
from tasks.settings.errors import UserError
from tasks.store import Store
from tasks.store.faults import with_retries
from tests.fixtures.command_line import contents, output_of
from tests.fixtures.stages import FOLDER

COMMANDS = [
    ["iterate"], ["plan"], ["gc"], ["runs"], ["show"], ["page"], ["curriculum"], ["export"], ["evaluate"], ["grade"],
    ["doctor"], ["config"], ["deploy"], ["settle"], ["ui"],
    ["corpus", "build"], ["corpus", "add"], ["corpus", "info"], ["corpus", "query"], ["corpus", "image"],
    ["corpus", "audit"],
]  # fmt: skip
HEAVY = ["torch", "prefect", "pyarrow", "fsspec", "numpy", "transformers", "yaml", "PIL"]


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_shows_how_each_command_is_used(name: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"active-zero {' '.join(name)}" in output_of(capsys, *name, "--help")


def test_help_lists_exactly_these_commands(capsys: pytest.CaptureFixture[str]) -> None:
    groups: list[tuple[list[str], set[str]]] = [([], {"corpus"}), (["corpus"], set())]
    for group, subgroups in groups:
        lines = output_of(capsys, *group, "--help").partition("Commands")[2].splitlines()
        listed = {line[2:].split()[0] for line in lines if line[:2] == "│ " and line[2:3].strip()}
        assert listed == {name[-1] for name in COMMANDS if name[:-1] == group} | subgroups


def test_help_of_every_command_loads_nothing_heavy() -> None:
    program = (
        "import sys; from flows.cli.main import command;"
        f"codes = {{command([*name, '--help']) for name in {COMMANDS}}};"
        f"print(codes, sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "{0} []"


def test_the_default_config_is_that_of_the_settings() -> None:
    assert DEFAULT_CONFIG == DEFAULT


BAD = [
    (["show", "nope"], "There is no run 'nope'"),
    (["show", "r", "--round", "9"], "has no round 9"),
    (["show", "r", "--stage", "6-filtre"], "has no stage '6-filtre'"),
    (["curriculum", "nope"], "There is no run 'nope'"),
    (["curriculum", "r", "--round", "9"], "has no round 9"),
    (["curriculum", "r", "--round", "2"], f"{FOLDER['filter']} is not complete: resume"),
    (["curriculum", "r", "--round", "3"], "bytes instead of"),
    (["curriculum", "r", "--round", "1", "--out", "x.txt"], "--format"),
    (["curriculum", "r", "--round", "1", "--format", "xml"], "'xml'"),
    (["curriculum", "r", "--round", "1", "--format", "html"], "corpus at file:"),
    (["curriculum", "r", "--round", "1", "--format", "html", "--set", "corpus.at=no/where"], "/no/where"),
    (["page", "nope"], "There is no run 'nope'"),
    (["page", "r", "--round", "1", "--corpus", "no/where"], "corpus at file:"),
    (["export", "nope", "--round", "1", "--to", "x"], "There is no run 'nope'"),
    (["export", "r", "--round", "1", "--to", "."], "is not empty: give another --to"),
    (["config", "--set", "filter.lwo=0.4"], "did you mean filter.low?"),
    (["config", "--config", "missing.yaml"], "config missing.yaml is not a file"),
    (["iterate", "--set", "filter.lwo=0.4"], "did you mean filter.low?"),
    (["iterate", "--set", "filter.low=2"], "filter.low"),
    (["iterate", "--set", "filter.low"], "not of the form a.b=value"),
    (["iterate", "--config", "missing.yaml"], "config missing.yaml is not a file"),
    (["iterate", "--rounds", "0"], "--rounds"),
    (["iterate", "--run", "../up"], "cannot be a name in the store"),
    (["iterate", "--force-from", "6-filtre"], f"'6-filtre' is no stage of a round: give one of {FOLDERS[0]}, "),
    (["plan", "--force-from", "6-filtre"], f"'6-filtre' is no stage of a round: give one of {FOLDERS[0]}, "),
    (["gc", "--older-than", "-1"], "--older-than"),
    (["iterate", "--set", "model=/nowhere/at/all"], "/nowhere/at/all"),
    (["corpus", "info", "nothing/here"], "corpus at file:"),
    (["corpus", "query", "a bar", "--corpus", "nothing/here"], "corpus at file:"),
    (["corpus", "image", "0/1", "--corpus", "nothing/here", "--out", "x.png"], "corpus at file:"),
    (["evaluate", "no/such/model", "--benchmark", "world:heldout"], "no/such/model"),
    (["evaluate", "run:nope", "--benchmark", "mathvista"], "put VLMEvalKit's MathVista_MINI.tsv into benchmarks"),
    (["evaluate", "run:nope", "--benchmark", "nope.tsv"], "benchmark file nope.tsv does not exist: "),
    (["evaluate", "run:nope", "--benchmark", "nope"], "benchmark nope is neither a TSV file"),
    (["plan", "--config", "qwen2.5-vl-7b"], "put VLMEvalKit's MathVista_MINI.tsv into benchmarks"),
    (["plan", "--config", "qwen2.5-vl-3b"], "put VLMEvalKit's MathVista_MINI.tsv into benchmarks"),
    (["evaluate", "run:nope", "--benchmark", "world:heldout"], "There is no run 'nope'"),
    (["play"], "No such command 'play'"),
    (["show"], "Missing argument"),
]


@pytest.mark.parametrize(("arguments", "why"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_a_mistake_is_one_line_and_exit_2_and_writes_nothing(
    arguments: list[str], why: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = contents(store)
    code = command(arguments)
    captured = capsys.readouterr()
    assert (code, captured.out) == (USER, "")
    (line,) = captured.err.splitlines()
    assert why in line
    assert contents(store) == before
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("arguments", [["runs"], ["show", "r"], ["curriculum", "r"]], ids=" ".join)
def test_reading_a_store_that_does_not_exist_creates_none(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", str(tmp_path / "typo"))
    assert command(arguments) == USER
    assert "There is no store at" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_a_mistake_of_the_program_is_one_line_and_exit_2() -> None:
    program = [sys.executable, "-m", "flows.cli", "iterate", "--set", "filter.lwo=0.4"]
    ran = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (USER, "")
    assert len(ran.stderr.splitlines()) == 1


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, "--version") == f"{version('active-zero')}\n"


UNWRITABLE = [
    (["iterate"], "set ACTIVE_ZERO_STORE"),
    (["corpus", "build", "shards", "--out", "{place}"], "give another --out"),
]


@pytest.mark.parametrize("place", ["/proc/nope", "file/below", "file"])
@pytest.mark.parametrize(("arguments", "advice"), UNWRITABLE, ids=["iterate", "corpus build"])
def test_a_place_that_cannot_be_written_is_refused_before_work(
    arguments: list[str], advice: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("no folder")
    place = str(tmp_path / place)
    monkeypatch.setenv("ACTIVE_ZERO_STORE", place)
    assert command([word.format(place=place) for word in arguments]) == USER
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{place} cannot be written (" in line and advice in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_keys_of_s3_are_the_users_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import NoCredentialsError

    def listing() -> None:
        raise NoCredentialsError

    monkeypatch.setattr("flows.cli.stores.check_writable", lambda *_: with_retries("listing s3://b/shards", listing))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert command(["corpus", "build", "s3://b/shards", "--out", "c"]) == USER
    (line,) = capsys.readouterr().err.splitlines()
    assert "listing s3://b/shards" in line and "AWS_ACCESS_KEY_ID" in line and "http://127.0.0.1:9" in line


def test_a_failure_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failure = RuntimeError("first line\nsecond line")
    monkeypatch.setattr("flows.cli.stores.existing_store", Mock(side_effect=failure))
    assert command(["runs"]) == FAILURE
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: first line second line" in line


def test_verbose_raises_the_failure_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.config.load_config", Mock(side_effect=RuntimeError("no luck")))
    assert command(["iterate"]) == FAILURE
    with pytest.raises(RuntimeError, match="no luck"):
        command(["iterate", "--verbose"])
    assert command(["iterate"]) == FAILURE


def test_a_failed_or_stopped_command_prints_how_to_resume(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["iterate", "--run", "a run", "--set", "filter.low=0.4"]
    for error, code in ((RuntimeError("no luck"), FAILURE), (KeyboardInterrupt(), 130)):
        monkeypatch.setattr("tasks.config.load_config", Mock(side_effect=error))
        assert command(arguments) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith("resume with: active-zero iterate --run 'a run' --set filter.low=0.4")


@pytest.mark.parametrize("forced", [["--force-from", FOLDER["filter"]], [f"--force-from={FOLDER['filter']}"]], ids=len)
def test_resuming_forces_again_only_if_nothing_was_withdrawn(
    forced: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.config.load_config", Mock(side_effect=RuntimeError("the store is away")))
    monkeypatch.setattr("flows.force.withdrawn_for", set())
    command(["iterate", *forced, "--run", "r"])
    assert capsys.readouterr().err.strip().endswith(f"active-zero iterate {' '.join(forced)} --run r")
    monkeypatch.setattr("flows.force.withdrawn_for", {"a request"})
    command(["iterate", *forced, "--run", "r"])
    assert capsys.readouterr().err.strip().endswith("active-zero iterate --run r")


def test_any_command_prints_a_user_error_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake = UserError("this is wrong: do that.")
    monkeypatch.setattr("flows.cli.stores.existing_store", Mock(side_effect=mistake))
    assert command(["runs"]) == USER
    assert capsys.readouterr().err == "active-zero: this is wrong: do that.\n"
