"""Every row that a stage hands to the next one, and what the model is shown: prompts and pictures."""

from tasks.records.row import Row, read_rows, to_table, write_rows
from tasks.records.rows import (
    AnswerKind,
    Answers,
    BlindAnswers,
    Decision,
    DomainDifficulty,
    ExampleReward,
    LabelledQuestion,
    Question,
    Reject,
    Score,
    SearchResult,
    Step,
)

__all__ = [
    "AnswerKind",
    "Answers",
    "BlindAnswers",
    "Decision",
    "DomainDifficulty",
    "ExampleReward",
    "LabelledQuestion",
    "Question",
    "Reject",
    "Row",
    "Score",
    "SearchResult",
    "Step",
    "read_rows",
    "to_table",
    "write_rows",
]
