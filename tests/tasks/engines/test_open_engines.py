"""One engine serves the frozen roles and an adapter in training; whole weights in training have their own."""

from __future__ import annotations

from typing import Any, cast

from tasks.engines import VLLM, Transformers
from tasks.engines.open_engines import Engines
from tasks.engines.pictures import OWN_LIMITS, PictureBudget


class Opened:
    closed = False

    def close(self) -> None:
        self.closed = True


class Countable(VLLM):
    def open(self, model: str, pictures: PictureBudget) -> Any:
        return Opened()


def test_an_adapter_in_training_shares_the_engine_of_the_frozen_roles() -> None:
    engines = Engines(Countable(), OWN_LIMITS)
    frozen = engines.for_model("base")
    assert engines.for_policy("base", whole=False) is frozen
    whole = engines.for_policy("base", whole=True)
    assert whole is not frozen and engines.for_policy("base", whole=True) is whole
    engines.close()
    assert all(cast(Opened, engine).closed for engine in (frozen, whole))


def test_a_trainer_draws_its_own_rollouts_beside_the_torch_engine() -> None:
    """Nothing is opened: the folder does not exist."""
    assert Engines(Transformers(), OWN_LIMITS).for_policy("/nowhere", whole=False) is None
