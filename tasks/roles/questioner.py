r"""The Questioner looks at a picture and writes one reasoning question about it.

`<think>...</think><type>short_answer|numeric_value</type><question>...</question><answer>...</answer>`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from tasks.records import AnswerKind, Reject
from tasks.records.prompt import Prompt
from tasks.roles.prompt_template import PromptTemplate
from tasks.roles.tags import consists_of, contents

TAGS = ("think", "type", "question", "answer")
KINDS: dict[str, AnswerKind] = {kind: kind for kind in get_args(AnswerKind)}


class QuestionerTemplate(PromptTemplate):
    """Templates have no variables: the picture says it all."""


@dataclass(frozen=True)
class ParsedQuestion:
    """A question as written, before anyone has answered it."""

    text: str
    kind: AnswerKind
    answer: str
    """The Questioner's own answer: kept to be read, never a label. May be empty."""
    thought: str


def prompt(wording: QuestionerTemplate) -> Prompt:
    """Ask for a question about the picture that goes with the prompt."""
    return wording.render()


def parse(text: str) -> ParsedQuestion | Reject:
    """The one question that follows the thought; thought and answer may be missing."""
    thought, spoken = _split(text)
    questions, kinds = contents("question", spoken), contents("type", spoken)
    match questions:
        case []:
            return Reject(reason="no question")
        case [""]:
            return Reject(reason="empty question")
        case [_, _, *_]:
            return Reject(reason="several questions")
    if not kinds or kinds[0] not in KINDS:
        return Reject(reason="unknown answer type" if kinds else "no answer type")
    return ParsedQuestion(questions[0], KINDS[kinds[0]], next(iter(contents("answer", spoken)), ""), thought)


def well_formed(text: str) -> bool:
    """The text is the four tags in order, the type is a known one, and nothing else stands there."""
    return consists_of(TAGS, text) and contents("type", _split(text)[1])[0] in KINDS


def _split(text: str) -> tuple[str, str]:
    """Thought, and what follows it: a tag that the thought merely mentions is not read as the question."""
    before, closed, after = text.partition("</think>")
    return (" ".join(before.replace("<think>", " ").split()), after) if closed else ("", text)
