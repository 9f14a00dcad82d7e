"""What stopping early saves, and what it costs, on the embedded model's own questions about the micro world.

The answers of full sampling are drawn once; since early stopping samples a beginning of the same answers, its outcome
can be read off them exactly. Only the time is measured again, by sampling in looks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from tasks.config import Draw, EarlyStopping, FilterConfig, load_config
from tasks.filter import judge
from tasks.grading import vote
from tasks.labelling.early_stopping import Settled, decides_keeping, decides_reward
from tasks.players.sampler import AskedQuestion, Sampler
from tasks.players.team import Team
from tasks.records import Answers, Reject
from tasks.records.picture import Picture
from tasks.rewards import difficulty
from tasks.roles import questioner
from tasks.world import DOMAINS, Scene
from tasks.world.splits import CORPUS

PICTURES, DRAW = 300, Draw()


def begun(answers: Answers, early_stopping: EarlyStopping, settled: Settled) -> Answers:
    """The answers that are drawn before the question is settled."""
    for first, count in early_stopping.of(len(answers)):
        if settled(answers[: first + count]):
            return answers[: first + count]
    return answers


def own_questions(sampler: Sampler) -> list[AskedQuestion]:
    rng = Random(0)
    scenes = [Scene(rng.choice(DOMAINS), rng.randint(1, 3), CORPUS.draw(rng)) for _ in range(PICTURES)]
    pictures = [Picture(scene.url, scene.png()) for scene in scenes]
    drafts = [questioner.parse(text) for (text,) in sampler.ask(pictures, 1, DRAW)]
    return [
        AskedQuestion(picture, draft.text, draft.kind)
        for picture, draft in zip(pictures, drafts, strict=True)
        if not isinstance(draft, Reject)
    ]


def filtered(full: Sequence[Answers], config: FilterConfig, early_stopping: EarlyStopping) -> dict[str, float]:
    """Share of answers saved, and of questions that are kept or dropped otherwise than by all answers."""
    early = [begun(answers, early_stopping, decides_keeping(config, early_stopping.tolerance)) for answers in full]
    other = [(judge(a, config)[2] is None) != (judge(b, config)[2] is None) for a, b in zip(early, full, strict=True)]
    return {"answers saved, %": 100 * saved(early, full), "decided otherwise, %": 100 * float(np.mean(other))}


def paid(full: Sequence[Answers], early_stopping: EarlyStopping) -> dict[str, float]:
    """Share of answers saved; mean and mean absolute difference of the difficulty against all answers."""
    early = [
        begun(answers, early_stopping, decides_reward(len(answers), "paper", early_stopping.tolerance))
        for answers in full
    ]
    values = [difficulty([vote(answers).agreement for answers in part], "paper") for part in (early, full)]
    change = values[0] - values[1]
    return {
        "answers saved, %": 100 * saved(early, full),
        "bias": float(change.mean()),
        "mean absolute difference": float(np.abs(change).mean()),
    }


def saved(early: Sequence[Answers], full: Sequence[Answers]) -> float:
    return 1 - sum(map(len, early)) / sum(map(len, full))


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_what_stopping_early_saves_and_costs(benchmark: Any) -> None:
    import torch

    torch.set_num_threads(1)
    config = load_config()
    with Team.base(config).open(seed=1) as sampler:
        put = own_questions(sampler)
        full = sampler.answer(put, config.filter.answers, DRAW)
        early_stopping = EarlyStopping(first=4, more=1)
        settled = decides_keeping(config.filter, 0.0)
        seconds = {}
        for name, chosen in {"all": None, "early_stopping": EarlyStopping(first=5, more=2)}.items():
            start = time.process_time()
            sampler.answer_until(put, config.filter.answers, DRAW, chosen, settled)
            seconds[name] = time.process_time() - start
        benchmark.pedantic(
            lambda: sampler.answer_until(put, config.filter.answers, DRAW, early_stopping, settled), rounds=1
        )
    told = {
        f"filter, risk {risk}": filtered(full, config.filter, EarlyStopping(first=4, more=1, tolerance=risk))
        for risk in (0.0, 0.05, 0.1, 0.2)
    } | {
        f"reward, tolerance {tolerance}": paid(full, EarlyStopping(first=4, more=1, tolerance=tolerance))
        for tolerance in (0.1, 0.15, 0.2)
    }
    print(f"\n{len(put)} questions; time of looks 5+2+2 / time of all at once: {seconds['looks'] / seconds['all']:.2f}")
    for name, figures in told.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in figures.items()))
    benchmark.extra_info.update(told)
    assert told["filter, risk 0.0"]["decided otherwise, %"] == 0
