"""Stages are withdrawn while another process may be playing the round."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows import force
from tasks.records import Decision
from tasks.store import Held, Output, Place, Store
from tests.fixtures.run_rows import DECISION
from tests.fixtures.stages import FOLDER

HOLDER = """
import sys, time
from tasks.store import Place, Store
with Place.round(Store(sys.argv[1]), "r", 1).hold(wait=False):
    print("holds the lease", flush=True)
    time.sleep(1)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Run `r` with a round in progress."""
    monkeypatch.setattr(force, "withdrawn_for", set())
    store = Store(str(tmp_path / "store"))
    Place.round(store, "r", 1).commit(FOLDER["promote"], Decision, Output([DECISION]), {"version": 1}, 0.1)
    return store


def test_a_round_that_another_process_plays_is_withdrawn_after_it(store: Store) -> None:
    place, root = Place.round(store, "r", 1), Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", HOLDER, store.url], stdout=subprocess.PIPE, cwd=root) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(Held, match="--wait"):
            force.withdraw(store, "r", FOLDER["promote"], "a request")
        assert place.manifest(FOLDER["promote"]) is not None
        assert force.withdrawn_for == set()
        force.withdraw(store, "r", FOLDER["promote"], "a request", wait=True)
    assert place.manifest(FOLDER["promote"]) is None
    assert force.withdrawn_for == {"a request"}
