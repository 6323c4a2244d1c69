"""A mode in which PyTorch computes in float64 throughout."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

from ..modules.quantisers import quantised
from .equal_scores import ranked_in_order
from .written import written

# (operator, its arguments, its keyword arguments, its result)
Seen = Callable[[Any, Any, Any, Any], None]
# (operator, its arguments, its keyword arguments) -> its result
Call = Callable[[Any, Any, Any], Any]
# The largest finite number of float32.
FLOAT32_MAX = float.fromhex("0x1.fffffep+127")
# torchvision's operators on regions of images: each region begins with the number of its image
REGIONS = frozenset(["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])


class Overlap(Exception):
    """An assignment whose two sides share memory: its result depends on the order in which elements are copied."""


class BatchStatistics(Exception):
    """A batch normalisation by the batch itself that changes running statistics, as in training."""


class NoSuchImage(Exception):
    """A region of an image beyond the batch: torchvision reads whatever lies there in memory."""


def float64_mode(
    seen: Seen | None = None,
    call: Call | None = None,
    *,
    widens: bool = True,
    ranked: Callable[[], None] | None = None,
) -> Any:
    """Return a mode that keeps every operator of a float64 run in float64; ``seen`` gets each and its result.

    ``call`` runs the operators, if it is given. Without ``widens`` every operator keeps its own type. Rankings have
    equal scores in their order, and ``ranked`` is called for each.

    A module that says ``.float()`` or holds a float32 constant would otherwise round on the way, and the truth
    would be no better than what is judged by it. Tensors of the default dtype that the module makes are widened as
    they are made, so that what is written into them fits. ``torch.finfo``, ``isinstance(x, torch.FloatTensor)``, and
    ``dtype``, ``type()`` and sizes in bytes of a tensor answer for float32, so that a branch on them is the one that
    the graph has.

    Raises Overlap if a tensor is copied onto a part of itself, the one operation of this kind that PyTorch does not
    refuse, BatchStatistics, and NoSuchImage.
    """
    import torch

    from ..modules.seen_operators import OperatorMode
    from .row_convolution import convolved

    widening = _Widening() if widens else None

    class Float64(OperatorMode):
        def __enter__(self) -> Any:
            self._before = torch.finfo, torch.FloatTensor
            self._dtypes = _float32_dtypes() if widens else contextlib.nullcontext()
            if widens:
                torch.finfo = _Finfo(torch.finfo, torch.float64, torch.float32)  # type: ignore[assignment, misc]
                torch.FloatTensor = torch.DoubleTensor  # type: ignore[assignment, misc]
            self._dtypes.__enter__()
            return super().__enter__()  # type: ignore[no-untyped-call]

        def __exit__(self, *error: Any) -> None:
            self._dtypes.__exit__(*error)
            torch.finfo, torch.FloatTensor = self._before  # type: ignore[misc]
            super().__exit__(*error)  # type: ignore[no-untyped-call]

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            given = args, kwargs
            _require_one_answer(func, args)
            if widening is not None:
                args, kwargs = widening.arguments(func, args, kwargs)
            result = ranked_in_order(func, args, kwargs)
            if result is not None and ranked is not None:
                ranked()
            if result is None and widening is not None:
                result = quantised(func, args, kwargs)
                result = convolved(func, args) if result is None else result
            if result is None:
                result = func(*args, **kwargs) if call is None else call(func, args, kwargs)
            if widening is not None:
                result = widening.result(func, result)
            if seen is not None:
                seen(func, *given, result)
            return result

    return Float64()


def _float32_dtypes() -> Any:
    """Return a mode in which a tensor of float64 says that it is float32, to all code but that of torch's functions.

    It says so of the bytes of an element and of the name of its type as well.
    To convert it to float32 gives the tensor itself, and to float64 another one, as of float32: what a module writes
    into the result changes the tensor or does not.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    tensor = torch.Tensor
    sizes = {tensor.element_size, tensor.itemsize.__get__, tensor.nbytes.__get__}  # type: ignore[attr-defined]
    wanted = {tensor.float: torch.float32, tensor.double: torch.float64, tensor.to: None, tensor.type: None}

    def widened(value: Any) -> Any:
        return torch.float64 if value is torch.float32 else value

    def converted(func: Any, args: Any, kwargs: Any) -> Any:
        values = (*args[1:], *kwargs.values())
        if func == tensor.type and not values:
            return "torch.FloatTensor"
        asked = wanted[func] or next((value for value in values if isinstance(value, torch.dtype)), None)
        if asked is torch.float32:
            func = tensor.double if func == tensor.float else func
            return func(args[0], *map(widened, args[1:]), **{key: widened(value) for key, value in kwargs.items()})
        result = func(*args, **kwargs)
        return result.clone() if asked is torch.float64 and result is args[0] else result

    class Float32Dtypes(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in wanted and args[0].dtype is torch.float64:
                return converted(func, args, kwargs)
            result = func(*args, **kwargs)
            if func in sizes and args[0].dtype is torch.float64:
                return result // 2
            return torch.float32 if result is torch.float64 else result

    return Float32Dtypes()


def _require_one_answer(func: Any, args: Any) -> None:
    """Raise Overlap, BatchStatistics or NoSuchImage for an operator whose result is no truth."""
    import torch

    if func is torch.ops.aten.copy_.default and _overlap(args[0], args[1]):
        raise Overlap
    if func is torch.ops.aten.native_batch_norm.default and _trains(args[0], *args[3:6]):
        raise BatchStatistics
    if func.namespace == "torchvision" and func.overloadpacket.__name__ in REGIONS and _are_beyond(args[0], args[1]):
        raise NoSuchImage


class _Widening:
    """Have operators take and give float64 although they would take or give less."""

    def __init__(self) -> None:
        import torch
        from torch.utils import _pytree

        self._torch, self._trees = torch, _pytree
        self._wide = dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64)
        self._wide |= dict.fromkeys((torch.complex64, torch.complex32), torch.complex128)

    def arguments(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments of an operator in float64. Most hold nothing narrow; looking is cheaper than mapping."""
        mapped = self._trees.tree_map
        if self._is_narrow(args) or self._is_narrow([*kwargs.values()]):
            convert = _into_written(func, args, kwargs) if func._schema.is_mutable else self._widen
            args, kwargs = mapped(convert, args), mapped(convert, kwargs)
        if not any(isinstance(leaf, self._torch.Tensor) for leaf in self._trees.tree_leaves((args, kwargs))):
            args, kwargs = mapped(_within_float32, args), mapped(_within_float32, kwargs)
        return args, kwargs

    def result(self, func: Any, result: Any) -> Any:
        """Return what an operator gives in float64, which is less if it made a tensor of the default dtype."""
        if func._schema.is_mutable or not self._is_narrow(result):
            return result
        return self._trees.tree_map(self._widen, result)

    def _is_narrow(self, value: Any) -> bool:
        if isinstance(value, self._torch.Tensor):
            return value.dtype in self._wide
        if isinstance(value, (list, tuple)):
            return any(map(self._is_narrow, value))
        return isinstance(value, self._torch.dtype) and value in self._wide

    def _widen(self, value: Any) -> Any:
        if isinstance(value, self._torch.Tensor) and value.dtype in self._wide:
            return value.to(self._wide[value.dtype])
        return self._wide[value] if isinstance(value, self._torch.dtype) and value in self._wide else value


class _Finfo:
    """Stands in for ``torch.finfo``: what a module asks of its dtype is answered for float32, in which it will run."""

    def __init__(self, original: Any, asked: Any, answered: Any) -> None:
        self._original, self._asked, self._answered = original, asked, answered

    def __call__(self, dtype: Any = None) -> Any:
        is_float64 = dtype is None or dtype is self._asked
        return self._original(self._answered if is_float64 else dtype)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self._original)


def _within_float32(value: Any) -> Any:
    """Return a number that a tensor is made of as float32 can hold it: infinite and NaN stay, others reach its ends."""
    if isinstance(value, float) and math.isfinite(value):
        return min(max(value, -FLOAT32_MAX), FLOAT32_MAX)
    return value


def _into_written(func: Any, args: Any, kwargs: Any) -> Callable[[Any], Any]:
    """Return what gives every float the type of the tensor that ``func`` writes into, which it cannot change."""
    import torch

    targets = written(func, args, kwargs)
    dtypes = [value.dtype for value in targets if value.is_floating_point()]
    ids = {id(value) for value in targets}

    def convert(value: Any) -> Any:
        is_other = isinstance(value, torch.Tensor) and value.is_floating_point() and id(value) not in ids
        return value.to(dtypes[0]) if dtypes and is_other else value

    return convert


def _trains(x: Any, mean: Any, _variance: Any, training: bool) -> bool:
    """Return True if running statistics are updated; those of an instance normalisation, a batch of one, are copies."""
    return training and mean is not None and not (x.shape[0] == 1 and x._is_view())


def _are_beyond(images: Any, regions: Any) -> bool:
    """Return True if a region's first number, cut to an integer, is that of none of the images."""
    numbers = regions[:, 0]
    return not bool(((numbers > -1) & (numbers < len(images))).all())


def _overlap(into: Any, source: Any) -> bool:
    """Return True if two tensors share elements without being the same ones in the same order."""
    import torch

    def layout(tensor: Any) -> tuple[Any, ...]:
        return tuple(tensor.shape), tensor.stride(), tensor.storage_offset()

    storage = into.untyped_storage()
    if storage.data_ptr() != source.untyped_storage().data_ptr() or layout(into) == layout(source):
        return False
    written = torch.zeros(storage.nbytes() // into.element_size(), dtype=torch.bool)
    written.as_strided(*layout(into)).fill_(True)
    return bool(written.as_strided(*layout(source)).any())
