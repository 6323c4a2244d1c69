"""docs/int8.md: what int8 and fp8 are here, and what was measured.

python benchmarks/int8_page.py        writes the page again from results/*_limit.json and results/int8_placement.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attn2trt.core.precision import LOWER, QUANTISED
from attn2trt.engines.calibration import BINS, LEVELS, SHARE
from attn2trt.validate.calibration_inputs import MOST_BATCHES

ROOT = Path(__file__).parents[1]
FORMATS, PLACEMENT = ("int8", "int8-fp16", "fp8"), "int8_placement"


def page(data: dict[str, dict[str, Any]]) -> str:
    """Return the page; ``data`` has the results of ``stored``, by their names."""
    measured = [line for precision in FORMATS for line in _measured(precision, data[precision])]
    placed = [*_placed(), *_crossing(data[PLACEMENT])]
    return "\n".join([*_introduction(), *placed, *_fp8(), *_calibration(), *_verdict(), *measured, *_tensorrt(), ""])


def stored() -> dict[str, dict[str, Any]]:
    """Return the results that the page is made of."""
    names = {precision: f"{precision}_limit" for precision in FORMATS} | {PLACEMENT: PLACEMENT}
    return {key: json.loads((ROOT / f"benchmarks/results/{name}.json").read_text()) for key, name in names.items()}


def write() -> None:
    """Write the page of what is stored."""
    (ROOT / "docs/int8.md").write_text(page(stored()))


def _introduction() -> list[str]:
    return [
        "# Int8 and fp8",
        "",
        "This page is written by `python benchmarks/derive_quantized_limits.py`.",
        "",
        "```sh",
        "attn2trt deploy resnet50+cbam --pretrained --precision fp32,int8 --calibrate photographs",
        "```",
        "",
        "writes `model.int8.onnx` beside `model.onnx`, made from the final float32 graph. A `QuantizeLinear`/",
        "`DequantizeLinear` pair stands before both operands of every product that computes with integers. Every",
        "runtime and every version of TensorRT therefore sees the same integers. Scales are symmetric, zero is at",
        "zero: one scale for what a product reads, one for each output channel of its weight (its largest magnitude",
        "over 127). A tensor that several products read has one pair. Weights stay float32 behind theirs, since",
        "TensorRT",
        "8.6 takes no others; the file is as large as the float32 one. Inputs, outputs and all between products",
        "stay float32.",
        "",
        "## What is quantised",
        "",
        "| operators | |",
        "| --- | --- |",
        "| Conv, Gemm, MatMul with a constant weight | 8-bit integers |",
        "| those that run once per image, on what a global pooling has left: the squeeze layers of a gate, the "
        "classifier | float32: nothing to gain, and their error would scale whole maps |",
        "| a product of two computed operands: attention scores | float32: its ranges change from image to image |",
        "| ConvTranspose; a Gemm with a scale or a transposed first operand | float32 |",
        "| what reads a tensor that was zero on every calibration input | float32 |",
        "| everything else: additions, activations, gates, normalisations | float32 |",
        "",
        "`--keep-fp32 PATTERN` keeps a PyTorch module and all inside it in float32. A block whose only products are",
        "squeeze layers, SE or ECA alone, has nothing to quantise and is refused in one line. In a backbone, the",
        "backbone's products are quantised around it.",
        "",
        "The written graph is read back and compared with the float32 graph. But for pairs it must have the same",
        "nodes, attributes, wiring and weights. A pair must stand before both operands of every product of this",
        "policy and nowhere else, with the scale that its range gives. Anything else is an error, and nothing is",
        "written.",
        "",
    ]


def _placed() -> list[str]:
    return [
        "## int8-fp16: 8 bits from product to product",
        "",
        "In the graph of `int8` all that stands between the products moves float32. `--precision int8-fp16` writes",
        "`model.int8-fp16.onnx`: the same products in integers, 8 bits wherever a tensor is written and read again,",
        "and float16 in place of float32 elsewhere, by the policy of",
        "[precision.md](precision.md#what-stays-in-float32).",
        "It is a precision of its own, not an option of int8, so that a bundle can hold, judge and time both.",
        "",
        "| a pair of QuantizeLinear and DequantizeLinear | |",
        "| --- | --- |",
        "| what a quantised product reads; its weight, one scale for each channel | stands |",
        "| every other reader of it: a residual addition, a gate, a pooling | reads the same 8 bits |",
        "| between a product and the activation or addition that is fused with it | none |",
        "| an addition of two products | before the earlier one; the later is fused with it |",
        "| a map that several kernels read, as a squeeze and its gate, or that is pooled or concatenated | stands |",
        "| behind a pooling or concatenation of 8 bits | stands; MaxPool and Concat have one scale on both sides |",
        "| inside `x * sigmoid(x)`; outputs; what one global pooling has left; maps without a product | none |",
        "",
        "These are the rules that NVIDIA gives for explicit quantisation. An operator that stays in float32, as the",
        "mean of a squeeze, reads the same levels by a DequantizeLinear with a float32 scale: no map is cast.",
        "Scales are numbers of float16, the next larger ones; a tensor too small for one has no pair. `--keep-fp32`",
        "holds as elsewhere, `--io fp16` gives it float16 inputs and outputs. The opset is 19, the oldest TensorRT",
        "10.0.",
        "",
        "`--placement modelopt` asks nvidia-modelopt where it would put pairs, and takes the places alone: ranges,",
        "types and file are made, proved and judged as ever, and squeeze layers and classifier stay out. It needs",
        '`pip install -e ".[modelopt]"` in a clone. modelopt\'s own extra `onnx` pins an older onnx and ONNX Runtime;',
        "on the CPU it works without them.",
        "",
        "Where these pairs stand is no place in PyTorch. The floor is therefore the float32 graph, which its own",
        "stages judge beside PyTorch, run by ONNX's reference evaluator with each node's levels and roundings; the",
        "truth stays PyTorch in float64.",
        "",
    ]


def _crossing(data: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    lines = [
        "### What crosses memory",
        "",
        "Written by `python benchmarks/int8_placement.py`, without a GPU. Megabytes of an image that kernels read and",
        "write, weights left out, by the bits of the type. *If fused* is counted in the graph",
        "(`benchmarks/fused_bytes.py`): a product takes bias, activation, residual and the pair behind it along, as",
        "NVIDIA documents for TensorRT. *RTX* is what the builder of TensorRT for RTX made of it: at the level VERBOSE",
        "it lists the layers of the engine with the types of their tensors in its log. *Converting*: layers that only",
        "cast, round and move, so that a pair or cast was fused with nothing. *Wide*: int8 convolutions that write",
        "their result in 32 bits, of all. `modelopt` is the graph that nvidia-modelopt writes by itself (int8, max,",
        f"the rest in fp16). Built for compute capability {data['capability']}, `--shape {data['shape']}`; {versions}.",
        "",
        "| target | graph | Q | DQ | Cast | if fused: 8 bit | 16 | 32 | all | RTX: layers | converting | wide | 8 bit "
        "| 16 | 32 | all |",
        f"|{' --- |' * 16}",
    ]
    for row in data["rows"]:
        if "why_not" in row:
            lines.append(f"| `{row['target']}` | {row['graph']} | {row['why_not']} |" + " |" * 13)
            continue
        nodes = row["nodes"]
        cells = [str(nodes[name]) for name in ("QuantizeLinear", "DequantizeLinear", "Cast")]
        cells += [*_megabytes(row["if_fused"]), str(row["layers"]), str(row["converting"])]
        cells += [f"{row['wide']} of {row['int8_convolutions']}", *_megabytes(row["bytes"])]
        lines.append(f"| `{row['target']}` | {row['graph']} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        "An int8 convolution that writes 32 bits leaves bias, activation and the pair to a kernel of their own: this",
        "is what TensorRT for RTX makes of them, while its float16 convolutions take them along. A graph cannot ask",
        "for more. Bytes are no time: no GPU has run these graphs, and TensorRT itself cannot be asked without one.",
        "",
    ]


def _megabytes(found: dict[str, int]) -> list[str]:
    """Return the megabytes in 8, 16 and 32 bits and the sum of all, as text."""
    sizes = [*(found.get(bits, 0) for bits in ("8", "16", "32")), sum(found.values())]
    return [f"{size / 1e6:.1f}" for size in sizes]


def _fp8() -> list[str]:
    form = QUANTISED["fp8"]
    return [
        "## fp8",
        "",
        "`--precision fp8` writes `model.fp8.onnx` by the same policy. Its format is E4M3 without infinities: four",
        f"bits of exponent and three of digits. The largest magnitude is mapped to {form.largest:g}, and a weight has",
        "one scale.",
        f"The graph is raised to opset {form.opset}, the first that has it, which TensorRT reads from 10.0 on; the",
        "GPU must have it (compute capability 8.9 and later). Its ranges are the largest magnitudes: the exponents",
        "hold outliers.",
        "",
        "On the CPU one stage judges it, `fp8`, without ONNX Runtime's optimisations. There are no kernels for it, and",
        "the optimiser of 1.31 makes an invalid graph of it if a Transpose stands beside a pair.",
        "",
    ]


def _calibration() -> list[str]:
    return [
        "## Calibration",
        "",
        "`--calibrate` takes a folder of photographs, which are resized and normalised as the model expects. Or",
        "it takes",
        "a file (`.npz`, `.safetensors`) with an array for each input by its name, samples first, preprocessed.",
        "At most",
        f"{MOST_BATCHES} batches of the traced size are used. Without it the ranges come from the cases with ordinary",
        "values, and from the photographs of `--inputs`. That is enough for random weights, not for a network",
        "that will",
        "see photographs. The summary says what was used.",
        "",
        "| `--calibration` | range |",
        "| --- | --- |",
        "| `minmax` (the default) | the largest magnitude that was met |",
        f"| `percentile` | the magnitude that {SHARE:.2%} of the numbers other than zero stay below |",
        f"| `entropy` | the range whose {LEVELS} levels keep most of what the distribution says: the least "
        f"Kullback-Leibler divergence from a histogram of {BINS} bins |",
        "",
        "The manifest holds every range and what it was found on.",
        "",
    ]


def _verdict() -> list[str]:
    allowed, fp8 = LOWER["int8"], LOWER["fp8"]
    return [
        "## The verdict",
        "",
        "The truth is the same float64 run. The floor is eager PyTorch in float32 with both operands of every",
        "quantised product on its levels, under the ranges of the graph: what these integers lose by themselves. It",
        "is the larger of two runs, one with other last digits, which decide near the middle between two levels. Each",
        "product is found by its weight; one that PyTorch does not run as often as the graph is refused. R is",
        f"{allowed.healthy:g}, the limit {allowed.limit:g} floors, the budget {allowed.budget:g} (relative L2,",
        f"ordinary inputs), for fp8 {fp8.healthy:g}, {fp8.limit:g} and {fp8.budget:g}; `--max-error` sets another",
        "budget. One that is not kept means that the precision loses too much by itself: other ranges, or",
        "`--keep-fp32`, are the way on.",
        "",
        "Two stages: `int8` runs the graph with ONNX Runtime's optimisations off, `int8 onnxruntime cpu` as it runs in",
        "production, with its own integer kernels if it has them. `int8-fp16` and `fp8` have the first alone. What",
        "ONNX Runtime's optimiser (1.31) makes of ResNet18 with SE in int8-fp16 is ten times as far from the truth as",
        "the graph as it is written: that graph is for TensorRT.",
        "",
    ]


def _measured(precision: str, data: dict[str, Any]) -> list[str]:
    methods = [*next(iter(data["rows"].values()))[0]["methods"]]
    lines = [
        f"## Measured: {precision}",
        "",
        "For each method, the floor is the largest on ordinary inputs and photographs (relative L2), the ratio the",
        "largest of a healthy graph in floors. Weights are random; calibration is on random inputs and the photographs",
        "that scikit-image ships. Quantised weights were made two percent larger, their scales left as they were: all",
        "of a block, a dozen of a network. The last columns count those that fail the stage by their numbers, and",
        "those",
        "that the comparison with the float32 graph finds.",
        "",
        f"| target | quantised | seeds | {' | '.join(f'{method}: floor | ratio' for method in methods)} "
        "| off by 2 %: by numbers | by comparison |",
        f"| --- | --- | --- | {' | '.join(['---'] * (2 * len(methods) + 2))} |",
    ]
    for name, rows in data["rows"].items():
        cells = [f"{rows[0]['quantized']} of {rows[0]['products']}", str(len(rows))]
        for method in methods:
            found = [row["methods"][method] for row in rows]
            cells.append(f"{max(one['floor_l2'] for one in found):.1e}")
            cells.append(f"{max(ratio for one in found for ratio in one['ratios'].values()):.2f}")
        changed = [mutant for row in rows for mutant in row["mutants"]]
        cells += [f"{sum(mutant[key] for mutant in changed)} of {len(changed)}" for key in ("failed", "told")]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    versions = data["versions"]
    return [
        *lines,
        "",
        f"{data['machine']}; torch {versions['torch']}, ONNX Runtime {versions['onnxruntime-gpu']}. {data['verdicts']} "
        f"verdicts, false alarms: {len(data['alarms'])}, largest ratio {data['largest']:.2f}.",
        "All of it was measured on a CPU; no GPU has run these graphs.",
        "",
    ]


def _tensorrt() -> list[str]:
    return [
        "## TensorRT",
        "",
        "The manifest holds a trtexec line for each version: `--int8` for 8.6, which quantises at the pairs alone,",
        "`--stronglyTyped` from 10 on, nothing for 11. The graph is at the opset of the float32 graph,",
        "17, which TensorRT 8.6 reads. What is between the products computes in float32 there; `--fp16` beside",
        "`--int8` on 8.6 would allow float16, which no verdict here has judged.",
    ]


if __name__ == "__main__":
    write()
