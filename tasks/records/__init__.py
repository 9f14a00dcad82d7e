"""Every row that a stage hands to the next one, and what the model is shown: prompts and pictures."""

from tasks.records.row import Row, to_table
from tasks.records.rows import (
    AnswerKind,
    Answers,
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
    "to_table",
]
