"""What stands on which cards: replicas of the engine, ranks of a training, and the process that plays the round.

Ray gives each replica `gpus` cards of its own, and each of several ranks one; with `engine.share` a replica and a rank
share a card. Each model has replicas of its own (`tasks.engines.open_engines`), and replicas stay while a rank waits.
A single rank trains in the process that plays the round, on its first card. So does any engine that is not on Ray.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.config import RunConfig
from tasks.engines import VLLM, Ray, Scripted, Server, of_one_replica
from tasks.memory.work import SAMPLED, TRAINED, models_of, trainer_of


@dataclass(frozen=True)
class CardUse:
    """What stands on one card in one stage."""

    engine: bool
    """A replica, or the engine of the process that plays the round."""
    rank: bool

    @property
    def words(self) -> str:
        """In the plan's table."""
        return (
            " + ".join(name for name, here in (("engine", self.engine), ("rank", self.rank)) if here) or "queries only"
        )


@dataclass(frozen=True)
class Layout:
    """The places of a round's parts on so many cards of one kind."""

    cards: int
    engine: str
    """The kind of the engine, that of a replica where there are some."""
    on_ray: bool
    replicas: int
    """Replicas of each model; 1 for an engine that is not on Ray, 0 for one that holds no model here."""
    cards_each: int
    """Cards of a replica; 0 for an engine without a GPU."""
    ranks: int
    """Ranks of the largest training."""
    share: bool
    """Whether a rank stands on a card of a replica."""
    models: int
    """Models that are open at once in the largest stage, each with an engine of its own."""

    @property
    def engine_cards(self) -> int:
        """Cards of all engines that are open at once."""
        return (self.models if self.on_ray else 1) * self.replicas * self.cards_each

    def uses(self, stage: str) -> list[CardUse]:
        """The kinds of cards of a stage, by what stands on them. Replicas also wait while a role trains."""
        has_engine = self.replicas > 0
        if stage not in TRAINED:
            return [CardUse(has_engine, rank=False)]
        if self.share or not has_engine:
            return [CardUse(has_engine, rank=True)]
        return [CardUse(engine=True, rank=False), CardUse(engine=False, rank=True)]

    def stands(self, stage: str, ranks: int) -> str:
        """What a stage with models runs on, in words. `ranks`: those of its training."""
        engine = self._engine_words()
        if stage not in TRAINED:
            return engine
        if ranks == 1:
            return f"1 rank and {engine}"
        return f"{ranks} ranks and {engine}, {'on the same cards' if self.share else 'on cards of their own'}"

    def _engine_words(self) -> str:
        if not self.replicas:
            return f"{self.engine} elsewhere"
        each = {0: "a processor", 1: "a card"}.get(self.cards_each, f"{self.cards_each} cards")
        if not self.on_ray:
            return f"{self.engine} on {each}"
        told = f"{self.replicas} replica{'' if self.replicas == 1 else 's'} of {self.engine}"
        return f"{told}{' for each model' if self.models > 1 else ''}, {each} each"

    def problem(self) -> str | None:
        """Why some part would wait for a card for ever; None if each part gets one."""
        ranks = self.ranks if self.ranks > 1 else 0
        if ranks > self.cards:
            return f"train.<role>.workers={ranks} takes a card each"
        needed, room = self.engine_cards, self.cards - (0 if self.share else ranks)
        if needed <= room:
            return None
        if not self.on_ray:
            return f"the engine takes {needed} cards"
        told = f"{self.replicas} replicas"
        told += f" for each of {self.models} models" if self.models > 1 else ""
        told += f" and {ranks} ranks" if room < self.cards else ""
        return f"{told} take {needed + self.cards - room} cards"


def layout_of(config: RunConfig, cards: int) -> Layout:
    """The layout on a cluster with so many cards; 0 for a machine without a GPU."""
    engine, one = config.engine, of_one_replica(config.engine)
    each = cards_of_replica(config) if cards else 0
    on_ray = isinstance(engine, Ray)
    ranks = max(trainer_of(config, role).workers for role in TRAINED.values())
    replicas = _replicas(engine, cards, each) if isinstance(engine, Ray) else 1
    return Layout(
        cards=cards,
        engine=one.kind,
        on_ray=on_ray,
        replicas=0 if isinstance(one, Server) else replicas,
        cards_each=each,
        ranks=ranks,
        share=ranks == 1 or not isinstance(engine, Ray) or engine.share,
        models=max(len(models_of(config, stage, rollouts=engine.draws_rollouts)) or 1 for stage in SAMPLED),
    )


def cards_of_replica(config: RunConfig) -> int:
    """Cards of one engine, or of one replica; 0 where it needs none. Whole ones, although a rank may share them."""
    one = of_one_replica(config.engine)
    if isinstance(one, VLLM):
        return one.tensor_parallel_size
    if isinstance(one, Scripted | Server) or one.device == "cpu":
        return 0
    return config.engine.gpus if isinstance(config.engine, Ray) else 1


def _replicas(engine: Ray, cards: int, each: int) -> int:
    """Auto takes every card; on a machine without a GPU every processor, which is not known here: one."""
    if engine.replicas != "auto":
        return engine.replicas
    return max(1, cards // each) if each else 1
