"""The page of a round: what was looked for, asked, trusted and learned, and why the rest was thrown away.

It is made from the round's artifacts and the corpus's pictures alone. A round in progress has a page too: what is not
there yet is left out, and the page says so.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.benchmarks.statistics import wilson
from tasks.records import Answers, ExampleReward, LabelledQuestion, Question, SearchResult, Step
from tasks.records.picture import Picture
from tasks.reporting.cards import TRAINED, RoundCard, cards_of, votes_of
from tasks.reporting.facts import LabelAccuracy, RoundFacts, StageFacts, Verdict
from tasks.reporting.page_files import PageFiles
from tasks.reporting.picture_sheets import ACROSS, PER_SHEET, Sheets, sheets_of

SCRIPTS = ("page.js", "figures.js", "cards.js", "round.js")
DETAILS = 2000
"""Cards whose details are one document, which is read when one of them is opened: some 200 kB. Each document is a file
of the report, and an object store lists a thousand files a request."""
LONGEST = {"text": 600, "short": 160}
"""Characters of a question, and of an answer or query, on a closed card; the details hold the whole text."""


@dataclass(frozen=True)
class Window:
    """The filter's settings that explain its reasons."""

    low: float
    high: float
    floor: float
    """The least trusted agreement: `low`, or more where the gold items raised it."""
    answers: int
    blind_answers: int
    blind_share: float
    max_share: float


@dataclass(frozen=True)
class RoundPage:
    """What a round's page is made of. Rows of stages that are not complete are empty."""

    run: str
    number: int
    stages: Sequence[StageFacts]
    queries: int
    """Queries that the Searcher wrote; 0 where its search is not complete."""
    results: Sequence[SearchResult]
    questions: Sequence[Question]
    labelled: Sequence[LabelledQuestion]
    verdicts: Mapping[str, Verdict]
    """By question id."""
    window: Window | None
    facts: RoundFacts | None
    """The report's figures; None before the round is complete."""
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    """By key. Pictures that are missing here are empty places."""
    places: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Where each picture of the pool lies on the map, by key."""
    corpus: str = ""
    """Address of the corpus: for the command that fetches an original."""
    rewards: Mapping[str, Sequence[ExampleReward]] = field(default_factory=dict)
    """By role: what each training step's examples were rewarded; a role is missing where its training tells nothing."""
    blind: Mapping[str, Answers] = field(default_factory=dict)
    """The Solver's answers without the picture, by question id."""
    problem: str = ""
    """Why the page shows less than it should."""

    @property
    def title(self) -> str:
        return f"Run {self.run}, round {self.number}"


def page_files(page: RoundPage) -> PageFiles:
    """The parts of the page."""
    cards = cards_of(page.results, page.questions, page.labelled, page.verdicts)
    keys = list(dict.fromkeys(card.key for card in cards if card.key is not None))
    sheets = sheets_of([page.pictures.get(key) for key in keys])
    documents = {
        "round": _summary(page, cards),
        "columns": columns_of(cards, keys),
        "pictures": _pictures(page, keys, sheets),
    }
    details = {f"details-{number:03d}": document for number, document in enumerate(_details(cards, page))}
    return PageFiles(page.title, "round", SCRIPTS, tuple(documents), documents | details, sheets.files)


def columns_of(cards: Sequence[RoundCard], keys: Sequence[str]) -> dict[str, Any]:
    """The cards by column. Domains, outcomes and queries are numbers into lists of names."""
    numbers = {key: number for number, key in enumerate(keys)}
    domains, outcomes, queries = (
        _distinct(card.domain for card in cards),
        _distinct(card.outcome for card in cards),
        _distinct(card.query for card in cards if card.query is not None),
    )
    return {
        "domains": list(domains),
        "outcomes": list(outcomes),
        "queries": [cut(query, "short") for query in queries],
        "id": [card.id for card in cards],
        "show": [card.show for card in cards],
        "domain": [domains[card.domain] for card in cards],
        "outcome": [outcomes[card.outcome] for card in cards],
        "picture": [-1 if card.key is None else numbers[card.key] for card in cards],
        "text": [cut(card.text, "text") for card in cards],
        "query": [-1 if card.query is None else queries[card.query] for card in cards],
        "rank": [card.rank for card in cards],
        "score": [finite(card.score, 3) for card in cards],
        "votes": [[[cut_answer(answer), count] for answer, count in card.votes] for card in cards],
        "label": [cut_answer(card.label) for card in cards],
        "agreement": [finite(card.agreement, 6) for card in cards],
        "right": [None if card.verdict is None else int(card.verdict.right) for card in cards],
        "truth": [cut_answer(card.verdict.truth) if card.verdict else None for card in cards],
        "perDetails": DETAILS,
    }


