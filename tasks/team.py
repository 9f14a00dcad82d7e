"""The three players of a round: one base model, one adapter a role, and how they are asked.

A `Team` is what a stage's identity is made of; `team.open()` loads it for the time of the work. All scoring by frozen
players goes through `Cast`: it asks each distinct thing once, however many rollouts want to know, since frozen scoring
is most of what a round samples (by the published code's settings about 85 % of the sequences).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from tasks.config import Draw, Looks, Prompts, RunConfig
from tasks.engines import EngineConfig
from tasks.engines.model_folder import check_model
from tasks.engines.request import Adapter, Completion, Engine, Request
from tasks.errors import UserError
from tasks.grading import vote
from tasks.hub import HubModel, hub_model
from tasks.overlay import ROOT
from tasks.parts import sampled
from tasks.progress import track
from tasks.prompt import Picture, Prompt
from tasks.records import AnswerKind, Answers, Reject, Step
from tasks.roles import questioner, searcher, solver
from tasks.roles.questioner import Draft
from tasks.roles.searcher import Domain
from tasks.roles.wording import Wording
from tasks.sequential import Settled
from tasks.stage import drafts
from tasks.store import Artifact, Drafts

Role = Literal["searcher", "questioner", "solver"]
OUTPUTS: dict[Role, str] = {"searcher": "queries", "questioner": "questions", "solver": "answers"}


class Team(BaseModel):
    """Who plays: the base model and, where a role has been trained, its stage's artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    model: Path | HubModel
    """A local folder (in fingerprints by its contents) or a hub's repository at one commit."""
    engine: EngineConfig
    prompts: Prompts
    searcher: Artifact[Step] | None = None
    questioner: Artifact[Step] | None = None
    solver: Artifact[Step] | None = None

    @classmethod
    def base(cls, config: RunConfig) -> Self:
        """All three roles played by the untrained base model."""
        return cls(model=base_model(config.model), engine=config.engine, prompts=config.prompts)

    def having(self, **roles: Artifact[Step]) -> Self:
        """This team with other players in the named roles."""
        return self.model_copy(update=roles)

    def solver_alone(self) -> Self:
        """This team's Solver with an untrained Searcher and Questioner: what an examination depends on."""
        return self.model_copy(update={"searcher": None, "questioner": None})

    @contextmanager
    def open(self, seed: int) -> Iterator[Cast]:
        """The team, ready to be asked. Engines open with the first request and close with the block."""
        engines = Engines(self.engine)
        try:
            yield Cast(self, engines, seed, drafts())
        finally:
            engines.close()


@dataclass(frozen=True)
class Weights:
    """A model and an adapter on it, if any."""

    model: str
    adapter: Adapter | None


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
class Ask:
    """n texts wanted of a role."""

    prompt: Prompt
    picture: Picture | None
    n: int
    seed: int
    first: int = 0


@dataclass(frozen=True)
class Posed:
    """A question put to the Solver."""

    picture: Picture
    text: str
    kind: AnswerKind


