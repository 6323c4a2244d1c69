"""Lines of the user's that decide nothing of a graph, since people read what they say: errors, warnings and logs."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

Lines = tuple[int, int]  # the first and the last

_READ_BY_PEOPLE = re.compile(
    "assert|check|ensure|require|expect|verify|validate|print|warn|log|debug|info|error|exception|raise|fail"
    "|record_function|range_push",
    re.IGNORECASE,
)
# Not Tensor.log_, which writes to a tensor.
_LOGS = re.compile(r"^(rank_zero_)?(print|warn|warning|log|debug|info|error|exception|critical)(_once)?$")
_LOGGERS = re.compile(r"^get_?(\w+_)?logger$", re.IGNORECASE)
# In a condition these compute something else that may be kept.
_KEEPS = (ast.NamedExpr, ast.IfExp, ast.Lambda, ast.Await, ast.Yield)


def is_read_by_people(file: str, line: int) -> bool:
    """Return True if a line raises, asserts, or calls what writes a log."""
    return _is_in(line, _texts(file))


def only_logs(file: str, line: int) -> bool:
    """Return True if a line is the condition of an ``if`` that does nothing but write a log, however it is answered."""
    return _is_in(line, _conditions(file))


def _is_in(line: int, found: Iterable[Lines]) -> bool:
    return any(first <= line <= last for first, last in found)


@lru_cache(maxsize=256)
def _texts(file: str) -> Sequence[Lines]:
    return [_lines(part) for node in _nodes(file) for part in _for_people(node)]


@lru_cache(maxsize=256)
def _conditions(file: str) -> Sequence[Lines]:
    functions = [node for node in _nodes(file) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    ifs = [(node, one) for node in functions for one in ast.walk(node) if isinstance(one, ast.If)]
    return [_lines(one.test) for node, one in ifs if _decides_nothing(one, node)]


def _nodes(file: str) -> Iterator[ast.AST]:
    try:
        return ast.walk(ast.parse("".join(linecache.getlines(file))))
    except SyntaxError:
        return iter(())


def _lines(node: ast.stmt | ast.expr) -> Lines:
    return node.lineno, node.end_lineno or node.lineno


def _for_people(node: ast.AST) -> Iterator[ast.stmt | ast.expr]:
    if isinstance(node, (ast.Raise, ast.Assert)) or (
        isinstance(node, ast.Expr) and _is_called(node.value, _READ_BY_PEOPLE)
    ):
        yield node
    elif isinstance(node, ast.With):
        yield from (item.context_expr for item in node.items if _is_called(item.context_expr, _READ_BY_PEOPLE))


def _decides_nothing(branch: ast.If, function: ast.AST) -> bool:
    """Return True if both sides of a branch only write logs, by loggers that nothing else in the function has."""
    if any(isinstance(node, _KEEPS) for node in ast.walk(branch.test)):
        return False
    inside = {id(node) for node in ast.walk(branch)}
    elsewhere = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and id(node) not in inside}
    return all(_logs(one, elsewhere) for one in (*branch.body, *branch.orelse))


def _logs(node: ast.stmt, elsewhere: set[str]) -> bool:
    if isinstance(node, ast.Assign) and all(isinstance(one, ast.Name) for one in node.targets):
        return _is_called(node.value, _LOGGERS) and not elsewhere & {str(ast.unparse(one)) for one in node.targets}
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and _is_called(node.value, _LOGS))


def _is_called(node: ast.expr, names: re.Pattern[str]) -> bool:
    """Return True if an expression calls something with such a name."""
    if not isinstance(node, ast.Call) or any(keyword.arg == "out" for keyword in node.keywords):
        return False
    return names.search(getattr(node.func, "attr", getattr(node.func, "id", ""))) is not None
