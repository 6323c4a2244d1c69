"""What is read by a boolean mask, as the choice that it is: ``y[m] *= 0.1``, ``y[m] = f(x[m])``, ``x[m].mean()``.

``x[m].shape[0]`` is the sum of the mask.

torch.onnx writes the read as the places that NonZero finds. How many there are depends on values, TensorRT for RTX has
no NonZero, and TensorRT gives such a size a bound of its own. Where each element is computed by itself, all elements
are, and the mask chooses what is written or summed: no number that the mask leaves out reaches it.
"""

from __future__ import annotations

import operator
from collections.abc import Container
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

_ATEN = torch.ops.aten
_WRITES = (_ATEN.index_put.default, _ATEN.index_put_.default)
_SUMS = (_ATEN.sum.default, _ATEN.mean.default)
# Beside those that PyTorch marks as pointwise.
_ELEMENTWISE = (
    *(_ATEN._to_copy.default, _ATEN.clone.default, _ATEN.hardswish.default, _ATEN.masked_fill.Tensor),
    *(_ATEN.where.ScalarSelf, _ATEN.where.ScalarOther, _ATEN.where.Scalar),
)
# What Python computes of the number of elements, by operators of tensors, and what takes such a number or a tensor.
_NUMBERS: dict[Any, OpOverload] = {
    operator.add: _ATEN.add.Tensor,
    operator.sub: _ATEN.sub.Tensor,
    operator.mul: _ATEN.mul.Tensor,
    operator.truediv: _ATEN.div.Tensor,
    torch.sym_max: _ATEN.clamp_min.default,
    torch.sym_float: _ATEN.to.dtype,
}
_TAKE_NUMBERS = (_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor, _ATEN.div.Tensor)
_CHECKS = (_ATEN._assert_scalar.default, _ATEN._assert_tensor_metadata.default)


class _Mask(NamedTuple):
    """A mask in an index: its node, the axes in front of it and behind it."""

    node: Node
    before: int
    after: int


