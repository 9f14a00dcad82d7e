"""Measure the shipped tiny models on pictures that they were not trained on, and write their model card.

Two figures decide whether self-play can improve the model: there must be something to distil (a majority vote is more
accurate than the mean sample), and labels in the filter's window must be right often enough. Label accuracy decides the
sign of a training step. On trial models of 1.3 M parameters, greedy accuracy fell from 46 to 38 % with 38 % right
labels, and the mean of samples rose from 62.4 to 66.0 % with 65 % right labels.
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
from tasks.world.heldout import HeldOutItem, items
from tasks.world.shards import draw_corpus
from tasks.world.splits import VALIDATION

AGREEMENT_BINS = (
    (0.0, 0.3),
    (0.3, 0.4),
    (0.4, 0.5),
    (0.5, 0.6),
    (0.6, 0.7),
    (0.7, 0.8),
    (0.8, 0.9),
    (0.9, 1.0),
    (1.0, 1.01),
)


@dataclass(frozen=True)
class Accuracy:
    """Accuracies on items with known answers, in per cent."""

    name: str
    items: int
    mean: float
    """Mean over k samples at temperature 1."""
    majority: float
    """Accuracy of the majority answer of those samples."""
    greedy: float


@dataclass(frozen=True)
class AgreementBin:
    """Pseudo-labels of the model's own questions whose agreement lies in [low, high)."""

    low: float
    high: float
    questions: int
    unanswerable: int
    """Questions that fit no template, or that the picture does not decide."""
    right: float
    """Right labels of answerable questions, in per cent."""


def accuracies(sampler: Sampler, count: int, samples: int) -> list[Accuracy]:
    """Accuracy on held-out items: over all domains first, then by domain, worst first."""
    heldout = items("heldout", count)
    questions = [_ask(item, Picture(item.id, item.scene.png())) for item in heldout]
    greedy = sampler.answer(questions, 1, Draw(temperature=0))
    sampled = sampler.answer(questions, samples, Draw())
    rows = [
        (
            item.scene.domain,
            np.mean([_right(answer, item.question.solution.answer) for answer in answers]),
            _right(vote(answers).label, item.question.solution.answer),
            _right(first[0], item.question.solution.answer),
        )
        for item, answers, first in zip(heldout, sampled, greedy, strict=True)
    ]

    def averaged(name: str) -> Accuracy:
        part = np.array([row[1:] for row in rows if name in ("all", row[0])], np.float64)
        return Accuracy(name, len(part), *(float(100 * value) for value in part.mean(axis=0)))

    return [averaged("all"), *sorted((averaged(domain) for domain in DOMAINS), key=lambda row: row.mean)]