def _distinct(values: Iterator[str]) -> dict[str, int]:
    """The distinct values in their first order, numbered."""
    return {value: number for number, value in enumerate(dict.fromkeys(values))}


def cut(text: str, kind: str) -> str:
    """The text, with `…` for what is beyond the longest shown length."""
    longest = LONGEST[kind]
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def cut_answer(answer: str | None) -> str | None:
    """As `cut`; None stays None."""
    return None if answer is None else cut(answer, "short")


def _details(cards: Sequence[RoundCard], page: RoundPage) -> Iterator[list[dict[str, Any]]]:
    """What an opened card shows, in documents of `DETAILS` cards. What is empty is left out."""
    solver, questioner = (_by_example(page.rewards.get(role, ())) for role in ("solver", "questioner"))

    def detail(card: RoundCard) -> dict[str, Any]:
        asked = questioner.get(card.key or "", ()) if card.show == "questions" else ()
        blind = [list(pair) for pair in votes_of(page.blind.get(card.id, ()))]
        told = {"trained": _paid(solver.get(card.id, ())), "asked": _paid(asked), "blind": blind}
        return _detail(card) | {name: value for name, value in told.items() if value}

    for start in range(0, len(cards), DETAILS):
        yield [detail(card) for card in cards[start : start + DETAILS]]


ByExample = Mapping[str, Sequence[ExampleReward]]


def _by_example(rows: Sequence[ExampleReward]) -> ByExample:
    groups: defaultdict[str, list[ExampleReward]] = defaultdict(list)
    for row in rows:
        groups[row.example].append(row)
    return groups


def _paid(rows: Sequence[ExampleReward]) -> list[list[Any]]:
    """For each step: its number, rollouts, mean reward, and the terms with their means."""
    paid = []
    for row in rows:
        terms = [[name, finite(mean, 3)] for name, mean in zip(row.terms, row.means, strict=True)]
        paid.append([row.step, row.rollouts, finite(row.reward, 3), terms])
    return paid


def _detail(card: RoundCard) -> dict[str, Any]:
    """Fields that are empty, or are shown whole on the closed card, are left out."""
    long_answers = any(len(answer or "") > LONGEST["short"] for answer, _ in card.votes)
    whole = {
        "text": card.text if len(card.text) > LONGEST["text"] else None,
        "query": card.query if card.query is not None and len(card.query) > LONGEST["short"] else None,
        "answers": [list(pair) for pair in card.votes] if long_answers else None,
        "kind": card.kind,
        "own": card.own_answer,
        "thought": card.thought,
        "unknown": card.unknown,
    }
    return {name: value for name, value in whole.items() if value}


def _pictures(page: RoundPage, keys: Sequence[str], sheets: Sheets) -> dict[str, Any]:
    retrieved = Counter(row.key for row in page.results)
    solved: defaultdict[str, list[float]] = defaultdict(list)
    for row in page.labelled:
        solved[row.key].append(row.agreement)
    places = [page.places.get(key) for key in keys]
    return {
        "side": sheets.side,
        "across": ACROSS,
        "perSheet": PER_SHEET,
        "keys": list(keys),
        "width": [width for width, _ in sheets.sizes],
        "height": [height for _, height in sheets.sizes],
        "problems": [[number, problem] for number, problem in sheets.problems.items()],
        "retrieved": [retrieved[key] for key in keys],
        "solved": [finite(sum(solved[key]) / len(solved[key]), 3) if key in solved else None for key in keys],
        "x": [None if place is None else finite(place[0], 4) for place in places],
        "y": [None if place is None else finite(place[1], 4) for place in places],
        "corpus": page.corpus,
    }


