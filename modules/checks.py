"""Checks of a module before it is exported: what it is, and that it runs at its sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..core.memory import is_shortage
from ..core.tensor_spec import Axis, TensorSpec
from ..errors import Attn2trtError, InputError, ModuleRefused, SizesRefused, one_line
from .block_index import ALL_AXES
from .raised import raised, remedy
from .traceable import check_traceable

if TYPE_CHECKING:
    from torch import Tensor, nn


def check_module(module: nn.Module) -> None:
    """Raise ModuleRefused for a module that is no Python any more, and for weights outside float32 or the CPU."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(
            f"received {one_line(repr(module), 80)} of type {type(module).__name__}; expected a torch.nn.Module, or "
            "the text of a TARGET; give one"
        )
    check_traceable(module)
    for kind, named_tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for key, tensor in named_tensors:
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise ModuleRefused(
                    f"received {kind} {key} in {str(tensor.dtype).removeprefix('torch.')}; expected float32; "
                    "call .float() on the module"
                )
            if tensor.device.type != "cpu":
                raise ModuleRefused(
                    f"received {kind} {key} on {tensor.device}; expected the CPU; call .cpu() on the module"
                )


def check_runs(module: nn.Module, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> None:
    """Run the module at the traced sizes with the smallest batch; SizesRefused if it raises."""
    sizes = {name: axis.min if name == "batch" else axis.opt for name, axis in axes.items()}
    check_at(sizes, module, inputs, axes)


def check_smallest(module: nn.Module, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> None:
    """Run the module at the smallest sizes of ``axes``; SizesRefused if it raises.

    Do this when the trace has narrowed the ranges: a module of windows takes none but their multiples.
    """
    check_at({name: axis.min for name, axis in axes.items()}, module, inputs, axes)


def check_at(
    sizes: Mapping[str, int],
    module: nn.Module,
    inputs: Sequence[TensorSpec],
    axes: Mapping[str, Axis],
    advice: str = "",
) -> None:
    """Run the module at ``sizes``; SizesRefused, with ``advice`` before what else could be changed, if it raises."""
    import torch

    from .copying import copy_module
    from .seen_operators import uncompiled

    if not inputs:
        return
    # a copy, since a forward pass may leave something behind
    module = copy_module(module, shares_parameters=True)
    shapes = {spec.name: spec.resolve(sizes) for spec in inputs}
    first = functools.partial(_advice_on_shared, inputs, axes)
    with refused_sizes(type(module).__name__, shapes, lambda: advice or first()), torch.no_grad(), uncompiled():
        module(*(_example(spec, shapes[spec.name]) for spec in inputs))


def _advice_on_shared(inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> str:
    """Return what to do if an axis that several inputs share is theirs by chance; "" if none is shared."""
    for axis in axes:
        sharing = [spec for spec in inputs if axis in spec.shape]
        if len(sharing) > 1 and axis in ALL_AXES:
            named = " and ".join(f"axis {spec.shape.index(axis)} of {spec.name}" for spec in sharing)
            first, shape = sharing[0].name, sharing[0].shape
            place = axis if len(shape) in (4, 5) else f"dim{shape.index(axis)}"  # other inputs' axes have no names
            apart = f"{first}.{place}={axes[axis].text}"
            return f"{axis} is {named}: if it is only that of {first}, write --dynamic {apart}; else "
    return ""


def _example(spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    import torch

    dtype: torch.dtype = getattr(torch, spec.dtype)
    low, high = spec.bounds or (0, 1)
    if dtype.is_floating_point:
        return (low + (high - low) * torch.rand(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    return torch.full(shape, low).to(dtype)


@contextmanager
def refused_sizes(name: str, shapes: Mapping[str, tuple[int, ...]], advice: Callable[[], str]) -> Iterator[None]:
    """Turn what a forward pass raises into SizesRefused, one line with the sizes that it was given and ``advice``."""
    try:
        yield
    except Attn2trtError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={'x'.join(map(str, shape))}" for key, shape in shapes.items())
        if isinstance(error, MemoryError) or is_shortage(str(error)):
            said = (
                f"received {given} for {name}, for which memory ran out; give smaller sizes with --shape or --dynamic"
            )
            raise SizesRefused(said) from error
        otherwise = f"expected sizes that its forward takes; {advice()}change --shape or --dynamic"
        said = f"received {given} for {name}, which raised {raised(error)}; {remedy(error, otherwise)}"
        raise SizesRefused(said) from error
