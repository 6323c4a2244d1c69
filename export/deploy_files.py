"""Files of a bundle for those who use it without this tool: a trtexec line and a short inference script."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.graph import DEFAULT_OPSET
from ..core.operators import FROM_SIZES
from ..core.precision import PRECISIONS
from ..core.tensor_spec import Axis, TensorSpec
from .precision import LowPrecisionGraph

SCRIPT = "infer.py"
# The program itself; what stands above the mark is written anew for each bundle, with the truth's name
PROGRAMS = Path(__file__).with_name("programs")
SOURCE = PROGRAMS / "infer.py.txt"
MARK, TRUTH = "# ---\n", "PyTorch"
# The precisions whose graphs ONNX Runtime runs without its optimisations; infer_ort.cpp has them too.
AS_WRITTEN = tuple(name for name, row in PRECISIONS.items() if not row.is_optimised)
# trtexec computes float32 in tf32 unless this forbids it
NO_TF32 = ("--noTF32",)


def program_files() -> list[str]:
    """Return the names of the C++ programs' files in PROGRAMS."""
    return sorted(
        path.name for path in PROGRAMS.iterdir() if path.suffix in (".cpp", ".h") or path.stem == "CMakeLists"
    )


def trtexec_lines(low: LowPrecisionGraph, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> dict[str, str]:
    """Return the trtexec command of a lower-precision graph by TensorRT version, from the oldest that reads it on.

    8.6 builds weakly typed networks: the flag allows the precision, and only layers that are set to float32 must keep
    it, so that every node that computes in float32 is named; a graph with QuantizeLinear says where integers are.
    From 10 on the graph's own dtypes are obeyed.
    """
    name = low.graph.path.stem
    row = PRECISIONS[low.precision]
    # the graph of tf32 is that of float32; its plan is another one
    plan = f"{name}.{row.name}" if row.graph == "float32" else name
    # what comes from sizes alone is folded away, or is no layer that a precision can be set for
    float32 = [node for node, reason in low.float32.items() if reason != FROM_SIZES and not {",", ":"} & {*node}]
    obeyed = [f"--{low.precision}", "--precisionConstraints=obey"]
    if row.graph == "quantised":
        obeyed, float32 = [f"--{row.name}"], []
    for flag in ("layerPrecisions", "layerOutputTypes") if float32 else ():
        obeyed.append(f"--{flag}={','.join(f'{node}:fp32' for node in float32)}")
    flags: dict[str, Sequence[str]] = {
        "8.6": [*NO_TF32, *obeyed],
        "10": [*NO_TF32, "--stronglyTyped"],
        "11": NO_TF32,
    }
    if row.graph == "float32":
        flags = dict.fromkeys(flags, ())
    oldest = float(low.oldest_tensorrt.split(".")[0])
    return {
        version: trtexec_line(inputs, axes, model=name, plan=plan, flags=words)
        for version, words in flags.items()
        if float(version) >= oldest
    }


def flags_of(precision: str) -> tuple[str, ...]:
    """Return trtexec's flags for a graph that is in this precision as it was given, for weakly typed networks."""
    return NO_TF32 if PRECISIONS[precision].graph == "float32" else (*NO_TF32, f"--{precision}")


def trtexec_line(
    inputs: Sequence[TensorSpec],
    axes: Mapping[str, Axis],
    *,
    model: str = "model",
    plan: str = "model",
    flags: Sequence[str] = NO_TF32,
) -> str:
    """Return the trtexec command that compiles the graph with the same profile: min, opt, max of every axis."""
    words = ["trtexec", f"--onnx={model}.onnx", f"--saveEngine={plan}.plan", *flags]
    if axes:
        for which in ("min", "opt", "max"):
            sizes = {name: int(getattr(axis, which)) for name, axis in axes.items()}
            shapes = ",".join(f"{spec.name}:{'x'.join(map(str, spec.resolve(sizes)))}" for spec in inputs)
            words.append(f"--{which}Shapes={shapes}")
    return shlex.join(words)


def write_script(
    folder: Path,
    name: str,
    inputs: Sequence[TensorSpec],
    axes: Mapping[str, Axis],
    opset: int,
    *,
    truth: str = "PyTorch",
) -> None:
    """Write the inference script of the graph into the bundle's folder."""
    (folder / SCRIPT).write_text(inference_script(name, inputs, axes, opset, truth=truth), encoding="utf-8")


def inference_script(
    name: str, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis], opset: int, *, truth: str
) -> str:
    """Return a complete Python script that runs the bundle's graph once on its first recorded case.

    ``truth`` names, in the script, whose outputs are recorded.
    """
    name = name.replace("\\", "/").replace('"', "'")  # it stands in a docstring
    sizes = {axis: limits.opt for axis, limits in axes.items()}
    shapes = "\n".join(f"#   {spec}, recorded at {spec.resolve(sizes)}" for spec in inputs)
    ranges = "".join(
        f"\n#   {axis} {limits}  (min:opt:max; not checked outside of it)" for axis, limits in axes.items()
    )
    note = "" if opset == DEFAULT_OPSET else f" (opset {opset})"
    head = f'''"""Run {name}{note} once on a recorded input and print how far it is from {truth}.

python infer.py                   the first TensorRT plan that this machine can run, else model.onnx in ONNX Runtime
python infer.py model.fp16.onnx   another graph of the bundle, or a plan
"""
# inputs:
{shapes}{ranges}

AS_WRITTEN = {AS_WRITTEN}  # ONNX Runtime's optimiser gets graphs in these wrong

'''
    return head + SOURCE.read_text(encoding="utf-8").partition(MARK)[2].replace(TRUTH, truth)
