"""docs/precision.md: what a half precision is here, and what was measured.

python benchmarks/half_precision_page.py        writes the page again from results/half_limits.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attn2trt.core.operators import ARITHMETIC, PRODUCTS
from attn2trt.core.precision import CAST
from attn2trt.core.refused_types import REFUSED
from attn2trt.export.passes.float_policy import FLOAT32_OPERATORS, HELD, MOVES, SMALL_WINDOW

HALVES = CAST

ROOT = Path(__file__).parents[1]


def page(data: dict[str, Any]) -> str:
    """Return the page; ``data`` is benchmarks/results/half_limits.json."""
    return "\n".join([*_introduction(), *_policy(), *_io(), *_verdict(), *_measured(data), *_tensorrt(), ""])


def _introduction() -> list[str]:
    return [
        "# Half precision",
        "",
        "This page is written by `python benchmarks/derive_half_limits.py`.",
        "",
        "```sh",
        "attn2trt deploy resnet50+se --precision fp32,fp16,bf16 --keep-fp32 'layer4.*.se'",
        "```",
        "",
        "writes `model.fp16.onnx` and `model.bf16.onnx` beside `model.onnx`, each made from the final float32",
        "graph. The precision is in the graph: weights are rounded, and casts stand between precisions. Every",
        "runtime and every version of TensorRT therefore builds the same. float32 is always in the bundle, named or",
        "not. 8-bit integers have a page of their own, [int8.md](int8.md). So has the choice of a precision,",
        "[auto.md](auto.md).",
        "",
        "**Inputs and outputs stay float32** by default, so that all graphs of a bundle are fed and read alike. The",
        "price is one cast for each; float32 operators at the input read it unrounded. `--io fp16` takes the casts",
        "away: [below](#inputs-and-outputs-in-float16). If whoever calls the plan can give float16, take it: on a GPU",
        "these casts read and write whole maps, and can take as long as a block itself ([gpu_cost.md](gpu_cost.md)).",
        "",
        "`--keep-fp32 PATTERN`, as often as needed, keeps a PyTorch module and all inside it in float32: a path,",
        "`*` for one step of it, `**` for any. The modules are those of the manifest's node → module map, and those",
        "that their nodes took in: a convolution with its normalisation stays by either's path.",
        "",
        "If the numbers of a precision are right and it is too low for the model, the failed line names the modules",
        "that lose most. Each was lowered alone in PyTorch: those are the ones to keep.",
        "",
    ]


def _io() -> list[str]:
    return [
        "## Inputs and outputs in float16",
        "",
        "```sh",
        "attn2trt deploy resnet50+se --precision fp32,fp16 --io fp16",
        "python bundles/resnet50+se/infer.py model.fp16.onnx",
        "```",
        "",
        "`model.fp16.onnx` then takes and gives float16: half the bytes cross its border, and no cast of a whole",
        "input or output stands there. An operator that needs float32 and reads the input, as the mean of a",
        "squeeze, has its cast as anywhere else in the graph.",
        "",
        "| | with `--io fp16` |",
        "| --- | --- |",
        "| `model.fp16.onnx` | float inputs and outputs are float16; integers and booleans stay |",
        "| `model.onnx` and the graphs of every other precision | stay float32 |",
        "| recorded inputs | rounded to float16 before anything is computed: that rounding is no error |",
        "| the truth | float64 on the rounded inputs |",
        "| the floor of fp16 | that of the same policy, and each output rounded once more if its operator is float32 |",
        "| the case `unrounded` | has all digits of float32, for the graphs in float32 alone |",
        "| an output beyond 65504 | has failed, with a line of its own: no module kept in float32 mends it |",
        "| `validate`, `benchmark`, `compile`, `infer.py`, plans | feed float16 to that graph, by the manifest's "
        "`inputs_and_outputs` |",
        "| `check MODEL --precision fp16 --io fp16` | the same for the graph that is made of a float32 file |",
        "",
        "`--io fp16` without a graph in fp16, or with `--precision auto`, is refused, and so is an input whose range",
        "float16 does not hold. bfloat16 is not offered: NumPy has none to feed a graph with, and ONNX Runtime's CPU",
        "none to take. The graph is read back: a cast of ours to a third type, or after another cast, is an error.",
        "",
    ]


def _policy() -> list[str]:
    return [
        "## What stays in float32",
        "",
        "| operators | precision |",
        "| --- | --- |",
        f"| {', '.join(sorted(PRODUCTS))} | half |",
        f"| {', '.join(sorted(FLOAT32_OPERATORS))} | float32 |",
        "| `x * x`; a division by a computed number; "
        f"AveragePool over more than {SMALL_WINDOW} elements; what has a graph inside | float32 |",
        f"| {', '.join(sorted(MOVES))} | that of what they move |",
        f"| {', '.join(sorted(ARITHMETIC))} | half; float32 if all operands are float32 results, or if a float32 "
        "result goes in and only float32 operators read what comes out |",
        *(
            f"| {', '.join(sorted(found))} in {precision}, which some TensorRT refuses "
            "([tensorrt_operators.md](tensorrt_operators.md)) | float32 |"
            for precision, found in REFUSED.items()
        ),
        "| counts and positions that come from sizes alone | float32 |",
        "| anything else | float32 |",
        "",
        "An operator also stays in float32 if a constant of it overflows, if rounding the constant loses more than",
        f"{HELD:g} unit roundoffs, or if no opset has it in this precision. The summary says so. The",
        "loss is the relative L2 of the tensor. Weights below 6e-5 have fewer digits in float16, and those below 3e-8",
        "are zero; a few such beside large ones do no harm. A value is cast once, whatever the number of",
        "operators that read it.",
        "",
        "The written graph is read back and compared with the float32 graph. But for casts it must have the same",
        "nodes, attributes and wiring. Every constant must be the rounded float32 one, and every operator in the",
        "precision of this policy. A dropped cast, a changed weight or an operator without its float32 is an",
        "error, and nothing",
        "is written.",
        "",
    ]


def _verdict() -> list[str]:
    rows = [
        f"| {name} | {allowed.words} | 2^{_power(allowed.unit_roundoff)} | {allowed.healthy:g} | {allowed.limit:g} | "
        f"{allowed.budget:g} |"
        for name, allowed in HALVES.items()
    ]
    return [
        "## The verdict",
        "",
        "The truth is the same float64 run. The floor is eager PyTorch with every value rounded to the half",
        "precision at every operator, adding up in float32, under the policy above. Kept modules compute in float32.",
        "The floor is the largest of four runs, in three of which some results move to the next number before they",
        "are rounded. A floor that is not finite means that PyTorch itself overflows at this precision: the stage",
        "fails, and `--keep-fp32` is the way on.",
        "",
        "| | | unit roundoff | R | limit, in floors | budget, relative L2 |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        "Ordinary inputs must also keep the budget; `--max-error` sets another, for every precision of the",
        "verdict.",
        "",
        "Two stages each. `fp16` runs the graph as its dtypes say: ONNX Runtime with its optimisations off, on",
        "float32 kernels, each result rounded to what the graph says it is. `fp16 onnxruntime cpu` is ONNX Runtime",
        "as it runs in production, which removes most roundings: it has few float16 kernels and computes in",
        "float32 what it can. It has no bfloat16 at all, so that `bf16 onnxruntime cpu` reads `not checked`.",
        "",
    ]


def _measured(data: dict[str, Any]) -> list[str]:
    found = []
    for name, rows in data["rows"].items():
        for precision in HALVES:
            here = [row["precisions"][precision] for row in rows]
            ratio = max(ratio for part in here for ratio in part["ratios"].values())
            changed = [mutant for part in here for mutant in part["mutants"]]
            floor = max(part["floor_l2"] for part in here)
            caught = sum(mutant["failed"] for mutant in changed)
            seen = sum(mutant["told"] for mutant in changed)
            found.append(
                f"| {name} | {precision} | {len(rows)} | {floor:.1e} | {ratio:.2f} | {caught} of {len(changed)} | "
                f"{seen} of {len(changed)} |"
            )
    return [
        "## Measured",
        "",
        "The floor is the largest on ordinary inputs (relative L2), the ratio the largest of a healthy graph in",
        "floors. Weights of two dimensions or more were made two percent larger, one at a time: all of a block, a",
        "dozen of a network. The last columns count those that fail the stage by their numbers, and those that the",
        "comparison with the float32 graph finds. Two percent of one weight of a deep network is below what half",
        "precision loses anyway, and in bfloat16 about",
        "twice a rounding: numbers alone do not show it.",
        "",
        "| target | precision | seeds | floor | ratio | off by 2 %: by numbers | by comparison |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *found,
        "",
        f"{data['machine']}; torch {data['versions']['torch']}, ONNX Runtime {data['versions']['onnxruntime-gpu']}. "
        f"False alarms: {len(data['alarms'])}. R is the largest ratio and room for what was not measured, the limit",
        "a third more than R. All of it was measured on a CPU; no GPU has run these graphs.",
        "",
    ]


def _tensorrt() -> list[str]:
    return [
        "## TensorRT",
        "",
        "The manifest holds a trtexec line for each version that reads the graph. float16 stays at the opset of",
        "the float32 graph, 17, which TensorRT 8.6 reads. 8.6 builds weakly typed networks: its line allows",
        "float16 and names every float32 node, because only layers whose precision is set are bound to it. From 10",
        "on `--stronglyTyped` obeys the graph; 11 knows nothing else. bfloat16 needs opset 22 for convolutions and",
        "pooling, and 17 is enough without. The graph is raised to the lowest opset that has its operators. The",
        "summary names it with the oldest TensorRT that reads it: 10.0 ends at opset 20, 10.15 reads 24. TensorRT",
        "8.6 reads no bfloat16.",
    ]


def _power(value: float) -> int:
    power = 0
    while value < 1:
        value, power = value * 2, power - 1
    return power


if __name__ == "__main__":
    results = json.loads((ROOT / "benchmarks/results/half_limits.json").read_text())
    (ROOT / "docs/precision.md").write_text(page(results))
