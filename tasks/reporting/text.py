"""The report of a round as text: lines for the terminal, and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tasks.execution.progress import duration
from tasks.reporting.facts import Change, Coverage, LabelAccuracy, Replies, RoundFacts, total

CHART = "report.png"
PAGE = "page"
"""The folder of the round's page."""


def summary(facts: RoundFacts) -> list[str]:
    """The most important lines: scores before and after, the decision, unparsed replies, and label accuracy."""
    since = [f"since round 0: {change_line(change)}" for change in facts.since_base]
    changes = [*map(change_line, facts.changes), *since]
    return [*changes, decision_line(facts), replies_line(facts.replies), *label_lines(facts)]


def change_line(change: Change) -> str:
    """`world:heldout, greedy: 51.2 -> 53.4 (+2.2, 95 % interval +0.9 to +3.4, McNemar p 0.004, 624 items)`."""
    interval = f"95 % interval {change.low:+.1f} to {change.high:+.1f}"
    test = "" if change.p is None else f", McNemar p {change.p:.2g}"
    figures = f"{change.before:.1f} -> {change.after:.1f} ({change.gain:+.1f}, {interval}{test}, {change.items} items)"
    return f"{change.benchmark}, {change.figure}: {figures}"


def replies_line(replies: Replies) -> str:
    """`replies: 0.2 % of 11232 unparsed, 0.0 % truncated, 0 grader time-outs`."""
    unparsed, truncated = (percent(count / replies.total) for count in (replies.unparsed, replies.truncated))
    return (
        f"replies: {unparsed} of {replies.total} unparsed, {truncated} truncated, {replies.timeouts} grader time-outs"
    )


def decision_line(facts: RoundFacts) -> str:
    """`promoted: ...` or `rolled back: ...`."""
    return f"{'promoted' if facts.decision.promoted else 'rolled back'}: {facts.decision.why}"


def label_lines(facts: RoundFacts) -> list[str]:
    """Label accuracy by the oracle, and by the gold items where there are any."""
    lines = [label_accuracy_line(total(facts.label_accuracy))]
    if gold := total(facts.gold_accuracy):
        lines.append(f"gold items: label accuracy {_accuracy(gold)} of {gold.questions} in the window")
    return lines


def label_accuracy_line(accuracy: LabelAccuracy | None) -> str:
    """Label accuracy by the oracle, which is measured and never trained on."""
    if accuracy is None:
        return "label accuracy: unknown, because this corpus has no oracle"
    unanswerable = f"{percent(accuracy.unanswerable)} of {accuracy.questions} unanswerable"
    return f"label accuracy: {_accuracy(accuracy)}, {unanswerable}"


def _accuracy(accuracy: LabelAccuracy) -> str:
    """`65.2 % (95 % interval 61.0 to 69.2)`; `unknown` without answerable questions."""
    if accuracy.accuracy is None:
        return "unknown"
    low, high = accuracy.interval
    return f"{percent(accuracy.accuracy)} (95 % interval {100 * low:.1f} to {100 * high:.1f})"


def percent(share: float) -> str:
    """`65.2 %`."""
    return f"{100 * share:.1f} %"


def markdown(facts: RoundFacts) -> str:
    """The whole report as Markdown."""
    return "\n".join(
        [
            f"# {facts.title}",
            "",
            *(f"- {line}" for line in summary(facts)),
            "",
            f"![charts of the round]({CHART})",
            "",
            f"Every question with its picture and what became of it: [{PAGE}/index.html]({PAGE}/index.html)",
            *_section("Label accuracy by agreement", _label_table(facts.label_accuracy)),
            *_section("Gold items by agreement", _gold_table(facts.gold_accuracy)),
            *_section("Domains", _domain_table(facts)),
            *_section("Search", _coverage_table(facts.coverage)),
            *_section("Rejected", _reject_table(facts)),
            *_section("Training", _training_table(facts)),
            *_section("Time", _time_table(facts)),
            "",
        ]
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table; `|` and `<` in a cell are escaped, and a line break becomes a space."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _label_table(bins: Sequence[LabelAccuracy]) -> list[str]:
    if not bins:
        return ["Unknown: this corpus has no oracle."]
    header = ["agreement", "kept", "unanswerable", "label accuracy", "95 % interval"]
    note = "Measured against the micro world's exact answers. Training never uses them."
    return [note, "", *table(header, map(_label_row, bins))]


def _gold_table(bins: Sequence[LabelAccuracy]) -> list[str]:
    if not bins:
        return []
    header = ["agreement", "gold items", "label accuracy", "95 % interval"]
    note = "Items with known answers, labelled unmarked among the questions. They never train."
    return [note, "", *table(header, ([row[0], row[1], *row[3:]] for row in map(_label_row, bins)))]


def _label_row(row: LabelAccuracy) -> list[object]:
    accuracy = "-" if row.accuracy is None else percent(row.accuracy)
    low, high = row.interval
    interval = f"{100 * low:.0f} to {100 * high:.0f}"
    return [f"{row.low:.1f} to {row.high:.1f}", row.questions, percent(row.unanswerable), accuracy, interval]


def _domain_table(facts: RoundFacts) -> list[str]:
    counted = facts.domains
    difficulty = {row.domain: f"{row.difficulty:.2f} ({row.low:.2f} to {row.high:.2f})" for row in facts.frontier}
    names = sorted({*difficulty, *(name for counts in counted.values() for name in counts)})
    rows = [[name, difficulty.get(name, "-"), *(counts.get(name, 0) for counts in counted.values())] for name in names]
    return table(["domain", "domain difficulty", *counted], rows)


def _coverage_table(coverage: Sequence[Coverage]) -> list[str]:
    header = ["domain", "retrieved", "distinct", "effective number", "share of the corpus"]
    rows = [
        [row.domain or "all", row.retrieved, row.distinct, f"{row.effective:.1f}", percent(row.share)]
        for row in coverage
    ]
    note = "The Searcher collapses if few pictures are distinct, or if the effective number is far below the distinct."
    return [note, "", *table(header, rows)] if rows else []


def _reject_table(facts: RoundFacts) -> list[str]:
    rows = [
        [stage, reason, count]
        for stage, reasons in facts.rejects.items()
        for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])
    ]
    return table(["stage", "reason", "rows"], rows) if rows else ["None."]


def _training_table(facts: RoundFacts) -> list[str]:
    return table(["role", "steps", "reward, first steps", "reward, last steps", "last KL"], _training_rows(facts))


def _training_rows(facts: RoundFacts) -> Iterator[list[object]]:
    for role, steps in facts.steps.items():
        if steps:
            tenth = max(1, len(steps) // 10)
            first, last = (sum(step.reward for step in part) / tenth for part in (steps[:tenth], steps[-tenth:]))
            yield [role, len(steps), f"{first:.3f}", f"{last:.3f}", f"{steps[-1].kl:.4f}"]


def _time_table(facts: RoundFacts) -> list[str]:
    rows = [[stage, duration(seconds)] for stage, seconds in facts.seconds.items()]
    return table(["stage", "time"], [*rows, ["all", duration(sum(facts.seconds.values()))]])
