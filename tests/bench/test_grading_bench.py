"""Cost of a comparison beside math-verify alone, on the same pairs in the same run. Opt-in: `make bench`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.grading import canonical, equal, symbolic

PAIRS = Path(__file__).parents[1] / "tasks" / "grading" / "pairs.yaml"
WORDS = "red blue green cat dog bicycle left right triangle circle a_red_car the_blue_bus two_dogs London".split()
UNITS = "cm m kg km/h degrees dollars minutes m^2 apples %".split()
LETTERS = "A B C D (B) C. (a) d".split()
TRUTHS = "yes no Yes No. True".split()


def short_answers(count: int) -> list[tuple[str, str]]:
    """Typical pairs: a third numbers, then words, units, letters, yes or no; one pair in four is equal."""
    rng = random.Random(0)
    kinds: list[Callable[[], str]] = [
        lambda: str(rng.choice([rng.randint(0, 500), round(rng.random() * 100, 1), round(rng.random() * 10, 2)])),
        lambda: f"{rng.randint(1, 200)} {rng.choice(UNITS)}",
        lambda: rng.choice(WORDS).replace("_", " "),
        lambda: rng.choice(LETTERS),
        lambda: rng.choice(TRUTHS),
    ]
    pairs = []
    for _ in range(count):
        (kind,) = rng.choices(kinds, (35, 15, 25, 15, 10))
        answer = kind()
        pairs.append((answer, answer if rng.random() < 0.25 else kind()))
    return pairs


def compare_all(pairs: Sequence[tuple[str, str]]) -> None:
    for a, b in pairs:
        equal(a, b)


def math_verify_all(pairs: Sequence[tuple[str, str]]) -> None:
    """math-verify alone: both answers boxed, parsed and verified in this process, without time limits."""
    import math_verify

    for pair in pairs:
        gold, answer = (math_verify.parse(rf"\boxed{{{text}}}", parsing_timeout=None) for text in pair)
        math_verify.verify(gold, answer, timeout_seconds=None)


def seconds(work: Callable[[], None]) -> float:
    """Processor time, because other work may share the machine."""
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.fixture
def without_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "_canonical", canonical._canonical.__wrapped__)
    monkeypatch.setattr(symbolic, "_outcomes", {})


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_short_answers_beside_math_verify(benchmark: Any, without_caches: None) -> None:
    pairs = short_answers(5000)
    ours = min(seconds(lambda: compare_all(pairs)) for _ in range(3)) / len(pairs)
    math_verify_all(pairs[:20])
    theirs = seconds(lambda: math_verify_all(pairs[:400])) / 400
    benchmark.pedantic(compare_all, args=(pairs,), rounds=2)
    benchmark.extra_info.update(
        comparisons_a_second=round(1 / ours), math_verify_a_second=round(1 / theirs), ratio=round(theirs / ours, 1)
    )
    print(f"\n{benchmark.extra_info}")
    assert ours < 1 / 10_000


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_how_many_pairs_need_the_algebra_and_what_it_costs(
    benchmark: Any, without_caches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the labelled pairs without the hostile ones. Nearly half of them are mathematical notation."""
    sections = yaml.safe_load(PAIRS.read_text(encoding="utf-8"))
    groups = [group for kind, part in sections.items() if kind != "hostile" for group in part.values()]
    pairs = [(a, b) for group in groups for a, b in group]
    durations: list[float] = []

    def timed(*arguments: Any) -> symbolic.Outcome:
        start = time.perf_counter()
        outcome = symbolic.algebra_outcome(*arguments)
        durations.append(time.perf_counter() - start)
        return outcome

    equal("x+1", "1+x")  # starts a worker
    monkeypatch.setattr("tasks.grading.equality.algebra_outcome", timed)
    benchmark.pedantic(compare_all, args=(pairs,), rounds=1)
    durations.sort()
    benchmark.extra_info.update(
        pairs=len(pairs),
        symbolic_share=round(len(durations) / len(pairs), 3),
        median_ms=round(1000 * durations[len(durations) // 2], 1),
        slowest_ms=round(1000 * durations[-1], 1),
    )
    print(f"\n{benchmark.extra_info}")
    assert len(durations) < 0.2 * len(pairs)
