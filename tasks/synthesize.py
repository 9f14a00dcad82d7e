"""The trained Questioner writes questions about the pictures of the pool.

Every text becomes a row. A question that repeats another one about the same picture stays in the file as `duplicate`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.config import SynthesizeConfig
from tasks.corpus import CorpusHandle
from tasks.execution.stage import stage
from tasks.labelling.leakage import normalized
from tasks.players.team import Team
from tasks.records import Question, Reject, SearchResult
from tasks.roles import questioner
from tasks.roles.questioner import ParsedQuestion
from tasks.search import pool_of
from tasks.settings.seeds import seed_of
from tasks.store import Artifact, Output, Place

DUPLICATE = "duplicate"


def questions_about(result: SearchResult, texts: Sequence[str | Reject]) -> list[Question]:
    """The rows of the Questioner's texts about one picture; ids are `<key>#<number>`."""
    rows: list[Question] = []
    for number, text in enumerate(texts):
        row = read_question(result, number, text)
        kept = {normalized(other.text) for other in rows if other.reason is None}
        repeated = row.reason is None and normalized(row.text) in kept
        rows.append(row.model_copy(update={"reason": DUPLICATE}) if repeated else row)
    return rows


def read_question(result: SearchResult, number: int, text: str | Reject) -> Question:
    """The row of one of the Questioner's texts; a text that cannot be parsed has a reason and no kind."""
    row = Question(
        id=f"{result.key}#{number}",
        key=result.key or "",
        domain=result.domain,
        kind=None,
        text="",
        answer="",
        thought="",
        raw="" if isinstance(text, Reject) else text,
        reason=None,
    )
    match questioner.parse(text):
        case Reject(reason=reason):
            return row.model_copy(update={"reason": reason})
        case ParsedQuestion(question, kind, answer, thought):
            return row.model_copy(update={"kind": kind, "text": question, "answer": answer, "thought": thought})


@stage("synthesize", Question, version=2, gpu=True)
def synthesize_questions(
    place: Place, config: SynthesizeConfig, team: Team, pool: Artifact[SearchResult], corpus: CorpusHandle, seed: int
) -> Output[Question]:
    """Questions about every picture of the pool."""
    results = pool_of(pool.read())
    pictures = corpus.open().pictures([result.key for result in results if result.key])
    with team.open(seed_of(seed, "synthesize")) as sampler:
        texts = sampler.write_questions(pictures, config.questions, config.draw)
    rows = [row for result, group in zip(results, texts, strict=True) for row in questions_about(result, group)]
    return Output(rows, Counter(row.reason or "kept" for row in rows))
