"""The roles are trained by GRPO, each rewarded by the frozen team of the round's start.

- Searcher: its query retrieves top k pictures, the seed chooses one, the frozen Questioner writes a question about it,
  and the frozen Solver answers m times. Reward: the difficulty, less how often its query and its picture are repeated
  in the domain. The tags and the type around a query do not count: they are alike in most replies.
- Questioner: the frozen Solver answers its question m times. Reward: the difficulty, less the text repetition.
- Solver: rewarded for an answer that equals the pseudo-label.

Rewards are measured over all rollouts of a step together: one batch of questions, one batch of answers. A question that
several rollouts share is sampled once. Its seed is made of picture and text, so that it gets the same answers in every
step of a stage, and equal outputs get equal difficulties.
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
from tasks.engines.open_engines import Engines
from tasks.execution.progress import Progress, track
from tasks.execution.stage import partial_results, stage, workspace
from tasks.filter import curriculum
from tasks.grading import NO_ANSWER, Equality, Vote, equal
from tasks.labelling.early_stopping import reward_stop_rule
from tasks.players.sampler import Role, Sampler, votes_of
from tasks.players.team import Team
from tasks.players.weights import weights_of
from tasks.probe import difficulties_of
from tasks.records import DomainDifficulty, ExampleReward, LabelledQuestion, Reject, SearchResult, Step, read_rows
from tasks.records.picture import Picture
from tasks.retrieval.searchable_corpus import Hit, SearchableCorpus
from tasks.rewards import (
    AgreementWindow,
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
from tasks.trainers import TrainerConfig, Training
from tasks.trainers.checkpoints import StoredCheckpoints
from tasks.trainers.example import Example, Reward, RewardFunction, Rollout

EXAMPLE_REWARDS = "examples.parquet"
"""File of a training stage: `ExampleReward` rows."""


@dataclass(frozen=True)
class Measured:
    """What the frozen Solver's answers to a question say."""

    agreement: float | None = None
    """Share of the majority answer, 0..1; None where nothing could be asked."""
    validity: float = 0.0
    """1 where the majority answer equals the Questioner's own answer, 1/2 where it does not, 0 without a majority.
    Always 1 under presets other than `window`, which do not use it."""


@dataclass(frozen=True)
class SearcherReward:
    """The Searcher's reward function. Example ids are `<domain>#<number>`."""

    sampler: Sampler
    corpus: SearchableCorpus
    config: RewardConfig

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Reward]:
        """One reward per rollout."""
        domains = [domain_of(rollout.example) for rollout in rollouts]
        queries = [searcher.parse(rollout.text) for rollout in rollouts]
        keys = self._retrieve(queries)
        measured = self._measured(keys)
        agreements, validity = [each.agreement for each in measured], [each.validity for each in measured]
        formats = [searcher.well_formed(rollout.text) for rollout in rollouts]
        written = [query.text if isinstance(query, searcher.Query) else "" for query in queries]
        texts = text_repetition(written, domains, self.config.preset)
        images = image_repetition(self._embeddings(keys), domains)
        totals = searcher_rewards(agreements, formats, texts, images, self.config.difficulty, validity)
        penalties = {"text repetition": texts, "image repetition": images}
        return with_terms(totals, measured, formats, penalties, self.config)

    def _retrieve(self, queries: Sequence[searcher.Query | Reject]) -> list[str | None]:
        """The key of the picture chosen for each query; None for a rejected query or one without hits."""
        usable = [query.text for query in queries if isinstance(query, searcher.Query)]
        hits = iter(self.corpus.search(usable, self.config.top_k))
        return [
            self._choose(next(hits), query.text, number) if isinstance(query, searcher.Query) else None
            for number, query in enumerate(queries)
        ]

    def _choose(self, hits: Sequence[Hit], query: str, number: int) -> str | None:
        """The key of one hit, chosen by the seed; rollouts with the same query may get different ones."""
        return hits[seed_of(self.sampler.seed, "hit", query, number) % len(hits)].key if hits else None

    def _measured(self, keys: Sequence[str | None]) -> list[Measured]:
        """The Solver's answers to one question about each picture, measured."""
        distinct = list(dict.fromkeys(key for key in keys if key is not None))
        pictures = self.corpus.pictures(distinct)
        texts = self.sampler.write_questions(pictures, 1, self.config.question_draw)
        questions = [questioner.parse(text) for (text,) in texts]
        measured = dict(zip(distinct, measure(self.sampler, pictures, questions, self.config), strict=True))
        return [Measured() if key is None else measured[key] for key in keys]

    def _embeddings(self, keys: Sequence[str | None]) -> NDArray[np.float32]:
        """Embeddings of the pictures, float32 [n, d]; a row of zeros where there is no picture."""
        present = [number for number, key in enumerate(keys) if key is not None]
        vectors = self.corpus.embeddings([key for key in keys if key is not None])
        rows = np.zeros((len(keys), vectors.shape[1]), np.float32)
        rows[present] = vectors
        return rows


