"""The 8-bit formats that products compute with, as far as a graph knows them."""

from __future__ import annotations

from dataclasses import dataclass

from .precision import FP8, INT8


@dataclass(frozen=True)
class Format:
    """``precision`` is the name that a user gives it, ``dtype`` ONNX's. ``largest`` is its largest number, which the
    largest magnitude of a tensor is mapped to, and ``opset`` the first whose QuantizeLinear has it. With
    ``per_channel`` a weight has a scale for each output channel, else one."""

    precision: str
    dtype: str
    largest: float
    opset: int
    per_channel: bool


# fp8 is E4M3 without infinities. Its exponents hold channels of different size, and TensorRT's tools give a weight in
# it one scale.
FORMATS = {
    INT8: Format(INT8, "INT8", 127.0, 10, True),
    FP8: Format(FP8, "FLOAT8E4M3FN", 448.0, 19, False),
}
