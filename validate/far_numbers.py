"""Tiny and huge numbers of a file that its module has nowhere: no case may reach what they decide.

With another epsilon below a norm, another end of a far clamp, or -1e4 in place of a mask's minus infinity, a graph
gives what PyTorch gives on any input that does not come near. So the numbers themselves are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.nodes import constants, nodes
from ..core.operators import named
from ..core.sentences import first_names
from ..errors import ModuleRefused
from .arrays import Array
from .cases import Case
from .eager import Eager
from .operator_mode import operator_mode

if TYPE_CHECKING:
    import onnx
    from torch import nn

# Numbers beyond these ends are there for inputs that seldom come. Some case reaches those between, and an exporter
# that writes an activation out has others than PyTorch.
TINY, HUGE = 1e-3, 1e3
# The operators that compare with a number, add one to it, or fill with it.
LIMITING = named("Clip Max Min Where Add Sub Mul Pad ConstantOfShape Expand")
SHOWN = 4


def foreign_numbers(path: Path, module: nn.Module, case: Case, seed: int) -> list[str]:
    """Return a sentence about the tiny and huge numbers of the graph at ``path`` that ``module`` does not compute with
    in a run on ``case``; none if it has all of them."""
    import onnx

    found = [*_far(onnx.load(path, load_external_data=False))]
    if not found:
        return []
    try:
        own = _numbers(module, case, seed)
    except ModuleRefused:  # the verdict says that it does not run
        return []
    with np.errstate(over="ignore"):  # in float16
        foreign = {f"{number:.6g}": node for number, node in found if not np.isin(number, own.astype(number.dtype))}
    if not foreign:
        return []
    shown = first_names([f"{number} ({node})" for number, node in foreign.items()], SHOWN)
    return [
        f"the file computes with {shown}, which the module does not: another epsilon, limit or mask shows "
        "only if a case comes near to it"
    ]


def _far(model: onnx.ModelProto) -> Iterator[tuple[Any, str]]:
    """Yield the tiny and huge numbers of a graph, with the node that has each."""
    from onnx import defs, numpy_helper

    graphs = [model.graph, *model.functions]
    stored = {name: one for graph in graphs for name, one in constants(graph).items() if not one.external_data}
    for node in (node for graph in graphs for node in nodes(graph)):
        label = f"{node.op_type} {node.name}".strip()
        given = {attribute.name: attribute for attribute in node.attribute}
        if "epsilon" in given:
            yield from _kept([np.float32(given["epsilon"].f)], label)
        elif node.domain == "" and defs.has(node.op_type) and "epsilon" in defs.get_schema(node.op_type).attributes:
            default = defs.get_schema(node.op_type).attributes["epsilon"].default_value
            yield from _kept([np.float32(default.f)], label)
        if node.op_type in LIMITING:
            tensors = [stored[name] for name in node.input if name in stored]
            tensors += [given["value"].t] if node.op_type == "ConstantOfShape" and "value" in given else []
            for tensor in tensors:
                yield from _kept(_ends(numpy_helper.to_array(tensor)), label)


def _ends(values: Array) -> Iterable[Any]:
    """Return both ends of a number or a mask; none of weights, which have more than two values."""
    if not np.issubdtype(values.dtype, np.floating) or not values.size:
        return ()
    ends = [values.min(), values.max()]
    return ends if np.isin(values, ends).all() else ()


def _kept(numbers: Iterable[Any], label: str) -> Iterator[tuple[Any, str]]:
    """Yield what is tiny or huge; the last number of a type stands for infinity."""
    for number in numbers:
        size = abs(number)
        if 0 < size <= TINY or HUGE <= size < np.finfo(number.dtype).max:
            yield number, label


def _numbers(module: nn.Module, case: Case, seed: int) -> Array:
    """Return every number that a run gives an operator by itself, and both ends of every tensor."""
    import torch
    from torch.utils._pytree import tree_leaves

    found = {float(np.finfo(np.float32).eps)}  # the epsilon of a normalisation that is given none

    def call(func: Any, args: Any, kwargs: Any) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, (int, float)):
                found.add(float(leaf))
            elif isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel():
                found.update(float(end) for end in leaf.detach().aminmax())
        return func(*args, **kwargs)

    Eager(module, [], seed, is_double=False).run_within(case, lambda: operator_mode(call))
    return np.array([*found])
