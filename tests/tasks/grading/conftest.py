"""Labelled and hostile answers for several tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

HERE = Path(__file__).parent


class Pair(NamedTuple):
    """Two answers, and whether they are equal."""

    kind: str
    a: str
    b: str
    equal: bool


class Reply(NamedTuple):
    """A Solver's reply, its options, and the letter that it chooses (None: unclear)."""

    text: str
    options: Any
    letter: str | None


def read_pairs() -> list[Pair]:
    """All labelled pairs of `pairs.yaml`."""
    sections = yaml.safe_load((HERE / "pairs.yaml").read_text(encoding="utf-8"))
    return [
        Pair(kind, a, b, label == "same")
        for kind, labelled in sections.items()
        for label, pairs in labelled.items()
        for a, b in pairs
    ]


def read_prose() -> list[Reply]:
    """All labelled replies of `prose.yaml`."""
    sections = yaml.safe_load((HERE / "prose.yaml").read_text(encoding="utf-8"))
    return [Reply(text, part["options"], letter) for part in sections.values() for text, letter in part["cases"]]


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    return read_pairs()


@pytest.fixture(scope="session")
def prose() -> list[Reply]:
    return read_prose()


@pytest.fixture(scope="session")
def hostile() -> list[str]:
    """1 000 answers that try to make a grader hang, crash, exhaust memory, or obey."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("hostile", HERE / "hostile.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    answers: list[str] = module.hostile_answers(1000)
    return answers
