"""A hub name is resolved to a commit, and its files are downloaded once.

Each call runs in a process of its own, because the Hugging Face client reads its environment only once.
"""

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


def printed(code: str, name: str, **environment: str) -> list[str]:
    """The words that the code prints; of an error the last line."""
    command = [sys.executable, "-c", code, name]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        return [done.stderr.splitlines()[-1].removeprefix("tasks.settings.errors.UserError: ")]
    return done.stdout.split()


def test_a_name_resolves_to_the_hubs_current_commit(hub: SmallHub) -> None:
    (first,) = printed(COMMIT, REPOSITORY)
    assert first == hub.commit
    second = hub.push()
    assert printed(COMMIT, REPOSITORY) == [second]
    assert printed(COMMIT, f"{REPOSITORY}@{first}") == [first]


def test_files_are_downloaded_once_and_without_pickles(hub: SmallHub) -> None:
    was_here, folder = printed(FOLDER, REPOSITORY)
    assert was_here == "False"
    assert Path(folder, "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    assert "model.safetensors" in hub.served
    assert "pytorch_model.bin" not in hub.served
    hub.served.clear()
    assert printed(FOLDER, REPOSITORY) == ["True", folder]
    assert printed(FOLDER, REPOSITORY, HF_HUB_OFFLINE="1") == ["True", folder]  # the commit of the last time holds
    assert hub.served == []


def test_an_offline_commit_is_logged_by_a_quiet_client_too(
    hub: SmallHub,
) -> None:
    printed(COMMIT, REPOSITORY)
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_VERBOSITY": "error"}
    done = subprocess.run([sys.executable, "-c", COMMIT, REPOSITORY], env=quiet, capture_output=True, text=True)
    assert done.stdout.split() == [hub.commit]
    assert f"Using cached commit hash for '{REPOSITORY}'" in done.stderr


def test_a_missing_model_is_one_line_that_gives_the_reason(hub: SmallHub) -> None:
    (error,) = printed(COMMIT, "owner/other")
    assert error.startswith("model owner/other cannot be used: the hub has no such model, or it is private")
    (error,) = printed(COMMIT, REPOSITORY, HF_HUB_OFFLINE="1")
    assert error.startswith(f"model {REPOSITORY} cannot be used: the hub cannot be reached, and the model is not on t")
    (error,) = printed(FOLDER, f"{REPOSITORY}@{'1' * 40}", HF_HUB_OFFLINE="1")
    assert error.startswith(f"model {REPOSITORY}@{'1' * 40} cannot be downloaded: the hub cannot be reached")
