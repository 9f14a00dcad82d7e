"""Prefect artifacts of a round: small tables, a chart and links, made from the store's files.

The server drops events above 1.5 MB, so no artifact grows with the round. A model's text appears only in table cells,
which the page shows as plain text.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from flows.round import Round
from tasks.filter import curriculum
from tasks.reporting.text import CHART
from tasks.store import Manifest, Store

QUESTIONS_SHOWN = 12
CELL_CHARACTERS = 240
CHART_BYTES = 700_000
"""Largest PNG; base64 adds a third."""


def publish_round(played: Round, store: Store) -> None:
    """Publish all artifacts of a round. One that fails is logged as a warning: the round itself is complete."""
    for publish in (publish_stages, publish_scores, publish_curriculum, publish_chart, publish_report):
        try:
            publish(played, store)
        except Exception as error:  # a page is no reason to fail after days of work
            get_run_logger().warning("%s: %s", publish.__name__.replace("_", " "), error)


def publish_stages(played: Round, store: Store) -> None:
    """Each stage's manifest in a table."""
    rows = [_stage(name, manifest) for name, manifest in store.stages(played.run, played.number) if manifest]
    uri = played.report.uri.rpartition("/")[0]
    create_table_artifact(key=key(played, "stages"), table=rows, description=f"Stages below `{uri}`")


def _stage(name: str, manifest: Manifest) -> dict[str, Any]:
    return {
        "stage": name,
        "rows": manifest.rows,
        "seconds": round(manifest.seconds, 1),
        "fingerprint": manifest.fingerprint[:12],
        "counts": ", ".join(f"{reason} {count}" for reason, count in manifest.counters.items()),
    }


def publish_scores(played: Round, store: Store) -> None:
    """Scores before and after on each benchmark, in points, with 95 % intervals of the gain."""
    changes = json.loads(played.report.file("scores.json").read_text())
    create_table_artifact(key=key(played, "scores"), table=list(map(_score, changes)), description=_decision(played))


def _score(change: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "benchmark": change["benchmark"],
        "figure": change["figure"],
        "before": round(change["before"], 1),
        "after": round(change["after"], 1),
        "gain": f"{change['after'] - change['before']:+.1f}",
        "95 % interval": f"{change['low']:+.1f} to {change['high']:+.1f}",
        "McNemar p": "-" if change["p"] is None else f"{change['p']:.2g}",
        "items": change["items"],
    }


def _decision(played: Round) -> str:
    return f"{'promoted' if played.decision.promoted else 'rolled back'}: {played.decision.why}"


def publish_curriculum(played: Round, store: Store) -> None:
    """A sample of the questions that trained the Solver, evenly spread."""
    kept = curriculum(played.curriculum.read())
    sample = kept[:: max(1, len(kept) // QUESTIONS_SHOWN)][:QUESTIONS_SHOWN]
    rows = [
        {
            "domain": cell(question.domain),
            "question": cell(question.text),
            "label": cell(question.label or ""),
            "agreement": round(question.agreement, 2),
            "picture": cell(question.key),
        }
        for question in sample
    ]
    create_table_artifact(
        key=key(played, "curriculum"), table=rows, description=f"{len(rows)} of {len(kept)} questions"
    )


def publish_chart(played: Round, store: Store) -> None:
    """The report's chart as a data URL, since the server does not read the store."""
    picture = smaller(played.report.file(CHART).read_bytes())
    url = f"data:image/png;base64,{b64encode(picture).decode()}"
    create_image_artifact(key=key(played, "chart"), image_url=url, description=f"{played.run}, round {played.number}")


def smaller(png: bytes) -> bytes:
    """Reduce a PNG to at most `CHART_BYTES`: to 64 colours, then to half the width and height until it fits."""
    from PIL import Image

    image = Image.open(BytesIO(png)).convert("RGB")
    while len(png) > CHART_BYTES:
        out = BytesIO()
        image.quantize(64).save(out, "PNG", optimize=True)
        png, image = out.getvalue(), image.reduce(2)
    return png


def publish_report(played: Round, store: Store) -> None:
    """The summary, with links to the files."""
    create_markdown_artifact(key=key(played, "report"), markdown="\n".join(_report(played)))


def _report(played: Round) -> Iterator[str]:
    yield f"# Run {played.run}, round {played.number}"
    yield from (f"- {escaped(line)}" for line in played.report.file("summary.txt").read_text().splitlines())
    yield "\nThe whole report, and the curriculum with its pictures:\n"
    folder = f"{played.report.uri}/{played.report.manifest.attempt}"
    yield from (f"- {_link(name, f'{folder}/{name}')}" for name in ("report.md", "curriculum.html"))
    command = f"active-zero curriculum {played.run} --round {played.number} --format html --out curriculum.html"
    yield f"\nThe curriculum: `{played.curriculum.uri}`, or `{command}`"


def _link(name: str, address: str) -> str:
    """A link where a browser can open the address; the bare address of an object store, which it cannot."""
    return f"[{name}]({address})  \n  `{address}`" if address.startswith("file://") else f"{name}: `{address}`"


def key(played: Round, kind: str) -> str:
    """An artifact's key, such as `default-round-3-stages`. Prefect allows lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{played.run}-round-{played.number}-{kind}")


def cell(text: str) -> str:
    """A model's text as one line of at most `CELL_CHARACTERS`."""
    line = " ".join(text.split())
    return line if len(line) <= CELL_CHARACTERS else f"{line[: CELL_CHARACTERS - 1]}…"


def escaped(line: str) -> str:
    """Escape Markdown's special characters."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", line)
