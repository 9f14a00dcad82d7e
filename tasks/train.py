"""2, 4, 7: the roles learn by GRPO, each paid by what the frozen team of the round's start makes of its output.

- Searcher: its query retrieves top k pictures, one of them (by the seed) is asked about by the frozen Questioner, the
  frozen Solver answers m times; paid by the difficulty, less the shares of like queries and pictures in its domain.
- Questioner: the frozen Solver answers its question m times; paid by the difficulty, less the share of like questions.
- Solver: paid for giving the pseudo-label.

A reward is measured over all rollouts of a step together: one batch of questions, one of answers. What two rollouts
both want to know is sampled once, and the same question about the same picture has the same answers in every step of
a stage (its seed is made of both), so equal outputs are paid alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from tasks.config import RewardConfig
from tasks.corpus import CorpusHandle
from tasks.execution.progress import Progress, track
from tasks.execution.stage import partial_results, stage, workspace
from tasks.filter import curriculum
from tasks.grading import equal
from tasks.labelling.early_stopping import decides_reward
from tasks.players.sampler import Role, Sampler, agreements_on
from tasks.players.team import Team
from tasks.players.weights import weights_of
from tasks.probe import difficulties_of
from tasks.records import DomainDifficulty, LabelledQuestion, Reject, SearchResult, Step
from tasks.records.prompt import Picture
from tasks.retrieval.searchable_corpus import Hit, SearchableCorpus
from tasks.rewards import (
    history_penalty,
    image_repetition,
    questioner_rewards,
    searcher_rewards,
    solver_rewards,
    text_repetition,
)
from tasks.roles import questioner, searcher, solver
from tasks.roles.questioner import ParsedQuestion
from tasks.roles.searcher import Domain
from tasks.search import apportion, pool_of
from tasks.settings.seeds import seed_of
from tasks.store import Artifact, Output, Place
from tasks.trainers import TrainerConfig
from tasks.trainers.checkpoints import StoredCheckpoints
from tasks.trainers.example import Example, Reward, RewardFunction, Rollout


@dataclass(frozen=True)
class SearcherReward:
    """The Searcher's reward function. Example ids are `<domain>#<number>`."""

    sampler: Sampler
    library: SearchableCorpus
    config: RewardConfig

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Reward]:
        """One reward a rollout."""
        domains = [domain_of(rollout.example) for rollout in rollouts]
        keys = self._retrieved([searcher.parse(rollout.text) for rollout in rollouts])
        agreements = self._agreements(keys)
        formats = [searcher.well_formed(rollout.text) for rollout in rollouts]
        texts = text_repetition([rollout.text for rollout in rollouts], domains, self.config.preset)
        images = image_repetition(self._embeddings(keys), domains)
        totals = searcher_rewards(agreements, formats, texts, images, self.config.preset)
        return reward_terms(totals, agreements, formats, {"text repetition": texts, "image repetition": images})

    def _retrieved(self, queries: Sequence[searcher.Query | Reject]) -> list[str | None]:
        """The picture that stands for each query; None where there was no query, or nothing was found."""
        usable = [query.text for query in queries if isinstance(query, searcher.Query)]
        found = iter(self.library.search(usable, self.config.top_k))
        return [
            self._one_of(next(found), query.text, number) if isinstance(query, searcher.Query) else None
            for number, query in enumerate(queries)
        ]

    def _one_of(self, hits: Sequence[Hit], query: str, number: int) -> str | None:
        """Any of the hits, by the seed; rollouts with the same query may draw different ones."""
        return hits[seed_of(self.sampler.seed, "hit", query, number) % len(hits)].key if hits else None

    def _agreements(self, keys: Sequence[str | None]) -> list[float | None]:
        distinct = list(dict.fromkeys(key for key in keys if key is not None))
        pictures = self.library.pictures(distinct)
        drafts = [questioner.parse(text) for (text,) in self.sampler.ask(pictures, 1, self.config.question_draw)]
        measured = dict(zip(distinct, paid_agreements(self.sampler, pictures, drafts, self.config), strict=True))
        return [None if key is None else measured[key] for key in keys]

    def _embeddings(self, keys: Sequence[str | None]) -> NDArray[np.float32]:
        """float32 [n, d]; a row of zeros where there is no picture."""
        found = [number for number, key in enumerate(keys) if key is not None]
        vectors = self.library.embeddings([key for key in keys if key is not None])
        rows = np.zeros((len(keys), vectors.shape[1]), np.float32)
        rows[found] = vectors
        return rows


