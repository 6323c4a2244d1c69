"""Precisions: one table of what other rooms know of each, and how a user names them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import InputError

FP32, TF32, FP16, BF16, INT8, FP8 = "fp32", "tf32", "fp16", "bf16", "int8", "fp8"
INT8_FP16 = "int8-fp16"
# ONNX Runtime's own kernels; float32 kernels each of which rounds its result; those that round products as tf32 does.
Kernels = Literal["own", "half", "tf32"]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """One precision. To add one that casts or quantises write its row, and no more.

    Attributes:
        name: On the command line, in labels, file names and manifests.
        words: In sentences.
        dtype: The type in memory, as PyTorch and NumPy name it.
        graph: The float32 graph, or one of its own with casts or with quantised products.
        unit_roundoff: Half the distance from 1 to the next number; of an 8-bit type relative to a tensor's largest.
        largest: The largest number. A quantised tensor's largest magnitude is mapped to it.
        healthy: The most floors that a healthy graph was measured to reach.
        limit: The most floors that pass: ``healthy``, and a third more for what was not measured.
        budget: The largest relative L2 error on ordinary inputs.
        share: The most that a channel may lose of its variation: the deviation of its error over its own.
        kernels: ONNX Runtime's kernels that round as the precision says.
        has_cpu_kernels: ONNX Runtime's CPU provider reads the type.
        is_optimised: ONNX Runtime's optimiser makes valid graphs of it.
        opset: The first whose QuantizeLinear has the type, and a scale for each channel if ``per_channel``.
        per_channel: A quantised weight has a scale for each output channel, else one.
        rest: The precision of what is not quantised. Below float32 everything between products is quantised too.
        oldest_tensorrt: The oldest TensorRT that has it in ONNX, at any opset.
        first_capability: The first compute capability that computes in it (CUDA C++ Programming Guide, table of
            features per compute capability). The builder refuses a plan if one of several targets lacks it.
        products_as: The precision by whose words TensorRT names the products of a plan; "" for its own.
        layer_words: TensorRT's inspector's words for it.
        kernel_words: The words in names of kernels; those that begin with k are TensorRT's own.
        is_tried: ``--precision auto`` tries it, from the fewest bits up.
        most_in_float32: The largest share of the operations in float32 with which it is worth having.
    """

    name: str
    words: str
    dtype: str
    graph: Literal["float32", "casts", "quantised"]
    unit_roundoff: float
    largest: float = float("inf")
    healthy: float
    limit: float
    budget: float
    share: float
    kernels: Kernels = "own"
    has_cpu_kernels: bool = True
    is_optimised: bool = True
    opset: int = 1
    per_channel: bool = False
    rest: str = FP32
    oldest_tensorrt: str = "8.6"
    first_capability: str = "0"
    layer_words: tuple[str, ...] = ()
    kernel_words: tuple[str, ...] = ()
    products_as: str = ""
    is_tried: bool = False
    most_in_float32: float = 1.0

    @property
    def between_runs(self) -> float:
        """The number of floors by which two healthy runs may differ."""
        return 2 * self.healthy

    @property
    def onnx_type(self) -> str:
        """The type in memory as ONNX names it."""
        return self.dtype.replace("_", "").replace("float32", "float").upper()

    @property
    def is_placed(self) -> bool:
        """True if what is handed from product to product is quantised as well, and the rest is below float32."""
        return self.rest != FP32

    @property
    def is_integer(self) -> bool:
        """True if its numbers are evenly spaced."""
        return self.dtype.startswith("int")

    @property
    def bits(self) -> int:
        """The size of a number in memory."""
        return next(size for size in (32, 16, 8, 4) if str(size) in self.dtype)


# R, the limit and the budget of float32 were measured by `python benchmarks/derive_limit.py` over blocks and backbones,
# several seeds of weights and of cases (benchmarks/results/limit.json); those of the others by derive_half_limits.py,
# derive_tf32_limit.py and derive_quantized_limits.py; shares by derive_share_limits.py: no healthy graph within its
# budget lost more than three quarters of it. A test compares each with its results.
_ROWS = (
    Precision(
        name=FP32,
        words="float32",
        dtype="float32",
        graph="float32",
        unit_roundoff=2.0**-24,
        healthy=6.0,
        limit=8.0,
        budget=1e-5,
        share=0.01,
        layer_words=("FP32", "Float", "Float32"),
        kernel_words=("f32", "fp32", "kfloat"),
    ),
    Precision(  # as float16, but for its range
        name=TF32,
        words="tf32",
        dtype="float32",
        graph="float32",
        unit_roundoff=2.0**-11,
        healthy=4.5,
        limit=6.0,
        budget=1e-2,
        share=0.1,
        kernels="tf32",
        first_capability="8.0",
        kernel_words=("tf32",),
        is_tried=True,
    ),
    Precision(
        name=FP16,
        words="float16",
        dtype="float16",
        graph="casts",
        unit_roundoff=2.0**-11,
        largest=65504.0,
        healthy=4.5,
        limit=6.0,
        budget=1e-2,
        share=0.1,
        kernels="half",
        layer_words=("FP16", "Half", "Float16"),
        kernel_words=("f16", "fp16", "khalf"),
        is_tried=True,
    ),
    Precision(  # tried after float16: it has its range, and fewer digits
        name=BF16,
        words="bfloat16",
        dtype="bfloat16",
        graph="casts",
        unit_roundoff=2.0**-8,
        largest=3.3895e38,
        healthy=4.5,
        limit=6.0,
        budget=5e-2,
        share=0.25,
        kernels="half",
        has_cpu_kernels=False,
        oldest_tensorrt="10.0",
        first_capability="8.0",
        layer_words=("BF16", "BFloat16"),
        kernel_words=("bf16", "kbf16"),
        is_tried=True,
    ),
    # Tensor cores multiply 8-bit integers at four times the rate of tf32, half precision at twice: with more than a
    # third of the operations in float32, int8 takes longer than half precision, 2/3 / 4 + 1/3 = 1/2.
    Precision(  # one rounding is half a level of 127
        name=INT8,
        words="int8",
        dtype="int8",
        graph="quantised",
        unit_roundoff=2.0**-8,
        largest=127.0,
        healthy=3.0,
        limit=4.0,
        budget=1e-1,
        share=0.625,
        opset=13,
        per_channel=True,
        layer_words=("Int8",),
        kernel_words=("i8", "u8", "int8", "kint8"),
        is_tried=True,
        most_in_float32=1 / 3,
    ),
    # The same integers, on everything that is handed from product to product, and float16 instead of float32 elsewhere.
    # QuantizeLinear reads float16 from opset 19 on. ONNX Runtime's optimiser (1.31) computes something else: what it
    # makes of ResNet18 with SE is ten times as far from the truth as the graph as it is written.
    Precision(
        name=INT8_FP16,
        words="int8 and float16",
        dtype="int8",
        graph="quantised",
        unit_roundoff=2.0**-8,
        largest=127.0,
        healthy=3.0,
        limit=4.0,
        budget=1e-1,
        share=0.875,
        kernels="half",
        is_optimised=False,
        opset=19,
        per_channel=True,
        rest=FP16,
        oldest_tensorrt="10.0",
        products_as=INT8,
    ),
    # E4M3 without infinities. Its exponents hold channels of different size, and TensorRT's tools give a weight in it
    # one scale. ONNX Runtime's optimiser makes invalid graphs of it (1.31 puts a Transpose between the pair). Only the
    # newest GPUs have it, so that it is left to those who ask for it.
    Precision(
        name=FP8,
        words="fp8",
        dtype="float8_e4m3fn",
        graph="quantised",
        unit_roundoff=2.0**-4,
        largest=448.0,
        healthy=3.0,
        limit=4.0,
        budget=1e-1,
        share=0.875,
        is_optimised=False,
        opset=19,
        oldest_tensorrt="10.0",
        first_capability="8.9",
        layer_words=("FP8", "FP8E4M3", "E4M3", "E4M3FN"),
        kernel_words=("e4m3", "e5m2", "fp8", "kfp8"),
    ),
)
PRECISIONS = {row.name: row for row in _ROWS}
FLOAT32 = PRECISIONS[FP32]
LOWER = {row.name: row for row in _ROWS if row is not FLOAT32}
CAST = {row.name: row for row in _ROWS if row.graph == "casts"}
QUANTISED = {row.name: row for row in _ROWS if row.graph == "quantised"}
# Their ranges are found by a method; the exponents of other types hold outliers: theirs are the largest magnitudes.
INTEGERS = tuple(name for name, row in QUANTISED.items() if row.is_integer)
TRIED = tuple(row.name for row in sorted(_ROWS, key=lambda row: row.bits) if row.is_tried)

# The oldest TensorRT that reads an opset: 8.6 ends at 17, 10.0 at 20, 10.15 at 24, and 11.5 reads 25 by its release
# notes. What lies between was not tried.
_READERS = ((17, "8.6"), (20, "10.0"), (24, "10.15"), (25, "11.5"))


def parse_precisions(text: str | Sequence[str]) -> tuple[str, ...]:
    """The lower precisions in ``fp32,fp16`` (text or a sequence), in their usual order; float32 is always there."""
    return tuple(name for name in named_precisions(text) if name != FP32)


def named_precisions(text: str | Sequence[str]) -> tuple[str, ...]:
    """All precisions in ``fp32,fp16`` (text or a sequence), in their usual order; raises InputError for an unknown
    one."""
    names = [name.strip().lower() for name in (text.split(",") if isinstance(text, str) else text)]
    for name in names:
        if name not in PRECISIONS:
            raise InputError(
                f"received precision {name!r}; expected {', '.join(PRECISIONS)}, separated by commas: "
                "--precision fp32,fp16"
            )
    return tuple(name for name in PRECISIONS if name in names)


def oldest_tensorrt(opset: int, precision: str) -> str:
    """Return the oldest TensorRT that reads a graph of this opset and precision."""
    of_opset = next((version for last, version in _READERS if opset <= last), _READERS[-1][1])
    return max(of_opset, PRECISIONS[precision].oldest_tensorrt, key=lambda version: [*map(int, version.split("."))])


def on_levels_of(own: str) -> tuple[str, ...]:
    """Return the precisions of graphs that have the levels of one in ``own``, and something else between them."""
    return tuple(row.name for row in _ROWS if row.is_placed and row.products_as == own)


def named_budgets() -> str:
    """Write the budget of every precision: ``fp32 1e-5, tf32 1e-2``."""
    return ", ".join(f"{row.name} {row.budget:.0e}".replace("e-0", "e-") for row in PRECISIONS.values())


def require_budget(max_error: float | None) -> None:
    """Raise InputError for a budget that no error can exceed, as NaN, or that every error does."""
    if max_error is not None and not 0 < max_error < math.inf:
        raise InputError(
            f"received a budget of {max_error} for the relative error; expected a finite number above 0; "
            "correct --max-error (max_error from Python), or leave it out"
        )
