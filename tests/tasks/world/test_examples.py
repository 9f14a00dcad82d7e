"""Pretraining examples use the tiny config's prompts, are well-formed, and have the given label noise."""

from __future__ import annotations

from random import Random

from tasks.config import load_config
from tasks.records.prompt import Prompt
from tasks.roles import questioner, searcher, solver
from tasks.world import DOMAINS, Scene, oracle
from tasks.world.examples import questioner_example, searcher_example, solver_example
from tasks.world.splits import PRETRAINING

SCENES = [Scene(domain, 2, 10**8 + i) for i, domain in enumerate(DOMAINS[:4])]


def test_the_tiny_model_is_trained_on_the_prompts_of_the_tiny_config() -> None:
    prompts, scene, rng = load_config().prompts, SCENES[0], Random(0)
    example = solver_example(scene, rng)
    assert Prompt(example.prompt) == solver.prompt(prompts.solver, example.prompt, "short_answer")
    assert Prompt(questioner_example(scene, rng).prompt) == questioner.prompt(prompts.questioner)
    domain = searcher.Domain(name=scene.domain)
    assert Prompt(searcher_example(scene, rng).prompt) == searcher.prompt(prompts.searcher, domain)


def test_every_example_is_well_formed() -> None:
    for scene in SCENES:
        assert questioner.well_formed(questioner_example(scene, Random(2)).reply)
        assert searcher.well_formed(searcher_example(scene, Random(2)).reply)
        assert solver.well_formed(solver_example(scene, Random(2)).reply)


def test_label_noise_changes_answers_at_its_rate_and_no_question() -> None:
    scenes = [Scene("clocks", 3, PRETRAINING.start + n) for n in range(400)]
    examples = [
        (scene, solver_example(scene, Random(n)), solver_example(scene, Random(n), 0.25))
        for n, scene in enumerate(scenes)
    ]
    assert all(clean.prompt == noisy.prompt for _, clean, noisy in examples)
    wrong = sum(
        f"\\boxed{{{oracle.answer(scene.url, noisy.prompt)}}}" not in noisy.reply for scene, _, noisy in examples
    )
    assert 0.15 * 400 < wrong < 0.3 * 400
