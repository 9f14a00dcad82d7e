"""No class name means two things, and no public name exists for tests alone."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.house.source import Definition, Offence, Source, last_name

ENTRY_FILES = ("pyproject.toml", "infra/prefect.yaml")
"""Files that name functions of `flows` and `tasks`: the console script and the deployments."""
ENTRY = re.compile(r'"?((?:flows|tasks)[\w./]*):(\w+)')
"""`flows.cli.main:main` or `flows/selfplay.py:play_rounds`."""
REGISTERING = re.compile(r"command|callback|flow|task|.*validator|.*serializer|.*filter")
"""Decorators that hand a function to a library, which calls it: Typer, Prefect, pydantic, Jinja."""

Name = tuple[str, str]
"""The module that defines a name, and the name."""


def duplicate_classes(sources: Sequence[Source]) -> Iterator[Offence]:
    """Classes whose name another class has taken."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for source in sources:
        for node in source.classes():
            if others := places[node.name]:
                problem = f"class {node.name} is defined in {others[0]} too"
                yield Offence(source.path, node.lineno, problem, "rename one by what it means")
            places[node.name].append(f"{source.path}:{node.lineno}")


def unused_names(sources: Sequence[Source], root: Path) -> Iterator[Offence]:
    """Public functions, classes and methods of `flows` and `tasks` that only tests can use."""
    entries = _entry_points(root)
    reachable = _reachable(sources, entries)
    read = sum((_identifiers(source.tree) for source in sources), Counter[str]())
    ours = _without_foreign_ancestors({node.name: node for source in sources for node in source.classes()})
    for source in sources:
        for node in source.definitions():
            if not node.name.startswith("_") and (source.module, node.name) not in reachable:
                yield _unused(source, node, node.name)
            for method in _own_methods(node, ours):
                if not is_registered(method) and read[method.name] <= _identifiers(method)[method.name]:
                    yield _unused(source, method, f"{node.name}.{method.name}")


def _unused(source: Source, node: Definition, name: str) -> Offence:
    return Offence(source.path, node.lineno, f"{name} is used by nothing in flows and tasks", "delete it, or use it")


def _entry_points(root: Path) -> set[Name]:
    found = ENTRY.findall("\n".join((root / name).read_text() for name in ENTRY_FILES))
    return {(path.removesuffix(".py").replace("/", "."), name) for path, name in found}


def _reachable(sources: Sequence[Source], entries: set[Name]) -> set[Name]:
    """Names that entry points and the statements of modules use, directly or through other names.

    An import is no use, nor is a place in `__all__`: a function that a package only hands on is not reachable.
    """
    imports = {source.module: _imports(source) for source in sources}
    uses: dict[Name, set[Name]] = {}
    found = set(entries)
    for source in sources:
        for node in source.tree.body:
            used = set(_uses(node, source, imports))
            if isinstance(node, Definition):
                uses[source.module, node.name] = used
            if not isinstance(node, Definition) or is_registered(node):
                found |= used
            if isinstance(node, Definition) and is_registered(node):
                found.add((source.module, node.name))
    waiting = list(found)
    while waiting:
        new = uses.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def _imports(source: Source) -> dict[str, Name]:
    """The local name of each import from `flows` and `tasks`, anywhere in a module, and what it stands for."""
    nodes = (node for node in ast.walk(source.tree) if isinstance(node, ast.ImportFrom) and node.module)
    return {alias.asname or alias.name: (str(node.module), alias.name) for node in nodes for alias in node.names}


def _uses(node: ast.AST, source: Source, imports: dict[str, dict[str, Name]]) -> Iterator[Name]:
    """The names that a statement reads: `name`, or `module.name` of an imported module."""
    known = imports[source.module]
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            yield _origin(known.get(part.id, (source.module, part.id)), imports)
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in known:
            yield _origin((".".join(known[part.value.id]), part.attr), imports)


def _origin(name: Name, imports: dict[str, dict[str, Name]]) -> Name:
    """The module that defines a name which packages hand on."""
    seen = set()
    while name not in seen and name[1] in imports.get(name[0], {}):
        seen.add(name)
        name = imports[name[0]][name[1]]
    return name


def _identifiers(tree: ast.AST) -> Counter[str]:
    """How often each identifier is read as a name, as an attribute, or in a string such as getattr's."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found[node.id] += 1
        elif isinstance(node, ast.Attribute):
            found[node.attr] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found[node.value] += 1
    return found


def _without_foreign_ancestors(classes: dict[str, ast.ClassDef]) -> set[str]:
    """Names of the classes whose bases, and theirs, are all among the classes."""
    ours = {*classes, "Protocol"}
    while foreign := {
        name for name in ours & classes.keys() if not all(last_name(base) in ours for base in classes[name].bases)
    }:
        ours -= foreign
    return ours


def _own_methods(node: Definition, ours: set[str]) -> Iterator[Definition]:
    """The public methods of a public class, unless an ancestor is foreign: its library may call them."""
    if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
        return
    if all(last_name(base) in ours for base in node.bases):
        yield from (item for item in node.body if isinstance(item, Definition) and not item.name.startswith("_"))


def is_registered(node: Definition) -> bool:
    """Whether a decorator hands the function to a library that calls it."""
    return any(REGISTERING.fullmatch(last_name(decorator)) for decorator in node.decorator_list)
