"""A round on the pages of the Prefect UI: small artifacts made of what lies in the store, with links to the rest.

Events above 1.5 MB are dropped by the server, so nothing here grows with the round. A model's text only ever stands in
cells of tables, which the page shows as text.
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

SHOWN = 12
LONGEST = 240
"""Characters of a cell."""
MOST_BYTES = 700_000
"""Of a picture; a third more when it is written as text."""


def show_round(played: Round, store: Store) -> None:
    """Stages, scores, curriculum, picture and links. What cannot be shown is a warning: the round is complete."""
    for show in (show_stages, show_scores, show_curriculum, show_chart, show_report):
        try:
            show(played, store)
        except Exception as error:  # a page is no reason to fail after days of work
            get_run_logger().warning("%s: %s", show.__name__.replace("_", " "), error)


def show_stages(played: Round, store: Store) -> None:
    """What the manifests say of each stage."""
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


def show_scores(played: Round, store: Store) -> None:
    """Before and after on each benchmark, in points, with 95 % intervals of the gain."""
    changes = json.loads(played.report.file("scores.json").read_text())
    create_table_artifact(key=key(played, "scores"), table=list(map(_score, changes)), description=_decided(played))


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


def _decided(played: Round) -> str:
    return f"{'promoted' if played.decision.promoted else 'rolled back'}: {played.decision.why}"


def show_curriculum(played: Round, store: Store) -> None:
    """A sample of the questions that trained the Solver, evenly spread."""
    kept = curriculum(played.curriculum.read())
    rows = [
        {
            "domain": cell(one.domain),
            "question": cell(one.text),
            "label": cell(one.label or ""),
            "agreement": round(one.agreement, 2),
            "picture": cell(one.key),
        }
        for one in kept[:: max(1, len(kept) // SHOWN)][:SHOWN]
    ]
    create_table_artifact(
        key=key(played, "curriculum"), table=rows, description=f"{len(rows)} of {len(kept)} questions"
    )


def show_chart(played: Round, store: Store) -> None:
    """The report's picture, within the page itself: the server reads no store."""
    picture = smaller(played.report.file(CHART).read_bytes())
    url = f"data:image/png;base64,{b64encode(picture).decode()}"
    create_image_artifact(key=key(played, "chart"), image_url=url, description=f"{played.run}, round {played.number}")


def smaller(png: bytes) -> bytes:
    """The picture in at most `MOST_BYTES`: in 64 colours, and half as large until it fits."""
    from PIL import Image

    image = Image.open(BytesIO(png)).convert("RGB")
    while len(png) > MOST_BYTES:
        out = BytesIO()
        image.quantize(64).save(out, "PNG", optimize=True)
        png, image = out.getvalue(), image.reduce(2)
    return png


def show_report(played: Round, store: Store) -> None:
    """The summary, and where the files are."""
    create_markdown_artifact(key=key(played, "report"), markdown="\n".join(_report(played)))


def _report(played: Round) -> Iterator[str]:
    yield f"# Run {played.run}, round {played.number}"
    yield from (f"- {escaped(line)}" for line in played.report.file("summary.txt").read_text().splitlines())
    yield "\nThe whole report, and the curriculum beside its pictures:\n"
    folder = f"{played.report.uri}/{played.report.manifest.attempt}"
    yield from (f"- [{name}]({folder}/{name})  \n  `{folder}/{name}`" for name in ("report.md", "curriculum.html"))
    command = f"active-zero curriculum {played.run} --round {played.number}"
    yield f"\nThe curriculum: `{played.curriculum.uri}`, or `{command}`"


def key(played: Round, what: str) -> str:
    """`default-round-3-stages`: Prefect takes small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{played.run}-round-{played.number}-{what}")


def cell(text: str) -> str:
    """A model's text as a cell shows it: one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def escaped(line: str) -> str:
    """Plain text within Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", line)
