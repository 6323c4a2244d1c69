"""The functions that a workflow reaches, and what it hands down to be called back.

Names are resolved as Python does, without running anything: a function reaches every function and class that it
names, and a class its methods. Code that a child process runs is not followed, nor a call of a method of an object
whose class is not named there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .rooms import ROOT, Order
from .tree import File, Package, walked

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Def:
    """A function or a class at the top of a file."""

    file: File
    node: Definition = field(compare=False)

    def __str__(self) -> str:
        return f"{self.file.name}.{self.node.name}"

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)


@dataclass(frozen=True, order=True)
class Callback:
    """Something callable that a lower room gets from a higher one: the place, the function, its argument."""

    path: str
    line: int
    callee: str
    argument: str


@dataclass(frozen=True)
class Walk:
    """The reach of a workflow: the files, the rooms of them, and the callbacks, one for each function and argument."""

    files: tuple[str, ...]
    rooms: tuple[str, ...]
    callbacks: tuple[Callback, ...]


class Calls:
    """The names that each file of a package knows."""

    def __init__(self, package: Package, order: Order) -> None:
        self._package = package
        self._order = order
        self._defs: dict[str, dict[str, Def]] = {}
        self._names: dict[str, dict[str, tuple[str, str]]] = {}
        for file in package.files.values():
            self._defs[file.name] = {
                node.name: Def(file, node) for node in file.tree.body if isinstance(node, Definition)
            }
            self._names[file.name] = {item.local: (item.module, item.name) for item in package.imports(file)}
        self._seen: dict[Def, tuple[set[Def], list[Callback]]] = {}
        self._aliases = {"Callable", *_callable_aliases(package.files.values())}

    def entry(self, verb: str) -> Def:
        """Return the function of a verb, ``deploy`` or ``deploy_bundle``, in the highest room."""
        found = [
            defs[name]
            for defs in self._defs.values()
            for name in (verb, f"{verb}_bundle")
            if name in defs and isinstance(defs[name].node, Function)
        ]
        if not found:
            raise SystemExit(f"the package has no function {verb} or {verb}_bundle")
        return max(found, key=lambda it: self._order.level(it.file.room))

    def walk(self, start: Def) -> Walk:
        """Follow what ``start`` reaches."""
        reached = {start}
        left = [start]
        callbacks: dict[tuple[str, str], Callback] = {}
        while left:
            named, handed_down = self._of_one(left.pop())
            for callback in handed_down:
                callbacks.setdefault((callback.callee, callback.argument), callback)
            new = named - reached
            reached |= new
            left += new
        files = sorted({it.file.path for it in reached})
        rooms = {it.file.room for it in reached} - ROOT
        line = [room for level in self._order.levels for room in level if room in rooms]
        return Walk(tuple(files), tuple(line), tuple(sorted(callbacks.values())))

    def _of_one(self, definition: Def) -> tuple[set[Def], list[Callback]]:
        """Return what a definition names and hands down, which several workflows ask for."""
        if definition not in self._seen:
            self._seen[definition] = set(self._named(definition)), list(self._handed_down(definition))
        return self._seen[definition]

    def resolve(self, file: File, node: ast.expr) -> Def | None:
        """Return the function or class that an expression names, wherever it is defined."""
        if isinstance(node, ast.Name):
            return self._find(file.name, node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, name = self._names[file.name].get(node.value.id, ("", "?"))
            return self._find(module, node.attr) if name == "" else None
        return None

    def _find(self, module: str, name: str) -> Def | None:
        for _ in range(len(self._package.files)):  # a name may be imported from a file that has imported it
            if name in self._defs.get(module, {}):
                return self._defs[module][name]
            module, name = self._names.get(module, {}).get(name, ("", ""))
            if not name:
                return None
        return None

    def _named(self, definition: Def) -> Iterator[Def]:
        for node in _without_annotations(definition.node):
            if isinstance(node, ast.Name | ast.Attribute) and (found := self.resolve(definition.file, node)):
                yield found

    def _handed_down(self, definition: Def) -> Iterator[Callback]:
        """Yield each argument with something callable, or an object with methods, for a function of a lower room."""
        functions, scope = _functions(definition.node)
        kept, kept_objects = self._kept_callables(scope), self._kept_objects(scope, definition)
        for function in functions:
            known = self._local(function, kept)
            objects = self._bound_objects(function, kept_objects, definition)
            for node in walked(function):
                if not isinstance(node, ast.Call) or (found := self._callee(node.func, definition, objects)) is None:
                    continue
                callee, its_function = found
                for name, value in _arguments(its_function, node):
                    whose = objects.get(_text(value))
                    room = whose.file.room if whose else self._room_of(value, definition, known)
                    if room is not None and self._is_higher(room, callee.file.room):
                        called = str(callee) if its_function is callee.node else f"{callee}.{its_function.name}"
                        yield Callback(definition.file.path, node.lineno, called, name)

    def _callee(self, node: ast.expr, definition: Def, objects: Mapping[str, Def]) -> tuple[Def, Definition] | None:
        """Return what is called: a function or class that is named, or a method of an object whose class is known."""
        if (named := self.resolve(definition.file, node)) is not None:
            return named, named.node
        if isinstance(node, ast.Attribute) and (owner := objects.get(_text(node.value))) is not None:
            for method in ast.iter_child_nodes(owner.node):
                if isinstance(method, Function) and method.name == node.attr:
                    return owner, method
        return None

    def _is_higher(self, room: str, other: str) -> bool:
        return self._order.level(room) > self._order.level(other)

    def _kept_callables(self, scope: ast.AST) -> set[str]:
        """Return the methods of a class, as ``self.method``, and what they keep that is callable."""
        known = {f"self.{_text(target)}" for target in self._annotated(ast.iter_child_nodes(scope))}
        known |= {f"self.{node.name}" for node in ast.iter_child_nodes(scope) if _is_method(node)}  # type: ignore[attr-defined]
        for method in ast.iter_child_nodes(scope):
            if isinstance(method, Function):
                known |= {name for name in self._local(method, known) if name.startswith("self.")}
        return known

    def _local(self, function: ast.AST, known: set[str]) -> set[str]:
        """Return the names of a function that stand for something callable: arguments, variables, inner functions."""
        nodes = walked(function)
        inner = {node.name for node in nodes if isinstance(node, Function) and node is not function}
        found = known | inner | {_text(target) for target in self._annotated(nodes)}
        for node in nodes:
            if isinstance(node, ast.Assign) and _may_be_callable(node.value, found):
                found |= {_text(target) for target in node.targets}
        return found

    def _annotated(self, nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
        """Yield the names whose type is one of callables."""
        for node in nodes:
            if isinstance(node, ast.arg) and node.annotation is not None and self._is_callable(node.annotation):
                yield ast.Name(node.arg)
            elif isinstance(node, ast.AnnAssign) and self._is_callable(node.annotation):
                yield node.target

    def _kept_objects(self, scope: ast.AST, definition: Def) -> dict[str, Def]:
        """Return the class of ``self``, and of each attribute of it whose class has methods."""
        found: dict[str, Def] = {"self": definition} if _has_methods(scope) else {}
        for method in ast.iter_child_nodes(scope):
            kept = self._bound_objects(method, found, definition)
            found |= {name: it for name, it in kept.items() if name.startswith("self.")}
        return found

    def _bound_objects(self, function: ast.AST, known: Mapping[str, Def], definition: Def) -> dict[str, Def]:
        """Return the class of each variable and argument whose class has methods, beside what is known."""
        found = {**known}
        for node in walked(function):
            for name, value in _bound(node):
                named = self.resolve(definition.file, value.func if isinstance(value, ast.Call) else value)
                its_class = found.get(_text(value)) or named
                if its_class is not None and _has_methods(its_class.node):
                    found[name] = its_class
        return found

    def _is_callable(self, annotation: ast.expr) -> bool:
        words = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
        return bool(words & self._aliases) and not words & {"Mapping", "Sequence", "Iterable", "dict", "list", "tuple"}

    def _room_of(self, value: ast.expr, definition: Def, known: set[str]) -> str | None:
        """Return the room of something callable; None for everything else."""
        if isinstance(value, ast.Call) and _text(value.func).endswith("partial") and value.args:
            return self._room_of(value.args[0], definition, known)
        found = self.resolve(definition.file, value)
        if found is not None and _text(value) not in known:
            return found.file.room
        return definition.file.room if _may_be_callable(value, known) else None


def _text(node: ast.AST) -> str:
    """Return the source of an expression; ``ast.unparse`` takes a hundred times as long for a name with dots."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{_text(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ast.unparse(node)


