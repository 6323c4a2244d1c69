"""A bundle with recorded cases that no deploy had to make: ``y = x * 2``, in float32 and float16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file
from small_graph import small_model

from attn2trt.core.bundle import Bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.manifest import MODEL, REFERENCE
from attn2trt.engines.tensorrt.plans import Plan
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Reference, measure
from attn2trt.validate.recorded import to_tensors
from attn2trt.validate.stages.stage import ORT_CPU, Stage
from attn2trt.validate.verdict import StageResult, Verdict

SHAPE = ("batch", 3, "height", 4)
AXES = {"batch": [1, 2, 8], "height": [2, 4, 6]}
SIZES = ({"batch": 2, "height": 4}, {"batch": 1, "height": 2}, {"batch": 8, "height": 6})
FP16 = {"opset": 17, "oldest_tensorrt": "8.6", "lowered": 1, "float32": {}, "notes": []}


def graph(shape: Sequence[int | str], *, external: Path | None = None, factor: float = 2.0) -> onnx.ModelProto:
    """``y = x * factor``, with the factor in a file beside the graph if ``external`` is its folder."""
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"], name="mul")]
    model = small_model(nodes, {"x": shape}, {"y": shape}, {"factor": np.full(1, factor, np.float32)})
    if external is not None:
        tensor = model.graph.initializer[0]
        (external / "model.onnx.data").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="model.onnx.data")
    return model


def pair(
    number: int, shape: Sequence[int | str], sizes: Mapping[str, int], rows: bool, halves: bool = False
) -> tuple[Case, Reference]:
    """A case of the graph with its truth; ``halves`` are numbers that float16 has."""
    x = np.random.default_rng(number).standard_normal([sizes.get(str(dim), dim) for dim in shape]).astype(np.float32)
    x = x.astype(np.float16).astype(np.float32) if halves else x
    truth = {"y": x.astype(np.float64) * 2}
    floor, half = ({"y": measure(truth["y"] * (1 + loss), truth["y"])} for loss in (6e-8, 5e-4))
    case = Case(f"case {number}", "why", "normal", dict(sizes), lambda: {"x": x}, ("x",) if x.ndim else (), True)
    separate = ("y",) if rows and x.ndim and x.shape[0] > 1 else ()
    return case, Reference(truth, {"y": x * 2}, floor, 16.0, separate, {"fp16": half})


def write(
    destination: Path,
    *,
    name: str = "twice",
    shape: Sequence[int | str] = SHAPE,
    axes: Mapping[str, Sequence[int]] = AXES,
    sizes: Sequence[Mapping[str, int]] = SIZES,
    precisions: Sequence[str] = ("fp32",),
    plans: Sequence[Mapping[str, Any]] = (),
    rows: bool = True,
    halves: bool = False,
    external: bool = False,
    io: str = "float32",
    status: str = "not checked",
    factor: float = 2.0,
    **entries: Any,
) -> Bundle:
    """Write the bundle; ``plans`` are entries of ``plan``, whose files hold their own names."""
    arrays, cases, _ = to_tensors([pair(number, shape, one, rows, halves) for number, one in enumerate(sizes)])
    spec = {"shape": list(shape), "dtype": "float32"}
    found = [StageResult(Stage(ORT_CPU), status, "it is wrong")]  # type: ignore[arg-type]
    with BundleWriter(destination) as writer:
        files = {MODEL: "graph", REFERENCE: "cases"}
        onnx.save(graph(shape, external=writer.path if external else None, factor=factor), writer.path / MODEL)
        files |= {"model.onnx.data": "weights"} if external else {}
        save_file(arrays, str(writer.path / REFERENCE))
        lower = {}
        for precision in precisions:
            if precision == "tf32":
                lower[precision] = {**FP16, "file": MODEL}
            elif precision != "fp32":
                file = f"model.{precision}.onnx"
                onnx.save(graph(shape, factor=factor), writer.path / file)
                files[file] = f"graph, {precision}"
                lower[precision] = {**FP16, "file": file, "inputs_and_outputs": io}
        for plan in plans:
            (writer.path / plan["file"]).parent.mkdir(exist_ok=True)
            (writer.path / plan["file"]).write_text(plan["file"])
            files[plan["file"]] = "plan"
        content = {
            "target": {"name": name},
            "axes": {axis: list(limits) for axis, limits in axes.items()},
            "inputs": [{"name": "x", **spec}],
            "outputs": [{"name": "y", **spec}],
            "cases": cases,
            "verdict": Verdict(tuple(found)).to_json(),
            "precisions": lower,
            "plans": [_of_graph(plan, writer.path, lower) for plan in plans],
            **entries,
        }
        return writer.commit(content, files)


def _of_graph(plan: Mapping[str, Any], folder: Path, lower: Mapping[str, Any]) -> dict[str, Any]:
    from attn2trt.core.file_hashes import sha256

    file = lower[plan["precision"]]["file"] if plan["precision"] in lower else MODEL
    return {**plan, "graph": plan["graph"] or sha256(folder / file)}


def plan(
    capability: str = "8.6",
    precision: str = "fp32",
    *,
    tensorrt: str = "10.9.0",
    flavour: str = "tensorrt",
    batches: Sequence[tuple[int, int, int]] = ((1, 2, 8),),
    graph: str = "",
    tuned: bool = False,
    **flags: bool,
) -> dict[str, Any]:
    """Return the manifest's entry of a plan; an empty ``graph`` stands for the bundle's own, or its tuned one."""
    from attn2trt.core.tensor_spec import Axis

    tag = "trt" if flavour == "tensorrt" else "rtx"
    file = f"plans/sm{capability.replace('.', '')}-{tag}{tensorrt}-{precision}{'-tuned' * tuned}.plan"
    profiles = tuple(Profile({"batch": Axis(*batch), "height": Axis(2, 4, 6)}) for batch in batches)
    made = Plan(file, precision, graph, profiles, tensorrt, "a GPU", (capability,), "12.4", flags, flavour=flavour)
    return {**made.to_json(), "tuned": tuned}


def add_tuned(bundle: Bundle, made: Mapping[str, Any], *, is_measured: bool = True, **entries: Any) -> Bundle:
    """Put a tuned graph into a bundle, with a plan of it that ``plan`` describes; its file holds its own name.

    ``is_measured`` says that the plan is the one that was timed; ``entries`` are further ones of the graph.
    """
    from attn2trt.core.extend import extend
    from attn2trt.core.file_hashes import sha256

    precision, graph = made["precision"], f"model.{made['precision']}.{made['flavour']}.onnx"
    own = bundle.graphs[precision]
    (bundle.path / graph).write_bytes((bundle.path / own).read_bytes())
    (bundle.path / made["file"]).parent.mkdir(exist_ok=True)
    (bundle.path / made["file"]).write_text(made["file"])
    entry = {
        "flavour": made["flavour"],
        "precision": precision,
        "file": graph,
        "graph": sha256(bundle.path / own),
        "modules": {},
        "plan": sha256(bundle.path / made["file"]) if is_measured else "0" * 64,
        **entries,
    }
    found = {**made, "graph": made["graph"] or sha256(bundle.path / graph)}
    plans = [*bundle.manifest.get("plans", ()), found]
    return extend(bundle, {graph: "graph", made["file"]: "plan"}, {"plans": plans, "tuned_graphs": [entry]})
