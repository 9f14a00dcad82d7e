"""The micro world is reproducible and exact, and its splits are disjoint."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from tasks.world import DOMAINS, FAMILIES, TRIVIAL, Scene, oracle, parse_url
from tasks.world.heldout import items, picture_hashes
from tasks.world.shards import draw_corpus, write_shards
from tasks.world.splits import CORPUS, GOLD, HELDOUT, PRETRAINING, VALIDATION

EVERY_LEVEL = [(domain, level) for domain in DOMAINS for level in (1, 2, 3)]


def test_at_least_twelve_domains() -> None:
    assert len(DOMAINS) >= 12


@pytest.mark.parametrize(("domain", "level"), EVERY_LEVEL)
def test_a_scene_is_reproducible_and_differs_by_seed(domain: str, level: int) -> None:
    assert Scene(domain, level, 5).png() == Scene(domain, level, 5).png()
    assert Scene(domain, level, 5).png() != Scene(domain, level, 6).png()


@pytest.mark.parametrize(("domain", "level"), EVERY_LEVEL)
def test_the_oracle_answers_every_question_of_the_templates(domain: str, level: int) -> None:
    for seed in range(20):
        scene = Scene(domain, level, seed)
        question = scene.draw_question(Random(seed))
        assert oracle.answer(scene.url, question.text) == question.solution.answer


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_answer_does_not_depend_on_the_way_of_reasoning(domain: str) -> None:
    """Many questions also have several valid ways of reasoning."""
    several = 0
    for seed in range(30):
        scene = Scene(domain, 2, seed)
        for template in FAMILIES[domain].templates:
            for slots in template.fillings(scene.facts)[:2]:
                solutions = [template.solve(scene.facts, slots, Random(i)) for i in range(8)]
                assert len({solution.answer for solution in solutions if solution}) == 1
                several += len({solution.steps for solution in solutions if solution}) > 1
    assert several > 10


def test_questions_beyond_templates_or_picture_are_unanswerable() -> None:
    bars = Scene("bar charts", 1, 3)
    absent = next(name for name in ("red", "blue", "green", "pink") if name not in bars.facts)
    assert oracle.answer(bars.url, "who painted this?") is None
    assert oracle.answer(bars.url, f"what is the value of the {absent} bar?") is None
    assert oracle.answer(bars.url, "what time is it?") is None
    assert oracle.answer("https://example.org/cat.jpg", "what time is it?") is None


def test_a_url_names_its_scene() -> None:
    scene = Scene("number lines", 3, 12345)
    assert parse_url(scene.url) == scene


def test_the_seed_ranges_of_the_splits_are_disjoint() -> None:
    ranges = sorted((seeds.start, seeds.stop) for seeds in (CORPUS, HELDOUT, VALIDATION, GOLD, PRETRAINING))
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))


def test_heldout_items_cover_all_domains_and_differ_by_split() -> None:
    heldout, validation = items("heldout", 96), items("validation", 96)
    assert {item.scene.domain for item in heldout} == set(DOMAINS)
    assert not picture_hashes(heldout) & picture_hashes(validation)


def test_half_of_the_corpus_is_trivial_and_its_tail_is_long() -> None:
    domains = pd.Series([scene.domain for scene in draw_corpus(4000, seed=1, trivial=0.6)]).value_counts(normalize=True)
    assert domains[TRIVIAL] > 0.5
    assert set(domains.index) == set(DOMAINS)
    assert domains.min() < 0.02


def test_shards_are_reproducible_and_without_excluded_pictures(tmp_path: Path) -> None:
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


def test_scenes_of_different_seeds_share_no_picture() -> None:
    assert len({Scene(domain, 1, seed).png() for domain in DOMAINS for seed in range(8)}) == 8 * len(DOMAINS)
