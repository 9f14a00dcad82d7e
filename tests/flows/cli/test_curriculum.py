from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.records import LabelledQuestion
from tasks.store import Output, Place, Store
from tests.fixtures.command_line import output_of
from tests.fixtures.run_rows import labelled_question
from tests.fixtures.stages import FOLDER


def test_a_curriculum_holds_the_kept_questions_and_all_with_all(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["curriculum", "r", "--round", "1"]
    kept = output_of(capsys, *arguments, "--format", "jsonl").splitlines()
    assert [LabelledQuestion.model_validate_json(line) for line in kept] == [labelled_question(1, None)]
    table = tmp_path / "c.parquet"
    output_of(capsys, *arguments, "--all", "--format", "parquet", "--out", str(table), wrote=table)
    assert LabelledQuestion.from_table(pq.read_table(tmp_path / "c.parquet")) == [
        labelled_question(1, None),
        labelled_question(2, "too easy"),
    ]
    assert "how many [red] bars ?" in output_of(capsys, *arguments)
    assert "too easy" in output_of(capsys, *arguments, "--all")


@pytest.mark.slow  # one of ten calls aborted at exit, after good output
def test_a_command_that_read_rows_exits_with_0_every_time(store: Store) -> None:
    labelled = Output([labelled_question(n, None) for n in range(300)], {"kept": 300})
    Place.round(store, "r", 1).commit(FOLDER["filter"], LabelledQuestion, labelled, {"version": 2}, 4.2)
    command = [sys.executable, "-m", "flows.cli", "curriculum", "r", "--round", "1", "--format", "jsonl"]
    environment = {**os.environ, "ACTIVE_ZERO_STORE": store.url}
    codes = Counter(subprocess.run(command, env=environment, capture_output=True).returncode for _ in range(40))
    assert codes == {0: 40}
