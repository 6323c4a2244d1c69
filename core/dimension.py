"""A dimension of an input: a number, the name of an axis, or an expression of axes that ties it to them.

``a.height/2``, ``x.dim0 + 1`` and ``(height/16)*(width/16)`` are expressions: whole numbers, names, ``+ - * / //`` and
parentheses. ``/`` divides without a rest, so that the axis has to be a multiple of something; ``//`` rounds down.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache

from ..errors import InputError

Dim = int | str
LONGEST = 200
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
_NAME = re.compile(r"[A-Za-z_][\w.]*")


def size_of(dim: Dim, sizes: Mapping[str, int]) -> int:
    """Return the size of a dimension at these sizes of the axes; InputError for what is no expression of them."""
    if isinstance(dim, int):
        return dim
    return sizes[dim] if dim in sizes else _value(_parsed(dim), sizes, dim)


def names_in(dim: Dim) -> tuple[str, ...]:
    """Return the names of the axes that a dimension depends on, each once; InputError for what is no expression."""
    if isinstance(dim, int):
        return ()
    return tuple(dict.fromkeys(_names(_parsed(dim)))) if is_expression(dim) else (dim,)


def is_expression(dim: Dim) -> bool:
    """Return True if a dimension is more than a number or one name."""
    return isinstance(dim, str) and not is_name(dim)


def is_name(text: str) -> bool:
    """Return True if an expression can name an axis so."""
    return bool(_NAME.fullmatch(text))


def substituted(expression: str, replacements: Mapping[str, str]) -> str:
    """Return the expression with names replaced, by expressions in parentheses, and without spaces."""

    def replace(found: re.Match[str]) -> str:
        new = replacements.get(found[0], found[0])
        return f"({new})" if is_expression(new) and found[0] != expression else new

    return _NAME.sub(replace, "".join(expression.split()))


def multiples(dim: Dim) -> dict[str, int]:
    """Return for each axis the number of which its sizes must be multiples so that every ``/`` divides without a rest.

    Raises InputError if no multiple does, and if a division is no whole number into a sum of axes.
    """
    found: dict[str, int] = {}
    if not is_expression(dim):
        return found
    text = str(dim)
    for node in ast.walk(_parsed(text)):
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)):
            continue
        numerator, divisor = _linear(node.left), _linear(node.right)
        if numerator is None or divisor is None or set(divisor) != {""} or divisor[""] < 1:
            raise InputError(
                f"received {text!r}; expected each / to divide one axis by a whole number; write it as "
                "(a.height/16)*(a.width/16), or with // to round down"
            )
        for name, factor in numerator.items():
            share = factor / divisor[""]
            if not name and share.denominator > 1:
                raise InputError(
                    f"received {text!r}, which is whole at the multiples of no number; write // to round down"
                )
            if name:
                found[name] = math.lcm(found.get(name, 1), share.denominator)
    return found


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr:
    try:
        if len(text) > LONGEST:
            raise ValueError
        tree = ast.parse(text.strip(), mode="eval").body
        list(_names(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"received {text[:LONGEST]!r}; expected an expression of other axes with + - * / // and whole numbers; "
            "write it as a.height/2, or a range as 1:2:8"
        ) from None
    return tree


def _names(tree: ast.expr) -> Iterator[str]:
    """The axes that the expression names, in order; ValueError for anything else than the expressions of this file."""
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, (*_OPERATORS, ast.Div)):
        yield from _names(tree.left)
        yield from _names(tree.right)
    elif isinstance(tree, (ast.Name, ast.Attribute)):
        yield _name(tree)
    elif not (isinstance(tree, ast.Constant) and type(tree.value) is int):
        raise ValueError


def _name(tree: ast.expr) -> str:
    if isinstance(tree, ast.Attribute):
        return f"{_name(tree.value)}.{tree.attr}"
    if isinstance(tree, ast.Name):
        return tree.id
    raise ValueError


def _value(tree: ast.expr, sizes: Mapping[str, int], text: str) -> int:
    if isinstance(tree, ast.Constant):
        return int(str(tree.value))
    if not isinstance(tree, ast.BinOp):
        name = _name(tree)
        if name not in sizes:
            raise InputError(f"received {text!r}; expected the axes {', '.join(sizes) or 'of the inputs'}; correct it")
        return sizes[name]
    left, right = _value(tree.left, sizes, text), _value(tree.right, sizes, text)
    if isinstance(tree.op, (ast.Div, ast.FloorDiv)) and (right == 0 or (isinstance(tree.op, ast.Div) and left % right)):
        raise InputError(f"received {text!r}, which is no whole number at {dict(sizes)}; write // to round down")
    return left // right if isinstance(tree.op, ast.Div) else _OPERATORS[type(tree.op)](left, right)


def _linear(tree: ast.expr) -> dict[str, Fraction] | None:
    """The factor of every axis in a sum of axes, "" for the number; None for what is no such sum."""
    if isinstance(tree, ast.Constant):
        return {"": Fraction(int(str(tree.value)))}
    if not isinstance(tree, ast.BinOp):
        return {_name(tree): Fraction(1)}
    left, right = _linear(tree.left), _linear(tree.right)
    if left is None or right is None or isinstance(tree.op, ast.FloorDiv):
        return None
    if isinstance(tree.op, (ast.Add, ast.Sub)):
        sign = 1 if isinstance(tree.op, ast.Add) else -1
        return {name: left.get(name, Fraction()) + sign * right.get(name, Fraction()) for name in {**left, **right}}
    if isinstance(tree.op, ast.Mult) and set(left) == {""}:
        left, right = right, left
    if set(right) != {""} or (isinstance(tree.op, ast.Div) and not right[""]):
        return None
    factor = 1 / right[""] if isinstance(tree.op, ast.Div) else right[""]
    return {name: value * factor for name, value in left.items()}
