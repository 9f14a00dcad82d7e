"""What the embedded base model is taught: each role's prompt and one valid reply, drawn from a scene.

The prompts are those of `configs/tiny.yaml`; a test renders both and compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tasks.world.family import Solution
from tasks.world.scene import Scene
from tasks.world.splits import PRETRAINING

SEARCHER_PROMPT = "search : {domain}"
QUESTIONER_PROMPT = "ask"


@dataclass(frozen=True)
class Lesson:
    """A prompt and the reply that is trained; both as the tokenizer sees them, without chat markup."""

    prompt: str
    reply: str


def solver_lesson(scene: Scene, rng: Random, slips: float = 0.0) -> Lesson:
    """A question, one of several valid ways of reasoning, and the boxed answer.

    A share `slips` of the lessons answers for another picture of the same kind, as text on the open web belongs to its
    picture only mostly: a model that has read such text is wrong now and then where it knows better.
    """
    query = scene.question(rng)
    solution = (_mixed_up(scene, query.text, rng) if rng.random() < slips else None) or query.solution
    return Lesson(query.text, f"{solution.steps} \\boxed{{{solution.answer}}}")


def _mixed_up(scene: Scene, question: str, rng: Random) -> Solution | None:
    """The solution for another picture of this domain and level; None if a hundred draws leave the question open."""
    others = (replace(scene, seed=PRETRAINING.draw(rng)) for _ in range(100))
    return next((found for other in others if (found := other.solve(question, rng))), None)


def questioner_lesson(scene: Scene, rng: Random) -> Lesson:
    """A thought about the picture, then a question of its grammar with its answer."""
    query = scene.question(rng)
    thought = rng.choice(scene.captions()[1:])
    reply = (
        f"<think>{thought}</think><type>{query.kind}</type>"
        f"<question>{query.text}</question><answer>{query.solution.answer}</answer>"
    )
    return Lesson(QUESTIONER_PROMPT, reply)


def searcher_lesson(scene: Scene, rng: Random) -> Lesson:
    """A domain's name, then a query that describes one picture of it."""
    caption = rng.choice(scene.captions())
    return Lesson(SEARCHER_PROMPT.format(domain=scene.domain), f"<type>{scene.domain}</type><query>{caption}</query>")
