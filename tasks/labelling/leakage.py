"""What keeps a labelled question from training although its agreement lies in the window.

- *asked before*: a round whose team plays on has trained on the same question about the same picture.
- *answer given away*: the label stands in the question itself, so answering it takes no picture.
- *not grounded*: the Solver gives the label as well without the picture, from what it knows of language alone,
  measured by the share of its blind answers that equal the label.

All are pure functions of texts; the filter asks the blind Solver.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.grading import equal
from tasks.records import LabelledQuestion

ASKED_BEFORE, GIVEN_AWAY, NOT_GROUNDED = "asked before", "answer given away", "not grounded"

_WORD = re.compile(r"\w+", re.UNICODE)
_STATED = r"(?:answer|result|solution)(?:\s+is|\s*:|\s*=)\s*"
_UNTELLING = frozenset({"yes", "no", "true", "false", "none", "neither", "both", "same"})
"""Answers whose word in a question says nothing: `is there no cat?`."""


def normal(text: str) -> str:
    """A question without the differences that do not count: case, white space."""
    return " ".join(text.casefold().split())


def asked(verdicts: Sequence[LabelledQuestion]) -> frozenset[tuple[str, str]]:
    """(picture, question) of what a round trained on."""
    return frozenset((one.key, normal(one.text)) for one in verdicts if one.reason is None)


def gives_away(question: str, label: str) -> bool:
    """Whether the question tells its answer.

    Stated outright (`... the answer is 7`, `hint: 7`), in any form; or, for an answer in words, named by the question.
    What the question offers to choose from is no leak (`in or out?`, `(A) cat (B) dog`), nor is a number that it counts
    or points with (`row 2`): of a number only the statement counts.
    """
    text, answer = normal(question), normal(label)
    if not answer:
        return False
    if re.search(rf"(?:{_STATED}|\bhint\s*:\s*|\\boxed\{{){re.escape(answer)}(?!\w)", text):
        return True
    words = _WORD.findall(answer)
    named = bool(words) and not any(word.isdigit() for word in words) and not set(words) <= _UNTELLING
    return named and len(answer) > 1 and _names(text, answer) and not _offers(text, answer)


def _names(text: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def _offers(text: str, answer: str) -> bool:
    """The answer is one of several that the question lists: beside an `or`, or behind a letter."""
    here = re.escape(answer)
    return any(
        re.search(pattern, text)
        for pattern in (
            rf"(?<!\w){here},?\s+or\s",
            rf"\sor\s+(?:the\s+|an?\s+)?{here}(?!\w)",
            rf"(?<!\w){here}\s*,[^.?!]*\sor\s",
            rf"(?:\(?[a-h][).:])\s*{here}(?!\w)",
        )
    )


def blind_share(blind: Sequence[str | None], label: str) -> float:
    """Share of the answers given without the picture that equal the label, 0..1; 0 of none."""
    return sum(answer is not None and equal(answer, label).equal for answer in blind) / max(1, len(blind))
