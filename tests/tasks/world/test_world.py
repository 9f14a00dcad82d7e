"""The micro world is reproducible, exact, and keeps its splits apart."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from tasks.world import DOMAINS, FAMILIES, TRIVIAL, oracle, parse_url, scene_at
from tasks.world.heldout import fingerprints, items
from tasks.world.lessons import solver_lesson
from tasks.world.shards import draw_corpus, write_shards
from tasks.world.splits import CORPUS, GOLD, HELDOUT, PRETRAINING, VALIDATION

EVERY_LEVEL = [(domain, level) for domain in DOMAINS for level in (1, 2, 3)]


def test_at_least_twelve_domains() -> None:
    assert len(DOMAINS) >= 12


@pytest.mark.parametrize(("domain", "level"), EVERY_LEVEL)
def test_a_scene_is_the_same_bytes_every_time_and_differs_by_seed(domain: str, level: int) -> None:
    assert scene_at(domain, level, 5).png() == scene_at(domain, level, 5).png()
    assert scene_at(domain, level, 5).png() != scene_at(domain, level, 6).png()


@pytest.mark.parametrize(("domain", "level"), EVERY_LEVEL)
def test_the_oracle_agrees_with_every_question_of_the_grammar(domain: str, level: int) -> None:
    for seed in range(20):
        scene = scene_at(domain, level, seed)
        query = scene.question(Random(seed))
        assert oracle.answer(scene.url, query.text) == query.solution.answer


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_answer_does_not_depend_on_the_way_of_reasoning(domain: str) -> None:
    """And questions that ask for steps have several valid ways."""
    several = 0
    for seed in range(30):
        scene = scene_at(domain, 2, seed)
        for kind in FAMILIES[domain].kinds:
            for slots in kind.options(scene.facts)[:2]:
                solutions = [kind.solve(scene.facts, slots, Random(i)) for i in range(8)]
                assert len({solution.answer for solution in solutions if solution}) == 1
                several += len({solution.steps for solution in solutions if solution}) > 1
    assert several > 10


def test_questions_outside_the_grammar_or_the_picture_are_unanswerable() -> None:
    bars = scene_at("bar charts", 1, 3)
    absent = next(name for name in ("red", "blue", "green", "pink") if name not in bars.facts)
    assert oracle.answer(bars.url, "who painted this?") is None
    assert oracle.answer(bars.url, f"what is the value of the {absent} bar?") is None
    assert oracle.answer(bars.url, "what time is it?") is None
    assert oracle.answer("https://example.org/cat.jpg", "what time is it?") is None


def test_a_url_names_its_scene() -> None:
    scene = scene_at("number lines", 3, 12345)
    assert parse_url(scene.url) == scene


def test_the_splits_of_seeds_do_not_touch() -> None:
    ranges = sorted((seeds.start, seeds.stop) for seeds in (CORPUS, HELDOUT, VALIDATION, GOLD, PRETRAINING))
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))


def test_held_out_items_cover_every_domain_and_differ_between_splits() -> None:
    heldout, validation = items("heldout", 96), items("validation", 96)
    assert {item.scene.domain for item in heldout} == set(DOMAINS)
    assert not fingerprints(heldout) & fingerprints(validation)


def test_at_least_half_of_the_corpus_is_trivial_and_the_tail_is_long() -> None:
    domains = pd.Series([scene.domain for scene in draw_corpus(4000, seed=1, trivial=0.6)]).value_counts(normalize=True)
    assert domains[TRIVIAL] > 0.5
    assert set(domains.index) == set(DOMAINS)
    assert domains.min() < 0.02


def test_shards_are_reproducible_and_leave_out_what_is_excluded(tmp_path: Path) -> None:
    assert write_shards(tmp_path / "a", 40, seed=3, per_shard=25) == ["00000", "00001"]
    write_shards(tmp_path / "b", 40, seed=3, per_shard=25)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    rows = pd.read_parquet(tmp_path / "a" / "00000.parquet")
    banned = rows.sha256[7]
    write_shards(tmp_path / "c", 40, seed=3, per_shard=100, exclude=frozenset({banned}))
    kept = pd.read_parquet(tmp_path / "c" / "00000.parquet")
    assert len(kept) == 39
    assert banned not in set(kept.sha256)
    scene = parse_url(kept.url[0])
    assert scene is not None
    assert hashlib.sha256(scene.png()).hexdigest() == kept.sha256[0]


def test_lessons_slip_as_often_as_they_are_told_to_and_ask_the_same() -> None:
    scenes = [scene_at("clocks", 3, PRETRAINING.start + n) for n in range(400)]
    told = [
        (scene, solver_lesson(scene, Random(n)), solver_lesson(scene, Random(n), 0.25))
        for n, scene in enumerate(scenes)
    ]
    assert all(straight.prompt == slipped.prompt for _, straight, slipped in told)
    wrong = sum(f"\\boxed{{{oracle.answer(scene.url, one.prompt)}}}" not in one.reply for scene, _, one in told)
    assert 0.15 * 400 < wrong < 0.3 * 400