@dataclass(frozen=True)
class Cast:
    """A team that can be asked. The same thing asked again gets the same reply; within one call it is sampled once.

    The seed belongs to one purpose: what a role was paid for must not be measured again on the same samples.
    """

    team: Team
    engines: Engines
    seed: int
    drafts: Drafts | None = None
    """Where replies are kept until the stage is complete."""
    _weights: dict[Role, Weights] = field(default_factory=dict)

    def write_queries(self, domains: Sequence[Domain], counts: Sequence[int], draw: Draw) -> list[list[str]]:
        """The Searcher's texts: `counts[i]` for domain i."""
        wording = self.team.prompts.searcher
        called_for = [(domain, count) for domain, count in zip(domains, counts, strict=True) if count]
        requests = [
            Ask(searcher.prompt(wording, domain), None, count, seed_of(self.seed, domain.name))
            for domain, count in called_for
        ]
        texts = iter(self._generate("searcher", requests, draw))
        return [next(texts) if count else [] for count in counts]

    def ask(self, pictures: Sequence[Picture], n: int, draw: Draw) -> list[list[str]]:
        """The Questioner's texts, n a picture."""
        prompt = questioner.prompt(self.team.prompts.questioner)
        asks = [Ask(prompt, picture, n, seed_of(self.seed, picture.key)) for picture in pictures]
        return self._generate("questioner", asks, draw)

    def answer(self, posed: Sequence[Posed], n: int, draw: Draw, blind: bool = False) -> list[Answers]:
        """The Solver's answers, n a question; `blind`: without being shown the picture."""
        return [tuple(_answer(one.text) for one in group) for group in self.reply(posed, n, draw, blind)]

    def answer_until(
        self, posed: Sequence[Posed], n: int, draw: Draw, looks: Looks | None, settled: Settled
    ) -> list[Answers]:
        """The Solver's answers: the first of n, as many as settle each question; all n without looks."""
        if looks is None:
            return self.answer(posed, n, draw)
        found: list[Answers] = [()] * len(posed)
        for first, count in looks.of(n):
            still = [i for i, answers in enumerate(found) if not answers or not settled(answers)]
            more = self.reply([posed[i] for i in still], count, draw, first=first)
            for i, group in zip(still, more, strict=True):
                found[i] += tuple(_answer(one.text) for one in group)
        return found

    def reply(
        self, posed: Sequence[Posed], n: int, draw: Draw, blind: bool = False, first: int = 0
    ) -> list[list[Completion]]:
        """The Solver's whole replies, those numbered `first` to `first + n - 1` of each question."""
        wording = self.team.prompts.solver
        asks = [
            Ask(
                solver.prompt(wording, one.text, one.kind),
                None if blind else one.picture,
                n,
                seed_of(self.seed, one.picture.key, one.text),
                first,
            )
            for one in posed
        ]
        return self._complete("solver", asks, draw)

    def _generate(self, role: Role, asks: Sequence[Ask], draw: Draw) -> list[list[str]]:
        """Texts for each ask."""
        return [[one.text for one in group] for group in self._complete(role, asks, draw)]

    def _complete(self, role: Role, asks: Sequence[Ask], draw: Draw) -> list[list[Completion]]:
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
                self.drafts,
                requests,
                lambda part: self.engines.of(weights.model).generate(part, on_done=progress.advance),
                on_found=progress.advance,
            )
        completions = dict(zip(distinct, groups, strict=True))
        return [completions[one] for one in asks]

    def _weights_of(self, role: Role) -> Weights:
        """Looked up once: a look-up reads and checks the files."""
        if role not in self._weights:
            self._weights[role] = weights_of(self.team.model, getattr(self.team, role))
        return self._weights[role]

    def _wording(self, role: Role) -> Wording:
        wording: Wording = getattr(self.team.prompts, role)
        return wording


def agreements_on(
    pictures: Sequence[Picture],
    drafts: Sequence[Draft | Reject],
    answered: Callable[[Sequence[Posed]], Sequence[Answers]],
) -> list[float | None]:
    """How far the Solver's answers to each draft agree, 0..1; None where there is no question."""
    posed = [
        Posed(picture, draft.text, draft.kind)
        for picture, draft in zip(pictures, drafts, strict=True)
        if isinstance(draft, Draft)
    ]
    answers = iter(answered(posed))
    return [vote(next(answers)).agreement if isinstance(draft, Draft) else None for draft in drafts]


def weights_of(base: Path | HubModel, trained: Artifact[Step] | None) -> Weights:
    """What a training stage left: an adapter, or a whole model. Adapters are named after their contents, since engines
    cache by (name, path). A base model of the hub is downloaded here if it is not on this disk yet."""
    if trained is not None and any(file.name.startswith("model/") for file in trained.manifest.files):
        return Weights(str(trained.folder("model")), None)
    model = str(base if isinstance(base, Path) else base.folder())
    if trained is None:
        return Weights(model, None)
    name = f"{trained.manifest.stage}-{trained.manifest.contents[:12]}"
    return Weights(model, Adapter(name, trained.folder("adapter")))


def base_model(name: str) -> Path | HubModel:
    """A folder from here or from the repository's root, else a hub name (`owner/model`, `owner/model@revision`).
    UserError if neither, if the folder lacks a part of a model, or if the hub does not say which commit is meant."""
    if (folder := model_folder(name)) is not None:
        check_model(folder)
        return folder
    if not Path(name).exists() and (found := hub_model(name)) is not None:
        return found
    raise UserError(f"model {name} is neither a folder with a config.json nor a hub name such as owner/model")


def model_folder(name: str) -> Path | None:
    """The folder of that name, from here or from the repository's root; None where there is no model in it."""
    folders = (Path(name), ROOT / name)
    return next((folder.resolve() for folder in folders if (folder / "config.json").is_file()), None)


def seed_of(*parts: object) -> int:
    """A seed below 2**31 that is the same for the same parts, on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def _answer(text: str) -> str | None:
    parsed = solver.parse(text)
    return None if isinstance(parsed, Reject) else parsed
