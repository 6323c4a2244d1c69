"""Parameters, multiply-accumulates and shapes of a module, without computing anything.

The module runs once on the meta device, whose tensors have a shape and no values. Multiply-accumulates are those of
convolutions and matrix products, as torch.utils.flop_counter counts them, halved: papers that count a multiplication
and an addition as two report twice as much. A deformable convolution counts as the convolution that it moves.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from .checks import refused_sizes
from .copying import copy_module
from .seen_operators import OperatorMode, uncompiled

# Views and copies: they move nothing that a reader of shapes would miss.
_PLUMBING = frozenset({"detach", "alias", "t", "transpose", "permute", "expand", "_unsafe_view", "unsqueeze", "clone"})


@dataclass(frozen=True)
class Cost:
    """``macs`` are the multiply-accumulates of one forward pass."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Step:
    """One operator: the path of the module that it runs in, and the shapes that go in and come out."""

    module: str
    operator: str
    shapes: tuple[tuple[int, ...], ...]
    result: tuple[int, ...]


@dataclass(frozen=True)
class Metering:
    """``given`` and ``macs`` are by module path: the shape of a module's first input, and what it costs."""

    cost: Cost
    steps: tuple[Step, ...]
    given: dict[str, tuple[int, ...]]
    macs: dict[str, int]


def parameters(module: nn.Module) -> int:
    """Return how many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def meter(module: nn.Module, inputs: Sequence[Tensor]) -> Metering:
    """Run a copy of ``module`` on meta tensors.

    One whose forward needs values runs on the CPU on zeros, with its weights. Raises SizesRefused if that fails, too.
    """
    try:
        return _metered(copy_module(module, shares_parameters=True).eval().to("meta"), inputs)
    except Exception:  # of any kind: what is computed of numbers may be anything
        if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
            raise
    shapes = {f"input {place}": tuple(given.shape) for place, given in enumerate(inputs)}
    with refused_sizes(type(module).__name__, shapes, lambda: ""):
        return _metered(module.eval(), [torch.zeros(given.shape, dtype=given.dtype) for given in inputs])


def _metered(module: nn.Module, inputs: Sequence[Tensor]) -> Metering:
    counter = FlopCounterMode(display=False, custom_mapping=_deformable())
    watch = _Watch(counter)
    hooks = [hook for path, part in module.named_modules() for hook in watch.hooks(path, part)]
    try:
        with torch.no_grad(), uncompiled(), counter, watch:
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    cost = Cost(parameters(module), counter.get_total_flops() // 2)
    return Metering(cost, tuple(watch.steps), watch.given, watch.macs)


def _deformable() -> dict[Any, Callable[..., int]]:
    """Return how torchvision's deformable convolution is counted; nothing if torchvision was not imported."""
    found = getattr(torch.ops.torchvision, "deform_conv2d", None)

    def flops(_x: Any, weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
        return 2 * math.prod(out_shape) * math.prod(weight[1:])

    return {} if found is None else {found: flops}


class _Watch(OperatorMode):
    """Notes every operator, and what each module was given and how much it did by the counter's readings."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.given: dict[str, tuple[int, ...]] = {}
        self.macs: dict[str, int] = {}
        self._counter = counter
        self._inside = [""]
        self._started: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sources = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        name = func.overloadpacket.__name__
        if outputs and sources and name not in _PLUMBING:
            shapes = tuple(tuple(leaf.shape) for leaf in sources if leaf.ndim)
            self.steps.append(Step(self._inside[-1], name.strip("_"), shapes, tuple(outputs[0].shape)))
        return result

    def hooks(self, path: str, part: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
        """Return the hooks of one module."""
        return (
            part.register_forward_pre_hook(functools.partial(self._enter, path)),
            part.register_forward_hook(functools.partial(self._leave, path)),
        )

    def _enter(self, path: str, _part: nn.Module, args: tuple[Any, ...]) -> None:
        self._inside.append(path)
        self._started[path] = self._counter.get_total_flops()
        if args and isinstance(args[0], Tensor):
            self.given[path] = tuple(args[0].shape)

    def _leave(self, path: str, *_: Any) -> None:
        self._inside.pop()
        self.macs[path] = self.macs.get(path, 0) + (self._counter.get_total_flops() - self._started[path]) // 2
