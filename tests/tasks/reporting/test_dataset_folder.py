"""The exported folder, read by programs that know nothing of this one."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tasks.benchmarks.table import TableBenchmark
from tasks.reporting.dataset_folder import TSV, write_dataset
from tasks.reporting.model_cards import Provenance, adapter_card, dataset_card
from tasks.reporting.round_page import RoundPage
from tests.fixtures.made_round import MadeRound, made_page, made_round, photographs_of

PROVENANCE = Provenance("owner/model", "s3://bucket/corpora/web", {"6-filter": "0123456789ab"})
LOADING = """
import sys
from datasets import load_dataset
loaded = load_dataset(sys.argv[1])
first = loaded["train"][0]
print(len(loaded["train"]), len(loaded["rejected"]), first["image"].size, len(first["answers"]), first["outcome"])
"""


@pytest.fixture(scope="module")
def made() -> MadeRound:
    return made_round(30)


@pytest.fixture(scope="module")
def page(made: MadeRound) -> RoundPage:
    return made_page(made, photographs_of(made))


@pytest.fixture(scope="module")
def folder(page: RoundPage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported")
    (out / "README.md").write_text(dataset_card(page, write_dataset(page, out), PROVENANCE))
    return out


def test_datasets_loads_the_folder_in_a_fresh_process(made: MadeRound, folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOADING, str(folder)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, timeout=200).stdout
    questions = [row for row in made.labelled if row.target is None]
    kept = sum(row.reason is None for row in questions)
    assert said.split()[:2] == [str(kept), str(len(questions) - kept)]
    assert said.split()[-3:] == ["9", "trained", "on"]


def test_pandas_reads_the_same_rows_and_pictures(made: MadeRound, folder: Path) -> None:
    rows = pd.read_parquet(folder / "data" / "rejected.parquet")
    rejected = [row for row in made.labelled if row.target is None and row.reason]
    assert list(rows["id"]) == [row.id for row in rejected]
    assert list(rows["outcome"]) == [row.reason for row in rejected]
    assert Image.open(io.BytesIO(rows["image"][0]["bytes"])).size[0] == 200
    right = {id: verdict.right for id, verdict in made.verdicts.items()}
    assert [None if pd.isna(value) else value for value in rows["label_is_right"]] == [right.get(i) for i in rows["id"]]


def test_the_tsv_is_read_as_a_benchmark(made: MadeRound, folder: Path) -> None:
    benchmark = TableBenchmark.named(str(folder / TSV))
    assert benchmark is not None
    read = benchmark.read()
    kept = [row for row in made.labelled if row.target is None and row.reason is None]
    assert (len(read.items), len(read.rejected)) == (len(kept), 0)
    assert [(item.question, item.target) for item in read.items] == [(row.text, row.label) for row in kept]


def test_a_question_without_its_picture_is_left_out(made: MadeRound, tmp_path: Path) -> None:
    pictures = photographs_of(made)
    lost = next(row.key for row in made.labelled if row.reason is None)
    del pictures[lost]
    rows = write_dataset(made_page(made, pictures), tmp_path)
    assert rows["train"] == sum(row.reason is None and row.key != lost for row in made.labelled)


def test_the_cards_say_what_they_are_of_and_leave_the_licence(page: RoundPage) -> None:
    written = dataset_card(page, {"train": 3, "rejected": 4}, PROVENANCE)
    assert written.startswith("---\nlicense: other  # left for the owner") and "| train | 3 |" in written
    player = adapter_card(page, "solver", PROVENANCE, adapter=True)
    assert 'base_model: "owner/model"' in player and "--lora-modules solver=FOLDER" in player
    assert "load this folder as any model" in adapter_card(page, "solver", PROVENANCE, adapter=False)
