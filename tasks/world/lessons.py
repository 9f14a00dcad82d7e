"""What the embedded base model is taught: each role's prompt and one valid reply, drawn from a scene.

The prompts are those of `configs/embedded.yaml`; a test renders both and compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tasks.world.scene import Scene

SEARCHER_PROMPT = "search : {domain}"
QUESTIONER_PROMPT = "ask"


@dataclass(frozen=True)
class Lesson:
    """A prompt and the reply that is trained; both as the tokenizer sees them, without chat markup."""

    prompt: str
    reply: str


def solver_lesson(scene: Scene, rng: Random) -> Lesson:
    """A question, one of several valid ways of reasoning, and the boxed answer."""
    query = scene.question(rng)
    return Lesson(query.text, f"{query.solution.steps} \\boxed{{{query.solution.answer}}}")


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
