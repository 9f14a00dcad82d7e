"""Errors in one line."""

from __future__ import annotations

import pytest

from tasks.settings.errors import UserError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("no such file\nat all"), "no such file"),
        (ValueError("\n  wrong\r\nvery"), "wrong"),
        (RuntimeError(), "RuntimeError"),
        (UserError(" \n "), "UserError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_error_is_its_first_line_or_its_class_name(error: BaseException, line: str) -> None:
    assert first_line(error) == line
