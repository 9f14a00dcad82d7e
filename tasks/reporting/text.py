"""A round in words: lines for the terminal, and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tasks.execution.progress import duration
from tasks.reporting.facts import Change, Facts, LabelAccuracy, Reach, Replies, total

CHART = "report.png"


def summary(facts: Facts) -> list[str]:
    """What a person wants to know first: before and after, the decision, and whether the labels were right."""
    since = [f"since round 0: {told(change)}" for change in facts.since_base]
    return [*map(told, facts.changes), *since, decided(facts), read(facts.replies), *trusted(facts)]


def told(change: Change) -> str:
    """`world:heldout, greedy: 51.2 -> 53.4 (+2.2, 95 % interval +0.9 to +3.4, McNemar p 0.004, 624 items)`."""
    interval = f"95 % interval {change.low:+.1f} to {change.high:+.1f}"
    test = "" if change.p is None else f", McNemar p {change.p:.2g}"
    figures = f"{change.before:.1f} -> {change.after:.1f} ({change.gain:+.1f}, {interval}{test}, {change.items} items)"
    return f"{change.benchmark}, {change.figure}: {figures}"


def read(replies: Replies) -> str:
    """`replies: 0.2 % of 11232 unparsed, 0.0 % truncated, 0 grader time-outs`."""
    unparsed, truncated = (percent(count / replies.asked) for count in (replies.unparsed, replies.truncated))
    return (
        f"replies: {unparsed} of {replies.asked} unparsed, {truncated} truncated, {replies.timeouts} grader time-outs"
    )


def decided(facts: Facts) -> str:
    """`promoted: ...` or `rolled back: ...`."""
    return f"{'promoted' if facts.decision.promoted else 'rolled back'}: {facts.decision.why}"


def trusted(facts: Facts) -> list[str]:
    """How far the labels can be trusted: by the oracle where there is one, and by the gold items."""
    lines = [labelled(total(facts.bands))]
    if told := total(facts.gold):
        low, high = told.interval
        share = f"{percent(told.accuracy or 0.0)} (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        lines.append(f"gold items: of {told.questions} in the window {share} were labelled right")
    return lines


def labelled(band: LabelAccuracy | None) -> str:
    """How often the labels were right; measured, never trained on."""
    if band is None:
        return "label accuracy: unknown, since this corpus has no oracle"
    outside = f"{percent(band.unanswerable)} of {band.questions} unanswerable"
    if band.accuracy is None:
        return f"label accuracy: unknown, {outside}"
    low, high = band.interval
    return f"label accuracy: {percent(band.accuracy)} (95 % interval {100 * low:.1f} to {100 * high:.1f}), {outside}"


def percent(share: float) -> str:
    """`65.2 %`."""
    return f"{100 * share:.1f} %"


def markdown(facts: Facts) -> str:
    """The report."""
    return "\n".join(
        [
            f"# {facts.title}",
            "",
            *(f"- {line}" for line in summary(facts)),
            "",
            f"![the round in figures]({CHART})",
            "",
            "The curriculum with its pictures: [curriculum.html](curriculum.html)",
            *_section("Labels by agreement", _label_table(facts.bands)),
            *_section("Gold items by agreement", _gold_table(facts.gold)),
            *_section("Domains", _domain_table(facts)),
            *_section("Search", _reach_table(facts.reach)),
            *_section("Rejected", _reject_table(facts)),
            *_section("Training", _training_table(facts)),
            *_section("Time", _time_table(facts)),
            "",
        ]
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table; `|` in a cell is escaped, and a line break is a blank."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _label_table(bands: Sequence[LabelAccuracy]) -> list[str]:
    if not bands:
        return ["Unknown: this corpus has no oracle."]
    header = ["agreement", "kept", "unanswerable", "labels right", "95 % interval"]
    note = "Measured against the exact answers of the micro world; nothing that trains sees them."
    return [note, "", *table(header, map(_label_row, bands))]


def _gold_table(bands: Sequence[LabelAccuracy]) -> list[str]:
    if not bands:
        return []
    header = ["agreement", "gold items", "labels right", "95 % interval"]
    note = "Items with known answers, labelled unmarked among the questions. They never train."
    return [note, "", *table(header, ([row[0], row[1], *row[3:]] for row in map(_label_row, bands)))]


def _label_row(band: LabelAccuracy) -> list[object]:
    right = "-" if band.accuracy is None else percent(band.accuracy)
    low, high = band.interval
    interval = f"{100 * low:.0f} to {100 * high:.0f}"
    return [f"{band.low:.1f} to {band.high:.1f}", band.questions, percent(band.unanswerable), right, interval]


def _domain_table(facts: Facts) -> list[str]:
    counted = facts.domains
    difficulty = {row.domain: f"{row.difficulty:.2f} ({row.low:.2f} to {row.high:.2f})" for row in facts.frontier}
    names = sorted({*difficulty, *(name for counts in counted.values() for name in counts)})
    rows = [[name, difficulty.get(name, "-"), *(counts.get(name, 0) for counts in counted.values())] for name in names]
    return table(["domain", "difficulty when probed", *counted], rows)


def _reach_table(reach: Sequence[Reach]) -> list[str]:
    header = ["domain", "retrieved", "different", "effective number", "share of the corpus"]
    rows = [
        [one.domain or "all", one.retrieved, one.distinct, f"{one.effective:.1f}", percent(one.share)] for one in reach
    ]
    note = "Few different pictures, or an effective number far below them: the Searcher collapses."
    return [note, "", *table(header, rows)] if rows else []


def _reject_table(facts: Facts) -> list[str]:
    rows = [
        [stage, reason, count]
        for stage, reasons in facts.rejects.items()
        for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])
    ]
    return table(["stage", "reason", "rows"], rows) if rows else ["None."]


def _training_table(facts: Facts) -> list[str]:
    return table(["role", "steps", "reward, first steps", "reward, last steps", "last KL"], _training_rows(facts))


def _training_rows(facts: Facts) -> Iterator[list[object]]:
    for role, steps in facts.steps.items():
        if steps:
            tenth = max(1, len(steps) // 10)
            first, last = (sum(step.reward for step in part) / tenth for part in (steps[:tenth], steps[-tenth:]))
            yield [role, len(steps), f"{first:.3f}", f"{last:.3f}", f"{steps[-1].kl:.4f}"]


def _time_table(facts: Facts) -> list[str]:
    rows = [[stage, duration(seconds)] for stage, seconds in facts.seconds.items()]
    return table(["stage", "time"], [*rows, ["all", duration(sum(facts.seconds.values()))]])
