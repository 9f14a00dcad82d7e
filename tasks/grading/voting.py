"""What several answers agree on.

Answers fall into classes of equal ones. Equality supplies what one answer leaves out (`5` is alike to both `5 cm` and
`5 mm`), so it is not transitive: classes are the connected components of the graph of equal answers, and a component
in which not every two are equal falls apart into answers of exactly one canonical form. The published code instead
adds each answer to the first group it fits, so that its labels depend on the order of the answers.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tasks.grading.canonical import canonical
from tasks.grading.equality import equal, equal_in_form
from tasks.grading.forms import Form, Nothing

MOST_OVERRUNS = 3
"""Pairs of one vote on which the algebra may overrun its time; the rest are compared by form."""


@dataclass(frozen=True)
class Vote:
    """`agreement` is the largest group's share of all answers, unparsed ones included."""

    label: str | None
    """The answer of the largest group; None on a tie and when there is no answer."""
    agreement: float
    groups: tuple[tuple[int, ...], ...]
    """Positions of equal answers, the largest group first. Answers that are None or empty are in no group."""
    tie: bool


def vote(answers: Sequence[str | None]) -> Vote:
    """The majority answer, whatever the order of the answers."""
    positions: dict[Form, list[int]] = defaultdict(list)
    for position, answer in enumerate(answers):
        if answer is not None:
            positions[canonical(answer)].append(position)
    positions = {form: where for form, where in positions.items() if not isinstance(form, Nothing)}
    texts = {form: _representative([answers[k] or "" for k in where]) for form, where in positions.items()}
    classes = [sorted(k for form in group for k in positions[form]) for group in _classes(texts)]
    if not classes:
        return Vote(None, 0.0, (), False)
    labels = {tuple(members): _representative([answers[k] or "" for k in members]) for members in classes}
    ranked = sorted(labels, key=lambda members: (-len(members), labels[members]))
    tie = len(ranked) > 1 and len(ranked[0]) == len(ranked[1])
    return Vote(None if tie else labels[ranked[0]], len(ranked[0]) / len(answers), tuple(ranked), tie)


def _representative(texts: list[str]) -> str:
    """The most frequent wording, of equally frequent ones the shortest, of those the first in the alphabet."""
    counts = Counter(text.strip() for text in texts)
    return min(counts, key=lambda text: (-counts[text], len(text), text))


def _classes(texts: dict[Form, str]) -> list[list[Form]]:
    neighbours = _neighbours(texts)
    classes: list[list[Form]] = []
    unseen = dict.fromkeys(texts)
    while unseen:
        component = _component(next(iter(unseen)), neighbours)
        for form in component:
            del unseen[form]
        clique = all(len(neighbours[form]) == len(component) - 1 for form in component)
        classes.extend([component] if clique else [[form] for form in component])
    return classes


def _neighbours(texts: dict[Form, str]) -> dict[Form, set[Form]]:
    """The forms equal to each. Pairs are taken in the order of their texts, so that which of them are still given to
    the algebra after overruns does not depend on the order of the answers."""
    neighbours: dict[Form, set[Form]] = {form: set() for form in texts}
    overruns = 0
    for a, b in combinations(sorted(texts, key=lambda form: texts[form]), 2):
        if overruns < MOST_OVERRUNS:
            verdict = equal(texts[a], texts[b])
            overruns += "time-out" in verdict.reason
            same = verdict.equal
        else:
            same = equal_in_form(texts[a], texts[b])
        if same:
            neighbours[a].add(b)
            neighbours[b].add(a)
    return neighbours


def _component(start: Form, neighbours: dict[Form, set[Form]]) -> list[Form]:
    found, pending = {start: None}, [start]
    while pending:
        for form in neighbours[pending.pop()] - found.keys():
            found[form] = None
            pending.append(form)
    return list(found)
