"""The exact answer to any question of the grammar about any picture of the world.

It *measures* pseudo-labels on model-written questions; nothing that trains may import it.
"""

from __future__ import annotations

from random import Random

from tasks.world.scene import parse_url


def answer(url: str, question: str) -> str | None:
    """The exact answer, or None where the question is outside the grammar or the picture does not decide it."""
    scene = parse_url(url)
    if scene is None:
        return None
    solution = scene.solve(" ".join(question.lower().split()), Random(0))
    return solution.answer if solution else None