@dataclass(frozen=True)
class QuestionerReward:
    """The Questioner's reward function."""

    sampler: Sampler
    config: RewardConfig
    earlier: Sequence[str] = ()
    """What was asked in earlier rounds."""

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Reward]:
        """One reward a rollout."""
        drafts = [questioner.parse(rollout.text) for rollout in rollouts]
        pictures = [shown(rollout.example) for rollout in rollouts]
        agreements = paid_agreements(self.sampler, pictures, drafts, self.config)
        formats = [questioner.well_formed(rollout.text) for rollout in rollouts]
        asked = [draft.text if isinstance(draft, ParsedQuestion) else "" for draft in drafts]
        shares = text_repetition(asked, preset=self.config.preset)
        if not self.config.history_penalty:
            totals = questioner_rewards(agreements, formats, shares, self.config.preset)
            return reward_terms(totals, agreements, formats, {"text repetition": shares})
        memory = history_penalty(asked, self.earlier, preset=self.config.preset)
        totals = questioner_rewards(agreements, formats, shares, self.config.preset, history_penalty=memory)
        return reward_terms(totals, agreements, formats, {"text repetition": shares, "history penalty": memory})


@dataclass(frozen=True)
class SolverReward:
    """The Solver's reward function: does it give the pseudo-label? Example ids are those of the verdicts."""

    labels: Mapping[str, str]
    config: RewardConfig
    seed: int

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Reward]:
        """One reward a rollout."""
        correct = [self._is_right(rollout, number) for number, rollout in enumerate(rollouts)]
        boxed = [solver.well_formed(rollout.text) for rollout in rollouts]
        totals = solver_rewards(correct, boxed, self.config.preset)
        return [
            Reward(float(total), {"accuracy": float(right), "format": float(box)})
            for total, right, box in zip(totals, correct, boxed, strict=True)
        ]

    def _is_right(self, rollout: Rollout, number: int) -> bool:
        if self.config.solver == "random":
            return seed_of(self.seed, rollout.example.id, rollout.text, number) % 2 == 0
        answer = solver.parse(rollout.text)
        return not isinstance(answer, Reject) and equal(answer, self.labels[rollout.example.id]).equal


def paid_agreements(
    sampler: Sampler, pictures: Sequence[Picture], drafts: Sequence[ParsedQuestion | Reject], config: RewardConfig
) -> list[float | None]:
    """How far the frozen Solver agrees with itself on each draft, from as many answers as decide the reward."""
    enough = decides_reward(
        config.answers, config.preset, config.early_stopping.tolerance if config.early_stopping else 0.0
    )
    return agreements_on(
        pictures,
        drafts,
        lambda posed: sampler.answer_until(posed, config.answers, config.answer_draw, config.early_stopping, enough),
    )


def reward_terms(
    totals: NDArray[np.float64],
    agreements: Sequence[float | None],
    formats: Sequence[bool],
    shares: Mapping[str, NDArray[np.float64]],
) -> list[Reward]:
    """Totals with what they are made of."""
    parts = {"difficulty": difficulties_of(agreements), "format": np.array(formats, np.float64), **shares}
    return [
        Reward(float(total), {name: float(values[number]) for name, values in parts.items()})
        for number, total in enumerate(totals)
    ]


def searcher_examples(
    team: Team, domains: Sequence[Domain], frontier: Sequence[DomainDifficulty], count: int, seed: int
) -> list[Example]:
    """`count` prompts, the domains in proportion to their weights, in a random order."""
    weights = {row.domain: row.weight for row in frontier}
    counts = apportion([weights[domain.name] for domain in domains], count)
    wording = team.prompts.searcher
    examples = [
        Example(f"{domain.name}#{number}", searcher.prompt(wording, domain), None)
        for domain, share in zip(domains, counts, strict=True)
        for number in range(share)
    ]
    return Random(seed).sample(examples, len(examples))


def domain_of(example: Example) -> str:
    """The domain that a Searcher's prompt names."""
    return example.id.rpartition("#")[0]


