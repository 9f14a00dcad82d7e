"""Leakage checks: reasons to reject a labelled question although its agreement lies in the window.

- *asked before*: a round that the current team descends from has trained on the same question about the same picture.
- *answer given away*: the question itself contains its label, so no picture is needed to answer it.
- *not grounded*: the Solver gives the label without the picture too, measured by the share of its blind answers that
  equal the label.

All functions here are pure; the filter samples the blind answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.grading import equal
from tasks.records import LabelledQuestion

ASKED_BEFORE, GIVEN_AWAY, NOT_GROUNDED = "asked before", "answer given away", "not grounded"

_WORD = re.compile(r"\w+", re.UNICODE)
_STATED = r"(?:answer|result|solution)(?:\s+is|\s*:|\s*=)\s*"
_UNINFORMATIVE = frozenset({"yes", "no", "true", "false", "none", "neither", "both", "same"})
"""Answers that give nothing away by occurring in the question: `is there no cat?`."""


def normalized(text: str) -> str:
    """A question's text without differences of case and white space."""
    return " ".join(text.casefold().split())


def trained_questions(rows: Sequence[LabelledQuestion]) -> frozenset[tuple[str, str]]:
    """(picture key, normalized question) of the questions that trained."""
    return frozenset((row.key, normalized(row.text)) for row in rows if row.reason is None)


def gives_away(question: str, label: str) -> bool:
    """Whether the question contains its answer.

    Either the question states the answer (`... the answer is 7`, `hint: 7`), or an answer in words occurs in it. Not
    counted: an answer that is one of several choices in the question (`in or out?`, `(A) cat (B) dog`), and a number
    that is not stated as the answer (`row 2`).
    """
    text, answer = normalized(question), normalized(label)
    if not answer:
        return False
    if re.search(rf"(?:{_STATED}|\bhint\s*:\s*|\\boxed\{{){re.escape(answer)}(?!\w)", text):
        return True
    words = _WORD.findall(answer)
    verbal = bool(words) and not any(word.isdigit() for word in words) and not set(words) <= _UNINFORMATIVE
    return verbal and len(answer) > 1 and _contains(text, answer) and not _is_choice(text, answer)


def _contains(text: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def _is_choice(text: str, answer: str) -> bool:
    """Whether the answer is one of several that the question lists: beside an `or`, or after an option's letter."""
    escaped = re.escape(answer)
    return any(
        re.search(pattern, text)
        for pattern in (
            rf"(?<!\w){escaped},?\s+or\s",
            rf"\sor\s+(?:the\s+|an?\s+)?{escaped}(?!\w)",
            rf"(?<!\w){escaped}\s*,[^.?!]*\sor\s",
            rf"(?:\(?[a-h][).:])\s*{escaped}(?!\w)",
        )
    )


def blind_share(answers: Sequence[str | None], label: str) -> float:
    """Share of the answers given without the picture that equal the label, 0..1; 0 without answers."""
    return sum(answer is not None and equal(answer, label).equal for answer in answers) / max(1, len(answers))
