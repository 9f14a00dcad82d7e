"""Sampling of a team's roles: render the prompts, sample completions, parse the texts.

Everything that a frozen team generates goes through `Sampler`. It samples each distinct request once, however many
rollouts share it, because frozen scoring is most of what a round samples (about 85 % of the sequences with the
published code's settings).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tasks.config import Draw, EarlyStopping, PromptTemplates
from tasks.engines.open_engines import Engines
from tasks.engines.partial_completions import generate_or_resume
from tasks.engines.request import Completion, Request
from tasks.execution.progress import track
from tasks.grading import Vote, vote
from tasks.labelling.early_stopping import StopRule
from tasks.players.weights import Weights
from tasks.records import AnswerKind, Answers, Reject
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.roles import questioner, searcher, solver
from tasks.roles.prompt_template import PromptTemplate
from tasks.roles.questioner import ParsedQuestion
from tasks.roles.searcher import Domain
from tasks.settings.seeds import seed_of
from tasks.store import PartialResults

Role = Literal["searcher", "questioner", "solver"]
OUTPUTS: dict[Role, str] = {"searcher": "queries", "questioner": "questions", "solver": "answers"}
"""What progress reports call the completions of each role."""


@dataclass(frozen=True)
class RoleRequest:
    """A prompt of a role and the number of completions wanted: those numbered `first` to `first + n - 1`."""

    prompt: Prompt
    picture: Picture | None
    n: int
    seed: int
    first: int = 0


@dataclass(frozen=True)
class AskedQuestion:
    """A question about a picture, as the Solver is asked it."""

    picture: Picture
    text: str
    kind: AnswerKind


@dataclass(frozen=True)
class Sampler:
    """A team with open engines. The same request always gets the same completions, and one call samples it once.

    Every purpose has its own seed, so that a role is never evaluated on the samples that it was rewarded for.
    """

    prompts: PromptTemplates
    find_weights: Callable[[Role], Weights]
    engines: Engines
    seed: int
    partial: PartialResults | None = None
    """Stores completions until the stage is complete, so that a resumed stage does not sample them again."""
    _weights: dict[Role, Weights] = field(default_factory=dict)

    def write_queries(self, domains: Sequence[Domain], counts: Sequence[int], draw: Draw) -> list[list[str | Reject]]:
        """The Searcher's texts by domain: `counts[i]` texts for `domains[i]`."""
        requests = [
            RoleRequest(searcher.prompt(self.prompts.searcher, domain), None, count, seed_of(self.seed, domain.name))
            for domain, count in zip(domains, counts, strict=True)
            if count
        ]
        texts = iter(self._texts("searcher", requests, draw))
        return [next(texts) if count else [] for count in counts]

    def write_questions(self, pictures: Sequence[Picture], n: int, draw: Draw) -> list[list[str | Reject]]:
        """The Questioner's texts by picture, n per picture."""
        prompt = questioner.prompt(self.prompts.questioner)
        requests = [RoleRequest(prompt, picture, n, seed_of(self.seed, picture.key)) for picture in pictures]
        return self._texts("questioner", requests, draw)

    def answer(self, questions: Sequence[AskedQuestion], n: int, draw: Draw, blind: bool = False) -> list[Answers]:
        """The Solver's answers, n per question. `blind` withholds the picture from the Solver."""
        return [_answers(replies) for replies in self.reply(questions, n, draw, blind)]

    def answer_until(
        self,
        questions: Sequence[AskedQuestion],
        n: int,
        draw: Draw,
        early_stopping: EarlyStopping | None,
        enough: StopRule,
    ) -> list[Answers]:
        """The Solver's first answers to each question, up to n, until they are `enough`."""
        if early_stopping is None:
            return self.answer(questions, n, draw)
        answers: list[Answers] = [()] * len(questions)
        for first, count in early_stopping.batches(n):
            unsettled = [i for i, given in enumerate(answers) if not given or not enough(given)]
            batch = self.reply([questions[i] for i in unsettled], count, draw, first=first)
            for i, replies in zip(unsettled, batch, strict=True):
                answers[i] += _answers(replies)
        return answers

    def reply(
        self, questions: Sequence[AskedQuestion], n: int, draw: Draw, blind: bool = False, first: int = 0
    ) -> list[list[Completion]]:
        """The Solver's unparsed completions by question: those numbered `first` to `first + n - 1`."""
        template = self.prompts.solver
        requests = [
            RoleRequest(
                solver.prompt(template, question.text, question.kind),
                None if blind else question.picture,
                n,
                seed_of(self.seed, question.picture.key, question.text),
                first,
            )
            for question in questions
        ]
        return self._complete("solver", requests, draw)

    def _texts(self, role: Role, requests: Sequence[RoleRequest], draw: Draw) -> list[list[str | Reject]]:
        """The texts of each request's completions, a reject for one that the engine refused."""
        return [[_text(completion) for completion in group] for group in self._complete(role, requests, draw)]

    def _complete(self, role: Role, requests: Sequence[RoleRequest], draw: Draw) -> list[list[Completion]]:
        """The completions of each request, in order; equal requests share their completions."""
        distinct = list(dict.fromkeys(requests))
        if not distinct:
            return []
        weights, sampling = self._weights_of(role), draw.sampling(self._template(role).max_tokens)
        engine_requests = [
            Request(each.prompt, each.picture, weights.adapter, sampling, each.n, each.seed, each.first)
            for each in distinct
        ]
        with track(sum(request.n for request in distinct), OUTPUTS[role]) as progress:
            groups = generate_or_resume(
                self.partial,
                engine_requests,
                lambda parts: self.engines.for_model(weights.model).stream(parts, on_done=progress.advance),
                on_resumed=progress.advance,
            )
        completions = dict(zip(distinct, groups, strict=True))
        return [completions[request] for request in requests]

    def _weights_of(self, role: Role) -> Weights:
        """The role's weights, found once: finding them reads and verifies their files."""
        if role not in self._weights:
            self._weights[role] = self.find_weights(role)
        return self._weights[role]

    def _template(self, role: Role) -> PromptTemplate:
        template: PromptTemplate = getattr(self.prompts, role)
        return template


def agreements_of(
    pictures: Sequence[Picture],
    questions: Sequence[ParsedQuestion | Reject],
    answer: Callable[[Sequence[AskedQuestion]], Sequence[Answers]],
) -> list[float | None]:
    """The agreement (0..1) of the Solver's answers to each question about its picture; None for a rejected question."""
    return [None if voted is None else voted.agreement for voted in votes_of(pictures, questions, answer)]


def votes_of(
    pictures: Sequence[Picture],
    questions: Sequence[ParsedQuestion | Reject],
    answer: Callable[[Sequence[AskedQuestion]], Sequence[Answers]],
) -> list[Vote | None]:
    """The vote over the Solver's answers to each question about its picture; None for a rejected question."""
    asked = [
        AskedQuestion(picture, question.text, question.kind)
        for picture, question in zip(pictures, questions, strict=True)
        if isinstance(question, ParsedQuestion)
    ]
    answers = iter(answer(asked))
    return [vote(next(answers)) if isinstance(question, ParsedQuestion) else None for question in questions]


def _text(completion: Completion) -> str | Reject:
    return completion.text if completion.refused is None else Reject(reason=completion.refused)


def _answers(replies: Sequence[Completion]) -> Answers:
    """The answers parsed from the Solver's replies; None where a reply has no answer."""
    parsed = [solver.parse(reply.text) for reply in replies]
    return tuple(None if isinstance(answer, Reject) else answer for answer in parsed)
