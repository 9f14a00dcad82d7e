"""The memory of a cluster's cards: replicas, ranks, and what FSDP2 shares. The figures are computed by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from tasks.config import load_config
from tasks.memory.cards import GIB, Cluster, card_named
from tasks.memory.layout import layout_of
from tasks.memory.mend import mend
from tasks.memory.plan import MemoryPlan, StagePlan, plan
from tasks.memory.shape import PUBLISHED
from tasks.memory.trainer import rollout_phase, state_memory, update_phases
from tasks.memory.work import PromptLength
from tasks.settings.overlay import ROOT
from tasks.trainers import TRL, LoRA

SHAPE = PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"]
LANGUAGE, TOWER = 7_615_616_512, 676_550_144
"""Parameters of the 7B model; the language model's are 28 layers of 233 057 792 and 1 089 998 336 around them."""
LAYER, ROOT_PARAMETERS = 233_057_792, 1_089_998_336
REPLICA = "{kind: vllm, max_model_len: 6144, max_lora_rank: 32, gpu_memory_utilization: 0.4}"
PROMPT = PromptLength(1280, 40)


def plan_for(name: str, cards: int, overrides: Sequence[str] = (), gpu: str = "h100-80") -> MemoryPlan:
    config = load_config(name, overrides)
    return plan(config, PUBLISHED[config.model], Cluster(card_named(gpu), cards))


def advice(name: str, cards: int, overrides: Sequence[str] = ()) -> str:
    cluster = Cluster(card_named("h100-80"), cards)
    return mend(load_config(name, overrides), lambda config: plan(config, PUBLISHED[config.model], cluster))


def whole(workers: int, **settings: bool) -> TRL:
    return TRL(prompts=16, lora=None, precision="bfloat16", workers=workers, row_tokens=1, micro_batch=1, **settings)


def entries(found: MemoryPlan, name: str) -> list[StagePlan]:
    return [one for one in found.stages if one.stage == name]


def test_eight_ranks_share_the_state_of_a_whole_model() -> None:
    assert (SHAPE.language.parameters, SHAPE.vision.parameters) == (LANGUAGE, TOWER)
    part = LANGUAGE // 8
    state = state_memory(whole(8), SHAPE)
    assert (state.gradients, state.adam) == (4 * part, 8 * part)
    assert state.weights == 4 * (part + TOWER)
    assert state.reference == 4 * (part + TOWER) + 4 * part
    assert state.total == 24 * part + 8 * TOWER


def test_one_rank_has_the_state_of_today() -> None:
    assert state_memory(whole(1), SHAPE).total == 24 * LANGUAGE + 8 * TOWER


def test_every_rank_has_the_whole_base_of_an_adapter() -> None:
    lora = LoRA(rank=32, alpha=64)
    alone, of_eight = (state_memory(TRL(lora=lora, workers=workers), SHAPE) for workers in (1, 8))
    assert alone == of_eight


def test_a_rank_gathers_the_root_and_two_layers() -> None:
    assert 28 * LAYER + ROOT_PARAMETERS == LANGUAGE
    forward, backward = update_phases(whole(8, gradient_checkpointing=True), SHAPE, PROMPT)
    assert forward.terms.gathered == 4 * (ROOT_PARAMETERS + 2 * LAYER)
    assert backward.terms.gathered == 2 * forward.terms.gathered, "their gradients too"


def test_checkpointing_keeps_the_bfloat16_copies_of_one_layer() -> None:
    def copies(gradient_checkpointing: bool) -> int:
        of_ranks = update_phases(whole(8, gradient_checkpointing=gradient_checkpointing), SHAPE, PROMPT)
        alone = TRL(
            prompts=16, lora=LoRA(), precision="bfloat16", row_tokens=1, micro_batch=1,
            gradient_checkpointing=gradient_checkpointing,
        )  # fmt: skip
        return of_ranks[1].terms.activations - update_phases(alone, SHAPE, PROMPT)[0].terms.activations

    assert copies(gradient_checkpointing=False) == 2 * LANGUAGE
    assert copies(gradient_checkpointing=True) == 2 * LANGUAGE // 28


def test_a_rank_gathers_the_whole_model_to_sample() -> None:
    assert rollout_phase(whole(8), SHAPE, "solver", PROMPT).terms.gathered == 4 * LANGUAGE
    assert rollout_phase(whole(1), SHAPE, "solver", PROMPT).terms.gathered == 0


@pytest.mark.parametrize("cards", [1, 8])
def test_a_replica_on_a_card_is_the_engine_of_one_card(cards: int) -> None:
    alone = plan_for("qwen2.5-vl-7b", 1)
    replicas = plan_for("qwen2.5-vl-7b", cards, [f"engine={{kind: ray, of: {REPLICA}}}"])
    assert replicas.layout.replicas == cards
    assert [one.phases for one in replicas.stages] == [one.phases for one in alone.stages]