def label_accuracy(sampler: Sampler, pictures: int, answers: int) -> list[AgreementBin]:
    """Right labels by agreement, on questions that the model writes about pictures of all domains and levels."""
    rng = Random("card")
    scenes = [Scene(DOMAINS[i % len(DOMAINS)], 1 + i // 16 % 3, VALIDATION.draw(rng)) for i in range(pictures)]
    shown = [Picture(scene.url, scene.png()) for scene in scenes]
    parsed = [questioner.parse(texts[0]) for texts in sampler.write_questions(shown, 1, Draw())]
    questions = [
        AskedQuestion(picture, question.text, question.kind)
        for picture, question in zip(shown, parsed, strict=True)
        if not isinstance(question, Reject)
    ]
    votes = [vote(answer) for answer in sampler.answer(questions, answers, Draw())]
    labelled = [
        (v.agreement, v.label, oracle.answer(question.picture.key, question.text))
        for question, v in zip(questions, votes, strict=True)
        if v.label
    ]

    def agreement_bin(low: float, high: float) -> AgreementBin:
        rows = [row for row in labelled if low <= row[0] < high]
        known = [_right(label, truth) for _, label, truth in rows if truth is not None]
        return AgreementBin(low, high, len(rows), len(rows) - len(known), 100 * float(np.mean(known)) if known else 0.0)

    return [agreement_bin(low, high) for low, high in AGREEMENT_BINS]


def in_window(bins: Sequence[AgreementBin], config: FilterConfig) -> float:
    """Right labels in the bins inside the filter's window, in per cent of their answerable questions."""
    inside = [row for row in bins if row.low >= config.low and row.high <= config.high + 1e-9]
    weights = [row.questions - row.unanswerable for row in inside]
    return float(np.average([row.right for row in inside], weights=weights)) if sum(weights) else 0.0


def validity(sampler: Sampler, count: int) -> dict[str, float]:
    """Well-formed replies by role, in per cent."""
    domains = [Domain(name=name) for name in DOMAINS]
    validation = items("validation", count)
    shown = [Picture(item.id, item.scene.png()) for item in validation]
    queries = sampler.write_queries(domains, [max(1, count // len(domains))] * len(domains), Draw())
    written = sampler.write_questions(shown, 1, Draw())
    questions = [_ask(item, picture) for picture, item in zip(shown, validation, strict=True)]
    answers = sampler.answer(questions, 1, Draw())
    return {
        "searcher": _share([text for texts in queries for text in texts], searcher.well_formed),
        "questioner": _share([texts[0] for texts in written], questioner.well_formed),
        "solver": 100 * float(np.mean([samples[0] is not None for samples in answers])),
    }


def _ask(item: HeldOutItem, picture: Picture) -> AskedQuestion:
    return AskedQuestion(picture, item.question.text, item.question.kind)


def _share(texts: Sequence[str | Reject], well_formed: Callable[[str | Reject], bool]) -> float:
    return 100 * float(np.mean([well_formed(text) for text in texts]))


def _right(answer: str | None, truth: str) -> bool:
    return answer is not None and equal(answer, truth).equal


def right_domain_found(clip: Clip, queries: int, pictures: int) -> float:
    """Held-out captions with a picture of their domain in the top 5 of a new long-tailed corpus, in per cent."""
    embedder, rng = clip.open(), Random("clip card")
    described = [item.scene for item in items("heldout", queries)]
    texts = embedder.embed_texts([rng.choice(scene.captions()) for scene in described])
    corpus = list(draw_corpus(pictures, seed=1, trivial=0.6, seeds=VALIDATION))
    vectors = embedder.embed_images(scene.image() for scene in corpus).astype(np.float32)
    nearest = np.argsort(-(texts @ vectors.T), axis=1)[:, :5]
    right = [any(corpus[i].domain == scene.domain for i in row) for scene, row in zip(described, nearest, strict=True)]
    return 100 * float(np.mean(right))


def model_card(folder: Path) -> str:
    """Measure the models in `folder` and return their card as Markdown."""
    config = load_config(overrides=[f"model={folder / 'vlm'}"])
    with Team.base(config).open(seed=1) as sampler:
        formats = validity(sampler, 320)
        rows = accuracies(sampler, 960, 9)
        bins = label_accuracy(sampler, 1600, config.filter.answers)
    right_domain = right_domain_found(Clip(model=f"local-dir:{(folder / 'clip').resolve()}"), 480, 4000)
    return CARD.format(
        noise=1 / Pretraining().label_noise,
        formats="\n".join(f"| {role} | {share:.1f} |" for role, share in formats.items()),
        accuracies="\n".join(
            f"| {r.name} | {r.items} | {r.mean:.1f} | {r.majority:.1f} | {r.greedy:.1f} |" for r in rows
        ),
        bins="\n".join(
            f"| {row.low:.1f} - {min(row.high, 1.0):.1f} | {row.questions} | {row.unanswerable} | {row.right:.1f} |"
            for row in bins
        ),
        window=f"{config.filter.low}-{config.filter.high}",
        right=f"{in_window(bins, config.filter):.1f}",
        clip=f"{right_domain:.1f}",
    )


CARD = """# The shipped tiny models

Two small models, trained from scratch on the micro world (`tasks/world`) and on nothing else, so that a whole round
of self-play runs on two cores without a download. They know procedural pictures of sixteen domains and nothing else.

- `vlm`: Qwen2.5-VL's architecture with 2.1 million parameters (text 128 wide x 4 layers, vision 128 x 4, pictures of
  112 pixels, 16 visual tokens, a byte-level BPE of its own). It writes all three roles' formats and reasons in steps.
- `clip`: an open_clip model with 0.8 million parameters.

The recipe is `tasks/pretraining`; `make base-models` trains both again on one core.
The seeds of their training pictures come from a range of their own (`tasks/world/splits.py`), so none of these pictures
is in a corpus or a benchmark. One in {noise:.0f} of the Solver's training examples has the answer of another picture of
the same domain, as text on the open web does not always belong to its picture. The model therefore sometimes errs on
questions that it can answer; these errors scatter, so a majority vote corrects them, and self-play distils this first.
The share of such examples and the number of steps were chosen on validation items of a trial model; the held-out
figures below decided nothing.

The command `python -m flows.pretrain --only card` measures the figures below.

## Formats: well-formed replies at temperature 1, per cent

| role | well-formed |
|---|---|
{formats}

## Held-out questions: accuracy, per cent

Mean of 9 samples at temperature 1, their majority vote, and greedy decoding.

| domain | items | mean | majority of 9 | greedy |
|---|---|---|---|---|
{accuracies}

## Pseudo-labels of the model's own questions, by agreement

| agreement | questions | unanswerable | right, % of answerable |
|---|---|---|---|
{bins}

In the default filter's window ({window}) {right} % of the answerable labels are right.

## CLIP

For {clip} % of held-out captions, one of the first five pictures of a long-tailed corpus of 4 000 is of the right
domain.
"""
