r"""The Solver answers a question about a picture; its reply ends in `\boxed{...}`.

Labels, training, the answers that measure difficulty, and benchmarks all use this one `prompt`. Departure: in the
published code labels and training share a prompt, but the server that measures difficulty ends its prompt in another
way, and benchmarks have a third prompt ("think first"). So its Searcher and Questioner are rewarded for the difficulty
of questions in other words than those in which they are labelled.
"""

from __future__ import annotations

from typing import ClassVar

from tasks.grading import extract_answer
from tasks.records import AnswerKind, Reject
from tasks.records.prompt import Prompt
from tasks.roles.prompt_template import PromptTemplate


class SolverTemplate(PromptTemplate):
    """Prompt template of the Solver; its variables are `question` and `kind` (`short_answer` or `numeric_value`)."""

    variables: ClassVar[frozenset[str]] = frozenset({"question", "kind"})


def prompt(template: SolverTemplate, question: str, kind: AnswerKind) -> Prompt:
    """The prompt that asks `question`, which has an answer of this kind."""
    return template.render(question=question, kind=kind)


def parse(text: str) -> str | Reject:
    r"""The content of the last `\boxed{...}`, without white space around it."""
    answer = extract_answer(text)
    return Reject(reason="no answer") if answer is None or not answer.strip() else answer.strip()


def well_formed(text: str) -> bool:
    r"""Whether the text ends in a non-empty `\boxed{...}`; a full stop or a dollar sign may follow it."""
    tail = text.rstrip(" \n\t.$")
    return tail.endswith("}") and r"\boxed{" in tail and not isinstance(parse(tail), Reject)
