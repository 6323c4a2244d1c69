"""The loss of a half precision by itself: PyTorch with every value rounded at every operator, adding up in float32.

The float32 policy of the graph holds here too, operator by operator (export/passes/float_policy.py). Sums, squares,
divisions by computed numbers, normalisations and exponentials take float32 and give float32, and so does what some
TensorRT refuses in the precision (core/refused_types.py). Moved values and arithmetic among float32 results
stay there; everything else rounds what it takes and what it gives. A batch normalisation rounds its result once, as
the convolution does that it is folded into. Modules that stay in float32 in the graph stay there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..core.graph_io import FLOAT32
from ..core.module_path import is_within
from ..core.precision import CAST
from ..core.refused_types import REFUSED
from ..modules.quantisers import quantises
from .last_digits import SELDOM, LastDigits
from .operator_mode import operator_mode
from .written import written

if TYPE_CHECKING:
    from torch import nn

# Not softplus and expm1: the graph chooses between what it computes of them in float32 and numbers in half precision.
# Nor adaptive pooling: it has products with bins there. That to one pixel is a mean in PyTorch itself.
_WIDE = frozenset(
    [
        *("pow", "square", "exp", "exp_", "exp2", "log", "log_", "log1p", "_softmax", "_log_softmax"),
        *("mean", "sum", "nansum", "prod", "var", "var_mean", "std", "std_mean", "norm", "linalg_vector_norm"),
        *("logsumexp", "cumsum", "sqrt", "sqrt_", "rsqrt", "rsqrt_", "reciprocal", "native_layer_norm"),
        "native_group_norm",
        *("scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "index_add", "index_add_"),
        *("grid_sampler_2d", "pow_", "_native_batch_norm_legit", "dist", "cdist", "_cdist_forward"),
    ]
)
_MOVES = frozenset(
    [
        *("cat", "stack", "clone", "index_select", "gather", "index", "constant_pad_nd", "flip", "roll", "repeat"),
        *("max_pool2d_with_indices", "max_pool3d_with_indices", "amax", "amin", "max", "min", "topk", "sort"),
        *("reflection_pad2d", "replication_pad2d", "contiguous", "_to_copy", "masked_fill", "as_strided_copy"),
        *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "_unsafe_view", "_reshape_copy", "copy_", "im2col"),
    ]
)
_FOLDED = frozenset(["native_batch_norm", "_native_batch_norm_legit_no_training", "batch_norm"])
# PyTorch's names of ONNX's operators that some TensorRT refuses in a type. A transposed convolution has the name of
# every convolution, and adding up overlapping windows becomes one, too.
NAMES_OF = {
    "ConvTranspose": ("transposed convolution", "col2im"),
    "HardSwish": ("hardswish", "hardswish_"),
    "Mish": ("mish", "mish_"),
}
# An average over more elements than this is a large sum, as in the graph.
_SMALL_WINDOW = 64
_TAG = "_attn2trt_precision"
_INPUT, _LOW, _FLOAT32 = "input", "low", "float32"


@dataclass(frozen=True)
class Half:
    """A half precision to measure.

    Attributes:
        precision: Its name.
        kept_within: The paths of modules within which everything stays in float32.
        kept_exactly: The paths of modules that stay in float32 themselves, without what is inside them.
        alone: All but these stay in float32; None for no such choice.
        draws: The runs whose largest error is the floor.
        io: The type of the outputs.
    """

    precision: str
    kept_within: tuple[str, ...] = ()
    kept_exactly: tuple[str, ...] = ()
    alone: tuple[str, ...] | None = None
    # In half precision a gate has few roundings, and one lucky one makes its whole channel look exact: with two draws
    # the largest ratio of a healthy sk was 4.2 in place of 2.
    draws: tuple[int, ...] = (0, 1, 2, 3)
    io: str = FLOAT32

    def mode(self, _module: nn.Module, path: Callable[[], str], draw: int) -> Any:
        """Return a mode in which a float32 run rounds to the half precision; ``path`` gives the module that runs.

        ``draw`` 0 rounds each result as it is; any other moves some of them first to the next number, as another kernel
        might: one run is one draw of its rounding errors.
        """
        return operator_mode(_Rounding(self, path, draw).call)

    def without(self, modules: Sequence[str]) -> Half:
        """Return this precision with these modules, by path, and all inside them in float32 as well."""
        return replace(self, kept_within=(*self.kept_within, *modules))

    def only(self, modules: Sequence[str]) -> Half:
        """Return this precision in these modules' own operators alone."""
        return replace(self, alone=tuple(modules))

    def keeps(self, path: str) -> bool:
        """Return True if what this module computes itself stays in float32."""
        is_other = self.alone is not None and path not in self.alone
        return is_other or is_within(path, self.kept_within) or path in self.kept_exactly


