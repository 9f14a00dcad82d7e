"""Every row that crosses from one stage to the next, and its Arrow schema."""

from tasks.records.rows import (
    AnswerKind,
    Answers,
    Decision,
    Estimate,
    Find,
    Question,
    Reject,
    Row,
    Score,
    Step,
    Verdict,
    to_table,
)

__all__ = [
    "AnswerKind",
    "Answers",
    "Decision",
    "Estimate",
    "Find",
    "Question",
    "Reject",
    "Row",
    "Score",
    "Step",
    "Verdict",
    "to_table",
]
