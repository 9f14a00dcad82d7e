"""Patterns of the decimals outside a range, against arithmetic."""

from __future__ import annotations

import re

import pytest

from flows.server.ranges import above, below

DECIMALS = [
    "0", "0.0", ".0", "00", "0.", "0.001", ".25", "0.2", "0.49", "0.5", ".50", "0.501", "0.9", "1", "01", "1.0", "1.",
    "1.01", "1.9", "2", "5", "7", "7.5", "8", "9", "9.99", "10", "15", "16", "16.0", "17", "70", "99", "99.9", "100",
    "100.0", "100.5", "101", "109", "110", "199", "200", "1000", "89478484", "89478485", "89478486", "100000000",
]  # fmt: skip


@pytest.mark.parametrize("bound", [0, 0.25, 0.5, 1, 5, 7, 9, 16, 99, 100, 89478485])
def test_a_pattern_agrees_with_arithmetic(bound: float) -> None:
    for text in DECIMALS:
        number = float(text)
        assert bool(re.match(above(bound), text)) == (number > bound), text
        assert bool(re.match(above(bound, or_equal=True), text)) == (number >= bound), text
        assert bool(re.match(below(bound), text)) == (number < bound), text
        assert bool(re.match(below(bound, or_equal=True), text)) == (number <= bound), text


@pytest.mark.parametrize("text", ["", ".", "abc", "-1", "1e3", "1_0"])
def test_other_text_is_neither_above_nor_below(text: str) -> None:
    assert not re.match(above(0, or_equal=True), text)
    assert not re.match(below(10), text)