def test_ranks_without_a_share_have_cards_of_their_own() -> None:
    found = plan_for(
        "qwen2.5-vl-7b", 8, [f"engine={{kind: ray, replicas: 4, of: {REPLICA}}}", "train.defaults.workers=4"]
    )
    assert found.fits
    replica, rank = entries(found, "train-solver")
    assert (replica.use.words, rank.use.words) == ("engine", "rank")
    assert rank.peak.terms.weights == replica.peak.terms.weights == 2 * (LANGUAGE + TOWER)
    assert rank.peak.terms.kv_cache == 0 and replica.peak.terms.adam == 0
    assert len(entries(found, "filter")) == 1


def test_a_replica_and_a_rank_share_a_card() -> None:
    shared = [f"engine={{kind: ray, share: true, of: {REPLICA}}}", "train.defaults.workers=8"]
    (one,) = entries(plan_for("qwen2.5-vl-7b", 8, shared), "train-solver")
    assert one.use.words == "engine + rank"
    assert one.peak.terms.weights == 2 * 2 * (LANGUAGE + TOWER)


def test_a_replica_on_two_cards_has_half_the_weights_on_each() -> None:
    split = REPLICA.replace("{", "{tensor_parallel_size: 2, ")
    found = plan_for("qwen2.5-vl-7b", 8, [f"engine={{kind: ray, of: {split}}}"])
    assert (found.layout.replicas, found.layout.cards_each) == (4, 2)
    (one,) = entries(found, "filter")
    assert one.peak.terms.weights == LANGUAGE + TOWER


def test_the_published_training_fits_on_eight_cards() -> None:
    found = plan_for("paper", 8)
    assert found.fits and found.layout.problem() is None
    assert (found.layout.replicas, found.layout.models, found.layout.ranks) == (2, 3, 8)
    (one,) = entries(found, "train-solver")
    assert one.peak.terms.adam == LANGUAGE, "8 bytes over 8 ranks"


@pytest.mark.parametrize(
    ("overrides", "problem", "mended"),
    [
        (["engine.replicas=auto"], "8 replicas for each of 3 models take 24 cards", "engine.replicas=2"),
        (["engine.share=false"], "2 replicas for each of 3 models and 8 ranks take 14 cards", "engine.share=true"),
        (["train.defaults.workers=9"], "train.<role>.workers=9 takes a card each", "train.defaults.workers=8"),
    ],
)
def test_parts_without_a_card_are_a_problem(overrides: list[str], problem: str, mended: str) -> None:
    found = plan_for("paper", 8, overrides)
    assert found.problem == problem and not found.fits
    assert advice("paper", 8, overrides) == f"set {mended}"


@pytest.mark.parametrize(
    ("cards", "overrides"),
    [
        (1, []),
        (4, []),
        (8, ["train.defaults.workers=1"]),
        (8, ["engine.of.gpu_memory_utilization=0.9"]),
        (8, ["engine.of.gpu_memory_utilization=0.1", "retrieval.clip.device=auto"]),
    ],
)
def test_advice_names_settings_that_exist_and_fit(cards: int, overrides: list[str]) -> None:
    text = advice("paper", cards, overrides)
    assert text.startswith("set ")
    assignments = [part.strip("'") for part in text.removeprefix("set ").split(" and ")]
    assert plan_for("paper", cards, [*overrides, *assignments]).fits, text


def test_nothing_mends_cards_that_are_too_few_and_small() -> None:
    cluster = Cluster(card_named("12"), 8)
    config = load_config("paper")
    told = mend(config, lambda changed: plan(changed, SHAPE, cluster))
    assert told == "no setting mends it: take more or larger cards or a smaller model"


def test_a_server_holds_no_model_on_the_cards() -> None:
    layout = layout_of(load_config("qwen2.5-vl-7b", ["engine={kind: server, urls: ['http://gpu:8000']}"]), 1)
    assert layout.replicas == 0 and [use.words for use in layout.uses("train-solver")] == ["rank"]


def test_the_page_has_the_figures_of_the_published_training() -> None:
    page = (ROOT / "configs/README.md").read_text()
    rows = re.findall(r"^\| `paper` on 8 x `(\S+)` \| (.+) \|$", page, re.MULTILINE)
    assert [gpu for gpu, _ in rows] == ["h100-80", "h200-141"]
    for gpu, cells in rows:
        found = plan_for("paper", 8, gpu=gpu)
        terms = found.largest.peak.terms
        state = state_memory(load_config("paper").train.solver, SHAPE).total
        assert found.fits
        assert cells == " | ".join(f"{value / GIB:.1f}" for value in (terms.total, state, terms.kv_cache))
