from __future__ import annotations

import json

import pytest

from tests.fixtures.command_line import output_of


def test_grade_agrees_with_the_grader_of_the_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, "grade", "30°", "30") == (
        "right: the quantity 30 (angle) | the number 30: the same, as far as both are specific\n"
    )
    assert output_of(capsys, "grade", "so it is \\boxed{7}", "7").startswith("right: ")
    assert output_of(capsys, "grade", "-5", "5").startswith("wrong: ")
    assert json.loads(output_of(capsys, "grade", "a", "b", "--json"))["right"] is False
