"""A round of a tenth of a second: five stages with inputs, rows and attached files, without heavy imports."""

from __future__ import annotations

from random import Random

from pydantic import BaseModel, ConfigDict

from tasks.execution.stage import stage, workspace
from tasks.records import Row
from tasks.store import Artifact, Output, Place, Store


class Number(Row):
    value: int


class Draw(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = 50


@stage("1-draw", Number)
def draw(place: Place, config: Draw, seed: int) -> Output[Number]:
    source = Random(seed)
    return Output([Number(value=source.randrange(1000)) for _ in range(config.count)])


@stage("2-train", Number)
def train(place: Place, numbers: Artifact[Number]) -> Output[Number]:
    folder = workspace() / "adapter"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(row.value % 256 for row in numbers.read()) * 1000)
    (folder / "deep" / "config.json").write_text("{}")
    return Output([Number(value=numbers.rows)], files={"adapter": folder})


@stage("3-ask", Number)
def ask(place: Place, numbers: Artifact[Number], trained: Artifact[Number]) -> Output[Number]:
    weights = (trained.folder("adapter") / "weights").read_bytes()
    return Output([Number(value=row.value + byte) for row, byte in zip(numbers.read(), weights, strict=False)])


@stage("6-filter", Number)
def keep(place: Place, asked: Artifact[Number]) -> Output[Number]:
    kept = [row for row in asked.read() if row.value % 3]
    return Output(kept, {"kept": len(kept)})


@stage("10-report", Number)
def report(place: Place, curriculum: Artifact[Number], trained: Artifact[Number]) -> Output[Number]:
    (workspace() / "report.md").write_text(f"# {curriculum.rows} of {trained.rows}\n")
    return Output([], files={"report.md": workspace() / "report.md"})


STAGES = ("1-draw", "2-train", "3-ask", "6-filter", "10-report")


def play(store: str, run: str, wait: bool = True) -> None:
    """Play one round under its lease."""
    place = Place.round(Store(store), run, 1)
    with place.hold(wait):
        numbers = draw(place, Draw(), seed=7)
        trained = train(place, numbers)
        report(place, keep(place, ask(place, numbers, trained)), trained)
