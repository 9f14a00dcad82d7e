"""`active-zero grade`: whether an answer equals a target."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.cli.console import print_json, print_line
from flows.cli.options import Json, examples

app = typer.Typer()


@app.command(
    context_settings={"ignore_unknown_options": True},  # `-5` is an answer
    epilog=examples(
        "active-zero grade 30° 30",
        "active-zero grade 1/2 0.5 --json",
        "active-zero grade '\\boxed{7 apples}' 7",
    ),
)
def grade(
    prediction: Annotated[str, typer.Argument(metavar="PREDICTION")],
    target: Annotated[str, typer.Argument(metavar="TARGET")],
    json: Json = False,
) -> None:
    """Grade an answer, or a reply that ends in \\boxed{...}, against the target: `right` or `wrong`, and why."""
    record = _grade(prediction, target)
    if json:
        print_json(record)
    else:
        print_line(f"{'right' if record['right'] else 'wrong'}: {record['why']}")


def _grade(prediction: str, target: str) -> dict[str, Any]:
    """Grade the boxed answer of a reply, or the whole text where it has none."""
    from tasks.grading import equal, explain
    from tasks.records import Reject
    from tasks.roles import solver

    parsed = solver.parse(prediction)
    answer = prediction if isinstance(parsed, Reject) else parsed
    verdict = equal(answer, target)
    return {
        "prediction": prediction,
        "target": target,
        "answer": answer,
        "right": verdict.equal,
        "reason": verdict.reason,
        "why": explain(answer, target, verdict),
    }
