"""The commands of all pages parse: `active-zero`, `make`, `python -m` and `pytest`. No command is run."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.house.pages import FENCE
from tests.house.source import Offence, Page

INLINE = re.compile(r"`([^`]+)`")
ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
PLACEHOLDER = re.compile(r"[A-Z]|\.\.\.")
"""A word of a page that stands for a value: `--round N`, `--benchmark ...`."""
MISSING = ("Missing", "requires an argument")
"""In a refusal for arguments that are left out, which prose may do: `active-zero corpus add`."""


@dataclass(frozen=True)
class Command:
    """A line of a fenced block, or inline code."""

    text: str
    line: int
    inline: bool


def wrong_commands(pages: Sequence[Page], root: Path) -> Iterator[Offence]:
    """Commands in fenced blocks and in inline code that their program would refuse."""
    for page in pages:
        for command in commands(page):
            problem = refusal(command.text, root)
            if problem and not (command.inline and any(word in problem for word in MISSING)):
                yield Offence(page.path, command.line, f"`{command.text}`: {problem}", "write a command that parses")


def commands(page: Page) -> Iterator[Command]:
    """Each line of a fenced block, joined where it ends in a backslash, and each inline code."""
    fenced, start = False, ""
    for number, text in enumerate(page.lines, 1):
        if FENCE.match(text):
            fenced, start = not fenced, ""
        elif not fenced:
            yield from (Command(code, number, inline=True) for code in INLINE.findall(text))
        elif text.endswith("\\"):
            start += text.removesuffix("\\")
        else:
            yield Command((start + text).strip().removeprefix("$ "), number, inline=False)
            start = ""


def refusal(command: str, root: Path) -> str | None:
    """Why the program of a command would refuse it; None for output, prose and programs without a check."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:  # prose with an apostrophe
        return None
    while words and ASSIGNMENT.fullmatch(words[0]):
        del words[0]
    if not words:
        return None
    program, arguments = Path(words[0]).name, words[1:]
    if program == "active-zero":
        return refused_by_typer(arguments)
    if program == "make":
        return refused_by_make(arguments, root)
    if program.startswith("python") and "-m" in arguments[:-1]:
        return refused_by_python(arguments[arguments.index("-m") + 1 :], root)
    return missing_test(arguments, root) if program == "pytest" else None


def refused_by_typer(words: Sequence[str]) -> str | None:
    """The error of the command line; placeholders count as a value."""
    from typer import Exit
    from typer.exceptions import TyperException
    from typer.main import get_command

    from flows.cli.main import app

    values = ["1" if PLACEHOLDER.fullmatch(word) else word for word in words]
    try:
        _parse(get_command(app), "active-zero", values or ["--help"], None)
    except Exit:
        return None
    except TyperException as error:
        return error.format_message().partition("\n")[0]
    return None


def _parse(command: Any, name: str, arguments: list[str], parent: Any) -> None:
    """Parse the arguments of a command, then of the subcommand that they name. No command's function is called."""
    context = command.make_context(name, arguments, parent=parent)
    if hasattr(command, "resolve_command"):
        subname, subcommand, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        _parse(subcommand, subname, rest, context)


def refused_by_make(words: Sequence[str], root: Path) -> str | None:
    """The first target that the Makefile has not, or the first missing test in ARGS."""
    targets = set(TARGET.findall((root / "Makefile").read_text()))
    for word in words:
        if word.startswith("ARGS=") and (problem := missing_test(shlex.split(word.removeprefix("ARGS=")), root)):
            return problem
        if word not in targets and not ASSIGNMENT.fullmatch(word) and not PLACEHOLDER.fullmatch(word):
            return f"the Makefile has no target {word}"
    return None


def refused_by_python(words: Sequence[str], root: Path) -> str | None:
    """A module that does not exist; for pytest, a missing test."""
    module, *arguments = words
    path = root / module.replace(".", "/")
    if module.partition(".")[0] in ("flows", "tasks", "tests"):
        exists = path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
    else:
        exists = importlib.util.find_spec(module.partition(".")[0]) is not None
    return missing_test(arguments, root) if exists else f"there is no module {module}"


def missing_test(words: Sequence[str], root: Path) -> str | None:
    """The first word that names a file or folder of the tests which does not exist."""
    paths = [word.partition("::")[0] for word in words if word.startswith("tests/")]
    return next((f"there is no {path}" for path in paths if not (root / path).exists()), None)
