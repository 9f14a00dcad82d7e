"""What the house check reads: the modules of `flows` and `tasks` as syntax trees, and the pages."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Offence:
    """One breach of a rule, printed as one line."""

    path: str
    line: int
    problem: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}: {self.advice}"


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Source:
    """A Python module."""

    path: str
    """Relative to the repository's root."""
    tree: ast.Module

    @property
    def module(self) -> str:
        """`tasks.store`, also for `tasks/store/__init__.py`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def definitions(self) -> Iterator[Definition]:
        """Functions and classes at the top of the module."""
        return (node for node in self.tree.body if isinstance(node, Definition))

    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))


@dataclass(frozen=True)
class Page:
    """A Markdown page."""

    path: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def last_name(node: ast.expr) -> str:
    """The last identifier of `name`, `a.name`, `name[...]` or `name(...)`; empty for other expressions."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value) | ast.Call(func=value):
            return last_name(value)
    return ""


def read_sources(root: Path) -> list[Source]:
    """The modules of `flows` and `tasks`."""
    return [Source(path, ast.parse((root / path).read_text(), path)) for path in _listed(root, "flows", "tasks", ".py")]


def read_pages(root: Path) -> list[Page]:
    """The Markdown pages of the repository."""
    return [Page(path, (root / path).read_text()) for path in _listed(root, ".", ".md")]


def _listed(root: Path, *words: str) -> Sequence[str]:
    """Files of these folders that git does not ignore; the last word is how their names end."""
    *folders, end = words
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(path for path in listed if path.endswith(end) and (root / path).is_file())