@dataclass(frozen=True)
class QuestionerReward:
    """The Questioner's reward function."""

    sampler: Sampler
    config: RewardConfig
    trained_on: Sequence[str] = ()
    """Texts of the questions that the current team has trained on in earlier rounds, for the history penalty."""

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Reward]:
        """One reward per rollout."""
        questions = [questioner.parse(rollout.text) for rollout in rollouts]
        pictures = [picture_of(rollout.example) for rollout in rollouts]
        measured = measure(self.sampler, pictures, questions, self.config)
        agreements, validity = [each.agreement for each in measured], [each.validity for each in measured]
        formats = [questioner.well_formed(rollout.text) for rollout in rollouts]
        texts = [question.text if isinstance(question, ParsedQuestion) else "" for question in questions]
        repetition, preset = text_repetition(texts, preset=self.config.preset), self.config.difficulty
        if not self.config.history_penalty:
            totals = questioner_rewards(agreements, formats, repetition, preset, validity=validity)
            return with_terms(totals, measured, formats, {"text repetition": repetition}, self.config)
        history = history_penalty(texts, self.trained_on, preset=self.config.preset)
        totals = questioner_rewards(agreements, formats, repetition, preset, history, validity)
        penalties = {"text repetition": repetition, "history penalty": history}
        return with_terms(totals, measured, formats, penalties, self.config)


@dataclass(frozen=True)
class SolverReward:
    """The Solver's reward function: accuracy against the pseudo-label. Example ids are those of the questions."""

    labels: Mapping[str, str]
    config: RewardConfig
    seed: int

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Reward]:
        """One reward per rollout."""
        compared = [self._compared(rollout, number) for number, rollout in enumerate(rollouts)]
        correct = [result.equal for result in compared]
        boxed = [solver.well_formed(rollout.text) for rollout in rollouts]
        totals = solver_rewards(correct, boxed, self.config.preset)
        return [
            Reward(
                float(total), {"accuracy": float(one.equal), "format": float(box), "not compared": float(one.unknown)}
            )
            for total, one, box in zip(totals, compared, boxed, strict=True)
        ]

    def _compared(self, rollout: Rollout, number: int) -> Equality:
        """Whether the answer equals the label; in the control arm `random`, a coin toss by the seed."""
        if self.config.solver == "random":
            return Equality(seed_of(self.seed, rollout.example.id, rollout.text, number) % 2 == 0, "coin toss")
        answer = solver.parse(rollout.text)
        return NO_ANSWER if isinstance(answer, Reject) else equal(answer, self.labels[rollout.example.id])


def measure(
    sampler: Sampler, pictures: Sequence[Picture], questions: Sequence[ParsedQuestion | Reject], config: RewardConfig
) -> list[Measured]:
    """The frozen Solver's answers to each question, measured; as many are drawn as decide the reward."""
    tolerance = config.early_stopping.tolerance if config.early_stopping else 0.0
    enough = reward_stop_rule(config.answers, config.difficulty, tolerance)
    votes = votes_of(
        pictures,
        questions,
        lambda asked: sampler.answer_until(asked, config.answers, config.answer_draw, config.early_stopping, enough),
    )
    compare = isinstance(config.difficulty, AgreementWindow)
    return [
        Measured(voted.agreement, validity_of(voted, question) if compare else 1.0)
        if voted is not None and isinstance(question, ParsedQuestion)
        else Measured()
        for voted, question in zip(votes, questions, strict=True)
    ]


def validity_of(voted: Vote, question: ParsedQuestion) -> float:
    """See `Measured.validity`."""
    if voted.label is None:
        return 0.0
    return 1.0 if equal(question.answer, voted.label).equal else 0.5


def with_terms(
    totals: NDArray[np.float64],
    measured: Sequence[Measured],
    formats: Sequence[bool],
    penalties: Mapping[str, NDArray[np.float64]],
    config: RewardConfig,
) -> list[Reward]:
    """The total rewards with the terms that they are made of: the paper's difficulty, or that of `window`."""
    by_window = isinstance(config.difficulty, AgreementWindow)
    difficulties = difficulties_of([each.agreement for each in measured], config.difficulty if by_window else "paper")
    terms = {"difficulty": difficulties, "format": np.array(formats, np.float64), **penalties}
    if by_window:
        terms["validity"] = np.array([each.validity for each in measured])
    return [
        Reward(float(total), {name: float(values[number]) for name, values in terms.items()})
        for number, total in enumerate(totals)
    ]


def searcher_examples(
    team: Team, domains: Sequence[Domain], frontier: Sequence[DomainDifficulty], count: int, seed: int
) -> list[Example]:
    """`count` prompts in random order, the domains in proportion to their weights."""
    weights = {row.domain: row.weight for row in frontier}
    counts = apportion([weights[domain.name] for domain in domains], count)
    template = team.prompts.searcher
    examples = [
        Example(f"{domain.name}#{number}", searcher.prompt(template, domain), None)
        for domain, share in zip(domains, counts, strict=True)
        for number in range(share)
    ]
    return Random(seed).sample(examples, len(examples))


