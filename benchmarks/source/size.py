"""Lines of code and lengths of functions, without docstrings."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator

from .tree import File, walked

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(file: File) -> int:
    """Count the lines that hold code: neither blank, nor a comment alone, nor of a docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in walked(file.tree):
        lines -= _docstring_lines(node)
    return len(lines)


def functions(file: File) -> Iterator[tuple[str, int]]:
    """Yield the dotted name of each function and its lines, from ``def`` to its end without the docstring."""
    yield from _functions(file.tree, file.name)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.expr):  # holds no function but a lambda
            continue
        name = f"{prefix}.{inner.name}" if isinstance(inner, DOCUMENTED[1:]) else prefix  # type: ignore[attr-defined]
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, (inner.end_lineno or 0) - inner.lineno + 1 - len(_docstring_lines(inner))
        yield from _functions(inner, name)


def _docstring_lines(node: ast.AST) -> set[int]:
    if not isinstance(node, DOCUMENTED) or ast.get_docstring(node, clean=False) is None:
        return set()
    text = node.body[0]
    return set(range(text.lineno, (text.end_lineno or 0) + 1))