def _callable_aliases(files: Iterable[File]) -> Iterator[str]:
    """Yield the names that files give to types of callables, and the protocols of such."""
    for file in files:
        for node in file.tree.body:
            if isinstance(node, ast.Assign) and _text(node.value).startswith("Callable["):
                yield from map(_text, node.targets)
            if isinstance(node, ast.ClassDef) and any(_text(base) == "Protocol" for base in node.bases):
                yield from [node.name] * any(isinstance(it, Function) and it.name == "__call__" for it in node.body)


def _functions(definition: Definition) -> tuple[list[Function], ast.AST]:
    """Return the methods of a class, and the class; of a function, itself and nothing around it."""
    if isinstance(definition, ast.ClassDef):
        return [node for node in definition.body if isinstance(node, Function)], definition
    return [definition], ast.Pass()


def _is_method(node: ast.AST) -> bool:
    """Return True for a function in a class that is called, and is not read as an attribute."""
    return isinstance(node, Function) and not any("property" in _text(it) for it in node.decorator_list)


def _bound(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield each name that a statement binds, with what it is bound to; with its type for an argument."""
    if isinstance(node, ast.Assign):
        yield from ((_text(target), node.value) for target in node.targets)
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield _text(node.optional_vars), node.context_expr
    elif isinstance(node, ast.arg) and node.annotation is not None:
        yield node.arg, node.annotation


def _has_methods(node: ast.AST) -> bool:
    """Return True for a class with methods of its own, which its name, its properties and its JSON are not."""
    return isinstance(node, ast.ClassDef) and any(
        _is_method(it) and not it.name.startswith("__") and "json" not in it.name  # type: ignore[attr-defined]
        for it in node.body
    )


def _may_be_callable(value: ast.expr, known: set[str]) -> bool:
    if isinstance(value, ast.IfExp):
        return _may_be_callable(value.body, known) or _may_be_callable(value.orelse, known)
    if isinstance(value, ast.BoolOp):
        return any(_may_be_callable(part, known) for part in value.values)
    return isinstance(value, ast.Lambda) or (isinstance(value, ast.Name | ast.Attribute) and _text(value) in known)


def _arguments(callee: Definition, call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Yield the name that each argument of a call has in the function, and its value."""
    function = callee
    if isinstance(callee, ast.ClassDef):
        function = next((it for it in callee.body if isinstance(it, Function) and it.name == "__init__"), callee)
    names: Mapping[int, str] = {}
    if isinstance(function, Function):
        own = [it.arg for it in (*function.args.posonlyargs, *function.args.args)]
        names = dict(enumerate(own[1:] if own[:1] in (["self"], ["cls"]) else own))
    for position, value in enumerate(call.args):
        yield names.get(position, str(position)), value
    yield from ((keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg)


def _without_annotations(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree without the types that annotate it."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns"}:
            continue
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, ast.AST):
                yield from _without_annotations(inner)
