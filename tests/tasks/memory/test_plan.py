from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from flows.round import STAGES
from tasks.config import RunConfig, load_config
from tasks.memory.cards import GIB, Card, Cluster, card_named
from tasks.memory.engine import decode_phase
from tasks.memory.mend import mend
from tasks.memory.plan import MemoryPlan, StagePlan, plan
from tasks.memory.shape import PUBLISHED, ModelShape, read_shape
from tasks.memory.trainer import state_memory, update_phases
from tasks.memory.work import PromptLength, SampledRole
from tasks.settings.overlay import ROOT
from tasks.trainers import TRL, LoRA

SIZES = {size: PUBLISHED[f"Qwen/Qwen2.5-VL-{size}-Instruct"] for size in ("3B", "7B")}
TRANSFORMERS = ["engine={kind: transformers}"]
ALONE = ["engine={kind: vllm, max_model_len: 6144, gpu_memory_utilization: 0.4}", "train.defaults.workers=1"]
"""The published training without a cluster."""


def planned(config: RunConfig, card: Card) -> MemoryPlan:
    return plan(config, PUBLISHED[config.model], Cluster(card))


def plan_for(name: str, gpu: str, overrides: Sequence[str] = ()) -> MemoryPlan:
    return planned(load_config(name, overrides), card_named(gpu))


def advice(name: str, gpu: str, overrides: Sequence[str] = ()) -> str:
    return mend(load_config(name, overrides), lambda config: planned(config, card_named(gpu)))


def stage(found: MemoryPlan, name: str) -> StagePlan:
    return next(one for one in found.stages if one.stage == name)


@pytest.mark.parametrize(("size", "peak"), [("3B", 16.0), ("7B", 29.1)])
def test_scoring_takes_what_was_measured_on_an_h100(size: str, peak: float) -> None:
    """48 pictures of a megapixel with 8 answers of 256 tokens: tests/gpu/README.md."""
    shape = SIZES[size]
    role = SampledRole("solver", 8, 1280 + 40, 256)
    batch = decode_phase("sample", shape, role, 48 * 8, 2).terms
    assert (batch.total + 2 * shape.parameters) / GIB == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize(("size", "peak"), [("3B", 13.4), ("7B", 25.0)])
def test_training_takes_what_was_measured_on_an_h100(size: str, peak: float) -> None:
    """A step of 8 prompts x 8 rollouts of 256 tokens, rank 32, rows of 4096 tokens: tests/gpu/README.md."""
    shape, lora = SIZES[size], LoRA(rank=32, alpha=64)
    trainer = TRL(
        prompts=8, rollouts=8, max_tokens=256, lora=lora, precision="bfloat16", row_tokens=4096, micro_batch=16384,
        gradient_checkpointing=True,
    )  # fmt: skip
    (update,) = update_phases(trainer, shape, PromptLength(1280, 40))
    assert (state_memory(trainer, shape) + update.terms).total / GIB == pytest.approx(peak, rel=0.1)


def test_the_plan_has_every_stage_that_holds_models() -> None:
    stages = [one.stage for one in plan_for("qwen2.5-vl-7b", "h100-80").stages]
    assert stages == [name for name in STAGES if name not in ("promote", "report")]


def test_every_sum_is_that_of_its_terms() -> None:
    for one in plan_for("qwen2.5-vl-7b", "h100-80").stages:
        assert one.peak.terms.total == sum(one.peak.terms.by_name.values())


def test_vllm_takes_its_share_of_the_card() -> None:
    found = plan_for("qwen2.5-vl-7b", "h100-80")
    share = 0.4 * found.card.total + GIB // 2
    assert stage(found, "filter").peak.terms.total == pytest.approx(share, rel=1e-6)


def test_a_training_stage_holds_the_base_twice() -> None:
    weights = stage(plan_for("qwen2.5-vl-7b", "h100-80"), "train-solver").peak.terms.weights
    assert weights == 2 * 2 * PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"].parameters


def test_the_solver_trains_without_a_frozen_engine() -> None:
    found = plan_for("qwen2.5-vl-7b", "h100-80", TRANSFORMERS)
    copies = {name: stage(found, name).peak.terms.weights for name in ("train-questioner", "train-solver")}
    assert copies["train-questioner"] == 2 * copies["train-solver"]


def test_full_fine_tuning_is_refused_on_one_card() -> None:
    found = plan_for("paper", "h200-141", ALONE)
    one = stage(found, "train-solver")
    language = PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"].language.parameters
    assert one in found.impossible
    assert one.peak.terms.gradients == 4 * language and one.peak.terms.adam == 8 * language
    assert advice("paper", "h200-141", ALONE) == "set 'train.defaults.lora={rank: 32, alpha: 64}'"


