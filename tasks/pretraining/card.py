"""What the embedded base model can do, measured on pictures that it has never seen, and told on its model card.

Measured before anything is trained on it: whether there is something to distil (majority above the mean sample), and
whether labels in the filter's window are right often enough. Their accuracy decides the sign of a step: on trial models
of 1.3 M parameters, greedy fell from 46 to 38 % where 38 % of the labels were right, and the mean of samples rose from
62.4 to 66.0 % where 65 % were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from tasks.config import Draw, FilterConfig, load_config
from tasks.grading import equal, vote
from tasks.players.sampler import AskedQuestion, Sampler
from tasks.players.team import Team
from tasks.pretraining.vlm import Pretraining
from tasks.records import Reject
from tasks.records.picture import Picture
from tasks.retrieval.clip import Clip
from tasks.roles import questioner, searcher
from tasks.roles.searcher import Domain
from tasks.world import DOMAINS, Scene, oracle
from tasks.world.heldout import items
from tasks.world.shards import draw_corpus
from tasks.world.splits import VALIDATION

BANDS = ((0.0, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0), (1.0, 1.01))


@dataclass(frozen=True)
class Accuracy:
    """Accuracies in per cent over items with known answers."""

    name: str
    items: int
    mean: float
    """Of k samples at temperature 1."""
    majority: float
    """Of the majority answer of those samples."""
    greedy: float


@dataclass(frozen=True)
class AgreementBin:
    """Pseudo-labels of the model's own questions by agreement."""

    low: float
    high: float
    questions: int
    unanswerable: int
    """Outside the world's grammar, or not decided by the picture."""
    right: float
    """Per cent of the answerable ones whose label is exactly right."""


def accuracies(sampler: Sampler, count: int, samples: int) -> list[Accuracy]:
    """Held-out accuracy over all and by domain, worst first."""
    held = items("heldout", count)
    posed = [AskedQuestion(Picture(item.id, item.scene.png()), item.query.text, item.query.kind) for item in held]
    greedy = sampler.answer(posed, 1, Draw(temperature=0))
    drawn = sampler.answer(posed, samples, Draw())
    rows = [
        (
            item.scene.domain,
            np.mean([_right(answer, item.query.solution.answer) for answer in answers]),
            _right(vote(answers).label, item.query.solution.answer),
            _right(first[0], item.query.solution.answer),
        )
        for item, answers, first in zip(held, drawn, greedy, strict=True)
    ]

    def summed(name: str) -> Accuracy:
        part = np.array([row[1:] for row in rows if name in ("all", row[0])], np.float64)
        return Accuracy(name, len(part), *(float(100 * value) for value in part.mean(axis=0)))

    return [summed("all"), *sorted((summed(domain) for domain in DOMAINS), key=lambda row: row.mean)]


