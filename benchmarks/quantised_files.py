"""Hold quantised files of ONNX Runtime against the float32 module that they were made of, healthy and broken.

    python benchmarks/quantised_files.py                        all rows; writes results/quantised_files.json and
                                                                docs/quantised_files.md
    python benchmarks/quantised_files.py resnet10t              these networks alone, printed

Each network has random weights and normalisations that do not begin at their initial values. It is exported, quantised
by ``quantize_static`` in each of the ways, and checked with ``against``. Then the file is broken at the first, a middle
and the last convolution, one fault at a time. A fault that the ratios and the budget both let through is missed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from page_text import generated, table
from stored_results import heading, side_by_side, store

from attn2trt import check_model

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/quantised_files.json", ROOT / "docs/quantised_files.md"
COMMAND = "python benchmarks/quantised_files.py"
SIZE, CLASSES = 64, 10
NETWORKS = ("resnet10t", "resnet18+cbam", "mobilenetv3_small_050", "mobilenetv2_050")
# the words of the page: per_channel, calibration, type of what is read
WAYS: dict[str, tuple[bool, str, str]] = {
    "each channel, minmax": (True, "MinMax", "QInt8"),
    "one scale, minmax": (False, "MinMax", "QInt8"),
    "each channel, percentile, unsigned": (True, "Percentile", "QUInt8"),
}
# whose healthy files keep the budget: of others every file fails by it
BROKEN = ("resnet10t",)
Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NETWORK", help="these alone, printed and not written")
    parser.add_argument("--jobs", type=int, default=2, help="files at a time (default: 2)")
    options = parser.parse_args()
    data: Row = {"command": COMMAND, **heading("torch", "timm", "onnx", "onnxruntime-gpu", "numpy"), "rows": []}
    calls = [(name, way, fault, place) for name, way, fault, place in _calls() if name in (options.names or NETWORKS)]
    for row in side_by_side(measured, calls, options.jobs):
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
        data["rows"].append(row)
        if not options.names:
            data["rows"].sort(key=lambda one: calls.index((one["network"], one["way"], one["fault"], one["place"])))
            store(data, RESULTS, PAGE, page(data))
    return 0


def _calls() -> Iterator[tuple[str, str, str, str]]:
    for name in NETWORKS:
        yield from ((name, way, "", "") for way in WAYS)
        if name in BROKEN:
            yield from ((name, next(iter(WAYS)), fault, place) for fault in FAULTS for place in PLACES)


def measured(name: str, way: str, fault: str, place: str) -> Row:
    """Quantise a network, break it if there is a fault, and check the file against the network."""
    since = time.perf_counter()
    module = network(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantise(module, path, *WAYS[way])
        where = ""
        if fault:
            model = onnx.load(str(path))
            convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
            node = convolutions[PLACES[place](len(convolutions))]
            FAULTS[fault](File(model, node))
            onnx.save(model, str(path))
            where = node.name
        found = check_model(path, against=module, dynamic="batch=1:2:3", capabilities="none")
    stage = found.verdict.stages[0]
    numbers = [one for _, one in stage.comparisons]
    row = {"network": name, "way": way, "fault": fault, "place": place, "node": where, "status": stage.status}
    row |= {"ratio": round(max(one.ratio for one in numbers if one.which != "variation"), 3)}
    row |= {"error": float(f"{max(one.error for one in numbers if not one.is_stress):.3g}")}
    row |= {"by": sorted({one.which for one in numbers if not one.passed}), "why": stage.why}
    row |= {"noted": any("weights in few bits" in line for line in found.notes)}
    return row | {"seconds": round(time.perf_counter() - since, 1)}


def network(name: str) -> Any:
    """Return a network with random weights, its normalisations off their initial values."""
    import torch

    from attn2trt.modules.catalog import build

    backbone, plus, block = name.partition("+")
    module = build(f"{backbone}:num_classes={CLASSES}{plus}{block}", shapes=[f"2x3x{SIZE}x{SIZE}"], seed=0).eval()
    draw = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5, generator=draw)
            part.bias.data.normal_(0, 0.2, generator=draw)
            part.running_mean.normal_(0, 0.1, generator=draw)
            part.running_var.uniform_(0.5, 1.5, generator=draw)
    return module


def quantise(module: Any, path: Path, per_channel: bool, calibration: str, read: str) -> None:
    """Write what ONNX Runtime's static quantiser makes of a module; calibrated on random inputs."""
    import torch
    from onnxruntime import quantization

    before = path.with_name("before.onnx")
    axes = {"image": {0: "n"}, "scores": {0: "n"}}
    shape = (2, 3, SIZE, SIZE)
    torch.onnx.export(
        module,
        (torch.zeros(shape),),
        str(before),
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes=axes,
    )

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self._feeds = iter([{"image": rng.normal(size=shape).astype(np.float32)} for _ in range(4)])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    kinds = {"activation_type": quantization.QuantType[read], "weight_type": quantization.QuantType.QInt8}
    how = quantization.CalibrationMethod[calibration]
    quantization.quantize_static(
        str(before), str(path), Reader(), per_channel=per_channel, calibrate_method=how, **kinds
    )


