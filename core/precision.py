"""Precisions: their names, the order in which they are listed, and the oldest TensorRT that reads each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import InputError

FP32, TF32, INT8, FP8 = "fp32", "tf32", "int8", "fp8"


PRECISIONS = (FP32, TF32, "fp16", "bf16", INT8, FP8)


# The oldest TensorRT that reads an opset: 8.6 ends at 17, 10.0 at 20, 10.15 at 24. What lies between was not tried.
_READERS = ((17, "8.6"), (20, "10.0"), (24, "10.15"))


def parse_precisions(text: str | Sequence[str]) -> tuple[str, ...]:
    """The lower precisions in ``fp32,fp16`` (text or a sequence), in their usual order; float32 is always there."""
    return tuple(name for name in named_precisions(text) if name != FP32)


def named_precisions(text: str | Sequence[str]) -> tuple[str, ...]:
    """All precisions in ``fp32,fp16`` (text or a sequence), in their usual order; raises InputError for an unknown
    one."""
    names = [name.strip() for name in (text.split(",") if isinstance(text, str) else text)]
    for name in names:
        if name not in PRECISIONS:
            raise InputError(
                f"received precision {name!r}; expected {', '.join(PRECISIONS)}, separated by commas: "
                "--precision fp32,fp16"
            )
    return tuple(name for name in PRECISIONS if name in names)


def oldest_tensorrt(opset: int, precision: str) -> str:
    """The oldest TensorRT that reads a graph of this opset; 8.6 has no bfloat16 and no fp8 in ONNX at any."""
    found = next((version for last, version in _READERS if opset <= last), "11.0")
    return "10.0" if precision in ("bf16", FP8) and found == "8.6" else found


def is_within(path: str, modules: Iterable[str]) -> bool:
    """Tell whether a module is one of ``modules`` or inside one."""
    return any(path == module or path.startswith(f"{module}.") for module in modules)
