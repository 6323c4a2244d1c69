"""The rates of this machine: bytes and operations a second, measured with graphs that do nothing else.

The roofline of Williams et al. (2009, https://doi.org/10.1145/1498765.1498785): nothing ends before its bytes have
moved and its operations are done. A tensor that fits into a cache moves faster than a larger one, so the bandwidth is
a curve over the bytes that are touched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.tensor_spec import TensorSpec
from ..core.traffic import Traffic, traffic

if TYPE_CHECKING:
    import onnx

OPSET = 17
# Bytes that an addition touches: the most is four times the cache, so that hardly any of them is found there.
MOST_BYTES, LEAST_OF_MOST = 1 << 30, 128 << 20
SHARES = (256, 32, 4, 1)
MATMUL, CONVOLUTION = 1024, (256, 28)


@dataclass(frozen=True)
class Probe:
    """A graph that measures one rate: its file, its inputs, and what it moves and does."""

    name: str
    path: Path
    inputs: tuple[TensorSpec, ...]
    counted: Traffic


@dataclass(frozen=True)
class Rates:
    """The rates that the machine reached. ``bandwidth`` is (bytes touched, bytes per second), the least first.

    ``call_seconds`` is what a call of a graph that does nothing takes; it is in none of the rates.
    """

    bandwidth: tuple[tuple[int, float], ...]
    operations_per_s: float
    call_seconds: float

    @property
    def call_ms(self) -> float:
        """Return the milliseconds of a call of a graph that does nothing: a limit below it is none for a graph."""
        return self.call_seconds * 1e3

    def bytes_per_s(self, touched: float) -> float:
        """Return the bandwidth for so many bytes, on a straight line between the measured ones on logarithmic axes;
        the nearest one's outside of them."""
        (least, first), (most, last) = self.bandwidth[0], self.bandwidth[-1]
        if touched <= least:
            return first
        if touched >= most:
            return last
        for (low, slow), (high, fast) in pairwise(self.bandwidth):
            if touched <= high:
                share = math.log(touched / low) / math.log(high / low)
                return float(slow * (fast / slow) ** share)
        return last

    def seconds(self, bytes_moved: float, operations: float) -> float:
        """The least time in which so many bytes move and so many operations are done beside each other."""
        if bytes_moved <= 0:
            return operations / self.operations_per_s
        return max(bytes_moved / self.bytes_per_s(bytes_moved), operations / self.operations_per_s)

    def to_json(self) -> dict[str, Any]:
        """The numbers by name."""
        return {
            "bandwidth": [{"bytes": size, "bytes_per_s": rate} for size, rate in self.bandwidth],
            "operations_per_s": self.operations_per_s,
            "call_ms": self.call_ms,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Rates:
        """The inverse of to_json."""
        bandwidth = tuple((int(part["bytes"]), float(part["bytes_per_s"])) for part in entry["bandwidth"])
        return cls(bandwidth, float(entry["operations_per_s"]), float(entry["call_ms"]) / 1e3)


@dataclass(frozen=True)
class Limit:
    """The bytes and operations of a graph, and the milliseconds that they take at the machine's rates.

    ``least_ms`` is for ``least_bytes``, everything fused, and never above ``operators_ms``: that is for one operator
    after the other, each at its own rate, moving ``bytes`` together.
    """

    bytes: int
    least_bytes: int
    operations: int
    least_ms: float
    operators_ms: float

    @classmethod
    def of(cls, counted: Traffic, rates: Rates) -> Limit:
        """The limit of what was counted."""
        each = sum(rates.seconds(operator.bytes, operator.operations) for operator in counted.operators)
        # the parts of a large tensor may fit into a cache that the whole does not
        least = min(each, rates.seconds(counted.least_bytes, counted.operations))
        return cls(counted.bytes, counted.least_bytes, counted.operations, least * 1e3, each * 1e3)


def probes(folder: Path, cache_bytes: int) -> list[Probe]:
    """Graphs in ``folder`` for every rate: an empty one, additions from cache and memory, two large products."""
    most = min(MOST_BYTES, max(LEAST_OF_MOST, 4 * cache_bytes))
    found = [_probe(folder, "call", [[1]], [1], "Neg")]
    for share in SHARES:
        # two read, one written; of two axes, since shape inference takes one axis for a list of sizes and looks at each
        shape = [16, most // share // (3 * 4 * 16)]
        found.append(_probe(folder, f"add-{most // share}", [shape] * 2, shape, "Add"))
    square = [MATMUL, MATMUL]
    found.append(_probe(folder, "matmul", [square], square, "MatMul", weight=square))
    channels, size = CONVOLUTION
    image = [1, channels, size, size]
    found.append(_probe(folder, "conv", [image], image, "Conv", weight=[channels, channels, 3, 3], pads=[1, 1, 1, 1]))
    return found


def rates_of(found: Sequence[Probe], seconds: dict[str, float]) -> Rates:
    """The rates from the ``seconds`` of a call of each probe, by name."""
    call = seconds["call"]
    additions = [probe for probe in found if probe.name.startswith("add-")]
    products = [probe for probe in found if probe.name in ("matmul", "conv")]
    bandwidth = sorted(
        (probe.counted.bytes, probe.counted.bytes / _net(seconds[probe.name], call)) for probe in additions
    )
    best = max(probe.counted.operations / _net(seconds[probe.name], call) for probe in products)
    return Rates(tuple(bandwidth), best, call)


def _net(seconds: float, call: float) -> float:
    """Without what any call takes; a clock that stumbles must not make a rate infinite."""
    return max(seconds - call, seconds / 2)


def _probe(
    folder: Path,
    name: str,
    inputs: Sequence[Sequence[int]],
    output: Sequence[int],
    kind: str,
    *,
    weight: Sequence[int] = (),
    **attributes: Any,
) -> Probe:
    import onnx

    specs = tuple(TensorSpec(f"x{place}", tuple(sizes)) for place, sizes in enumerate(inputs))
    path = folder / f"{name}.onnx"
    onnx.save(_model(kind, specs, output, weight, attributes), str(path))
    return Probe(name, path, specs, traffic(path, {}))


def _model(
    kind: str, specs: Sequence[TensorSpec], output: Sequence[int], weight: Sequence[int], attributes: dict[str, Any]
) -> onnx.ModelProto:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weights = []
    if weight:
        values = np.random.default_rng(0).standard_normal(tuple(weight), np.float32)
        weights = [numpy_helper.from_array(values, "weight")]
    names = [spec.name for spec in specs] + [entry.name for entry in weights]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"], name=kind.lower(), **attributes)],
        "probe",
        [helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, list(spec.shape)) for spec in specs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(output))],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
