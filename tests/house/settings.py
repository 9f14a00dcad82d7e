"""Every setting is read by something other than its own validators.

A setting is a field of a class that derives from `Settings`. It is read where an expression contains `x.field` and `x`
may be of that class. The type of `x` follows from annotations of parameters, fields, functions and properties. Where
they leave it open, every setting of that name counts as read.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.house.source import Offence, Source, last_name

BASE = "Settings"
Types = frozenset[str] | None
"""Classes that a value may have; None where annotations leave it open."""


@dataclass
class Classes:
    """The classes of `flows` and `tasks`: bases, and the annotations of their members."""

    bases: dict[str, set[str]] = field(default_factory=dict)
    members: dict[str, dict[str, ast.expr]] = field(default_factory=lambda: defaultdict(dict))
    aliases: dict[str, ast.expr] = field(default_factory=dict)
    """Names of unions, such as `Engine = Annotated[Transformers | Vllm, ...]`."""
    functions: dict[str, list[ast.expr]] = field(default_factory=lambda: defaultdict(list))
    """What functions of this name return."""

    def family(self, name: str) -> set[str]:
        """The class with its bases and the classes that derive from it."""
        return self.ancestors(name) | {other for other in self.bases if name in self.ancestors(other)}

    def ancestors(self, name: str) -> set[str]:
        """The class and its bases, as far as they are ours."""
        return {name}.union(*(self.ancestors(base) for base in self.bases.get(name, ()) if base in self.bases))

    def named(self, annotation: ast.expr | None) -> Types:
        """Our classes in an annotation, those in containers and unions too; None for Any and type variables."""
        if annotation is None:
            return None
        found: set[str] = set()
        for node in ast.walk(annotation):
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            if name in self.aliases:
                found |= self.named(self.aliases[name]) or set()
            elif name in self.bases:
                found.add(name)
            elif name == "Any" or len(name) == 1:
                return None
        return frozenset(found)

    def member(self, owner: str, name: str) -> Types:
        """What `x.name` may be for an `x` of class `owner`."""
        for ancestor in self.ancestors(owner):
            if name in self.members[ancestor]:
                return self.named(self.members[ancestor][name])
        return None


def read_classes(sources: Sequence[Source]) -> Classes:
    """The classes of all modules with their annotations, and the return annotations of all functions."""
    classes = Classes()
    for source in sources:
        for node in source.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                classes.aliases[node.targets[0].id] = node.value
        for function in (node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef)):
            if function.returns:
                classes.functions[function.name].append(function.returns)
        for node in source.classes():
            classes.bases[node.name] = {last_name(base) for base in node.bases}
            classes.members[node.name] = dict(_members(node))
    for name in classes.bases:
        classes.aliases.pop(name, None)
    return classes


def _members(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """Annotated fields and properties."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id, item.annotation
        elif isinstance(item, ast.FunctionDef) and item.returns and item.decorator_list:
            yield item.name, item.returns


@dataclass(frozen=True)
class Scope:
    """What is known about the names of a function."""

    classes: Classes
    names: Mapping[str, Types]

    def types(self, node: ast.expr) -> Types:
        """The classes of an expression's value."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Attribute(value=value, attr=attr):
                return self._union(self.classes.member(owner, attr) for owner in self.types(value) or [None])
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                if name in self.classes.bases:
                    return frozenset({name})
                return self._union(map(self.classes.named, self.classes.functions.get(name, [None])))
            case ast.Subscript(value=value):
                return self.types(value)
        return None

    @staticmethod
    def _union(found: Iterator[Types]) -> Types:
        parts = list(found)
        return None if None in parts else frozenset().union(*(part for part in parts if part is not None))


def scopes(source: Source, classes: Classes) -> Iterator[tuple[ast.AST, Scope]]:
    """The functions of a module, methods and nested functions among them, each with the types of its names."""
    yield source.tree, Scope(classes, {})
    yield from _inner_scopes(source.tree, classes, {}, None)


def _inner_scopes(
    parent: ast.AST, classes: Classes, outer: Mapping[str, Types], owner: str | None
) -> Iterator[tuple[ast.AST, Scope]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef):
            yield from _inner_scopes(node, classes, outer, node.name)
        elif isinstance(node, ast.FunctionDef):
            scope = Scope(classes, {**outer, **_local_types(node, classes, outer, owner)})
            yield node, scope
            yield from _inner_scopes(node, classes, scope.names, None)
        else:
            yield from _inner_scopes(node, classes, outer, owner)


def _local_types(
    function: ast.FunctionDef, classes: Classes, outer: Mapping[str, Types], owner: str | None
) -> dict[str, Types]:
    """Types of parameters, then of names that are assigned or looped over, in the order of the text."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    found: dict[str, Types] = {argument.arg: classes.named(argument.annotation) for argument in arguments}
    if owner and arguments and arguments[0].annotation is None:
        found[arguments[0].arg] = frozenset({owner})
    for node in ast.walk(function):
        for target, value in _bindings(node):
            found[target] = Scope(classes, {**outer, **found}).types(value)
    return found


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """`name = value`, `a, b = x, y`, `for name in value`, `(name := value)`, `with value as name`."""
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            pairs = list(zip(names, values, strict=False))
        case ast.Assign(targets=[name], value=value) | ast.NamedExpr(target=name, value=value):
            pairs = [(name, value)]
        case ast.For(target=name, iter=value) | ast.comprehension(target=name, iter=value):
            pairs = [(name, value)]
        case ast.withitem(context_expr=value, optional_vars=ast.expr() as name):
            pairs = [(name, value)]
        case _:
            pairs = []
    yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name))


def unread_settings(sources: Sequence[Source]) -> Iterator[Offence]:
    """Fields of `Settings` classes that nothing reads."""
    classes = read_classes(sources)
    read = {found for source in sources for node, scope in scopes(source, classes) for found in _reads(node, scope)}
    for source in sources:
        for node in source.classes():
            if BASE in classes.ancestors(node.name):
                owners = {*classes.family(node.name), ""}
                for name, line in _fields(node):
                    if not any((owner, name) in read for owner in owners):
                        yield Offence(source.path, line, f"nothing reads {node.name}.{name}", "delete it, or read it")


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, int]]:
    """Fields of a class and their lines; without class variables, and without keys that its own methods look up."""
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    keys = {part.value for method in methods for part in ast.walk(method) if isinstance(part, ast.Constant)}
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if last_name(item.annotation) != "ClassVar" and item.target.id not in keys:
            yield item.target.id, item.lineno


def _reads(node: ast.AST, scope: Scope) -> Iterator[tuple[str, str]]:
    """(class, field) of what a function reads; the class is empty where its type is not known."""
    if isinstance(node, ast.FunctionDef) and any(last_name(item).endswith("validator") for item in node.decorator_list):
        return
    for part in _body(node):
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Load):
            types = scope.types(part.value)
            yield from ((owner, part.attr) for owner in ([""] if types is None else types))


def _body(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function or module without those of the functions in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _body(child)
