"""The loss of 8-bit operands by themselves: PyTorch in float32, both operands of each quantised product in the format.

The scales of what a product reads are those of the graph; a weight's are its own. A weight of integers has one for
each output channel. A batch normalisation that the graph folds into it multiplies whole channels, and with them their
scales: the levels are the same. A weight of fp8 has one scale, which the folding changes: its numbers are rounded
elsewhere, and as far. A product is found by its weight: a parameter of the module, or one but for the scale of its
channels, as the graph has it under weight normalisation. One whose weight is computed otherwise is found by the module
that runs it. If one weight or module has several products, each has the scale of the graph's product that reads numbers
as large.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..core.graph_io import FLOAT32
from ..core.module_path import is_within
from ..core.precision import INT8, QUANTISED, Precision
from ..errors import ModuleRefused
from .last_digits import LastDigits
from .operator_mode import operator_mode

if TYPE_CHECKING:
    from torch import nn

    from .cases import Case

# The most by which a weight may differ from a parameter with scaled channels, relatively.
ALIKE = 1e-5
GATHERS = "deform_conv2d"  # its operand is the gathered pixels
# For an operator: the index of the operand that it reads, that of its weight, and the axis of the output channels.
PRODUCTS = {
    "convolution": (0, 1, 0),
    "linear": (0, 1, 0),
    "addmm": (1, 2, 1),
    "mm": (0, 1, 1),
    "matmul": (0, 1, 1),
    # a linear layer on maps that are not contiguous: its weight is repeated for each
    "bmm": (0, 1, 2),
    "baddbmm": (1, 2, 2),
    GATHERS: (0, 1, 0),
}


@dataclass(frozen=True)
class EightBit:
    """An 8-bit precision to measure.

    Attributes:
        scales: Those of the products of every weight or module, by its name, in the order in which they run; None for a
            product that stays in float32.
        ran_by: The paths of the modules that run the same products.
        precision: The name of the format.
        draws: The runs whose largest error is the floor.
        io: The type of the outputs.
    """

    scales: Mapping[str, tuple[float | None, ...]]
    ran_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    precision: str = INT8
    draws: tuple[int, ...] = (0, 1)
    io: str = FLOAT32

    def without(self, modules: Sequence[str]) -> EightBit:
        """Return this precision with these modules, by path, and all inside them in float32 as well."""
        return self._where(lambda path: not is_within(path, modules))

    def only(self, modules: Sequence[str]) -> EightBit:
        """Return this precision in these modules' own products alone."""
        return self._where(lambda path: path in modules)

    def _where(self, is_quantized: Callable[[str], bool]) -> EightBit:
        scales = {
            name: tuple(
                scale if is_quantized(path) else None for scale, path in zip(found, self.ran_by[name], strict=True)
            )
            for name, found in self.scales.items()
        }
        return replace(self, scales=scales)

    @contextmanager
    def mode(self, module: nn.Module, path: Callable[[], str], draw: int) -> Iterator[None]:
        """Enter a context in which a float32 run of ``module`` has the products of a run with integers.

        ``path`` gives the part that runs.

        ``draw`` 0 has PyTorch's own last digits, any other moves them: near the middle between two levels they decide.
        Raises ModuleRefused if a quantised product of the graph was not met.
        """
        digits = LastDigits(draw) if draw else None
        form = QUANTISED[self.precision]
        name_of = _namer(module, self.scales)
        met: Counter[str] = Counter()

        def next_scale(weight: Any) -> float | None:
            where = name_of(weight) or path()
            found = self.scales.get(where, ())
            met[where] += 1
            return found[met[where] - 1] if met[where] <= len(found) else None

        def call(func: Any, args: Any, kwargs: Any) -> Any:
            name = func.overloadpacket.__name__
            if name in PRODUCTS:
                scale = next_scale(args[PRODUCTS[name][1]])
                if scale is not None:
                    if name == GATHERS:
                        func, args = _gathered(func, args)
                    args = _on_levels(args, PRODUCTS[name], scale, form)
            result = func(*args, **kwargs)
            return result if digits is None else digits.move(func, result)

        with operator_mode(call), _attention_written_out():
            yield
        for name, scales in self.scales.items():
            if any(scale is not None for scale in scales[met[name] :]):
                part = next(filter(None, self.ran_by.get(name, ())), "")
                keep = "keep them" if part else "move them into a module of their own, and keep that"
                raise ModuleRefused(
                    f"the quantised products of {name or 'the module itself'} run {len(scales)} times in the graph and "
                    f"{met[name]} times in PyTorch, so that what {self.precision} loses there is not known; {keep} in "
                    f"float32 with --keep-fp32{f' {part}' if part else ''}"
                )


