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
    """Prompt template of the Questioner. It has no variables, because the picture is all that the role is given."""


@dataclass(frozen=True)
class ParsedQuestion:
    """A question parsed from the Questioner's text, not answered yet."""

    text: str
    kind: AnswerKind
    answer: str
    """The Questioner's own answer, possibly empty: never a label. The reward preset `window` compares it with one."""
    thought: str
    """The Questioner's reasoning, possibly empty."""


def prompt(template: QuestionerTemplate) -> Prompt:
    """The prompt that asks for a question about the picture sent with it."""
    return template.render()


def parse(text: str | Reject) -> ParsedQuestion | Reject:
    """The one question after the thought. Thought and answer may be missing; question and type may not."""
    if isinstance(text, Reject):
        return text
    thought, rest = _split(text)
    questions, kinds = contents("question", rest), contents("type", rest)
    match questions:
        case []:
            return Reject(reason="no question")
        case [""]:
            return Reject(reason="empty question")
        case [_, _, *_]:
            return Reject(reason="several questions")
    if not kinds or kinds[0] not in KINDS:
        return Reject(reason="unknown answer type" if kinds else "no answer type")
    return ParsedQuestion(questions[0], KINDS[kinds[0]], next(iter(contents("answer", rest)), ""), thought)


def well_formed(text: str | Reject) -> bool:
    """Whether the text is the four tags in order and nothing else, with a known answer type."""
    return not isinstance(text, Reject) and consists_of(TAGS, text) and contents("type", _split(text)[1])[0] in KINDS


def _split(text: str) -> tuple[str, str]:
    """(thought, rest of the text). Only the rest is parsed, so a tag mentioned in the thought is no question."""
    before, closed, after = text.partition("</think>")
    return (" ".join(before.replace("<think>", " ").split()), after) if closed else ("", text)