def test_too_small_a_share_is_mended_by_a_larger_one() -> None:
    small = ["engine.gpu_memory_utilization=0.1"]
    assert all(one.shortage for one in plan_for("qwen2.5-vl-7b", "h200-141", small).impossible)
    assert advice("qwen2.5-vl-7b", "h200-141", small).startswith("set engine.gpu_memory_utilization=0.")


def test_too_large_a_share_is_mended_by_a_smaller_one() -> None:
    large = ["engine.gpu_memory_utilization=0.8"]
    found = plan_for("qwen2.5-vl-7b", "h100-80", large)
    assert [one.stage for one in found.impossible] == ["train-searcher", "train-questioner", "train-solver"]
    assert advice("qwen2.5-vl-7b", "h100-80", large).startswith("set engine.gpu_memory_utilization=0.6")


def test_several_settings_mend_a_small_card() -> None:
    text = advice("qwen2.5-vl-7b", "a6000-48")
    assignments = text.removeprefix("set ").split(" and ")
    assert plan_for("qwen2.5-vl-7b", "a6000-48", assignments).fits
    assert not plan_for("qwen2.5-vl-7b", "a6000-48", assignments[:1]).fits


def test_nothing_mends_a_card_without_room_for_the_weights() -> None:
    assert advice("qwen2.5-vl-7b", "8") == "no setting mends it: take a larger card or a smaller model"


def test_clip_is_on_the_card_only_while_it_embeds() -> None:
    found = plan_for("qwen2.5-vl-7b", "h100-80")
    clip = {one.stage for one in found.stages for phase in one.phases if phase.terms.clip}
    assert clip == {"train-searcher"}
    assert not any(one.peak.terms.clip for one in found.stages)


def test_both_ways_hold_slices_of_the_tables_of_logits() -> None:
    fast, general = plan_for("qwen2.5-vl-7b", "h200-141"), plan_for("qwen3-vl-8b", "h200-141")
    assert stage(general, "train-solver").peak.terms.head <= stage(fast, "train-solver").peak.terms.head


def test_halved_batches_are_no_failure() -> None:
    found = plan_for("qwen2.5-vl-3b", "a6000-48", TRANSFORMERS)
    assert found.tight and not found.impossible and not found.fits


def test_the_table_in_the_readme_is_what_doctor_prints() -> None:
    lines = (ROOT / "configs/README.md").read_text().splitlines()
    head = next(line for line in lines if line.startswith("| `--config` |"))
    cards = re.findall(r"--gpu ([\w-]+)", head)
    rows = [line.strip("| ").split(" | ") for line in lines[lines.index(head) + 2 :][:3]]
    for name, *cells in rows:
        for gpu, cell in zip(cards, cells, strict=True):
            assert re.sub(r" \(\d\)", "", cell) == cell_of(plan_for(name.strip("`"), gpu)), (name, gpu)


def cell_of(found: MemoryPlan) -> str:
    size = f"{found.largest.peak.terms.total / GIB:.1f}"
    return size if found.fits else f"{size}, {'too large' if found.impossible else 'halves batches'}"


@pytest.mark.parametrize("line", [1, 2, 3])
def test_the_settings_in_the_readme_make_a_round_fit(line: int) -> None:
    text = (ROOT / "configs/README.md").read_text()
    settings = next(part for part in text.splitlines() if part.startswith(f"{line}. `--set"))
    name, gpu = [("qwen2.5-vl-3b", "rtx4090-24"), ("qwen2.5-vl-7b", "a6000-48"), ("qwen3-vl-8b", "a6000-48")][line - 1]
    assert plan_for(name, gpu, re.findall(r"--set (\S+?)`? ", settings + " ")).fits


def test_main_memory_holds_float32_and_features(config: RunConfig, tiny: ModelShape) -> None:
    found = plan(config, tiny, Cluster(Card("main memory", 8 * GIB, is_gpu=False)))
    assert found.fits
    processes = config.engine.model_copies
    assert stage(found, "filter").peak.terms.weights == 4 * tiny.parameters * processes
    assert stage(found, "filter").peak.terms.vision > stage(found, "search").peak.terms.vision


@pytest.fixture
def config() -> RunConfig:
    return load_config()


@pytest.fixture
def tiny(config: RunConfig) -> ModelShape:
    found = read_shape(ROOT / config.model)
    assert found is not None
    return found
