"""Prefect artifacts of a round: its report, small tables, a sample of the curriculum, and a chart.

The server drops events above 1.5 MB, so no artifact grows with the round. A model's text is escaped, and pictures are
encoded again: both come from the world. Pictures stand in Markdown, since the page of an image artifact prints the
whole `data:` URL beside it.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.round import Round
from flows.server.server import PAGES
from tasks.execution.stage import only_reuse
from tasks.filter import curriculum
from tasks.records import LabelledQuestion
from tasks.reporting.text import CHART, PAGE
from tasks.retrieval.searchable_corpus import SearchableCorpus
from tasks.settings.errors import UserError
from tasks.store import Manifest, Store, StoreFault

QUESTIONS_SHOWN = 12
CELL_CHARACTERS = 240
THUMBNAIL = 96
"""Longest side of a picture in the curriculum, in pixels."""
CHART_BYTES = 700_000
"""Largest PNG; base64 adds a third."""


def publish_round(played: Round, store: Store) -> None:
    """Publish all artifacts of a round. One that fails is logged as a warning: the round itself is complete."""
    for publish in (publish_report, publish_scores, publish_stages, publish_curriculum, publish_chart):
        try:
            publish(played, store)
        except Exception as error:  # a page is no reason to fail after days of work
            get_run_logger().warning("%s: %s", publish.__name__.replace("_", " "), error)


def publish_stages(played: Round, store: Store) -> None:
    """Each stage's manifest in a table."""
    rows = [_stage(name, manifest) for name, manifest in store.stages(played.run, played.number) if manifest]
    uri = played.report.uri.rpartition("/")[0]
    create_table_artifact(key=key(played, "stages"), table=rows, description=f"{len(rows)} stages, below `{uri}`")


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
    """A sample of the questions that trained the Solver, evenly spread, with their pictures and answers."""
    kept = curriculum(played.curriculum.read())
    sample = kept[:: max(1, len(kept) // QUESTIONS_SHOWN)][:QUESTIONS_SHOWN]
    with only_reuse():  # the page lists no stage for it
        corpus = played.corpus.open()
    head = ["| picture | domain | question | label | agreement | answers |", "|---|---|---|---|---|---|"]
    rows = [_row(question, _thumbnail(corpus, question.key)) for question in sample]
    create_markdown_artifact(
        key=key(played, "curriculum"),
        markdown="\n".join([*head, *rows]),
        description=f"{len(rows)} of the {len(kept)} questions that trained the Solver",
    )


def _row(question: LabelledQuestion, picture: str) -> str:
    """A row of the Markdown table."""
    counts = Counter(answer or "no answer" for answer in question.answers).most_common()
    answers = ", ".join(f"{cell(answer)} ({count})" for answer, count in counts)
    texts = [question.domain, question.text, question.label or "", f"{question.agreement:.2f}", answers]
    return f"| {picture} | {' | '.join(escaped(cell(text)) for text in texts)} |"


def _thumbnail(corpus: SearchableCorpus, name: str) -> str:
    """A picture of the corpus as a Markdown image; the reason where it cannot be shown."""
    from PIL import Image

    try:
        (picture,) = corpus.pictures([name])
        image, out = picture.image.convert("RGB"), BytesIO()
    except (UserError, StoreFault, OSError, ValueError, Image.DecompressionBombError) as error:
        return escaped(cell(f"not shown: {error}"))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.save(out, "JPEG", quality=80)
    return f"![{escaped(cell(name))}]({_data_url('jpeg', out.getvalue())})"


def publish_chart(played: Round, store: Store) -> None:
    """The report's chart as a data URL, since the server does not read the store."""
    url = _data_url("png", smaller(played.report.file(CHART).read_bytes()))
    create_markdown_artifact(
        key=key(played, "chart"),
        markdown=f"![scores, labels and domains of round {played.number}]({url})",
        description=f"{played.run}, round {played.number}: scores, labels and domains",
    )


def _data_url(kind: str, picture: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(picture).decode()}"


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
    create_markdown_artifact(
        key=key(played, "report"),
        markdown="\n".join(_report(played)),
        description=f"{played.run}, round {played.number}, {_decision(played)}",
    )


def _report(played: Round) -> Iterator[str]:
    yield f"# Run {played.run}, round {played.number}"
    yield from (f"- {escaped(line)}" for line in played.report.file("summary.txt").read_text().splitlines())
    if pages := os.environ.get(PAGES):
        page = f"{pages}/runs/{played.run}/round-{played.number:03d}/index.html"
        yield f"\n**[The page of the round]({page})**: every question with its picture, and what became of it. "
        yield f"[The run]({pages}/runs/{played.run}/index.html): its rounds side by side."
    yield "\nThe files of the report:\n"
    folder = f"{played.report.uri}/{played.report.manifest.attempt}"
    yield from (f"- {_link(name, f'{folder}/{name}')}" for name in ("report.md", f"{PAGE}/index.html"))
    command = f"active-zero page {played.run} --round {played.number}"
    yield f"\nThe curriculum's rows, for pandas or datasets: `{played.curriculum.rows_at}`"
    yield f"\nThe page in a folder of yours: `{command}`"


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