class File:
    """A quantised file, changed at what a convolution reads."""

    def __init__(self, model: onnx.ModelProto, convolution: onnx.NodeProto) -> None:
        self._graph, self._convolution = model.graph, convolution
        self._makers = {name: node for node in model.graph.node for name in node.output}

    def dequantizer(self, place: int) -> onnx.NodeProto:
        """Return the DequantizeLinear that an input of the convolution comes from."""
        return self._makers[self._convolution.input[place]]

    def quantizer(self) -> onnx.NodeProto:
        """Return the QuantizeLinear of what the convolution reads."""
        return self._makers[self.dequantizer(0).input[0]]

    def change(self, node: onnx.NodeProto, place: int, how: Callable[[np.ndarray], np.ndarray]) -> None:
        """Give an input of a node a changed copy of its stored tensor, in the same type."""
        before = next(numpy_helper.to_array(one) for one in self._graph.initializer if one.name == node.input[place])
        changed = np.asarray(how(before.copy())).astype(before.dtype)
        node.input[place] = f"{node.input[place]}_changed_for_{node.output[0]}"
        self._graph.initializer.append(numpy_helper.from_array(changed, node.input[place]))


def _first_doubled(scales: np.ndarray) -> np.ndarray:
    scales.reshape(-1)[0] *= 2
    return scales


def _cut(file: File) -> None:
    for node in (file.quantizer(), file.dequantizer(0)):
        file.change(node, 1, lambda scale: scale / 4)


# inputs of DequantizeLinear: the levels, their scale, their zero
FAULTS: dict[str, Callable[[File], None]] = {
    "weights 2 % too large": lambda file: file.change(file.dequantizer(1), 1, lambda scale: scale * 1.02),
    "weights 10 % too large": lambda file: file.change(file.dequantizer(1), 1, lambda scale: scale * 1.1),
    "weights negated": lambda file: file.change(file.dequantizer(1), 0, np.negative),
    "one channel doubled": lambda file: file.change(file.dequantizer(1), 1, _first_doubled),
    "no bias": lambda file: file.change(file.dequantizer(2), 0, np.zeros_like),
    "read at twice its scale": lambda file: file.change(file.dequantizer(0), 1, lambda scale: scale * 2),
    "zero of what is read off by 8": lambda file: file.change(file.dequantizer(0), 2, lambda zero: zero + 8),
    "range of what is read cut to a quarter": _cut,
}
PLACES: dict[str, Callable[[int], int]] = {
    "first": lambda _: 0,
    "middle": lambda count: count // 2,
    "last": lambda n: n - 1,
}


def page(data: Row) -> str:
    """Return the page of these results."""
    healthy = [row for row in data["rows"] if not row["fault"]]
    broken = [row for row in data["rows"] if row["fault"]]
    passed = [row for row in broken if row["status"] == "passed"]
    caught = len(broken) - len(passed)
    ratios = [row["ratio"] for row in healthy]
    lines = [
        "# Quantised files beside the module that they were made of",
        "",
        generated(data["command"], data),
        "",
        "ONNX Runtime's `quantize_static` made each file of a float32 network, and `attn2trt check FILE --against "
        "MODULE` judged it. One rounding is what the file's own levels lose "
        "([howto/check.md](howto/check.md#a-quantised-file-beside-its-module)). 4 of them pass, and an error of 0.1 on "
        "ordinary inputs. Weights are random: a network that loses more than that in 8 bits fails by its budget, "
        "whatever its ratio is.",
        "",
        f"Healthy files: ratios up to {max(ratios, default=0):.2f}; a note names a weight in "
        f"{sum(row['noted'] for row in healthy)} of {len(healthy)}. Of {len(broken)} faults {caught} fail, and of the "
        f"others {sum(row['noted'] for row in passed)} have a note that names the weight.",
        "",
    ]
    lines += table(
        "network | quantised by | result | ratio | largest error",
        (
            (f"`{row['network']}`", row["way"], _result(row), f"{row['ratio']:.2f}", f"{row['error']:.2g}")
            for row in healthy
        ),
    )
    lines += ["", "## Broken at one convolution", ""]
    lines += table("fault | network | first | middle | last", _faults(broken))
    lines += [
        "",
        "Each cell: the ratio, and the module whose output the file does not hold, if one is named; *noted* if a note "
        "names the weight as none of the module's.",
        "",
    ]
    return "\n".join(lines)


def _result(row: Row) -> str:
    return "passed" if row["status"] == "passed" else f"**{row['status']}** by {', '.join(row['by'])}"


def _faults(rows: list[Row]) -> Iterator[list[str]]:
    for fault in FAULTS:
        for network in BROKEN:
            found = {row["place"]: row for row in rows if row["fault"] == fault and row["network"] == network}
            yield [fault, f"`{network}`", *(_cell(found[place]) if place in found else "" for place in PLACES)]


def _cell(row: Row) -> str:
    named = re.search(r"it holds no output of (\S+)", row["why"])
    passed = "**passed**, " if row["status"] == "passed" else ""
    return f"{passed}{row['ratio']:.3g}" + (f", `{named[1]}`" if named else "") + ", *noted*" * row["noted"]


if __name__ == "__main__":
    sys.exit(main())
