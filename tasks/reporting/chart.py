"""The charts of a round in one PNG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.reporting.facts import RoundFacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT, REJECTED, BEFORE, AFTER, LINE = "#1b7f5c", "#c9ced6", "#9aa5b1", "#1b5e9f", "#c2410c"
MOST_DOMAINS = 24


def draw(facts: RoundFacts, path: Path) -> None:
    """Write the PNG of six panels. A panel without data stays empty."""
    from matplotlib.figure import Figure  # without pyplot: no state, and safe in any thread

    figure = Figure(figsize=(15, 8.5), layout="constrained")
    figure.suptitle(facts.title)
    panels: tuple[Callable[[Axes, RoundFacts], None], ...] = (
        _scores,
        _rewards,
        _agreement,
        _labels,
        _domains,
        _rejects,
    )
    for axes, panel in zip(figure.subplots(2, 3).flat, panels, strict=True):
        panel(axes, facts)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def _scores(axes: Axes, facts: RoundFacts) -> None:
    names = [f"{change.benchmark}\n{change.figure}" for change in facts.changes]
    places = range(len(names))
    axes.scatter([change.before for change in facts.changes], places, color=BEFORE, s=60, label="before", zorder=3)
    axes.scatter([change.after for change in facts.changes], places, color=AFTER, s=60, label="after", zorder=3)
    for place, change in zip(places, facts.changes, strict=True):
        axes.plot([change.before + change.low, change.before + change.high], [place, place], color=AFTER, lw=2)
        axes.annotate(f"{change.gain:+.1f}", (change.after, place), (0, 8), textcoords="offset points", ha="center")
    axes.set(yticks=places, yticklabels=names, xlabel="accuracy, %; line: 95 % paired interval of the gain")
    axes.margins(y=0.3)
    axes.invert_yaxis()
    axes.set_title("promoted" if facts.decision.promoted else "rolled back")
    axes.legend(loc="best", fontsize=8)


def _rewards(axes: Axes, facts: RoundFacts) -> None:
    for role, steps in facts.steps.items():
        axes.plot([step.step for step in steps], [step.reward for step in steps], marker=".", label=role)
    axes.set(xlabel="step", ylabel="mean reward", title="rewards in training")
    axes.legend(loc="best", fontsize=8)


def _agreement(axes: Axes, facts: RoundFacts) -> None:
    questions = [row for row in facts.labelled if row.target is None]  # the others are gold items
    kept = [question.agreement for question in questions if question.reason is None]
    rejected = [question.agreement for question in questions if question.reason is not None]
    axes.hist([kept, rejected], bins=20, range=(0, 1), stacked=True, color=[KEPT, REJECTED], label=["kept", "rejected"])
    axes.set(xlabel="agreement", ylabel="questions", title=f"{len(kept)} of {len(questions)} questions kept")
    axes.legend(loc="best", fontsize=8)


def _labels(axes: Axes, facts: RoundFacts) -> None:
    measured = [(row, row.accuracy) for row in facts.label_accuracy if row.accuracy is not None]
    centres = [(row.low + row.high) / 2 for row, _ in measured]
    values = [accuracy for _, accuracy in measured]
    below = [max(0.0, accuracy - row.interval[0]) for row, accuracy in measured]
    above = [max(0.0, row.interval[1] - accuracy) for row, accuracy in measured]
    axes.bar(centres, values, width=0.08, color=KEPT, yerr=[below, above], capsize=3)
    for centre, (row, _) in zip(centres, measured, strict=True):
        axes.annotate(f"n={row.answerable}", (centre, 0.02), ha="center", fontsize=7, color="white")
    axes.plot([0, 1], [0, 1], color=LINE, lw=1, ls="--", label="accuracy = agreement")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="agreement of kept questions", ylabel="label accuracy")
    axes.set_title(_labels_title(facts))
    axes.legend(loc="upper left", fontsize=8)


def _labels_title(facts: RoundFacts) -> str:
    """Title of the panel on label accuracy; it says why the panel is empty, if it is."""
    kept = sum(row.reason is None and row.target is None for row in facts.labelled)
    compared = sum(row.questions for row in facts.label_accuracy)
    if any(row.answerable for row in facts.label_accuracy):
        return "label accuracy by the oracle"
    if compared:
        return f"label accuracy: the oracle answers none of {compared} kept questions"
    return "label accuracy: no oracle for this corpus" if kept else "label accuracy: no question was kept"


def _domains(axes: Axes, facts: RoundFacts) -> None:
    sizes: Counter[str] = Counter()
    for counts in facts.domains.values():
        sizes.update(dict(counts))
    names = sorted(name for name, _ in sizes.most_common(MOST_DOMAINS))
    height = 0.8 / max(1, len(facts.domains))
    for number, (source, counts) in enumerate(facts.domains.items()):
        whole = max(1, sum(counts.values()))
        places = [place + (number - (len(facts.domains) - 1) / 2) * height for place in range(len(names))]
        axes.barh(places, [100 * counts.get(name, 0) / whole for name in names], height, label=source)
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel="share, %", title="domains")
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.legend(loc="best", fontsize=8)


def _rejects(axes: Axes, facts: RoundFacts) -> None:
    counted = [
        (f"{stage}: {reason}", count) for stage, reasons in facts.rejects.items() for reason, count in reasons.items()
    ]
    counted = sorted(counted, key=lambda pair: -pair[1])[:12]
    bars = axes.barh([name for name, _ in counted], [count for _, count in counted], color=REJECTED)
    axes.bar_label(bars, padding=3, fontsize=8)
    axes.set(xlabel="rows", title="rejected" if counted else "nothing rejected")
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
