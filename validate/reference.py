"""The truth and the floor: the module run by PyTorch in float64, and what eager float32 loses against that."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import ModuleRefused
from .cases import Case
from .hidden import GATES, Hidden
from .metrics import LIMIT, UNIT_ROUNDOFF, Floor, Reference, measure
from .plain_sums import plain_sums_mode

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Floor", "Reference", "references"]

Array = npt.NDArray[Any]
Feeds = dict[str, Array]
Outputs = dict[str, Array]
# Rows of a batch are independent where float64 agrees to this relative error: far above float64's own rounding
# in a deep network, far below float32's.
ROWS_AGREE = 1e-11
NUDGES = 3


def references(
    module: nn.Module,
    cases: Iterable[Case],
    output_names: Sequence[str] = (),
    *,
    seed: int = 0,
    hidden: Hidden | None = None,
) -> Iterator[Reference]:
    """One reference per case, in order; nothing is kept between them. ``hidden`` is told what every gate gave.

    The module's outputs (tensor, tuple, list, dict, nested) are named in flattened order by ``output_names``, or
    "output" / "output_0", … where that is empty. Works on copies: the caller's module is never touched.
    Raises ModuleRefused where PyTorch itself cannot run a case.
    """
    single, double = (_Eager(module, output_names, seed, is_double=is_double) for is_double in (False, True))
    if hidden is not None:
        double.hidden = hidden
        double.follow_modules()
    for case in cases:
        feeds = case.feeds
        truth = double.run(feeds, case)
        largest = double.largest
        rounded = single.run(feeds, case)
        floors = {name: measure(rounded[name], truth[name]) for name in truth}
        for neighbour in case.neighbours():
            near64, near32 = double.run(neighbour, case), single.run(neighbour, case, plain_sums=True)
            floors = {name: floor.or_larger(measure(near32[name], near64[name])) for name, floor in floors.items()}
        floors |= _unsettled(double, feeds, case, truth, rounded)
        yield Reference(truth, rounded, floors, largest, _row_outputs(double, feeds, case, truth))


class _Eager:
    """The module on the CPU in one precision; ``largest`` is the largest magnitude that the last run met."""

    def __init__(self, module: nn.Module, output_names: Sequence[str], seed: int, *, is_double: bool) -> None:
        try:
            copied = copy.deepcopy(module)
        except Exception as error:
            raise ModuleRefused(
                f"{type(module).__name__} cannot be copied ({_reason(error)}), which the float64 reference needs; "
                "make copy.deepcopy(module) work"
            ) from error
        self.module = (copied.double() if is_double else copied.float()).eval().cpu()
        self.output_names = tuple(output_names)
        self.seed = seed
        self.is_double = is_double
        self.largest = 0.0
        self.hidden: Hidden | None = None
        self.inside: list[str] = []

    def follow_modules(self) -> None:
        """Keep in ``inside`` the paths of the modules that are running, the innermost last."""

        def leave(*_: object) -> None:
            self.inside.pop()

        for path, part in self.module.named_modules():
            part.register_forward_pre_hook(lambda *_, path=path: self.inside.append(path))
            part.register_forward_hook(leave)

    def run(self, feeds: Feeds, case: Case, *, plain_sums: bool = False) -> Outputs:
        """Outputs by name; ``plain_sums`` adds up means and sums in a plain loop, as other runtimes do."""
        import torch

        kind = torch.float64 if self.is_double else torch.float32
        tensors = {name: torch.from_numpy(value.copy()) for name, value in feeds.items()}
        tensors = {name: value.to(kind) if value.is_floating_point() else value for name, value in tensors.items()}
        self.inside.clear()
        watch = _float64_mode(self) if self.is_double else None
        inside: AbstractContextManager[Any] = watch or (plain_sums_mode() if plain_sums else nullcontext())
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]), _plain_float32(), inside:
                torch.manual_seed(self.seed)
                outputs = self._call(tensors)
        except Exception as error:
            sizes = ", ".join(f"{name}={size}" for name, size in case.sizes.items()) or "the traced shape"
            raise ModuleRefused(
                f"PyTorch itself cannot run case {case.name} ({sizes}): {_reason(error)}; "
                "give a shape and ranges that the module takes"
            ) from error
        if watch is not None:
            magnitudes = [float(np.abs(value).max()) for value in feeds.values() if value.size]
            self.largest = max(watch.largest, *magnitudes, 0.0)
        return outputs

    def _call(self, tensors: dict[str, Any]) -> Outputs:
        import torch
        from torch.utils._pytree import tree_leaves

        leaves = [leaf for leaf in tree_leaves(_apply(self.module, tensors)) if isinstance(leaf, torch.Tensor)]
        names = self.output_names
        if not names:
            names = ("output",) if len(leaves) == 1 else tuple(f"output_{index}" for index in range(len(leaves)))
        if len(names) != len(leaves):
            raise ValueError(f"the module returned {len(leaves)} tensors, expected {len(names)} ({', '.join(names)})")
        return {name: leaf.detach().cpu().contiguous().numpy() for name, leaf in zip(names, leaves, strict=True)}


def _apply(module: nn.Module, tensors: dict[str, Any]) -> Any:
    """Inputs go by position: their names may be the graph's, and they come in forward's order."""
    return module(*tensors.values())


def _float64_mode(eager: _Eager) -> Any:
    """A mode that keeps every operator of a float64 run in float64 and notes the largest magnitude and the gates.

    A module that says ``.float()`` or holds a float32 constant would otherwise round on the way, and the truth
    would be no better than what is judged by it.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves, tree_map

    narrow = (torch.float32, torch.float16, torch.bfloat16)

    def widen(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype in narrow:
            return value.double()
        return torch.float64 if value in narrow else value

    class Float64(TorchDispatchMode):  # type: ignore[no-untyped-call]
        largest = 0.0
        calls: Counter[tuple[str, str]]

        def note_gate(self, operator: str, low: float, high: float) -> None:
            place = (eager.inside[-1] if eager.inside else "", operator)
            if eager.hidden is not None:
                eager.hidden.gate(*place, self.calls[place], low, high)
            self.calls[place] += 1

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not func._schema.is_mutable:
                args, kwargs = tree_map(widen, args), tree_map(widen, kwargs or {})
            result = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel():
                    low, high = torch.aminmax(leaf.detach())
                    if func.overloadpacket.__name__ in GATES:
                        self.note_gate(func.overloadpacket.__name__, float(low), float(high))
                    largest = max(-float(low), float(high))
                    if self.largest < largest < float("inf"):
                        self.largest = largest
            return result

    mode = Float64()  # type: ignore[no-untyped-call]
    mode.calls = Counter()
    return mode


@contextmanager
def _plain_float32() -> Iterator[None]:
    """No TF32 and no bfloat16 inside float32 products, whatever the process has set."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _unsettled(double: _Eager, feeds: Feeds, case: Case, truth: Outputs, rounded: Outputs) -> dict[str, Floor]:
    """For every integer output, the elements that differ in float32 or when the inputs move by a few roundings."""
    exact = [name for name, value in truth.items() if value.dtype.kind in "iub"]
    if not exact:
        return {}
    unsettled = {name: np.asarray(rounded[name] != truth[name]) for name in exact}
    rng = np.random.default_rng(double.seed)
    for _ in range(NUDGES):
        nudged = double.run(_nudge(feeds, rng), case)
        for name in exact:
            unsettled[name] |= nudged[name] != truth[name]
    return {name: Floor(0.0, 0.0, unsettled=mask) for name, mask in unsettled.items()}


def _nudge(feeds: Feeds, rng: np.random.Generator) -> Feeds:
    moved = {}
    for name, value in feeds.items():
        if value.dtype.kind == "f":
            # float64, because the nudge is only a few times the float32 spacing
            value = value * (1 + LIMIT * UNIT_ROUNDOFF * rng.uniform(-1, 1, size=value.shape))  # noqa: PLW2901
        moved[name] = value
    return moved


def _row_outputs(double: _Eager, feeds: Feeds, case: Case, truth: Outputs) -> tuple[str, ...]:
    """The outputs whose first and last rows come out the same when they are run alone."""
    if case.kind not in ("normal", "random_int") or not case.row_inputs:
        return ()
    rows = {feeds[name].shape[0] for name in case.row_inputs}
    if rows == {1} or len(rows) != 1:
        return ()
    count = rows.pop()
    agreeing = set(truth)
    for row in (0, count - 1):
        try:
            alone = double.run(row_feeds(feeds, case.row_inputs, row), case)
        except ModuleRefused:
            return ()
        agreeing = {name for name in agreeing if _row_agrees(alone[name], truth[name], row, count)}
    return tuple(name for name in truth if name in agreeing)


def row_feeds(feeds: Feeds, row_inputs: Sequence[str], row: int) -> Feeds:
    """The same inputs with one row of the batch only."""
    return {name: value[row : row + 1] if name in row_inputs else value for name, value in feeds.items()}


def _row_agrees(alone: Array, batch: Array, row: int, count: int) -> bool:
    if not batch.ndim or batch.shape[0] != count or alone.shape != (1, *batch.shape[1:]):
        return False
    expected = batch[row : row + 1]
    if expected.dtype.kind in "iub":
        return bool((alone == expected).all())
    if not (np.isfinite(alone).all() and np.isfinite(expected).all()):
        return False
    scale = float(np.abs(expected).max()) if expected.size else 0.0
    return bool((np.abs(alone - expected) <= ROWS_AGREE * scale).all())


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
