"""PyTorch's values inside a run: the tensors at every module's boundary, and in chosen modules every operator's.

Tensors are shown to a visitor while they exist and are not kept here.
"""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..arrays import Array
from ..cases import Case
from ..eager import Eager, Feeds, Outputs, Rounding
from ..operator_mode import operator_mode

if TYPE_CHECKING:
    from torch import nn


class Moment(NamedTuple):
    """The moment of a tensor: the ``call``-th call of module ``path``, as its ``number``-th tensor of this kind."""

    path: str
    call: int
    kind: Literal["enter", "leave", "op", "part"]  # op: what an operator gives; part: a step inside of one
    number: int

    @property
    def module_call(self) -> tuple[str, int]:
        """Return the module's path and the number of its call."""
        return self.path, self.call


@dataclass(frozen=True)
class Sight:
    """One tensor at one moment. ``origin`` is the first moment at which this very tensor was seen."""

    moment: Moment
    origin: Moment
    shape: tuple[int, ...]
    is_float: bool
    caller: str


Visitor = Callable[[Sight, Callable[[], Array]], None]


class EagerCalls(Eager):
    """The module in one precision, with a visitor at every boundary; ``op_paths`` names where operators show too."""

    def __init__(self, module: nn.Module, *, is_double: bool) -> None:
        super().__init__(module, (), 0, is_double=is_double)
        self.paths = dict(self.module.named_modules())
        self._visitor: Visitor | None = None
        self._op_paths: frozenset[str] = frozenset()
        self._stack: list[tuple[str, int]] = []
        self._calls: Counter[str] = Counter()
        self._ops: Counter[tuple[str, int]] = Counter()
        self._origins: dict[int, tuple[weakref.ref[Any], int, Moment]] = {}
        self._wanted: tuple[str, int] | None = None
        self._inputs: tuple[Any, Any] | None = None
        for path, part in self.paths.items():
            part.register_forward_pre_hook(self._enter(path), with_kwargs=True)
            part.register_forward_hook(self._leave(), with_kwargs=True)

    def visit(
        self, feeds: Feeds, case: Case, visitor: Visitor, op_paths: Collection[str] = (), *, rounding: Rounding = "own"
    ) -> None:
        """Run once, in float32 with any rounding, and show every tensor.

        Raises ModuleRefused if PyTorch cannot run the case.
        """
        self._visitor, self._op_paths = visitor, frozenset(op_paths)
        try:
            self.run(feeds, case, rounding=rounding)
        finally:
            self._visitor = None

    def inputs_of(self, path: str, call: int, feeds: Feeds, case: Case) -> tuple[Any, Any] | None:
        """Copies of the arguments of one call of a module."""
        self._wanted, self._inputs = (path, call), None
        try:
            self.run(feeds, case)
        finally:
            self._wanted = None
        return self._inputs

    def alone(self, path: str, inputs: tuple[Any, Any], case: Case, *, rounding: Rounding = "own") -> list[Array]:
        """Return the tensors that one module gives for these inputs without the rest of the model."""
        import torch
        from torch.utils._pytree import tree_map

        kind = torch.float64 if self.is_double else torch.float32

        def cast(value: Any) -> Any:
            return value.to(kind, copy=True) if _is_float(value) else value

        args, kwargs = tree_map(cast, inputs[0]), tree_map(cast, inputs[1])
        part: Any = functools.partial(self.paths[path], *args, **kwargs)
        whole, self.module = self.module, part
        try:
            return list(self.run({}, case, rounding=rounding).values())
        finally:
            self.module = whole

    def _call(self, tensors: dict[str, Any]) -> Outputs:
        self._stack.clear()
        self._calls.clear()
        self._ops.clear()
        self._origins.clear()
        with self._operators():
            return super()._call(tensors)

    @contextmanager
    def _operators(self) -> Iterator[None]:
        if self._visitor is None or not self._op_paths:
            yield
            return
        with _operator_mode(self._operator):
            yield

    def _operator(self, kind: Literal["op", "part"], result: Any) -> None:
        if not self._stack or self._stack[-1][0] not in self._op_paths:
            return
        at = self._stack[-1]
        for leaf in tensors(result):
            self._show(leaf, Moment(*at, kind, self._ops[at]), at[0])
            self._ops[at] += 1

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            call = self._calls[path]
            self._calls[path] += 1
            if self._wanted == (path, call):
                self._inputs = _copied(args, kwargs)
            caller = self._stack[-1][0] if self._stack else ""
            self._stack.append((path, call))
            for index, leaf in enumerate(tensors((args, kwargs))):
                self._show(leaf, Moment(path, call, "enter", index), caller)

        return hook

    def _leave(self) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            path, call = self._stack.pop()
            caller = self._stack[-1][0] if self._stack else ""
            for index, leaf in enumerate(tensors(output)):
                self._show(leaf, Moment(path, call, "leave", index), caller)

        return hook

    def _show(self, tensor: Any, moment: Moment, caller: str) -> None:
        if self._visitor is None:
            return
        origin = moment
        if moment.kind in ("enter", "leave"):
            version = int(tensor._version)
            seen = self._origins.get(id(tensor))
            if seen is not None and seen[0]() is tensor and seen[1] == version:
                origin = seen[2]
            else:
                self._origins[id(tensor)] = (weakref.ref(tensor), version, moment)
        sight = Sight(moment, origin, tuple(tensor.shape), _is_float(tensor), caller)
        self._visitor(sight, lambda: _array(tensor))


def _operator_mode(seen: Callable[[Literal["op", "part"], Any], None]) -> Any:
    """Shows what every operator returns ("op"), after what its decomposition computes on the way ("part").

    The exporter writes ``addmm`` as a product and a sum, and PyTorch's decomposition tells the product.
    """
    from torch._decomp import decomposition_table

    def shown(kind: Literal["op", "part"], func: Any, args: Any, kwargs: Any) -> Any:
        if kind == "op" and func in decomposition_table and not func._schema.is_mutable:
            # A decomposition that does not take these arguments tells nothing, and nothing depends on it.
            with suppress(Exception), operator_mode(partial(shown, "part")):
                decomposition_table[func](*args, **kwargs)
        result = func(*args, **kwargs)
        seen(kind, result)
        return result

    return operator_mode(partial(shown, "op"))


def tensors(tree: Any) -> list[Any]:
    import torch
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _is_float(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _copied(args: Any, kwargs: Any) -> tuple[Any, Any]:
    import torch
    from torch.utils._pytree import tree_map

    def copy(value: Any) -> Any:
        return value.clone() if isinstance(value, torch.Tensor) else value

    return tree_map(copy, args), tree_map(copy, kwargs)


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().contiguous().numpy()
    return array
