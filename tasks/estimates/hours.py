"""Hours of each stage on a cluster, from the counts, the rates and what stands where.

A stage takes the time of its batches, one after another: for each step of a training the rollouts and passes of the
ranks, then the reward's questions and answers by the replicas. A batch is cut into parts of `engine.rows` completions,
so more replicas than parts do not make it faster; prompts of an update are shared by ranks in the same way. All cards
are paid for all the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.config import RunConfig
from tasks.engines import Ray, Server
from tasks.engines.replicas import rows_of
from tasks.estimates.counts import Completions, Rollouts, StageCounts
from tasks.estimates.rates import ModelRates, Rates
from tasks.memory.layout import Layout
from tasks.memory.shape import ModelShape
from tasks.memory.work import prompt_length, trainer_of


@dataclass(frozen=True)
class StageHours:
    """The time of one stage."""

    seconds: float
    cards: int
    """Cards that are paid for, at work or not."""
    price: float
    """Of a card for an hour."""

    @property
    def hours(self) -> float:
        """Hours by the clock."""
        return self.seconds / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours of all cards."""
        return self.hours * self.cards

    @property
    def cost(self) -> float:
        """Price of these hours."""
        return self.gpu_hours * self.price


@dataclass(frozen=True)
class Estimate:
    """The time of stages of one config on one cluster."""

    config: RunConfig
    shape: ModelShape
    rates: Rates
    layout: Layout

    def hours(self, counts: StageCounts | None) -> StageHours:
        """Of a stage with models; None stands for one without."""
        return StageHours(self._seconds(counts), self.layout.cards, self.rates.price)

    def _seconds(self, counts: StageCounts | None) -> float:
        if counts is None:
            return self.rates.other
        sampled = sum(map(self._sampling_seconds, counts.completions))
        return self.rates.start + sampled + (self._training_seconds(counts.rollouts) if counts.rollouts else 0.0)

    @property
    def _model(self) -> ModelRates:
        return self.rates.of_model(self.config.model)

    def _sampling_seconds(self, sampled: Completions) -> float:
        """Waves of parts: with 5 parts and 4 replicas the second wave has one."""
        limit = getattr(self.config.prompts, sampled.role).max_tokens
        length = prompt_length(self.config, self.shape, sampled.role)
        prompt = length.total - length.visual if sampled.blind else length.total
        read = self.rates.read
        weight = sampled.requests * prompt * read + sampled.completions * self.rates.mean_tokens(sampled.role, limit)
        parts = self._parts(sampled)
        share = math.ceil(parts / self._replicas) / parts
        split = max(1, self.layout.cards_each)
        efficiency = self.rates.efficiency if self._replicas > 1 else 1.0
        return self._model.scoring.seconds(weight, read) * share / split / efficiency

    def _parts(self, sampled: Completions) -> int:
        """Parts of a batch: no finer than a replica gets at once, and no finer than a request."""
        engine, requests = self.config.engine, max(1, sampled.requests // sampled.batches)
        if not isinstance(engine, Ray):
            return requests
        return min(requests, math.ceil(sampled.completions / sampled.batches / rows_of(engine)))

    @property
    def _replicas(self) -> int:
        engine = self.config.engine
        return len(engine.urls) if isinstance(engine, Server) else max(1, self.layout.replicas)

    def _training_seconds(self, rollouts: Rollouts) -> float:
        """Each update's prompts are shared by the ranks, whole prompts each."""
        trainer, length = trainer_of(self.config, rollouts.role), prompt_length(self.config, self.shape, rollouts.role)
        tokens = self.rates.mean_tokens(rollouts.role, trainer.max_tokens)
        weight = self.rates.read * length.total + rollouts.n * tokens
        slowest = math.ceil(rollouts.prompts / trainer.updates / trainer.workers)
        prompts = rollouts.steps * trainer.updates * slowest
        whole = self.rates.whole if trainer.lora is None else 1.0
        return prompts * whole * self._model.training.seconds(weight, self.rates.read)
