"""`active-zero grade`."""

from __future__ import annotations

from typing import Any


def grade(prediction: str, target: str) -> dict[str, Any]:
    """The verdict on a bare answer, or on the boxed one of a whole reply, and why."""
    from tasks.grading import equal, explained
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
        "why": explained(answer, target, verdict),
    }
