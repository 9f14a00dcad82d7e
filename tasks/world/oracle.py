"""The oracle: the exact answer to any question of the world's templates about any of its pictures.

It *measures* pseudo-labels of model-written questions; no code that trains may import it.
"""

from __future__ import annotations

from random import Random

from tasks.world.scene import parse_url


def answer(url: str, question: str) -> str | None:
    """The exact answer; None where the question fits no template or the picture does not decide it."""
    scene = parse_url(url)
    if scene is None:
        return None
    solution = scene.solve(" ".join(question.lower().split()), Random(0))
    return solution.answer if solution else None
