"""What early stopping saves and costs, measured on the tiny model's own questions about the micro world.

All answers are drawn once. Early stopping draws the first of the same answers, so its outcome follows from them
exactly. Only the time is measured by a second sampling, in batches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from tasks.config import Draw, EarlyStopping, FilterConfig, load_config
from tasks.filter import label_of
from tasks.grading import vote
from tasks.labelling.early_stopping import StopRule, filter_stop_rule, reward_stop_rule
from tasks.players.sampler import AskedQuestion, Sampler
from tasks.players.team import Team
from tasks.records import Answers, Reject
from tasks.records.picture import Picture
from tasks.rewards import difficulty
from tasks.roles import questioner
from tasks.world import DOMAINS, Scene
from tasks.world.splits import CORPUS

PICTURES, DRAW = 300, Draw()


def drawn_answers(answers: Answers, early_stopping: EarlyStopping, enough: StopRule) -> Answers:
    """The answers that are drawn before the rule stops."""
    for first, count in early_stopping.batches(len(answers)):
        if enough(answers[: first + count]):
            return answers[: first + count]
    return answers


def own_questions(sampler: Sampler) -> list[AskedQuestion]:
    """Questions that the model writes about random pictures."""
    rng = Random(0)
    scenes = [Scene(rng.choice(DOMAINS), rng.randint(1, 3), CORPUS.draw(rng)) for _ in range(PICTURES)]
    pictures = [Picture(scene.url, scene.png()) for scene in scenes]
    questions = [questioner.parse(text) for (text,) in sampler.write_questions(pictures, 1, DRAW)]
    return [
        AskedQuestion(picture, question.text, question.kind)
        for picture, question in zip(pictures, questions, strict=True)
        if not isinstance(question, Reject)
    ]


def filter_figures(full: Sequence[Answers], config: FilterConfig, early_stopping: EarlyStopping) -> dict[str, float]:
    """Share of answers saved, and of questions that are kept or dropped differently from all answers."""
    enough = filter_stop_rule(config, early_stopping.tolerance)
    early = [drawn_answers(answers, early_stopping, enough) for answers in full]
    kept = [[label_of(answers, config).reason is None for answers in part] for part in (early, full)]
    different = [a != b for a, b in zip(*kept, strict=True)]
    return {"answers saved, %": 100 * saved(early, full), "decided otherwise, %": 100 * float(np.mean(different))}


def reward_figures(full: Sequence[Answers], early_stopping: EarlyStopping) -> dict[str, float]:
    """Share of answers saved; mean and mean absolute difference of the difficulty against all answers."""
    early = [
        drawn_answers(answers, early_stopping, reward_stop_rule(len(answers), "paper", early_stopping.tolerance))
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


def processor_seconds(
    sampler: Sampler, questions: Sequence[AskedQuestion], config: FilterConfig, early_stopping: EarlyStopping | None
) -> float:
    """Processor time of sampling the answers."""
    start = time.process_time()
    sampler.answer_until(questions, config.answers, DRAW, early_stopping, filter_stop_rule(config, 0.0))
    return time.process_time() - start


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_what_early_stopping_saves_and_costs(benchmark: Any) -> None:
    import torch

    torch.set_num_threads(1)
    config = load_config()
    batches_of_one = EarlyStopping(first=4, more=1)
    with Team.base(config).open(seed=1) as sampler:
        questions = own_questions(sampler)
        full = sampler.answer(questions, config.filter.answers, DRAW)
        all_at_once = processor_seconds(sampler, questions, config.filter, None)
        in_batches = processor_seconds(sampler, questions, config.filter, EarlyStopping(first=5, more=2))
        benchmark.pedantic(lambda: processor_seconds(sampler, questions, config.filter, batches_of_one), rounds=1)
    figures = {
        f"filter, risk {risk}": filter_figures(full, config.filter, EarlyStopping(first=4, more=1, tolerance=risk))
        for risk in (0.0, 0.05, 0.1, 0.2)
    } | {
        f"reward, tolerance {tolerance}": reward_figures(full, EarlyStopping(first=4, more=1, tolerance=tolerance))
        for tolerance in (0.1, 0.15, 0.2)
    }
    print(f"\n{len(questions)} questions; time in batches of 5+2+2 / time all at once: {in_batches / all_at_once:.2f}")
    for name, values in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in values.items()))
    benchmark.extra_info.update(figures)
    assert figures["filter, risk 0.0"]["decided otherwise, %"] == 0
