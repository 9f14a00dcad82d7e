"""Every row that a stage of the round hands to the next one."""

from __future__ import annotations

from typing import Literal

from tasks.records.row import Row
from tasks.settings.base import Frozen

AnswerKind = Literal["short_answer", "numeric_value"]
Answers = tuple[str | None, ...]
"""The sampled answers to one question; None where a reply holds no answer."""


class DomainDifficulty(Row):
    """The Solver's agreement with itself in one domain, measured by the probe."""

    domain: str
    questions: int
    """Probed pictures, one question each. Pictures without a usable question are included."""
    agreement: float
    """Mean over the usable questions, 0..1; 0 where there are none."""
    difficulty: float
    """Mean of 1 - 2 |p - 1/2|: 1 at agreement 1/2, 0 at agreement 0 or 1; 0 where there are no usable questions."""
    low: float
    high: float
    """95 % bootstrap interval of `difficulty`."""
    weight: float
    """Share of the Searcher's prompts and of the round's queries; smoothed towards even, sums to 1 over the rows."""


class SearchResult(Row):
    """One picture that a query retrieved, or a rejected query. The kept pictures form the round's pool."""

    domain: str
    query: str
    """The text searched for; of a rejected query the Searcher's whole output."""
    key: str | None
    """Image key; None where the query itself was rejected."""
    rank: int
    """From 1 within the query; 0 for a rejected query and for a picture drawn at random."""
    score: float
    """Cosine similarity of the query's and the picture's embeddings; 0 where `rank` is 0."""
    reason: str | None
    """Why it is not in the pool: the query's `Reject` reason, or `duplicate`: the picture fits another query better."""


class Question(Row):
    """One question about one picture, as the Questioner wrote it."""

    id: str
    key: str
    domain: str
    kind: AnswerKind | None
    """None where the text could not be parsed."""
    text: str
    answer: str
    """The Questioner's own answer: shown to people, never used as a label."""
    thought: str
    raw: str
    """The model's text before parsing."""
    reason: str | None
    """A `Reject` reason, or `duplicate`."""


class LabelledQuestion(Row):
    """One question with the Solver's sampled answers, its pseudo-label and agreement, and whether it is trained on."""

    id: str
    key: str
    domain: str
    kind: AnswerKind
    text: str
    answers: tuple[str | None, ...]
    """The sampled answers: m, or fewer with early stopping. None where no answer could be parsed."""
    label: str | None
    """The majority answer (pseudo-label); None on a tie, or where no answer was parsed."""
    agreement: float
    """Size of the largest group of equal answers over the number of sampled answers, 0..1."""
    reason: str | None
    """Why the question is not trained on; None means kept.

    `too hard`, `too easy`, `no majority`, `no answer`, `over quota`, `label not trusted`; of the leakage checks
    `asked before`, `answer given away`, `not grounded`; or `gold item`.
    """
    unknown: int = 0
    """Pairs of answers that the grader could not compare in its time. They count as different answers."""
    target: str | None = None
    """The known answer of a gold item, whose key names no picture of the corpus."""


class BlindAnswers(Row):
    """The Solver's answers to a question without its picture. The filter has them as a file."""

    id: str
    """The question's."""
    answers: tuple[str | None, ...]


class Step(Row):
    """One step of a training stage: a generation of rollouts and the optimiser updates on it.

    Holds no times and no speeds, so that the same training has the same rows on every machine.
    """

    step: int
    reward: float
    """Mean reward of the step's rollouts."""
    reward_sd: float
    loss: float
    kl: float
    grad_norm: float
    learning_rate: float
    tokens: float
    """Mean completion length."""
    active: float
    """Share of groups whose rewards differ, 0..1. Only these groups have advantages other than 0."""
    reward_terms: tuple[str, ...] = ()
    """Names of the reward's terms."""
    reward_term_means: tuple[float, ...] = ()
    """The mean of each term over the step's rollouts, in the order of `reward_terms`."""


class ExampleReward(Row):
    """What the rollouts of one example were rewarded in one training step. A training stage has them as a file."""

    step: int
    example: str
    """The example's id: a question's for the Solver, a picture's key for the Questioner, `<domain>#<n>` else."""
    rollouts: int
    reward: float
    """Mean reward of its rollouts."""
    terms: tuple[str, ...]
    """Names of the reward's terms."""
    means: tuple[float, ...]
    """The mean of each term over its rollouts, in the order of `terms`."""


class Score(Row):
    """One benchmark item, answered greedily and by k samples at temperature 1."""

    benchmark: str
    id: str
    domain: str
    """The item's category."""
    target: str
    greedy: str | None
    """The answer parsed from the greedy reply; None where there is none (unparsed)."""
    greedy_correct: bool
    samples: tuple[str | None, ...]
    sample_accuracy: float
    """avg@k: the share of the k samples that are right, 0..1."""
    majority_correct: bool
    correct: tuple[bool, ...] = ()
    """Whether each sample is right, in the order of `samples`."""
    cluster: str | None = None
    """What the item shares with other items (seed question, problem, figure); None where it shares nothing."""
    attributes: tuple[str, ...] = ()
    """`name=value` pairs that the benchmark's own metric reads."""
    greedy_truncated: bool = False
    """Whether the greedy reply was cut off."""
    truncated: int = 0
    """Number of samples that were cut off."""
    timeouts: int = 0
    """Answers to this item on which the grader timed out; they count as wrong."""
    judged: bool | None = None
    """Whether the LLM judge finds the greedy answer right; False for an unparsed answer. None without a judge, or where
    the judge replied neither yes nor no."""

    def attribute(self, name: str) -> str:
        """The value of an attribute; empty where the item has no attribute of that name."""
        pairs = (attribute.partition("=") for attribute in self.attributes)
        return next((value for key, _, value in pairs if key == name), "")


class Decision(Row):
    """Whether the round was promoted or rolled back, and on what evidence. One row an artifact."""

    promoted: bool
    items: int
    mean_before: float
    mean_after: float
    mean_low: float
    mean_high: float
    """95 % paired bootstrap interval of the gain of the sampled mean, in points (0..100)."""
    greedy_before: float
    greedy_after: float
    greedy_low: float
    greedy_high: float
    why: str
    clusters: int = 0
    """Independent clusters of items; 0 in artifacts of versions that did not count them."""
    greedy_won: int = 0
    """Items whose greedy answer is right only after the round; `greedy_lost`: only before it."""
    greedy_lost: int = 0
    greedy_p: float = 1.0
    """Two-sided p value of the exact McNemar test of `greedy_won` against `greedy_lost`."""


class Reject(Frozen):
    """Model output that could not be used, and why. Every `parse` returns it; no `parse` raises it."""

    reason: str
