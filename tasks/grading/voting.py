"""Majority vote over several answers, independent of their order.

Answers are grouped by equality. Equality is not transitive, because an answer may leave something out (`5` equals both
`5 cm` and `5 mm`). Groups are therefore the connected components of the graph of equal answers; a component in which
some pair is not equal is split into groups of exactly one canonical form each. The published code instead adds each
answer to the first group that it fits, so its labels depend on the order of the answers.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tasks.grading.canonical import canonical
from tasks.grading.equality import equal, equal_in_form
from tasks.grading.forms import Form, Nothing

MOST_OVERRUNS = 3
"""Algebra time-outs allowed in one vote. After them, the remaining pairs are compared by form only."""


@dataclass(frozen=True)
class Vote:
    """The result of a vote. `agreement` is the largest group's share of all answers, unparsed ones included, 0..1."""

    label: str | None
    """The answer of the largest group; None on a tie or without any answer."""
    agreement: float
    groups: tuple[tuple[int, ...], ...]
    """Positions of equal answers, the largest group first. Answers that are None or empty are in no group."""
    tie: bool
    unknown: int = 0
    """Pairs of different answers that the grader could not compare in its time. They count as not equal."""


def vote(answers: Sequence[str | None]) -> Vote:
    """Group the answers and find the majority. The result does not depend on the order of the answers."""
    positions: dict[Form, list[int]] = defaultdict(list)
    for position, answer in enumerate(answers):
        if answer is not None:
            positions[canonical(answer)].append(position)
    positions = {form: where for form, where in positions.items() if not isinstance(form, Nothing)}
    texts = {form: _representative([answers[k] or "" for k in where]) for form, where in positions.items()}
    neighbours, unknown = _neighbours(texts)
    groups = [sorted(k for form in group for k in positions[form]) for group in _groups(neighbours)]
    if not groups:
        return Vote(None, 0.0, (), False)
    labels = {tuple(members): _representative([answers[k] or "" for k in members]) for members in groups}
    ranked = sorted(labels, key=lambda members: (-len(members), labels[members]))
    tie = len(ranked) > 1 and len(ranked[0]) == len(ranked[1])
    return Vote(None if tie else labels[ranked[0]], len(ranked[0]) / len(answers), tuple(ranked), tie, unknown)


def _representative(texts: list[str]) -> str:
    """The most frequent wording; on ties the shortest, then the first in alphabetical order."""
    counts = Counter(text.strip() for text in texts)
    return min(counts, key=lambda text: (-counts[text], len(text), text))


def _groups(neighbours: dict[Form, set[Form]]) -> list[list[Form]]:
    """The forms grouped by equality. `neighbours`: the equal forms of each."""
    groups: list[list[Form]] = []
    unseen = dict.fromkeys(neighbours)
    while unseen:
        component = _component(next(iter(unseen)), neighbours)
        for form in component:
            del unseen[form]
        clique = all(len(neighbours[form]) == len(component) - 1 for form in component)
        groups.extend([component] if clique else [[form] for form in component])
    return groups


def _neighbours(texts: dict[Form, str]) -> tuple[dict[Form, set[Form]], int]:
    """The equal forms of each form, and the number of pairs that could not be compared. `texts`: a text of each form.

    Pairs are compared in the order of their texts. So it does not depend on the order of the answers which pairs are
    compared by form only after `MOST_OVERRUNS` time-outs.
    """
    neighbours: dict[Form, set[Form]] = {form: set() for form in texts}
    overruns = unknown = 0
    for a, b in combinations(sorted(texts, key=lambda form: texts[form]), 2):
        result = (equal if overruns < MOST_OVERRUNS else equal_in_form)(texts[a], texts[b])
        overruns += "time-out" in result.reason
        unknown += result.unknown
        if result.equal:
            neighbours[a].add(b)
            neighbours[b].add(a)
    return neighbours, unknown


def _component(start: Form, neighbours: dict[Form, set[Form]]) -> list[Form]:
    """The connected component of a form."""
    reached, pending = {start: None}, [start]
    while pending:
        for form in neighbours[pending.pop()] - reached.keys():
            reached[form] = None
            pending.append(form)
    return list(reached)
