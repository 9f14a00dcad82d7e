"""Every row that crosses from one stage to the next, and its Arrow schema."""

from tasks.records.rows import (
    AnswerKind,
    Answers,
    Decision,
    DomainDifficulty,
    LabelledQuestion,
    Question,
    Reject,
    Row,
    Score,
    SearchResult,
    Step,
    to_table,
)

__all__ = [
    "AnswerKind",
    "Answers",
    "Decision",
    "DomainDifficulty",
    "LabelledQuestion",
    "Question",
    "Reject",
    "Row",
    "Score",
    "SearchResult",
    "Step",
    "to_table",
]
