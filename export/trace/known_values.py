"""The values of small tensors that a module's own tensors alone decide, as Python asks for them in a trace.

``if self.prob[i] > 0:`` and ``range(self.count.item())`` ask for a number that weights and buffers hold. A trace has
tensors without data, and cannot answer. The value is known all the same: it is computed from the module's own tensors
when Python asks. What depends on an input is never known, and what each call changes is refused. A branch that only
writes a log decides nothing: it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from ...errors import ModuleRefused
from ...modules.user_line import frames, is_users, line_of
from .for_people import only_logs
from .guards import is_dynamic

# The methods by which Python reads a tensor's numbers.
_ASKS = frozenset({Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item, Tensor.tolist})
# The most elements: few numbers decide a branch, and computing large tensors twice takes time.
_LARGEST = 4096
# Arguments that are the same in a trace and outside of it, which a size of the trace is not.
_PLAIN = (bool, int, float, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None), type(...))


@dataclass(frozen=True)
class _Known:
    """A tensor of a trace at one version, the module's own tensors behind it by name, and how its value is found."""

    tensor: Tensor  # held, so that no other gets its id
    version: int
    names: frozenset[str]
    value: Callable[[], Any]


class KnownValues(TorchFunctionMode):
    """While active, let Python read numbers that depend on the tensors of ``module`` alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self._own = {name: tensor for name, tensor in _tensors(module) if tensor.numel() <= _LARGEST}
        self._known: dict[int, _Known] = {}
        self._roots: dict[str, _Known] = {}
        self._asked: dict[str, str] = {}
        self._written: dict[int, Tensor] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> KnownValues:
        self._hooks = [
            self._module.register_forward_pre_hook(lambda *_: self._start()),
            self._module.register_forward_hook(lambda *_: self._finish()),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def _start(self) -> None:
        """Take the tensors that stand for the module's own in this trace."""
        self._asked.clear()
        self._written.clear()
        self._roots = {
            name: _Known(tensor, tensor._version, frozenset({name}), lambda own=self._own[name]: own)  # type: ignore[misc]
            for name, tensor in _tensors(self._module)
            if name in self._own
        }
        self._known = {id(root.tensor): root for root in self._roots.values()}

    def _finish(self) -> None:
        """Raise ModuleRefused if this call changed a tensor whose value was asked for."""
        now = dict(_tensors(self._module))
        for name, line in self._asked.items():
            root = self._roots[name].tensor
            if now.get(name) is not root or self._found(root) is None:
                raise ModuleRefused(
                    f"{type(self._module).__name__} asks for the value of {name}{f' at {line}' if line else ''}, and "
                    "changes it in each call: a graph keeps nothing between calls; leave it as it is in eval mode"
                )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if torch.compiler.is_dynamo_compiling():  # in the bodies of torch.cond and loops, which torch.compile reads
            return func(*args, **options)
        if func in _ASKS and (known := self._found(args[0])) is not None:
            self._asked |= {name: line_of(frames()) for name in known.names if name not in self._asked}
            with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
                return func(known.value())
        if func is Tensor.__bool__ and only_logs(*next(filter(lambda frame: is_users(frame[0]), frames()), ("", 0))):
            return False
        result = func(*args, **options)
        if self._known:
            self._see(func, args, options, result)
        return result

    def _see(self, func: Any, args: tuple[Any, ...], options: Mapping[str, Any], result: Any) -> None:
        """Note the result of a call if all that it was computed from is known, and what a call writes to."""
        given = list(_leaves((args, options)))
        tensors = [leaf for leaf in given if isinstance(leaf, Tensor)]
        for leaf in tensors:
            if leaf is result or (func is Tensor.__setitem__ and leaf is args[0]):
                self._written[_storage(leaf)] = leaf
                return
        if not isinstance(result, Tensor):
            return
        behind = [known for leaf in tensors if (known := self._found(leaf)) is not None]
        if len(behind) < len(tensors) or not tensors or is_dynamic(result.numel()) or result.numel() > _LARGEST:
            return
        if all(isinstance(leaf, (Tensor, *_PLAIN)) for leaf in given):
            names = frozenset(name for known in behind for name in known.names)
            values = {id(known.tensor): known.value for known in behind}
            self._known[id(result)] = _Known(
                result, result._version, names, lambda: func(*_filled(args, values), **_filled(options, values))
            )

    def _found(self, tensor: Any) -> _Known | None:
        known = self._known.get(id(tensor))
        if known is None or tensor._version != known.version:
            return None
        # .data of a tensor has a version of its own
        return None if _storage(tensor) in self._written else known


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _storage(tensor: Tensor) -> int:
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # of torch.vmap and torch.func: it has none itself
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return int(tensor.untyped_storage()._cdata)


def _leaves(data: Any) -> Iterator[Any]:
    for leaf in tree_leaves(data):
        yield from (leaf.start, leaf.stop, leaf.step) if isinstance(leaf, slice) else (leaf,)


def _filled(data: Any, values: Mapping[int, Callable[[], Any]]) -> Any:
    return tree_map(lambda leaf: values[id(leaf)]() if id(leaf) in values else leaf, data)
