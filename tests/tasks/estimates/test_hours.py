"""Hours computed by hand: prompts of the 7B model, a read token at no cost, no start, so that only tokens count."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import pytest

from tasks.config import load_config
from tasks.estimates.counts import Completions, Rollouts, StageCounts, round_counts
from tasks.estimates.hours import Estimate
from tasks.estimates.rates import load_rates
from tasks.memory.layout import layout_of
from tasks.memory.shape import PUBLISHED
from tasks.settings.overlay import ROOT

ANSWERS = 4096
ENGINE = "{kind: vllm, max_model_len: 6144}"
SHIPPED = {name: getattr(load_rates("rates-h100"), name) for name in ("read", "start", "efficiency")}


def estimate(cards: int, overrides: Sequence[str] = (), **rates: Any) -> Estimate:
    config = load_config("qwen2.5-vl-7b", overrides)
    simple = {"read": 0.0, "start": 0.0, "efficiency": 1.0}
    measured = load_rates("rates-h100").model_copy(update={**simple, **rates})
    return Estimate(config, PUBLISHED[config.model], measured, layout_of(config, cards))


def replicas(rows: int, workers: int = 1) -> list[str]:
    return [f"engine={{kind: ray, share: true, rows: {rows}, of: {ENGINE}}}", f"train.defaults.workers={workers}"]


def scoring(batches: int = 1) -> StageCounts:
    return StageCounts("filter", (Completions("solver", ANSWERS // 8, ANSWERS, batches=batches),))


def training(steps: int = 2, prompts: int = 128) -> StageCounts:
    return StageCounts("train-solver", (), Rollouts("solver", steps, prompts, 8))


ONE_CARD = ANSWERS * 300 / 5439
"""Seconds of the answers, of 300 tokens each."""


def test_one_card_takes_the_tokens_at_its_rate() -> None:
    assert estimate(1).hours(scoring()).seconds == pytest.approx(ONE_CARD)


def test_eight_cards_share_the_parts_evenly() -> None:
    assert estimate(8, replicas(256)).hours(scoring()).seconds == pytest.approx(ONE_CARD / 8)


def test_more_replicas_than_parts_are_no_faster() -> None:
    """16 parts of 256: 64 replicas take the time of one part, which is that of 16 replicas."""
    assert estimate(64, replicas(256)).hours(scoring()).seconds == pytest.approx(ONE_CARD / 16)


def test_the_last_wave_of_parts_may_be_short() -> None:
    """16 parts on 12 replicas are two waves."""
    assert estimate(12, replicas(256)).hours(scoring()).seconds == pytest.approx(2 * ONE_CARD / 16)


def test_each_step_of_a_training_waits_for_its_last_part() -> None:
    """Two batches of 8 parts each on 16 replicas."""
    assert estimate(16, replicas(256)).hours(scoring(batches=2)).seconds == pytest.approx(ONE_CARD / 8)


def test_replicas_are_at_work_for_a_share_of_the_time() -> None:
    slower = estimate(8, replicas(256), efficiency=0.8)
    assert slower.hours(scoring()).seconds == pytest.approx(ONE_CARD / 8 / 0.8)
    assert estimate(1, efficiency=0.8).hours(scoring()).seconds == pytest.approx(ONE_CARD)


def test_a_step_takes_what_was_measured_for_its_rollouts() -> None:
    seconds = 2 * 128 * 15.6 / 8 * 300 / 256
    assert estimate(1).hours(training()).seconds == pytest.approx(seconds)


def test_ranks_share_the_prompts_of_an_update() -> None:
    alone = estimate(1).hours(training()).seconds
    assert estimate(8, replicas(256, workers=8)).hours(training()).seconds == pytest.approx(alone / 8)
    uneven = estimate(96, replicas(256, workers=96)).hours(training()).seconds
    assert uneven == pytest.approx(alone / 64), "128 prompts on 96 ranks: the slowest has two"


def test_whole_weights_take_longer_than_an_adapter() -> None:
    adapter, whole = estimate(1), estimate(1, ["train.defaults.lora=null"], whole=1.5)
    assert whole.hours(training()).seconds == pytest.approx(1.5 * adapter.hours(training()).seconds)


def test_a_blind_prompt_has_no_picture_to_read() -> None:
    def seconds(blind: bool) -> float:
        asked = Completions("solver", 100, 100, blind=blind)
        return estimate(1, read=1.0).hours(StageCounts("filter", (asked,))).seconds

    per_token = (1320 + 2048) / 2048 / 5439
    visual = 100 * 1280 * per_token / ((1320 + 2048) / 2048) / ((1320 + 2048) / 2048)
    assert seconds(blind=False) - seconds(blind=True) == pytest.approx(visual)


def test_all_cards_are_paid_for_all_the_time() -> None:
    found = estimate(8, price=2.0, other=3600.0).hours(None)
    assert (found.hours, found.gpu_hours, found.cost) == (1.0, 8.0, 16.0)


def test_a_completion_is_no_longer_than_its_role_may_write() -> None:
    short = estimate(1, ["prompts.solver.max_tokens=100"])
    assert short.hours(scoring()).seconds == pytest.approx(ONE_CARD / 3)


@pytest.mark.parametrize(("column", "cards"), [(0, 1), (1, 8), (2, 64)])
def test_the_table_of_the_page_is_what_plan_prints(column: int, cards: int) -> None:
    page = (ROOT / "infra/README.md").read_text()
    (block,) = re.findall(r"```\n(active-zero plan .+?)\n```", page, re.DOTALL)
    words = shlex.split(block.replace("\\\n", " "))
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    found = estimate(cards, [*overrides, f"train.defaults.workers={cards}"], **SHIPPED)
    stages = {counts.stage: counts for counts in round_counts(found.config, 2)}
    total = 0.0
    for name, counts in stages.items():
        cells = cells_of(page, name)
        rollouts = counts.rollouts.total if counts.rollouts else 0
        assert [int(cell.replace(" ", "") or 0) for cell in cells[:2]] == [counts.sampled, rollouts], name
        assert cells[2 + column] == f"{found.hours(counts).hours:.2f}", name
        total += found.hours(counts).hours
    total += 2 * found.hours(None).hours
    assert cells_of(page, r"\*\*sum\*\*")[2 + column] == f"**{total:.2f}**"
    assert cells_of(page, "GPU hours")[2 + column] == f"{total * cards:.1f}"
    assert cells_of(page, "cost at 3 USD.*?")[2 + column] == f"{3 * total * cards:.0f}"


def test_the_published_round_takes_what_the_page_says() -> None:
    config = load_config("paper")
    found = Estimate(config, PUBLISHED[config.model], load_rates("rates-h100"), layout_of(config, 8))
    hours = sum(found.hours(counts).hours for counts in (*round_counts(config, 2), None, None))
    assert f"estimates {hours:.1f} hours for the round" in (ROOT / "configs/README.md").read_text()


def cells_of(page: str, name: str) -> list[str]:
    """The cells of a row behind its name."""
    (row,) = re.findall(rf"^\| {name} \|(.*)\|$", page, re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]
