"""One engine serves the frozen roles and an adapter in training, and lives as long as the round's stages need it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tasks.engines import VLLM, Transformers
from tasks.engines.open_engines import Engines, engines_for_stage
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.execution.kept import keep_open


class Opened:
    closed = False

    def close(self) -> None:
        self.closed = True


class Countable(VLLM):
    def open(self, model: str, pictures: PictureBudget) -> Any:
        return Opened()


def engine_of_a_stage(model: str = "base", pictures: PictureBudget = OWN_LIMITS) -> Opened:
    with engines_for_stage(Countable(), pictures) as engines:
        return cast(Opened, engines.for_model(model))


def fail_in_a_stage() -> None:
    with engines_for_stage(Countable(), OWN_LIMITS) as engines:
        engines.for_model("base")
        raise RuntimeError("lost")


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


def test_an_engine_of_one_stage_ends_with_it() -> None:
    assert engine_of_a_stage().closed


def test_a_round_keeps_an_engine_for_the_stages_after() -> None:
    with keep_open():
        first = engine_of_a_stage()
        assert engine_of_a_stage() is first and not first.closed
    assert first.closed


def test_another_base_model_ends_the_engines_that_the_stage_has_not_used() -> None:
    with keep_open():
        base = engine_of_a_stage()
        with engines_for_stage(Countable(), OWN_LIMITS) as engines:
            asker, solver = (cast(Opened, engines.for_model(name)) for name in ("asker", "solver"))
            assert base.closed and not asker.closed and not solver.closed


def test_other_settings_end_the_engines_of_the_stage_before() -> None:
    with keep_open():
        first = engine_of_a_stage()
        assert engine_of_a_stage(pictures=PictureBudget(max_pixels=784)) is not first
        assert first.closed


def test_an_engine_is_not_kept_after_an_error() -> None:
    with keep_open():
        first = engine_of_a_stage()
        with pytest.raises(RuntimeError, match="lost"):
            fail_in_a_stage()
        assert first.closed and engine_of_a_stage() is not first


def test_an_engine_whose_weights_changed_ends_with_its_stage() -> None:
    with keep_open():
        with engines_for_stage(Countable(), OWN_LIMITS) as engines:
            frozen, whole = engines.for_model("base"), engines.for_policy("base", whole=True)
        assert cast(Opened, whole).closed and not cast(Opened, frozen).closed