def domain_of(example: Example) -> str:
    """The domain of a Searcher's example."""
    return example.id.rpartition("#")[0]


def picture_of(example: Example) -> Picture:
    """The picture of a Questioner's example. ValueError if it has none."""
    if example.picture is None:
        raise ValueError(f"example {example.id} has no picture")
    return example.picture


def questioner_examples(team: Team, pictures: Sequence[Picture]) -> list[Example]:
    """The pool as examples, one prompt per picture."""
    prompt = questioner.prompt(team.prompts.questioner)
    return [Example(picture.key, prompt, picture) for picture in pictures]


def solver_examples(team: Team, labelled: Sequence[LabelledQuestion], corpus: SearchableCorpus) -> list[Example]:
    """The curriculum as examples, with the prompts that it was labelled with."""
    template, pictures = team.prompts.solver, corpus.pictures([question.key for question in labelled])
    return [
        Example(question.id, solver.prompt(template, question.text, question.kind), picture)
        for question, picture in zip(labelled, pictures, strict=True)
    ]


def train_role(
    trainer: TrainerConfig,
    team: Team,
    role: Role,
    examples: Sequence[Example],
    reward: RewardFunction,
    seed: int,
    engines: Engines,
) -> Output[Step]:
    """Train a role from its current weights. The new weights are attached as `adapter` or, if whole, as `model`.

    What each example was rewarded is attached too, where the trainer tells it: for the round's page.
    """
    start, out, partial = weights_of(team.model, getattr(team, role)), workspace() / "weights", partial_results()
    rewards_out = workspace() / EXAMPLE_REWARDS
    with track(trainer.steps_for(len(examples)), f"{role} steps") as progress:
        training = Training(
            start.model,
            start.adapter,
            examples,
            reward,
            out,
            seed,
            team.pictures,
            engines,
            on_step=lambda step: _report_step(progress, step),
            checkpoints=StoredCheckpoints(partial) if partial else None,
            rewards_out=rewards_out,
        )
        steps = trainer.train(training)
    told = {EXAMPLE_REWARDS: rewards_out} if rewards_out.is_file() else {}
    return Output(steps, {"examples": len(examples)}, {"adapter" if is_adapter(out) else "model": out, **told})


def example_rewards(trained: Artifact[Step]) -> list[ExampleReward]:
    """What each step's examples were rewarded; empty where the training did not tell it."""
    if all(file.name != EXAMPLE_REWARDS for file in trained.manifest.files):
        return []
    return read_rows(ExampleReward, trained.file(EXAMPLE_REWARDS))


def is_adapter(folder: Path) -> bool:
    """Whether a trainer wrote an adapter, rather than a whole model, into the folder."""
    return (folder / "adapter_config.json").is_file()


def _report_step(progress: Progress, step: Step) -> None:
    progress.advance(reward=step.reward, kl=step.kl)


@stage("train-searcher", Step, version=3, gpu=True)
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
    """The Searcher learns to retrieve pictures at the frozen Solver's frontier."""
    examples = searcher_examples(team, domains, frontier.read(), trainer.steps * trainer.prompts, seed)
    seed = seed_of(seed, "train searcher")
    with team.open(seed) as sampler:
        reward = SearcherReward(sampler, corpus.open(), rewards)
        return train_role(trainer, team, "searcher", examples, reward, seed, sampler.engines)


@stage("train-questioner", Step, version=2, gpu=True)
def train_questioner(
    place: Place,
    trainer: TrainerConfig,
    rewards: RewardConfig,
    team: Team,
    pool: Artifact[SearchResult],
    trained_on: tuple[Artifact[LabelledQuestion], ...],
    corpus: CorpusHandle,
    seed: int,
) -> Output[Step]:
    """The Questioner learns to write questions at the frozen Solver's frontier.

    `trained_on`: the curricula that the current team has trained on in earlier rounds.
    """
    pictures = corpus.open().pictures([result.key for result in pool_of(pool.read()) if result.key])
    examples, seed = questioner_examples(team, pictures), seed_of(seed, "train questioner")
    history = trained_on if rewards.history_penalty else ()
    texts = [question.text for labelled in history for question in curriculum(labelled.read())]
    with team.open(seed) as sampler:
        reward = QuestionerReward(sampler, rewards, texts)
        return train_role(trainer, team, "questioner", examples, reward, seed, sampler.engines)


@stage("train-solver", Step, version=2, gpu=True)
def train_solver(
    place: Place,
    trainer: TrainerConfig,
    rewards: RewardConfig,
    team: Team,
    labelled: Artifact[LabelledQuestion],
    corpus: CorpusHandle,
    seed: int,
) -> Output[Step]:
    """The Solver learns to give the majority answer of its own samples."""
    kept, seed = curriculum(labelled.read()), seed_of(seed, "train solver")
    labels = {question.id: question.label for question in kept if question.label is not None}
    examples = solver_examples(team, kept, corpus.open())
    with team.open(seed) as sampler:
        return train_role(trainer, team, "solver", examples, SolverReward(labels, rewards, seed), seed, sampler.engines)
