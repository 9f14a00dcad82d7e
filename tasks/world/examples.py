"""Pretraining examples of the shipped tiny model: a role's prompt and one valid reply, drawn from a scene.

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
class PretrainingExample:
    """A prompt and the reply that is trained, as the tokenizer sees them, without chat markup."""

    prompt: str
    reply: str


def solver_example(scene: Scene, rng: Random, label_noise: float = 0.0) -> PretrainingExample:
    """A question, one of several valid ways of reasoning, and the boxed answer.

    A share `label_noise` of the examples answers for another picture of the same domain and level, as text on the open
    web does not always belong to its picture. A model trained on such text sometimes errs on questions that it can
    answer.
    """
    question = scene.draw_question(rng)
    other = _solution_of_another(scene, question.text, rng) if rng.random() < label_noise else None
    solution = other or question.solution
    return PretrainingExample(question.text, f"{solution.steps} \\boxed{{{solution.answer}}}")


def _solution_of_another(scene: Scene, question: str, rng: Random) -> Solution | None:
    """The solution for another picture of this domain and level; None if a hundred of them do not decide it."""
    others = (replace(scene, seed=PRETRAINING.draw(rng)) for _ in range(100))
    return next((solution for other in others if (solution := other.solve(question, rng))), None)


def questioner_example(scene: Scene, rng: Random) -> PretrainingExample:
    """A thought about the picture, then a question of its templates with its answer."""
    question = scene.draw_question(rng)
    thought = rng.choice(scene.captions()[1:])
    reply = (
        f"<think>{thought}</think><type>{question.kind}</type>"
        f"<question>{question.text}</question><answer>{question.solution.answer}</answer>"
    )
    return PretrainingExample(QUESTIONER_PROMPT, reply)


def searcher_example(scene: Scene, rng: Random) -> PretrainingExample:
    """A domain's name, then a query that describes one picture of the domain."""
    caption = rng.choice(scene.captions())
    return PretrainingExample(
        SEARCHER_PROMPT.format(domain=scene.domain), f"<type>{scene.domain}</type><query>{caption}</query>"
    )