def _summary(page: RoundPage, cards: Sequence[RoundCard]) -> dict[str, Any]:
    """The strip, the funnel and the figures."""
    facts = page.facts
    return {
        "run": page.run,
        "round": page.number,
        "complete": facts is not None,
        "stages": [asdict(stage) | {"counters": list(stage.counters.items())} for stage in page.stages],
        "funnel": funnel(page, cards),
        "explanations": explanations(page.window),
        "window": None if page.window is None else asdict(page.window),
        "domains": domain_rows(cards, facts),
        "agreement": agreement_rows(cards),
        "problem": page.problem,
        "notRecorded": NOT_RECORDED,
        "trainingTold": sorted(page.rewards),
        "blindTold": bool(page.blind),
        **({} if facts is None else figures(facts)),
    }


def figures(facts: RoundFacts) -> dict[str, Any]:
    """The figures that only a complete round has."""
    return {
        "decision": _finite_values(facts.decision.model_dump()),
        "changes": [_finite_values(asdict(change)) for change in facts.changes],
        "sinceBase": [_finite_values(asdict(change)) for change in facts.since_base],
        "labels": _accuracy(facts.label_accuracy),
        "gold": _accuracy(facts.gold_accuracy),
        "shown": [[source, list(counts.items())] for source, counts in facts.domains.items()],
        "coverage": [_finite_values(asdict(row)) for row in facts.coverage],
        "training": [{"role": role, **_curves(steps)} for role, steps in facts.steps.items()],
        "replies": asdict(facts.replies),
    }


def _accuracy(bins: Sequence[LabelAccuracy]) -> dict[str, Any] | None:
    """All bins together; None without bins."""
    right, answerable = sum(row.right for row in bins), sum(row.answerable for row in bins)
    questions = sum(row.questions for row in bins)
    return {"questions": questions, **share(right, answerable)} if bins else None


def share(right: int, of: int) -> dict[str, Any]:
    """A share with its 95 % interval, 0..1."""
    low, high = wilson(right, of)
    return {"right": right, "of": of, "low": round(low, 4), "high": round(high, 4)}


def _curves(steps: Sequence[Step]) -> dict[str, Any]:
    """The training's curves by column, and the mean of each reward term."""
    names = steps[0].reward_terms if steps else ()
    return {
        "step": [step.step for step in steps],
        "reward": [finite(step.reward, 4) for step in steps],
        "kl": [finite(step.kl, 6) for step in steps],
        "tokens": [finite(step.tokens, 2) for step in steps],
        "terms": [
            [name, [finite(step.reward_term_means[number], 4) for step in steps]] for number, name in enumerate(names)
        ],
    }


def funnel(page: RoundPage, cards: Sequence[RoundCard]) -> list[dict[str, Any]]:
    """The levels from queries to trained questions: how many there were, how many went on, and each loss."""
    outcomes = Counter(card.outcome for card in cards)
    rejected = Counter(row.reason for row in page.results if row.key is None)
    found = [row for row in page.results if row.key is not None]
    without = page.queries - sum(rejected.values()) - sum(row.rank == 1 for row in found)
    active = any(row.rank for row in found)  # in a passive round no result has a rank
    lost_queries = {f"search: {reason}": count for reason, count in rejected.items()}
    levels: list[tuple[str, int, str, dict[str, int], int]] = [
        ("queries", page.queries, "search", lost_queries, without if active and without > 0 else 0),
        ("pictures found", len(found), "pool", _starting(outcomes, "search: ", lost_queries), 0),
        ("questions written", len(page.questions), "parsed", _starting(outcomes, "synthesize: "), 0),
        ("questions answered", *_answered(page.labelled, outcomes), 0),
    ]
    return [
        {"name": name, "total": total, "goOn": what, "lost": most_first(lost), "empty": empty}
        for name, total, what, lost, empty in levels
        if total
    ]