def label_bands(sampler: Sampler, pictures: int, answers: int) -> list[AgreementBin]:
    """Right labels by agreement, on questions that the model writes about pictures of all domains and levels."""
    rng = Random("card")
    scenes = [Scene(DOMAINS[i % len(DOMAINS)], 1 + i // 16 % 3, VALIDATION.draw(rng)) for i in range(pictures)]
    shown = [Picture(scene.url, scene.png()) for scene in scenes]
    drafts = [questioner.parse(texts[0]) for texts in sampler.write_questions(shown, 1, Draw())]
    posed = [AskedQuestion(p, d.text, d.kind) for p, d in zip(shown, drafts, strict=True) if not isinstance(d, Reject)]
    votes = [vote(answer) for answer in sampler.answer(posed, answers, Draw())]
    labelled = [
        (v.agreement, v.label, oracle.answer(p.picture.key, p.text))
        for p, v in zip(posed, votes, strict=True)
        if v.label
    ]

    def band(low: float, high: float) -> AgreementBin:
        rows = [row for row in labelled if low <= row[0] < high]
        known = [_right(label, truth) for _, label, truth in rows if truth is not None]
        return AgreementBin(low, high, len(rows), len(rows) - len(known), 100 * float(np.mean(known)) if known else 0.0)

    return [band(low, high) for low, high in BANDS]


def in_window(bands: Sequence[AgreementBin], config: FilterConfig) -> float:
    """Per cent of right labels among the bands inside the filter's window, weighted by their questions."""
    inside = [band for band in bands if band.low >= config.low and band.high <= config.high + 1e-9]
    weights = [band.questions - band.unanswerable for band in inside]
    return float(np.average([band.right for band in inside], weights=weights)) if sum(weights) else 0.0


def validity(sampler: Sampler, count: int) -> dict[str, float]:
    """Per cent of each role's replies that are well-formed."""
    domains = [Domain(name=name) for name in DOMAINS]
    held = items("validation", count)
    shown = [Picture(item.id, item.scene.png()) for item in held]
    queries = sampler.write_queries(domains, [max(1, count // len(domains))] * len(domains), Draw())
    questions = sampler.write_questions(shown, 1, Draw())
    posed = [AskedQuestion(p, item.query.text, item.query.kind) for p, item in zip(shown, held, strict=True)]
    answers = sampler.answer(posed, 1, Draw())
    return {
        "searcher": _share([text for texts in queries for text in texts], searcher.well_formed),
        "questioner": _share([texts[0] for texts in questions], questioner.well_formed),
        "solver": 100 * float(np.mean([given[0] is not None for given in answers])),
    }


def _share(texts: Sequence[str], good: Callable[[str], bool]) -> float:
    return 100 * float(np.mean([good(text) for text in texts]))


def _right(answer: str | None, truth: str) -> bool:
    return answer is not None and equal(answer, truth).equal


def right_domain_found(clip: Clip, queries: int, pictures: int) -> float:
    """Per cent of held-out captions for which one of the first five pictures of a fresh long-tailed corpus is of the
    caption's domain."""
    embedder, rng = clip.open(), Random("clip card")
    asked = [item.scene for item in items("heldout", queries)]
    texts = embedder.embed_texts([rng.choice(scene.captions()) for scene in asked])
    shelf = list(draw_corpus(pictures, seed=1, trivial=0.6, seeds=VALIDATION))
    vectors = embedder.embed_images(scene.image() for scene in shelf).astype(np.float32)
    nearest = np.argsort(-(texts @ vectors.T), axis=1)[:, :5]
    found = [any(shelf[i].domain == scene.domain for i in row) for scene, row in zip(asked, nearest, strict=True)]
    return 100 * float(np.mean(found))


def describe(folder: Path) -> str:
    """The model card, measured now: Markdown."""
    config = load_config(overrides=[f"model={folder / 'vlm'}"])
    with Team.base(config).open(seed=1) as sampler:
        formats = validity(sampler, 320)
        rows = accuracies(sampler, 960, 9)
        bands = label_bands(sampler, 1600, config.filter.answers)
    found = right_domain_found(Clip(model=f"local-dir:{(folder / 'clip').resolve()}"), 480, 4000)
    return CARD.format(
        slips=1 / Pretraining().slips,
        formats="\n".join(f"| {role} | {share:.1f} |" for role, share in formats.items()),
        accuracies="\n".join(
            f"| {r.name} | {r.items} | {r.mean:.1f} | {r.majority:.1f} | {r.greedy:.1f} |" for r in rows
        ),
        bands="\n".join(
            f"| {row.low:.1f} - {min(row.high, 1.0):.1f} | {row.questions} | {row.unanswerable} | {row.right:.1f} |"
            for row in bands
        ),
        window=f"{config.filter.low}-{config.filter.high}",
        right=f"{in_window(bands, config.filter):.1f}",
        clip=f"{found:.1f}",
    )


CARD = """# The embedded models

Two small models, trained from scratch on the micro world (`tasks/world`) and on nothing else, so that a whole round
of self-play runs on two cores without a download. They know sixteen kinds of procedural pictures and nothing besides.

- `vlm`: Qwen2.5-VL's architecture with 2.1 million parameters (text 128 wide x 4 layers, vision 128 x 4, pictures of
  112 pixels, 16 visual tokens, a byte-level BPE of its own). It speaks all three roles' formats and reasons in steps.
- `clip`: an open_clip model with 0.8 million parameters.

Recipe: `tasks/pretraining`; `make base-models` trains both again on one core.
Every picture that they were trained on has a seed from a range of its own (`tasks/world/splits.py`): none
is in a corpus or a benchmark. One in {slips:.0f} of the Solver's lessons answers for another picture of the same
kind, as text on the open web belongs to its picture only mostly. So the model errs now and then where it knows better,
its errors scatter, and a majority sees through them: that is what self-play distils first. The share of such lessons
and the number of steps were chosen on validation items of a trial model; the held-out figures below decided nothing.

The figures below are made by `python -m flows.pretrain --only card`.

## Formats: well-formed replies at temperature 1, per cent

| role | well-formed |
|---|---|
{formats}

## Held-out questions: accuracy, per cent

Mean of 9 samples at temperature 1, their majority, and greedy.

| domain | items | mean | majority of 9 | greedy |
|---|---|---|---|---|
{accuracies}

## Pseudo-labels of its own questions, by agreement

| agreement | questions | unanswerable | right, % of answerable |
|---|---|---|---|
{bands}

In the default filter's window ({window}) {right} % of the answerable labels are right.

## CLIP

For {clip} % of held-out captions, one of the first five pictures of a long-tailed corpus of 4 000 is of the right
domain.
"""
