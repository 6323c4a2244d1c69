"""docs/int8.md: what int8 and fp8 are here, and what was measured.

python benchmarks/int8_page.py        writes the page again from results/int8_limit.json and results/fp8_limit.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attn2trt.core.precision import LOWER, QUANTISED
from attn2trt.engines.calibration import BINS, LEVELS, SHARE
from attn2trt.validate.calibration_inputs import MOST_BATCHES

ROOT = Path(__file__).parents[1]


def page(data: dict[str, dict[str, Any]]) -> str:
    """Return the page; ``data`` has benchmarks/results/int8_limit.json and fp8_limit.json, by precision."""
    measured = [line for precision, found in data.items() for line in _measured(precision, found)]
    return "\n".join([*_introduction(), *_fp8(), *_calibration(), *_verdict(), *measured, *_tensorrt(), ""])


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
        "production, with its own integer kernels if it has them.",
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
    files = {precision: ROOT / f"benchmarks/results/{precision}_limit.json" for precision in QUANTISED}
    (ROOT / "docs/int8.md").write_text(page({name: json.loads(file.read_text()) for name, file in files.items()}))
