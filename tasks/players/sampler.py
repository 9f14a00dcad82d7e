"""How a team's roles are asked: prompts rendered, completions sampled, texts parsed.

All scoring by frozen players goes through `Sampler`: it asks each distinct thing once, however many rollouts want to
know, since frozen scoring is most of what a round samples (by the published code's settings about 85 % of the
sequences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tasks.config import Draw, EarlyStopping, PromptTemplates
from tasks.engines import EngineConfig
from tasks.engines.partial_results import sampled
from tasks.engines.request import Completion, Engine, Request
from tasks.execution.progress import track
from tasks.grading import vote
from tasks.labelling.early_stopping import Settled
from tasks.players.weights import Weights
from tasks.records import AnswerKind, Answers, Reject
from tasks.records.prompt import Picture, Prompt
from tasks.roles import questioner, searcher, solver
from tasks.roles.prompt_template import PromptTemplate
from tasks.roles.questioner import ParsedQuestion
from tasks.roles.searcher import Domain
from tasks.settings.seeds import seed_of
from tasks.store import PartialResults

Role = Literal["searcher", "questioner", "solver"]
OUTPUTS: dict[Role, str] = {"searcher": "queries", "questioner": "questions", "solver": "answers"}


class Engines:
    """One engine a model, opened when it is first asked for."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._open: dict[str, Engine] = {}

    def of(self, model: str) -> Engine:
        if model not in self._open:
            self._open[model] = self._config.open(model)
        return self._open[model]

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


@dataclass(frozen=True)
class RoleRequest:
    """n texts wanted of a role."""

    prompt: Prompt
    picture: Picture | None
    n: int
    seed: int
    first: int = 0


@dataclass(frozen=True)
class AskedQuestion:
    """A question put to the Solver."""

    picture: Picture
    text: str
    kind: AnswerKind


@dataclass(frozen=True)
class Sampler:
    """A team that can be asked. The same thing asked again gets the same reply; within one call it is sampled once.

    The seed belongs to one purpose: what a role was paid for must not be measured again on the same samples.
    """

    prompts: PromptTemplates
    find_weights: Callable[[Role], Weights]
    engines: Engines
    seed: int
    partial: PartialResults | None = None
    """Where replies are kept until the stage is complete."""
    _weights: dict[Role, Weights] = field(default_factory=dict)

    def write_queries(self, domains: Sequence[Domain], counts: Sequence[int], draw: Draw) -> list[list[str]]:
        """The Searcher's texts: `counts[i]` for domain i."""
        wording = self.prompts.searcher
        called_for = [(domain, count) for domain, count in zip(domains, counts, strict=True) if count]
        requests = [
            RoleRequest(searcher.prompt(wording, domain), None, count, seed_of(self.seed, domain.name))
            for domain, count in called_for
        ]
        texts = iter(self._generate("searcher", requests, draw))
        return [next(texts) if count else [] for count in counts]

    def ask(self, pictures: Sequence[Picture], n: int, draw: Draw) -> list[list[str]]:
        """The Questioner's texts, n a picture."""
        prompt = questioner.prompt(self.prompts.questioner)
        asks = [RoleRequest(prompt, picture, n, seed_of(self.seed, picture.key)) for picture in pictures]
        return self._generate("questioner", asks, draw)

    def answer(self, posed: Sequence[AskedQuestion], n: int, draw: Draw, blind: bool = False) -> list[Answers]:
        """The Solver's answers, n a question; `blind`: without being shown the picture."""
        return [tuple(_answer(one.text) for one in group) for group in self.reply(posed, n, draw, blind)]

    def answer_until(
        self, posed: Sequence[AskedQuestion], n: int, draw: Draw, early_stopping: EarlyStopping | None, settled: Settled
    ) -> list[Answers]:
        """The Solver's answers: the first of n, as many as settle each question; all n without looks."""
        if early_stopping is None:
            return self.answer(posed, n, draw)
        found: list[Answers] = [()] * len(posed)
        for first, count in early_stopping.of(n):
            still = [i for i, answers in enumerate(found) if not answers or not settled(answers)]
            more = self.reply([posed[i] for i in still], count, draw, first=first)
            for i, group in zip(still, more, strict=True):
                found[i] += tuple(_answer(one.text) for one in group)
        return found

    def reply(
        self, posed: Sequence[AskedQuestion], n: int, draw: Draw, blind: bool = False, first: int = 0
    ) -> list[list[Completion]]:
        """The Solver's whole replies, those numbered `first` to `first + n - 1` of each question."""
        wording = self.prompts.solver
        asks = [
            RoleRequest(
                solver.prompt(wording, one.text, one.kind),
                None if blind else one.picture,
                n,
                seed_of(self.seed, one.picture.key, one.text),
                first,
            )
            for one in posed
        ]
        return self._complete("solver", asks, draw)

    def _generate(self, role: Role, asks: Sequence[RoleRequest], draw: Draw) -> list[list[str]]:
        """Texts for each ask."""
        return [[one.text for one in group] for group in self._complete(role, asks, draw)]

    def _complete(self, role: Role, asks: Sequence[RoleRequest], draw: Draw) -> list[list[Completion]]:
        """Completions for each ask, in order; equal asks share theirs."""
        distinct = list(dict.fromkeys(asks))
        if not distinct:
            return []
        weights, sampling = self._weights_of(role), draw.sampling(self._wording(role).max_tokens)
        requests = [
            Request(one.prompt, one.picture, weights.adapter, sampling, one.n, one.seed, one.first) for one in distinct
        ]
        with track(sum(one.n for one in distinct), OUTPUTS[role]) as progress:
            groups = sampled(
                self.partial,
                requests,
                lambda part: self.engines.of(weights.model).generate(part, on_done=progress.advance),
                on_found=progress.advance,
            )
        completions = dict(zip(distinct, groups, strict=True))
        return [completions[one] for one in asks]

    def _weights_of(self, role: Role) -> Weights:
        """Looked up once: a look-up reads and checks the files."""
        if role not in self._weights:
            self._weights[role] = self.find_weights(role)
        return self._weights[role]

    def _wording(self, role: Role) -> PromptTemplate:
        wording: PromptTemplate = getattr(self.prompts, role)
        return wording


def agreements_on(
    pictures: Sequence[Picture],
    drafts: Sequence[ParsedQuestion | Reject],
    answered: Callable[[Sequence[AskedQuestion]], Sequence[Answers]],
) -> list[float | None]:
    """How far the Solver's answers to each draft agree, 0..1; None where there is no question."""
    posed = [
        AskedQuestion(picture, draft.text, draft.kind)
        for picture, draft in zip(pictures, drafts, strict=True)
        if isinstance(draft, ParsedQuestion)
    ]
    answers = iter(answered(posed))
    return [vote(next(answers)).agreement if isinstance(draft, ParsedQuestion) else None for draft in drafts]


def _answer(text: str) -> str | None:
    parsed = solver.parse(text)
    return None if isinstance(parsed, Reject) else parsed
