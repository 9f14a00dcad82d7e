"""What a round's page holds, recomputed from the rows with pandas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from tasks.records import ExampleReward, Row
from tasks.reporting.cards import TRAINED, cards_of
from tasks.reporting.page_files import document_script
from tasks.reporting.round_page import LONGEST, columns_of, page_files, tenth_of
from tests.fixtures.made_round import made_page, made_round


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame([row.model_dump() for row in rows])


def test_the_funnel_counts_the_rows_of_the_stages() -> None:
    made = made_round(200)
    queries, found, written, answered = page_files(made_page(made)).documents["round"]["funnel"]
    results, questions = frame(made.results), frame(made.questions)
    labelled = frame(made.labelled).query("target.isna()")
    assert queries["total"] == made.queries
    assert dict(queries["lost"]) == {"search: no query": int(results["key"].isna().sum())}
    assert found["total"] == int(results["key"].notna().sum())
    assert dict(found["lost"]) == {"search: duplicate": int((results["reason"] == "duplicate").sum())}
    assert (written["total"], answered["total"]) == (len(questions), len(labelled))
    assert dict(written["lost"]) == {f"synthesize: {k}": v for k, v in questions["reason"].value_counts().items()}
    assert dict(answered["lost"]) == labelled["reason"].value_counts().to_dict()


def test_the_columns_hold_every_card() -> None:
    made = made_round(50)
    cards = cards_of(made.results, made.questions, made.labelled, made.verdicts)
    keys = list(dict.fromkeys(card.key for card in cards if card.key))
    columns = columns_of(cards, keys)
    for number, card in enumerate(cards):
        assert columns["outcomes"][columns["outcome"][number]] == card.outcome
        assert columns["domains"][columns["domain"][number]] == card.domain
        assert (keys[columns["picture"][number]] if card.key else None) == card.key
        assert columns["right"][number] == (None if card.verdict is None else int(card.verdict.right))
    assert len(columns["text"]) == len(cards)


def test_the_tables_count_as_pandas_does() -> None:
    made = made_round(200)
    round_ = page_files(made_page(made)).documents["round"]
    rows = frame(made.labelled).query("target.isna()")
    rows["right"] = [made.verdicts[id].right if id in made.verdicts else None for id in rows["id"]]
    trained = rows[rows["reason"].isna()]
    for row in round_["domains"]:
        part = trained[trained["domain"] == row["domain"]]
        assert row["trained"] == len(part)
        assert row["wrong"] == int((part["right"] == False).sum())  # noqa: E712  a column, not a bool
        assert row["labels"]["of"] == int(part["right"].notna().sum())
        assert row["questions"] == sum(one.domain == row["domain"] for one in made.questions)
    for row in round_["agreement"]:
        part = rows[rows["agreement"].map(tenth_of) == row["tenth"]]
        assert (row["questions"], row["trained"]) == (len(part), int(part["reason"].isna().sum()))
        assert row["labels"]["right"] == int((part["right"] == True).sum())  # noqa: E712


def test_long_texts_are_cut_on_the_card_and_whole_in_its_details() -> None:
    made = made_round(1, questions=1)
    long = "x" * 100_000
    questions = [made.questions[0].model_copy(update={"text": long, "reason": "no question"})]
    documents = page_files(made_page(type(made)(1, made.results, questions, [], {}))).documents
    assert len(documents["columns"]["text"][0]) == LONGEST["text"]
    assert documents["details-000"][0]["text"] == long


def test_a_card_tells_the_training_steps_that_used_it() -> None:
    made = made_round(10)
    trained = next(row for row in made.labelled if row.reason is None)
    paid = ExampleReward(step=3, example=trained.id, rollouts=8, reward=0.9, terms=("accuracy",), means=(0.875,))
    about = paid.model_copy(update={"step": 2, "example": trained.key, "terms": ("difficulty",)})
    blind = {trained.id: ("7", "8", "8", None)}
    page = replace(made_page(made), rewards={"solver": [paid], "questioner": [about]}, blind=blind)
    documents = page_files(page).documents
    place = documents["columns"]["id"].index(trained.id)
    detail = documents["details-000"][place]
    assert detail["trained"] == [[3, 8, 0.9, [["accuracy", 0.875]]]]
    assert detail["asked"] == [[2, 8, 0.9, [["difficulty", 0.875]]]]
    assert detail["blind"] == [["8", 2], ["7", 1], [None, 1]]
    assert documents["round"]["trainingTold"] == ["questioner", "solver"]


def test_a_round_without_anything_has_a_page() -> None:
    empty = type(made_round(1))(0, [], [], [], {})
    documents = page_files(made_page(empty)).documents
    assert documents["round"]["funnel"] == [] and documents["columns"]["id"] == []
    assert all(document_script(name, document) for name, document in documents.items())


def test_every_outcome_of_the_filter_is_explained() -> None:
    explained = dict(page_files(made_page(made_round(50))).documents["round"]["explanations"])
    assert {TRAINED, "too hard", "too easy", "no majority", "not grounded", "over quota"} <= explained.keys()
    assert "0.40" in explained["label not trusted"]
    json.dumps(explained)