def mark_inputs(tensors: Any) -> None:
    """Mark the inputs: float32 operators read them as they are, all others rounded."""
    for tensor in tensors:
        setattr(tensor, _TAG, _INPUT)


def mark_as(found: Any, read: Any) -> None:
    """Mark ``found``, the levels in place of ``read``, as an input if ``read`` depends on inputs."""
    if getattr(read, _TAG, None) is not None:
        setattr(found, _TAG, _INPUT)


class _Rounding:
    """Run PyTorch's operators in the half precision, each float tensor marked with what it was rounded to."""

    def __init__(self, half: Half, path: Callable[[], str], draw: int) -> None:
        import torch
        from torch.utils import _pytree

        self._torch, self._trees = torch, _pytree
        self._half, self._path = half, path
        self._dtype = getattr(torch, CAST[half.precision].dtype)
        self._refused = {name for operator in REFUSED.get(half.precision, ()) for name in NAMES_OF[operator]}
        self._digits = LastDigits(draw, torch.finfo(self._dtype).eps, SELDOM) if draw else None

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what the operator gives, in float32 or rounded as the policy has it."""
        floats = [leaf for leaf in self._trees.tree_leaves((args, kwargs)) if self._is_float(leaf)]
        tags = [kind for kind in (getattr(leaf, _TAG, None) for leaf in floats) if kind is not None]
        if not tags:  # weights and sizes alone
            return func(*args, **kwargs)
        if quantises(func):  # a level is the same number in any type
            return self._mark(func(*args, **kwargs), _INPUT)
        if self._stays(func, args, tags):
            return self._mark(func(*args, **kwargs), _FLOAT32)
        return self._mark(self._lowered(func, args, kwargs), _LOW)

    def _stays(self, func: Any, args: Any, tags: list[str]) -> bool:
        """Return True if the operator computes in float32."""
        name = func.overloadpacket.__name__
        if name == "convolution" and args[6]:
            name = "transposed convolution"
        if name in _WIDE or name in self._refused or self._half.keeps(self._path()) or _is_wide_call(name, args):
            return True
        among = self._torch.Tag.pointwise in func.tags or func.is_view or name in _MOVES
        return bool(among) and all(kind == _FLOAT32 for kind in tags)

    def _lowered(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func.overloadpacket.__name__ in _FOLDED:  # its numbers are folded before they are rounded
            return self._narrowed(func(self._rounded(args[0]), *args[1:], **kwargs))
        mapped = self._trees.tree_map
        if func._schema.is_mutable:
            return self._written(func, args, kwargs)
        result = func(*mapped(self._rounded, args), **mapped(self._rounded, kwargs))
        if func.is_view:  # of what was rounded already
            return result
        return self._narrowed(result if self._digits is None else self._digits.move(func, result))

    def _written(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Have the operator write into the tensors themselves, rounded before and after."""
        targets = [target for target in written(func, args, kwargs) if self._is_float(target)]
        ids = {id(target) for target in targets}

        def read(value: Any) -> Any:
            return value if id(value) in ids else self._rounded(value)

        for target in targets:
            target.copy_(self._rounded(target))
        result = func(*self._trees.tree_map(read, args), **self._trees.tree_map(read, kwargs))
        if self._digits is not None:
            self._digits.move(func, result)
        for target in targets:
            target.copy_(target.to(self._dtype))
        return result

    def _is_float(self, value: Any) -> bool:
        return isinstance(value, self._torch.Tensor) and value.dtype == self._torch.float32

    def _rounded(self, value: Any) -> Any:
        is_whole = self._is_float(value) and getattr(value, _TAG, None) != _LOW
        return value.to(self._dtype).float() if is_whole else value

    def _narrowed(self, result: Any) -> Any:
        return self._trees.tree_map(lambda leaf: leaf.to(self._dtype).float() if self._is_float(leaf) else leaf, result)

    def _mark(self, result: Any, kind: str) -> Any:
        for leaf in self._trees.tree_leaves(result):
            if self._is_float(leaf):
                setattr(leaf, _TAG, kind)
                if leaf._base is not None:
                    setattr(leaf._base, _TAG, getattr(leaf._base, _TAG, None) or kind)
        return result


def _is_wide_call(name: str, args: Any) -> bool:
    """Return True for squares, divisions by a computed number, and averages over many elements."""
    if name in ("mul", "mul_"):
        return args[0] is args[1]
    if name in ("div", "div_"):
        return getattr(args[1], _TAG, None) is not None
    if name == "native_batch_norm":
        return bool(args[5])  # of the input itself: an instance normalisation
    if name == "avg_pool2d":
        window = args[1] if len(args[1]) > 1 else [*args[1], *args[1]]
        return bool(math.prod(window) > _SMALL_WINDOW)
    return False
