"""The house check finds each kind of offence that it names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.code import duplicate_classes, unused_names
from tests.house.commands import commands, refusal
from tests.house.layout import misplaced_files
from tests.house.pages import LONGEST_README, anchors, broken_links, long_readme
from tests.house.settings import unread_settings
from tests.house.source import Page, Source

ENTRY_FILES = {"pyproject.toml": '"flows.cli.main:main"', "infra/prefect.yaml": "entrypoint: flows/play.py:play"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with entry points, a Makefile and a test."""
    for name, text in {**ENTRY_FILES, "Makefile": "test: ready\n", "tests/test_a.py": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def source(path: str, text: str) -> Source:
    return Source(path, ast.parse(text))


def test_an_offence_names_file_line_problem_and_advice() -> None:
    twice = [source("tasks/a.py", "class Row: ..."), source("tasks/b.py", "\nclass Row: ...")]
    (offence,) = duplicate_classes(twice)
    assert str(offence) == "tasks/b.py:2: class Row is defined in tasks/a.py:1 too: rename one by what it means"


def test_a_function_that_is_only_imported_and_exported_is_unused(root: Path) -> None:
    package = source("tasks/a/__init__.py", "from tasks.a.b import f, g\n__all__ = ['f', 'g']")
    defining = source("tasks/a/b.py", "def f(): g()\ndef g(): ...")
    assert [offence.problem.split()[0] for offence in unused_names([package, defining], root)] == ["f", "g"]
    using = source("flows/play.py", "from tasks.a import f\ndef play(): f()")
    assert list(unused_names([package, defining, using], root)) == []


def test_a_method_that_nothing_calls_is_unused(root: Path) -> None:
    text = "class A:\n def f(self): ...\n def g(self): return self.g()\nA().f()"
    assert [offence.line for offence in unused_names([source("tasks/a.py", text)], root)] == [3]


@pytest.mark.parametrize(("root_class", "lines"), [("Protocol", [3]), ("Trainer", [])])
def test_methods_for_a_foreign_ancestor_are_used(root: Path, root_class: str, lines: list[int]) -> None:
    text = f"class A({root_class}): ...\nclass B(A):\n def f(self): ...\nB()"
    assert [offence.line for offence in unused_names([source("tasks/a.py", text)], root)] == lines


def test_a_setting_counts_as_read_only_where_its_class_fits() -> None:
    config = source(
        "tasks/c.py", "class Settings: ...\nclass A(Settings):\n x: int\n y: int\nclass B(Settings):\n x: int\n y: int"
    )
    user = source("tasks/u.py", "def f(a: A, b: B, c): return a.x + [one.y for one in (b, c)][0]")
    assert [offence.problem for offence in unread_settings([config, user])] == ["nothing reads B.x"]


def test_a_setting_that_only_its_validator_reads_is_unread() -> None:
    text = "class Settings: ...\nclass A(Settings):\n x: int\n @model_validator\n def check(self): return self.x"
    assert [offence.line for offence in unread_settings([source("tasks/c.py", text)])] == [3]


def test_top_files_of_flows_hold_flows_and_of_tasks_stages() -> None:
    files = [
        source("flows/text.py", "x = 1"),
        source("tasks/a.py", "@flow(name='x')\n@stage('a', Row)\ndef f(): ..."),
        source("tasks/noun.py", "x = 1"),
        source("tasks/verb.py", "@stage('verb', Row)\ndef f(): ..."),
    ]
    offences = [(offence.path, offence.problem) for offence in misplaced_files(files)]
    assert offences == [
        ("flows/text.py", "no flow is here"),
        ("tasks/a.py", "a flow in tasks"),
        ("tasks/noun.py", "no stage is here"),
    ]


def test_links_to_missing_files_and_headings_are_broken(root: Path) -> None:
    text = "# Some Title: `x`\n[a](Makefile) [b](none.md) [c](#some-title-x) [d](#none) [e](https://x)"
    (root / "README.md").write_text(text)
    problems = [offence.problem for offence in broken_links([Page("README.md", text)], root)]
    assert problems == ["none.md leads to no file", "#none leads to no heading"]


def test_repeated_headings_have_numbered_anchors() -> None:
    assert anchors("# A b\n## A b\n```\n# no heading\n```\n") == {"a-b", "a-b-1"}


def test_only_the_readme_of_the_root_is_limited_in_length() -> None:
    pages = [Page(path, "\n" * (LONGEST_README + 1)) for path in ("README.md", "a/README.md")]
    assert [offence.path for offence in long_readme(pages)] == ["README.md"]


def test_commands_are_joined_lines_of_fences_and_inline_code() -> None:
    page = Page("a.md", "`make x`\n```\n$ active-zero \\\n  runs\n```\n")
    assert [(found.text, found.inline) for found in commands(page)] == [("make x", True), ("active-zero   runs", False)]


@pytest.mark.parametrize(
    "command",
    [
        "active-zero iterate --run mine --rounds 3 --set filter.low=0.5  # a comment",
        "ACTIVE_ZERO_STORE=s3://bucket/store .venv/bin/active-zero show RUN --round N",
        'make test ARGS="tests/test_a.py::test_one -s"',
        "python -m pytest tests/test_a.py",
        "1-probe: 16 rows in 3.5 s (round 1)",
        "isn't a command",
    ],
)
def test_a_command_that_its_program_takes_is_not_refused(command: str, root: Path) -> None:
    assert refusal(command, root) is None


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("active-zero iterat", "No such command 'iterat'"),
        ("active-zero iterate --round 3", "No such option: --round"),
        ("active-zero iterate --rounds many", "Invalid value"),
        ("active-zero show", "Missing argument"),
        ("make tests", "no target tests"),
        ('make test ARGS="tests/none.py"', "no tests/none.py"),
        ("python -m flows.nothing", "no module flows.nothing"),
        ("pytest -q tests/none.py", "no tests/none.py"),
    ],
)
def test_a_command_that_its_program_refuses_is_told_why(command: str, problem: str, root: Path) -> None:
    assert problem in str(refusal(command, root))
