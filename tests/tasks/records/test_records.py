from __future__ import annotations

import io
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks import records
from tasks.records import (
    AnswerKind,
    BlindAnswers,
    Decision,
    DomainDifficulty,
    ExampleReward,
    LabelledQuestion,
    Question,
    Row,
    Score,
    SearchResult,
    Step,
    to_table,
)

ROW_TYPES = (
    DomainDifficulty, SearchResult, Question, LabelledQuestion, BlindAnswers, Step, ExampleReward, Score, Decision,
)  # fmt: skip
INT64 = st.integers(-(2**63), 2**63 - 1)

st.register_type_strategy(int, INT64)


@st.composite
def row_lists(draw: st.DrawFn) -> tuple[type[Row], list[Row]]:
    row_type = draw(st.sampled_from(ROW_TYPES))
    return row_type, draw(st.lists(st.builds(row_type, **_every_field(row_type)), max_size=4))


def _every_field(row_type: type[Row]) -> dict[str, Any]:
    return {name: st.from_type(info.annotation) for name, info in row_type.model_fields.items()}  # type: ignore[arg-type]


@settings(max_examples=50)
@given(row_lists())
def test_every_row_survives_parquet_unchanged(case: tuple[type[Row], list[Row]]) -> None:
    row_type, rows = case
    file = io.BytesIO()
    pq.write_table(to_table(row_type, rows), file)
    back = row_type.from_table(pq.read_table(file))
    assert repr(back) == repr(rows)  # repr: NaN equals itself there


def test_the_test_above_knows_every_row_type() -> None:
    declared = {item for item in vars(records).values() if isinstance(item, type) and issubclass(item, Row)}
    assert declared - {Row} == set(ROW_TYPES)


def test_no_rows_still_have_columns() -> None:
    assert to_table(LabelledQuestion, []).schema.equals(LabelledQuestion.arrow_schema())


def test_optional_fields_are_nullable_columns_and_others_are_not() -> None:
    schema = LabelledQuestion.arrow_schema()
    assert schema.field("label").nullable
    assert not schema.field("agreement").nullable
    assert schema.field("answers").type.value_field.nullable


def test_rows_are_frozen_and_refuse_unknown_fields() -> None:
    row = SearchResult(domain="bars", query="q", key=None, rank=0, score=0.0, reason="empty")
    with pytest.raises(ValidationError):
        row.rank = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        SearchResult.model_validate(row.model_dump() | {"path": "/etc/passwd"})


def test_a_column_without_an_arrow_type_is_refused_by_name() -> None:
    class Odd(Row):
        pair: tuple[int, str]

    with pytest.raises(TypeError, match="has no Arrow type"):
        Odd.arrow_schema()


def test_answer_kinds_are_text() -> None:
    assert all(isinstance(kind, str) for kind in get_args(AnswerKind))