def most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The names with their counts, the greatest count first."""
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _starting(outcomes: Mapping[str, int], prefix: str, without: Mapping[str, int] | None = None) -> dict[str, int]:
    return {name: count for name, count in outcomes.items() if name.startswith(prefix) and name not in (without or {})}


def _answered(labelled: Sequence[LabelledQuestion], outcomes: Mapping[str, int]) -> tuple[int, str, dict[str, int]]:
    questions = [row for row in labelled if row.target is None]
    return len(questions), TRAINED, dict(Counter(row.reason for row in questions if row.reason is not None))


def domain_rows(cards: Sequence[RoundCard], facts: RoundFacts | None) -> list[dict[str, Any]]:
    """One row a domain of queries: pictures in the pool, questions, and the labels that were trained on."""
    frontier = {row.domain: row for row in facts.frontier} if facts else {}
    groups: defaultdict[str, list[RoundCard]] = defaultdict(list, {domain: [] for domain in frontier})
    for card in cards:
        if card.show == "questions":
            groups[card.domain].append(card)
    rows = []
    for domain, group in groups.items():
        trained = [card for card in group if card.outcome == TRAINED]
        known = [card.verdict.right for card in trained if card.verdict is not None]
        before = frontier.get(domain)
        difficulty = None if before is None else (before.difficulty, before.low, before.high)
        rows.append(
            {
                "domain": domain,
                "difficulty": None if difficulty is None else [round(value, 3) for value in difficulty],
                "weight": None if before is None else round(before.weight, 4),
                "pool": len({card.key for card in group}),
                "questions": len(group),
                "answered": sum(card.agreement is not None for card in group),
                "trained": len(trained),
                "wrong": known.count(False),
                "labels": share(known.count(True), len(known)),
            }
        )
    return sorted(rows, key=lambda row: (-row["wrong"], row["domain"]))


def agreement_rows(cards: Sequence[RoundCard]) -> list[dict[str, Any]]:
    """One row a tenth of agreement: answered questions, those trained on, and how many labels are right."""
    rows = []
    answered = [card for card in cards if card.show == "questions" and card.agreement is not None]
    for tenth in range(10):
        group = [card for card in answered if tenth_of(card.agreement or 0.0) == tenth]
        known = [card.verdict.right for card in group if card.verdict is not None]
        trained = sum(card.outcome == TRAINED for card in group)
        labels = share(sum(known), len(known))
        rows.append({"tenth": tenth, "questions": len(group), "trained": trained, "labels": labels})
    return rows


def tenth_of(agreement: float) -> int:
    """The tenth of an agreement, 0 to 9. An agreement of 1 is in tenth 9."""
    return min(9, math.floor(agreement * 10 + 1e-9))  # 0.7 * 10 is not exactly 7


NOT_RECORDED = (
    "The rewards of single queries: in training the Searcher writes other queries than in its search. The curves show "
    "the mean of each reward term at each step.",
    "The reward of a question itself: the Questioner is rewarded for texts that it writes in training. A card shows "
    "what texts about its picture were paid there, if any step used the picture.",
    "The success on a question after the round. The success before it is the agreement; that in training is on the "
    "card.",
)
"""What a person may look for on a card, and the artifacts do not hold."""


def explanations(window: Window | None) -> list[tuple[str, str]]:
    """What each outcome means."""
    low, high, floor = ("the window's lower end", "the window's upper end", "the trusted agreement")
    answers, blind = "", "its"
    if window is not None:
        low, high, floor = (f"{value:.2f}" for value in (window.low, window.high, window.floor))
        answers, blind = f"{window.answers} ", str(window.blind_answers)
    return [
        (TRAINED, f"The answers agree in part, between {floor} and {high}: the Solver trains on the majority answer."),
        ("too hard", f"Fewer of the {answers}answers agree than {low}: the majority is too often wrong."),
        ("too easy", f"More of the answers agree than {high}: nothing is left to learn."),
        ("label not trusted", f"The agreement is from {low} to {floor}, where too many gold items got wrong labels."),
        ("no majority", "Two answers are equally frequent, so there is no label."),
        ("no answer", f"None of the {answers}replies holds an answer."),
        ("not grounded", f"The Solver gives the label in most of {blind} answers without the picture."),
        ("answer given away", "The question tells its answer."),
        ("asked before", "The current team was trained on this question in an earlier round."),
        ("over quota", "The domain has its greatest share of the curriculum already."),
        ("gold item", "An item with a known answer, labelled unmarked among the questions. It measures the labels."),
        ("not answered yet", "The Solver's answers to this question are not in the store yet."),
        ("search: duplicate", "The picture was found by another query too, which it fits better."),
        ("synthesize: duplicate", "The Questioner had written this question about the picture before."),
    ]


def finite(value: float | None, digits: int) -> float | None:
    """The number rounded; None where it is not finite, which JSON cannot hold."""
    return round(value, digits) if value is not None and math.isfinite(value) else None


def _finite_values(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: finite(value, 6) if isinstance(value, float) else value for name, value in record.items()}
