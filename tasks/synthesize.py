"""5: the trained Questioner writes questions about the pool's pictures.

Every text stays a row. The same question about the same picture is asked once; the repeats stay as `duplicate`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.config import SynthesizeConfig
from tasks.corpus import CorpusHandle
from tasks.execution.stage import stage
from tasks.labelling.leakage import normal
from tasks.players.team import Team
from tasks.records import Question, Reject, SearchResult
from tasks.roles import questioner
from tasks.roles.questioner import ParsedQuestion
from tasks.search import pool_of
from tasks.settings.seeds import seed_of
from tasks.store import Artifact, Output, Place

DUPLICATE = "duplicate"


def questions_about(find: SearchResult, texts: Sequence[str]) -> list[Question]:
    """The Questioner's texts about one picture as rows; ids are `<key>#<number>`."""
    rows: list[Question] = []
    for number, text in enumerate(texts):
        row = read_question(find, number, text)
        known = {normal(other.text) for other in rows if other.reason is None}
        repeated = row.reason is None and normal(row.text) in known
        rows.append(row.model_copy(update={"reason": DUPLICATE}) if repeated else row)
    return rows


def read_question(find: SearchResult, number: int, text: str) -> Question:
    """One of the Questioner's texts as a row; what cannot be parsed has a reason and no kind."""
    row = Question(
        id=f"{find.key}#{number}",
        key=find.key or "",
        domain=find.domain,
        kind=None,
        text="",
        answer="",
        thought="",
        raw=text,
        reason=None,
    )
    match questioner.parse(text):
        case Reject(reason=reason):
            return row.model_copy(update={"reason": reason})
        case ParsedQuestion(question, kind, answer, thought):
            return row.model_copy(update={"kind": kind, "text": question, "answer": answer, "thought": thought})


@stage("synthesize", Question, version=2, gpu=True)
def synthesize_questions(
    place: Place, config: SynthesizeConfig, team: Team, finds: Artifact[SearchResult], corpus: CorpusHandle, seed: int
) -> Output[Question]:
    """Questions about every picture of the pool."""
    found = pool_of(finds.read())
    pictures = corpus.open().pictures([find.key for find in found if find.key])
    with team.open(seed_of(seed, "synthesize")) as sampler:
        texts = sampler.ask(pictures, config.questions, config.draw)
    rows = [row for find, group in zip(found, texts, strict=True) for row in questions_about(find, group)]
    return Output(rows, Counter(row.reason or "kept" for row in rows))