def shown(example: Example) -> Picture:
    """The picture of an example that has one."""
    if example.picture is None:
        raise ValueError(f"example {example.id} has no picture")
    return example.picture


def questioner_examples(team: Team, pictures: Sequence[Picture]) -> list[Example]:
    """The pool, one prompt a picture."""
    prompt = questioner.prompt(team.prompts.questioner)
    return [Example(picture.key, prompt, picture) for picture in pictures]


def solver_examples(team: Team, verdicts: Sequence[LabelledQuestion], library: SearchableCorpus) -> list[Example]:
    """The curriculum, asked as it was when it was labelled."""
    wording, pictures = team.prompts.solver, library.pictures([one.key for one in verdicts])
    return [
        Example(one.id, solver.prompt(wording, one.text, one.kind), picture)
        for one, picture in zip(verdicts, pictures, strict=True)
    ]


def learn(
    trainer: TrainerConfig, team: Team, role: Role, examples: Sequence[Example], reward: RewardFunction, seed: int
) -> Output[Step]:
    """Train one role on from where it stands; the weights are attached as `adapter` or, whole, as `model`."""
    start, out, kept = weights_of(team.model, getattr(team, role)), workspace() / "weights", partial_results()
    with track(trainer.steps_for(len(examples)), f"{role} steps") as progress:
        steps = trainer.train(
            start.model,
            start.adapter,
            examples,
            reward,
            out,
            seed,
            on_step=lambda step: _tell(progress, step),
            checkpoints=StoredCheckpoints(kept) if kept else None,
        )
    return Output(steps, {"examples": len(examples)}, {"adapter" if is_adapter(out) else "model": out})


def is_adapter(folder: Path) -> bool:
    """Whether a trainer left an adapter, rather than a whole model."""
    return (folder / "adapter_config.json").is_file()


def _tell(progress: Progress, step: Step) -> None:
    progress.advance(reward=step.reward, kl=step.kl)


@stage("train-searcher", Step, version=2, gpu=True)
def train_searcher(
    place: Place,
    trainer: TrainerConfig,
    rewards: RewardConfig,
    team: Team,
    frontier: Artifact[DomainDifficulty],
    corpus: CorpusHandle,
    domains: tuple[Domain, ...],
    seed: int,
) -> Output[Step]:
    """The Searcher learns to find pictures at the frozen Solver's frontier."""
    examples = searcher_examples(team, domains, frontier.read(), trainer.steps * trainer.prompts, seed)
    seed = seed_of(seed, "train searcher")
    with team.open(seed) as sampler:
        return learn(trainer, team, "searcher", examples, SearcherReward(sampler, corpus.open(), rewards), seed)


@stage("train-questioner", Step, version=2, gpu=True)
def train_questioner(
    place: Place,
    trainer: TrainerConfig,
    rewards: RewardConfig,
    team: Team,
    pool: Artifact[SearchResult],
    earlier: tuple[Artifact[LabelledQuestion], ...],
    corpus: CorpusHandle,
    seed: int,
) -> Output[Step]:
    """The Questioner learns to ask at the frozen Solver's frontier. `earlier`: what this team has trained on before."""
    pictures = corpus.open().pictures([found.key for found in pool_of(pool.read()) if found.key])
    examples, seed = questioner_examples(team, pictures), seed_of(seed, "train questioner")
    past = earlier if rewards.history_penalty else ()
    before = [one.text for curricula in past for one in curriculum(curricula.read())]
    with team.open(seed) as sampler:
        return learn(trainer, team, "questioner", examples, QuestionerReward(sampler, rewards, before), seed)


@stage("train-solver", Step, version=2, gpu=True)
def train_solver(
    place: Place,
    trainer: TrainerConfig,
    rewards: RewardConfig,
    team: Team,
    verdicts: Artifact[LabelledQuestion],
    corpus: CorpusHandle,
    seed: int,
) -> Output[Step]:
    """The Solver learns to give the answer that most of its samples gave."""
    kept, seed = curriculum(verdicts.read()), seed_of(seed, "train solver")
    labels = {one.id: one.label for one in kept if one.label is not None}
    examples = solver_examples(team, kept, corpus.open())
    return learn(trainer, team, "solver", examples, SolverReward(labels, rewards, seed), seed)
