"""The type of a graph's float inputs and outputs: float32, or that of the graph's precision.

Inputs of a graph that takes float16 are rounded before the truth is computed on them, so that what rounding an input
loses is nobody's error. Integers, booleans and whatever else is not float32 stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .precision import FP16, FP32, PRECISIONS
from .tensor_spec import TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
# The names that --io takes. NumPy has no bfloat16 to feed, and ONNX Runtime's CPU provider none to take.
IO = (FP32, FP16)
FLOAT32 = PRECISIONS[FP32].dtype


def with_io(specs: Sequence[TensorSpec], io: str) -> tuple[TensorSpec, ...]:
    """Return the specs of a float32 graph's inputs or outputs as a graph of that ``io`` has them."""
    return tuple(replace(spec, dtype=io) if spec.dtype == FLOAT32 else spec for spec in specs)


def rounded(name: str, value: Array, io: str, bounds: tuple[float, float] | None = None) -> Array:
    """Return a float32 input, rounded to numbers that ``io`` has and that lie within the ``bounds``, as float32.

    Raises InputError if a number is beyond the type's largest.
    """
    import numpy as np

    if value.dtype != FLOAT32 or io == FLOAT32:
        return value
    with np.errstate(over="ignore"):
        narrow = value.astype(io)
    if bool((np.isinf(narrow) & np.isfinite(value)).any()):
        raise _too_large(name, float(np.abs(value[np.isfinite(value)]).max()), io)
    if bounds is not None:
        wide, less, more = narrow.astype(np.float64), narrow.dtype.type(-np.inf), narrow.dtype.type(np.inf)
        narrow = np.where(wide > bounds[1], np.nextafter(narrow, less), narrow)
        narrow = np.where(wide < bounds[0], np.nextafter(narrow, more), narrow)
    return narrow.astype(value.dtype)


def check_bounds(specs: Sequence[TensorSpec], io: str) -> None:
    """Raise InputError for an input whose values reach beyond the largest number of ``io``."""
    import numpy as np

    for spec in specs:
        if io != FLOAT32 and spec.dtype == FLOAT32 and spec.bounds is not None:
            largest = max(map(abs, spec.bounds))
            if largest > float(np.finfo(io).max):
                raise _too_large(spec.name, largest, io)


def fed(feeds: Mapping[str, Array], io: str) -> dict[str, Array]:
    """Return inputs of a float32 graph as a graph of that ``io`` takes them.

    Raises InputError if one has a number that the type does not have.
    """
    import numpy as np

    found = {}
    for name, value in feeds.items():
        if io == FLOAT32 or value.dtype != FLOAT32:
            found[name] = value
            continue
        with np.errstate(over="ignore"):
            found[name] = value.astype(io)
        if not np.array_equal(found[name].astype(value.dtype), value, equal_nan=True):
            raise InputError(
                f"received input {name} with numbers that {io} does not have; expected rounded ones, as the recorded "
                "cases of this graph are; round it first"
            )
    return found


def _too_large(name: str, largest: float, io: str) -> InputError:
    import numpy as np

    return InputError(
        f"received --io {io.replace('float', 'fp')} with input {name}, whose values reach {largest:.5g}; {io} ends at "
        f"{float(np.finfo(io).max):.5g}; leave --io out, or give a smaller range, as --shape {name}=2x3:float32[-1,1]"
    )
