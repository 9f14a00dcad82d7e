"""A model by its hub name is a commit, and its files are had from the hub once. Each call is a process of its own, as
what the Hugging Face client reads of its environment, it reads once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.small_hub import REPOSITORY, SmallHub
from tests.fixtures.tiny_vlm import write_tiny_vlm

COMMIT = "import sys; from tasks.players.hub import hub_model; print(hub_model(sys.argv[1]).commit)"
FOLDER = (
    "import sys; from tasks.players.hub import hub_model; m = hub_model(sys.argv[1]); print(m.is_here(), m.folder())"
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A model with a pickle beside its weights, and an empty cache."""
    folder = write_tiny_vlm(tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(b"code")
    with SmallHub(folder).running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        yield running


def asked(code: str, name: str, **environment: str) -> list[str]:
    """The words that the code prints; of an error the last line."""
    command = [sys.executable, "-c", code, name]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        return [done.stderr.splitlines()[-1].removeprefix("tasks.settings.errors.UserError: ")]
    return done.stdout.split()


def test_a_name_is_the_commit_that_the_hub_says_now_unless_one_is_named(hub: SmallHub) -> None:
    (first,) = asked(COMMIT, REPOSITORY)
    assert first == hub.commit
    second = hub.push()
    assert asked(COMMIT, REPOSITORY) == [second]
    assert asked(COMMIT, f"{REPOSITORY}@{first}") == [first]


def test_its_files_are_downloaded_once_and_no_pickle_among_them(hub: SmallHub) -> None:
    was_here, folder = asked(FOLDER, REPOSITORY)
    assert was_here == "False"
    assert Path(folder, "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    assert "model.safetensors" in hub.served
    assert "pytorch_model.bin" not in hub.served
    hub.served.clear()
    assert asked(FOLDER, REPOSITORY) == ["True", folder]
    assert asked(FOLDER, REPOSITORY, HF_HUB_OFFLINE="1") == ["True", folder]  # what the hub last said holds
    assert hub.served == []


def test_a_commit_that_the_hub_could_not_be_asked_for_is_said_also_where_its_client_is_told_to_be_quiet(
    hub: SmallHub,
) -> None:
    asked(COMMIT, REPOSITORY)
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_VERBOSITY": "error"}
    done = subprocess.run([sys.executable, "-c", COMMIT, REPOSITORY], env=quiet, capture_output=True, text=True)
    assert done.stdout.split() == [hub.commit]
    assert f"Using cached commit hash for '{REPOSITORY}'" in done.stderr


def test_a_model_that_cannot_be_had_is_one_line_that_says_why(hub: SmallHub) -> None:
    (told,) = asked(COMMIT, "owner/other")
    assert told.startswith("model owner/other cannot be used: the hub has no such model, or it is private")
    (told,) = asked(COMMIT, REPOSITORY, HF_HUB_OFFLINE="1")
    assert told.startswith(f"model {REPOSITORY} cannot be used: the hub cannot be reached, and it has not been downl")
    (told,) = asked(FOLDER, f"{REPOSITORY}@{'1' * 40}", HF_HUB_OFFLINE="1")
    assert told.startswith(f"model {REPOSITORY}@{'1' * 40} cannot be downloaded: the hub cannot be reached")
