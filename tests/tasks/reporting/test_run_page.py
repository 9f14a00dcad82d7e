"""The page of a run, recomputed from the rows of two rounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.reporting.page_files import document_in, document_script, marked
from tasks.reporting.round_page import page_files
from tasks.reporting.run_page import RoundDocuments, asked, frontier_map, run_files
from tests.fixtures.made_round import MadeRound, made_page, made_round


def documents(number: int, made: MadeRound) -> RoundDocuments:
    keys = [row.key for row in made.results if row.key and row.reason is None]
    page = replace(made_page(made), number=number, places={key: (float(n), -float(n)) for n, key in enumerate(keys)})
    found = page_files(page).documents
    return RoundDocuments(number, found["round"], found["columns"], found["pictures"])


def test_the_rounds_stand_side_by_side_with_their_own_counts() -> None:
    made = [made_round(40, seed=1), made_round(60, seed=2)]
    rounds = [documents(number, each) for number, each in enumerate(made, 1)]
    shown = run_files("r", rounds).documents["run"]["rounds"]
    for each, column in zip(made, shown, strict=True):
        questions = [row for row in each.labelled if row.target is None]
        assert column["answered"] == len(questions)
        assert column["trained"] == sum(row.reason is None for row in questions)
        assert dict(column["funnel"])["questions written"] == len(each.questions)
    assert [column["folder"] for column in shown] == ["round-001", "round-002"]


def test_a_picture_has_one_place_on_the_maps_of_all_rounds() -> None:
    rounds = [documents(1, made_round(30, seed=1)), documents(2, made_round(50, seed=2))]
    drawn = frontier_map(rounds)
    assert len(drawn["keys"]) == len(set(drawn["keys"])) == 50
    first, second = drawn["rounds"]
    assert (len(first["picture"]), len(second["picture"])) == (30, 50)
    assert set(first["picture"]) <= set(second["picture"])


def test_the_map_has_the_mean_agreement_about_each_picture() -> None:
    made = made_round(20)
    (layer,) = frontier_map([documents(1, made)])["rounds"]
    keys = frontier_map([documents(1, made)])["keys"]
    for picture, solved in zip(layer["picture"], layer["solved"], strict=True):
        agreements = [row.agreement for row in made.labelled if row.key == keys[picture]]
        assert solved == (pytest.approx(np.mean(agreements), abs=1e-3) if agreements else None)


def test_the_difference_has_every_answered_question() -> None:
    made = made_round(30)
    rows = asked(documents(1, made))
    questions = [row for row in made.labelled if row.target is None]
    assert sorted(zip(rows["key"], rows["text"], strict=True)) == sorted((row.key, row.text) for row in questions)
    names = [rows["outcomes"][number] for number in rows["outcome"]]
    assert names.count("trained on") == sum(row.reason is None for row in questions)


def test_a_document_is_read_back_from_its_script() -> None:
    document = {"text": "); , </script>", "n": [1, None]}
    assert document_in(document_script("x", document)) == document


def test_a_shell_is_linked_to_the_page_above() -> None:
    shell = b'<head></head>\n<body data-page="round"><p><body </p>'
    assert marked(shell, {"up": '../"x', "up-name": "r"}) == (
        b'<head></head>\n<body data-up="../&quot;x" data-up-name="r" data-page="round"><p><body </p>'
    )
