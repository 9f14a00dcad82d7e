"""The page of a run: its rounds side by side, the difference of two rounds, and the map of the frontier.

It is made from the documents of the rounds' own pages, so that it needs no corpus and shows the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.reporting.cards import TRAINED
from tasks.reporting.page_files import PageFiles

SCRIPTS = ("page.js", "figures.js", "map.js", "run.js")
Document = Mapping[str, Any]


@dataclass(frozen=True)
class RoundDocuments:
    """The documents of a round's page."""

    number: int
    round: Document
    columns: Document
    pictures: Document

    @property
    def folder(self) -> str:
        """The round's folder beside the run's page, as in the store: `round-003`."""
        return f"round-{self.number:03d}"


def run_files(run: str, rounds: Sequence[RoundDocuments]) -> PageFiles:
    """The parts of the page. The rounds' own pages lie beside it, each in its folder."""
    documents: dict[str, Any] = {"run": {"run": run, "rounds": [_side_by_side(each) for each in rounds]}}
    documents["map"] = frontier_map(rounds)
    later = {f"questions-{each.number:03d}": asked(each) for each in rounds}
    return PageFiles(f"Run {run}", "run", SCRIPTS, tuple(documents), documents | later)


def _side_by_side(each: RoundDocuments) -> dict[str, Any]:
    """One column of the comparison."""
    whole = each.round
    kept = ("complete", "decision", "changes", "labels", "gold", "window", "stages", "domains")
    answered = sum(row["questions"] for row in whole["agreement"])
    trained = sum(row["trained"] for row in whole["agreement"])
    coverage = (whole.get("coverage") or [None])[0]
    return {
        "round": each.number,
        "folder": each.folder,
        "answered": answered,
        "trained": trained,
        "coverage": coverage,
        "funnel": [[level["name"], level["total"]] for level in whole["funnel"]],
        **{name: whole.get(name) for name in kept},
    }


def frontier_map(rounds: Sequence[RoundDocuments]) -> dict[str, Any]:
    """The pictures of all pools in the plane of the corpus, and for each round how often they were found and solved.

    A round's arrays are aligned: entry n is about picture `picture[n]` of `keys`. `number` is the picture's number on
    the sheets of the round's page. Pictures without a place are left out.
    """
    numbers: dict[str, int] = {}
    xs, ys, layers = list[float](), list[float](), []
    for each in rounds:
        pictures, layer = each.pictures, dict[str, list[Any]](picture=[], number=[], retrieved=[], solved=[])
        for number, (key, x, y) in enumerate(zip(pictures["keys"], pictures["x"], pictures["y"], strict=True)):
            if x is None or y is None:
                continue
            if key not in numbers:
                numbers[key] = len(numbers)
                xs.append(x)
                ys.append(y)
            layer["picture"].append(numbers[key])
            layer["number"].append(number)
            layer["retrieved"].append(pictures["retrieved"][number])
            layer["solved"].append(pictures["solved"][number])
        sheet = {name: pictures[name] for name in ("side", "across", "perSheet", "width", "height")}
        layers.append({"round": each.number, "folder": each.folder, "sheet": sheet, **layer})
    return {"keys": list(numbers), "x": xs, "y": ys, "rounds": layers}


def asked(each: RoundDocuments) -> dict[str, Any]:
    """What became of each question of a round, for the difference of two rounds."""
    columns, keys = each.columns, each.pictures["keys"]
    rows = [row for row, show in enumerate(columns["show"]) if show == "questions" and columns["votes"][row]]
    outcome = [columns["outcomes"][columns["outcome"][row]] for row in rows]
    names = list(dict.fromkeys([TRAINED, *outcome]))
    place = {name: number for number, name in enumerate(names)}
    return {
        "outcomes": names,
        "outcome": [place[name] for name in outcome],
        "key": [keys[columns["picture"][row]] for row in rows],
        "text": [columns["text"][row] for row in rows],
        "label": [columns["label"][row] for row in rows],
        "agreement": [columns["agreement"][row] for row in rows],
        "right": [columns["right"][row] for row in rows],
        "domain": [columns["domains"][columns["domain"][row]] for row in rows],
    }