def with_chosen_elements(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return ``program`` with choices among all elements in place of reads by a mask, if nothing else uses those."""
    if not any(_reads(graph) for graph in _graphs(program)):
        return program
    plain = program.run_decompositions({})  # in which nothing is written in place
    changed = [_rewrite(graph, reads, mask) for graph in _graphs(plain) for mask, reads in _reads(graph).items()]
    return plain.run_decompositions({}) if any(changed) else program


def _graphs(program: torch.export.ExportedProgram) -> list[Graph]:
    return [part.graph for part in program.graph_module.modules() if isinstance(part, GraphModule)]


def _reads(graph: Graph) -> dict[_Mask, list[Node]]:
    found: dict[_Mask, list[Node]] = {}
    for node in graph.nodes:
        if node.target not in _WRITES and (mask := _mask_of(node)) is not None:
            found.setdefault(mask, []).append(node)
    return found


def _mask_of(node: Node) -> _Mask | None:
    """Return the mask of a node that reads or writes by one mask alone."""
    if node.target is _ATEN.masked_select.default:
        x, mask = map(_value, node.args)
        same = x.dim() == mask.dim() and all(map(statically_known_true, map(operator.eq, x.shape, mask.shape)))
        return _Mask(_first(node.args[1]), 0, 0) if same else None  # type: ignore[arg-type]
    if node.target not in (_ATEN.index.Tensor, *_WRITES):
        return None
    x, parts = node.args[:2]
    given = [(place, part) for place, part in enumerate(parts) if part is not None]  # type: ignore[arg-type]
    if len(given) != 1 or not isinstance(x, Node) or _value(given[0][1]).dtype != torch.bool:
        return None
    place, mask = given[0]
    return _Mask(_first(mask), place, _value(x).dim() - place - _value(mask).dim())


def _first(mask: Node) -> Node:
    """Return the first node that computes a mask, as of ``y[y > 0] = -y[y > 0]``."""
    same = [
        user
        for node in mask.all_input_nodes[:1]
        for user in node.users
        if (user.target, user.args, user.kwargs) == (mask.target, mask.args, mask.kwargs)
    ]
    return min([mask, *same])


def _value(node: Any) -> Any:
    return node.meta["val"]


def _rewrite(graph: Graph, reads: list[Node], mask: _Mask) -> bool:
    """Write what follows from ``reads``; return False if something of it needs the elements by themselves."""
    chosen = dict.fromkeys(reads)  # nodes with a row for each element that the mask chooses, in their order
    numbers: dict[Node, None] = {}  # how many those are, and what is computed of that
    ends: list[Node] = []
    unused: dict[Node, None] = {}
    for node in graph.nodes:
        if node in chosen or not any(given in chosen or given in numbers for given in node.all_input_nodes):
            continue
        if (checks := _checks(node)) is not None:
            unused |= dict.fromkeys((node, *checks))
        elif _is_number(node, chosen, numbers, mask):
            numbers[node] = None
        elif not chosen.keys().isdisjoint(node.all_input_nodes) and _is_elementwise(node, chosen, mask):
            chosen[node] = None
        elif _is_end(node, chosen, mask) or _takes_number(node, chosen):
            ends.append(node)
        else:
            return False
    if not ends:
        return False
    whole: dict[Node, Node] = {}
    for node in sorted([*chosen, *numbers, *ends]):
        with graph.inserting_before(node):
            whole[node] = _written(node, whole, mask)
    for node in ends:
        whole[node].meta["val"] = _value(node)
        node.replace_all_uses_with(whole[node])
    for node in sorted([*chosen, *numbers, *ends, *unused], reverse=True):
        graph.erase_node(node)
    return True


def _is_elementwise(node: Node, chosen: Container[Any], mask: _Mask) -> bool:
    operator = node.target
    if not isinstance(operator, OpOverload) or not (torch.Tag.pointwise in operator.tags or operator in _ELEMENTWISE):
        return False
    return all(
        given in chosen or not isinstance(_value(given), Tensor) or _is_of_all(_value(given), mask)
        for given in node.all_input_nodes
    )


def _is_of_all(value: Tensor, mask: _Mask) -> bool:
    """Return True if a tensor is the same for all that the mask chooses from: it varies behind the mask alone."""
    ahead = value.dim() - mask.after
    return ahead <= mask.before + 1 and all(statically_known_true(size == 1) for size in value.shape[: max(ahead, 0)])


def _is_end(node: Node, chosen: Container[Any], mask: _Mask) -> bool:
    if node.target in _SUMS:
        return len(node.args) == 1 and not node.kwargs and _value(node.args[0]).is_floating_point()
    is_write = node.target in _WRITES and len(node.args) == 3 and not node.kwargs
    return is_write and _mask_of(node) == mask and node.args[0] not in chosen and node.args[2] in chosen


def _is_number(node: Node, chosen: Container[Any], numbers: Container[Any], mask: _Mask) -> bool:
    """Return True for how many elements are chosen, and for what is computed of that and of other sizes."""
    if node.target is _ATEN.sym_size.int:
        return node.args[0] in chosen and bool(node.args[1] == mask.before)
    return node.target in _NUMBERS and any(given in numbers for given in node.args)


def _takes_number(node: Node, chosen: Container[Any]) -> bool:
    is_plain = node.target in _TAKE_NUMBERS and not node.kwargs and not any(given in chosen for given in node.args)
    return is_plain and bool(_value(node).is_floating_point())


def _checks(node: Node) -> list[Node] | None:
    """Return what uses a node that serves only to check a size or a type; None if anything else does."""
    if node.target in _CHECKS:
        return []
    found: list[Node] = []
    for user in node.users:
        deeper = _checks(user)
        if deeper is None:
            return None
        found += [user, *deeper]
    return found or None


def _written(node: Node, whole: dict[Node, Node], mask: _Mask) -> Node:
    """Return what has for every element what ``node`` computes for those that were chosen, or what comes of them."""
    if node.target in (*_WRITES, *_SUMS):
        return _end(node, whole, mask)
    if node.target is _ATEN.sym_size.int:
        return _add(node, _ATEN.sum.default, mask.node)
    if _mask_of(node) is not None:
        return node.args[0]  # type: ignore[return-value]
    given = node.args
    if node.target is torch.sym_max:
        given = tuple(sorted(given, key=lambda one: one not in whole))  # clamp takes the tensor first
    elif node.target is torch.sym_float:
        given = (*given, torch.float32)
    args, options = torch.fx.node.map_arg((given, node.kwargs), lambda one: whole.get(one, one))
    return _add(node, _NUMBERS.get(node.target, node.target), *args, **options)


def _end(node: Node, whole: dict[Node, Node], mask: _Mask) -> Node:
    """Add the choice of what ``node`` writes, or of what it sums up."""
    chosen = mask.node
    for _ in range(mask.after):
        chosen = _add(node, _ATEN.unsqueeze.default, chosen, -1)
    if node.target in _WRITES:
        x: Any = node.args[0]
        return _add(node, _ATEN.where.self, chosen, whole[node.args[2]], x)  # type: ignore[index]
    kept = _add(node, _ATEN.where.ScalarOther, chosen, whole[node.args[0]], 0.0)  # type: ignore[index]
    found = _add(node, node.target, kept)
    if node.target is _ATEN.sum.default:
        return found
    # a share of the elements, not their number: that does not fit into float16
    share = _add(node, _ATEN.mean.default, _add(node, _ATEN.to.dtype, chosen, _value(node).dtype))
    return _add(node, _ATEN.div.Tensor, found, share)


def _add(node: Node, target: Any, *args: Any, **options: Any) -> Node:
    """Add a call at the place of ``node``, in its module and with its line."""
    found = node.graph.call_function(target, args, options)
    found.meta = {name: value for name, value in node.meta.items() if name != "val"}
    return found
