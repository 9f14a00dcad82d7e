"""The scripted engine: answers by rules, the same for the same seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.engines import EngineConfig, Scripted
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Adapter, Request, Sampling
from tasks.engines.scripted import Rule
from tasks.records.prompt import Prompt
from tasks.settings.errors import UserError

RULES = Scripted(
    rules=(
        Rule(prompt="How many", adapter="solver", texts=("trained",)),
        Rule(prompt=r"How many (?P<what>\w+)", texts=(r"three \g<what>", "4", "5")),
        Rule(texts=("anything",)),
    )
)


def ask(text: str, n: int = 1, seed: int = 0, adapter: str | None = None, temperature: float = 1.0) -> list[str]:
    role = None if adapter is None else Adapter(adapter, Path("none"))
    request = Request(Prompt(text), None, role, Sampling(8, temperature), n, seed)
    return [completion.text for completion in RULES.open("", OWN_LIMITS).generate([request])[0]]


def test_the_first_rule_that_applies_answers() -> None:
    assert ask("How many?", adapter="solver-3") == ["trained"]
    assert ask("Why?") == ["anything"]


def test_answers_depend_on_seed_and_completion_alone() -> None:
    many = ask("How many dots", n=40, seed=3)
    assert set(many) == {"three dots", "4", "5"}
    assert ask("How many dots", n=5, seed=3) == many[:5]
    assert ask("How many dots", n=40, seed=4) != many


def test_greedy_takes_the_first_text() -> None:
    assert ask("How many dots", n=3, temperature=0) == ["three dots"] * 3


def test_a_prompt_without_a_rule_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"no rule .*'Why'"):
        Scripted().open("", OWN_LIMITS).generate([Request(Prompt("Why"), None, None, Sampling(8))])


def test_a_broken_expression_is_refused_when_the_config_is_read() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        Rule(prompt="(", texts=("a",))


def test_the_kind_names_the_engine() -> None:
    config = TypeAdapter(EngineConfig).validate_python({"kind": "scripted", "rules": [{"texts": ["a"]}]})
    assert config == Scripted(rules=(Rule(texts=("a",)),))