def products_run(module: nn.Module, case: Case) -> list[tuple[str, str, float]]:
    """Return PyTorch's products on a case: the parameter that each one's weight is, "" if none, the module, and the
    largest magnitude of what it reads, NaN of pixels that it gathers."""
    from .eager import Eager

    eager = Eager(module, (), 0, is_double=False)
    eager.follow_modules()
    name_of = _namer(eager.module, dict(eager.module.named_parameters()))
    found: list[tuple[str, str, float]] = []

    def call(func: Any, args: Any, kwargs: Any) -> Any:
        name = func.overloadpacket.__name__
        if (operands := PRODUCTS.get(name)) is not None:
            read = args[operands[0]]
            largest = math.nan if name == GATHERS else float(read.abs().max()) if read.numel() else 0.0
            found.append((name_of(args[operands[1]]), eager.inside(), largest))
        return func(*args, **kwargs)

    with _attention_written_out():
        eager.run_within(case, lambda: operator_mode(call))
    return found


@contextmanager
def _attention_written_out() -> Iterator[None]:
    """Have ``nn.MultiheadAttention`` run its products, as a graph does; PyTorch may run one operator in their place."""
    from torch.backends import mha

    was_enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(was_enabled)


def _namer(module: nn.Module, names: Container[str]) -> Callable[[Any], str]:
    """Return what gives the one of ``names`` of parameters that a weight has; "" if it has none."""
    parameters = dict(module.named_parameters())
    by_id = {id(parameter): name for name, parameter in parameters.items()}
    scaled = {name: parameter for name, parameter in parameters.items() if name in names}

    def name_of(weight: Any) -> str:
        name = by_id.get(id(weight)) or by_id.get(id(weight._base)) or ""
        # copies of a layer may have one weight in the graph, by the name of the first
        return name if name in names else _scaled(weight, scaled)

    return name_of


def _scaled(weight: Any, parameters: Mapping[str, Any]) -> str:
    """Return the parameter that a computed weight is but for a factor of each row; "" if it is none."""
    computed = weight if weight._base is None else weight._base
    for name, parameter in parameters.items():
        if (
            parameter.ndim > 1
            and parameter.shape == computed.shape
            and _directions(parameter).allclose(_directions(computed), rtol=0, atol=ALIKE)
        ):
            return name
    return ""


def _directions(weight: Any) -> Any:
    rows = weight.detach().flatten(1)
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return rows / largest.where(largest != 0, 1)


def _gathered(deformed: Any, args: Any) -> tuple[Any, Any]:
    """Return a deformable convolution as a 1x1 convolution of the pixels that it gathers, and its arguments."""
    import torch

    x, weight, offset, mask, bias, *window, groups, offset_groups, use_mask = args
    channels, taps = x.shape[1], weight[0, 0].numel()
    each = torch.eye(taps).reshape(taps, 1, *weight.shape[2:]).repeat(channels, 1, 1, 1)
    gathered = deformed(x, each, offset, mask, torch.zeros(len(each)), *window, channels, offset_groups, use_mask)
    one_by_one = [1, 1], [0, 0], [1, 1], False, [0, 0]  # stride, padding, dilation, transposed, its padding
    product = weight.reshape(len(weight), -1, 1, 1)
    return torch.ops.aten.convolution.default, (gathered, product, bias, *one_by_one, groups)


def _on_levels(args: Any, places: tuple[int, int, int], scale: float, form: Precision) -> Any:
    at, weight_at, axis = places
    weight = args[weight_at]
    others = [other for other in range(weight.dim()) if other != axis or not form.per_channel]
    largest = weight.abs().amax(others, keepdim=True)
    changed = list(args)
    changed[at] = _rounded(args[at], scale, form)
    # zeros have no scale, and none is needed
    changed[weight_at] = _rounded(weight, (largest / form.largest).where(largest > 0, 1.0), form)
    return tuple(changed)


def _rounded(x: Any, scale: Any, form: Precision) -> Any:
    import torch

    if form.is_integer:
        return (x / scale).round().clamp(-form.largest - 1, form.largest) * scale
    return (x / scale).clamp(-form.largest, form.largest).to(getattr(torch, form.dtype)).float() * scale
