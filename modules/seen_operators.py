"""A mode that sees every operator of PyTorch that runs, those in the bodies of ``torch.cond`` and loops among them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch._C import DispatchKey
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorMode(TorchDispatchMode):
    """A TorchDispatchMode whose ``__torch_dispatch__`` is given operators of tensors alone.

    ``torch.cond``, ``while_loop`` and ``scan`` are operators with functions as arguments, which PyTorch refuses under a
    mode that says nothing of them. They run as they do without one, and the mode sees what their functions compute.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)  # type: ignore[no-untyped-call]
        inner = cls.__torch_dispatch__

        def called(self: OperatorMode, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not isinstance(func, HigherOrderOperator):
                return inner(self, func, types, args, kwargs)  # type: ignore[no-untyped-call]
            TorchDispatchMode.__enter__(self)  # type: ignore[no-untyped-call]  # a subclass's own has been called
            try:
                return _run(func, *args, **(kwargs or {}))
            finally:
                TorchDispatchMode.__exit__(self, None, None, None)  # type: ignore[no-untyped-call]

        cls.__torch_dispatch__ = called  # type: ignore[method-assign, assignment]


def _run(func: HigherOrderOperator, *args: Any, **options: Any) -> Any:
    """Return what PyTorch's own kernel does; those of two operators run under no mode, for no reason of theirs."""
    if func is torch.ops.higher_order.cond:
        pred, if_true, if_false, operands = args
        way = bool(pred)
        _note(way)
        return if_true(*operands) if way else if_false(*operands)
    if func is torch.ops.higher_order.scan:
        from torch._higher_order_ops.scan import generic_scan

        body, start, over, more = args[:4]
        return generic_scan(body, start, over, additional_inputs=more)  # type: ignore[no-untyped-call]
    return func.py_kernels[DispatchKey.CompositeExplicitAutograd](*args, **options)


def _note(way: bool) -> None:
    for watcher in _watchers[-1:]:
        watcher(way)


_watchers: list[Callable[[bool], None]] = []


@contextmanager
def uncompiled(watcher: Callable[[bool], None] = lambda _: None) -> Iterator[None]:
    """Within it ``torch.compile`` calls what it was given, as ``torch.cond`` needs under a mode.

    ``watcher`` is given the way of each ``torch.cond``. PyTorch loads its compiler when it is first needed, which takes
    half as long as to load PyTorch.
    """
    _watchers.append(watcher)
    try:
        with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
            yield
    finally:
        _watchers.pop()
