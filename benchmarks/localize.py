"""Break exported graphs inside known modules and count how often attn2trt names the module that was broken.

Usage: python benchmarks/localize.py [--seed N] [--per-target N] [TARGET ...]. Every fault is one node changed, in the
exported or in the simplified graph; it counts when the output moves by more than twice the verdict's limit. Writes
benchmarks/results/localize.json and docs/localize.md; exit code 1 if a module was named wrongly or a healthy graph was
blamed. PyTorch runs with one thread: the models are small.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from outcomes import shorten
from torch import nn
from torch.nn import functional as F

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.simplify import simplify
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import from_module, resolve
from attn2trt.validate.boundaries import plain_path
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.localize import Location, locate
from attn2trt.validate.metrics import LIMIT
from attn2trt.validate.reference import Reference, references
from attn2trt.validate.verdict import judge_case

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/localize.json", ROOT / "docs/localize.md"
AXES = "batch=1:2:3,height=6:8:12,width=6:8:12"
CASES = ("traced", "size_uneven")


class Windows(nn.Module):
    """Attention inside of 4 x 4 windows, with a position bias: ``(n, 16, h, w)``, h and w multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.proj = nn.Linear(16, 16)
        self.bias = nn.Parameter(torch.randn(2, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        tokens = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        q, k, v = self.qkv(self.norm(tokens)).reshape(-1, 16, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)) * (c // 2) ** -0.5 + self.bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, 16, c)
        out = self.proj(mixed).reshape(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)
        return x + out


class Selective(nn.Module):
    """Two branches fused by a softmax over both (selective kernels), the activation of each a function."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(16, 16, k, padding=k // 2, bias=False) for k in (3, 5))
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(2))
        self.squeeze = nn.Sequential(nn.Conv2d(16, 8, 1), nn.SiLU())
        self.select = nn.Conv2d(8, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        feats = torch.stack([F.relu(norm(conv(x))) for conv, norm in zip(self.branches, self.norms, strict=True)], 1)
        pooled = feats.sum(1).mean((2, 3), keepdim=True)
        gates = self.select(self.squeeze(pooled)).reshape(-1, 2, 16, 1, 1).softmax(1)
        return (feats * gates).sum(1)


class Shuffled(nn.Module):
    """Channel shuffle, a group normalisation and two gates, one by subtraction; one block called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, 16)
        self.gate = nn.Sequential(nn.Conv2d(16, 16, 1), nn.GELU(), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.mix = nn.Conv2d(16, 16, 3, padding=1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        y = self.norm(x).reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.mix(y)
        return y * self.gate(y) - x * self.gate(x)


OWN: dict[str, tuple[type[nn.Module], str]] = {
    "windows": (Windows, "batch=1:2:3"),
    "selective": (Selective, AXES),
    "shuffled": (Shuffled, AXES),
}
BLOCKS = ("se", "cbam", "eca", "coord_att", "gam", "psa")
NETWORKS = {"resnet18+cbam": "2x3x64x64", "mobilenetv2_050+coord_att": "2x3x64x64"}
TARGETS = (*BLOCKS, *NETWORKS, *OWN)


@dataclass(frozen=True)
class HealthyModel:
    """An exported module, its graphs by name, and the cases to break it on."""

    name: str
    module: nn.Module
    graphs: dict[str, OnnxGraph]
    pairs: tuple[tuple[Case, Reference], ...]


def healthy_model(name: str, folder: Path) -> HealthyModel:
    """Export and simplify one target into ``folder``."""
    if name in OWN:
        kind, axes = OWN[name]
        torch.manual_seed(0)
        module = _lively(kind()).eval()
        target = from_module(module, torch.randn(2, 16, 8, 8), dynamic=axes)
    else:
        is_block = name in BLOCKS
        shape = f"2x{64 if name == 'psa' else 16}x8x8" if is_block else NETWORKS[name]
        target = resolve(name, shapes=[shape], dynamic=AXES if is_block else "batch=1:2:3")
        module = target.build()
    exported = trace(target, module, folder / "exported.onnx", opset=17)
    simplified, _ = simplify(exported, folder / "simplified.onnx")
    cases = [case for case in make_cases(target.inputs, target.axes, seed=0) if case.name in CASES]
    names = [spec.name for spec in exported.outputs]
    pairs = tuple(zip(cases, references(module, cases, names), strict=True))
    return HealthyModel(name, module, {"exported": exported, "simplified": simplified}, pairs)


def _lively(module: nn.Module) -> nn.Module:
    """Normalisations that have seen data: no mean at 0, no scale at 1."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    return module


# --- faults: each changes one node in place and returns whether it applied


@dataclass(frozen=True)
class Loaded:
    """A graph to break, and what its values are: the floats, their shapes as inferred, their sizes as traced."""

    model: onnx.ModelProto
    floats: frozenset[str]
    shapes: dict[str, tuple[Any, ...]]
    sizes: dict[str, tuple[int, ...]]


Fault = Callable[[Loaded, onnx.NodeProto, random.Random], bool]


def _weights(model: onnx.ModelProto, node: onnx.NodeProto, place: int) -> Any:
    """The constant at an input, made this node's own so that no other node changes."""
    if len(node.input) <= place:
        return None
    for tensor in model.graph.initializer:
        if tensor.name == node.input[place]:
            own = model.graph.initializer.add()
            own.CopyFrom(tensor)
            own.name = f"{tensor.name}/{node.name}"
            node.input[place] = own.name
            return own
    return None


def _edit(tensor: Any, change: Callable[[np.ndarray], np.ndarray]) -> bool:
    before = numpy_helper.to_array(tensor)
    after = change(before.copy()).astype(before.dtype)
    if np.array_equal(before, after):
        return False
    tensor.CopyFrom(numpy_helper.from_array(after, tensor.name))
    return True


def _scaled(factor: float) -> Fault:
    def fault(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "BatchNormalization"):
            return False
        tensor = _weights(graph.model, node, 1)
        return tensor is not None and _edit(tensor, lambda values: values * factor)

    return fault


def one_channel(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """One output channel's weights off by a half."""
    tensor = _weights(graph.model, node, 1) if node.op_type in ("Conv", "BatchNormalization") else None
    if tensor is None:
        return False
    at = rng.randrange(tensor.dims[0])

    def change(values: np.ndarray) -> np.ndarray:
        values[at] *= 1.5
        return values

    return _edit(tensor, change)


def no_bias(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """The bias of a convolution or a product left out."""
    if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
        return False
    tensor = _weights(graph.model, node, 2)
    return tensor is not None and _edit(tensor, np.zeros_like)


ACTIVATIONS = ("Relu", "Sigmoid", "HardSwish", "Clip", "Softmax", "Erf", "HardSigmoid", "LeakyRelu", "Gelu")


def dropped(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """An activation that does nothing."""
    if node.op_type not in ACTIVATIONS:
        return False
    del node.attribute[:], node.input[1:]
    node.op_type = "Identity"
    return True


def removed(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """An activation's node gone, its reader wired to what it read."""
    if node.op_type not in ACTIVATIONS or any(node.output[0] == output.name for output in graph.model.graph.output):
        return False
    for other in graph.model.graph.node:
        for place, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[place] = node.input[0]
    graph.model.graph.node.remove(node)
    return True


def doubled(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """An activation applied twice."""
    if node.op_type not in ("Sigmoid", "HardSwish", "Softmax", "Erf"):
        return False
    first = onnx.NodeProto()
    first.CopyFrom(node)
    first.name, first.output[0] = f"{node.name}/first", f"{node.output[0]}/first"
    node.input[0] = first.output[0]
    graph.model.graph.node.insert([other.name for other in graph.model.graph.node].index(node.name), first)
    return True


OTHER_OPERATOR = {
    "ReduceMax": "ReduceMean",
    "ReduceMean": "ReduceMax",
    "ReduceSum": "ReduceMax",
    "Sigmoid": "HardSigmoid",
    "Relu": "LeakyRelu",
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Add",
    "Div": "Mul",
}


def other_operator(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """A sibling in place of the operator."""
    if node.op_type not in OTHER_OPERATOR or (node.op_type == "ReduceSum" and len(node.input) > 1):
        return False
    if not all(name in graph.floats for name in node.output):
        return False
    node.op_type = OTHER_OPERATOR[node.op_type]
    return True


def swapped(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """Two inputs of an operator for which their order matters."""
    if node.op_type not in ("Concat", "Sub", "Div", "MatMul") or len(node.input) < 2:
        return False
    if not all(name in graph.floats for name in node.output) or node.input[0] == node.input[1]:
        return False
    first, second = node.input[0], node.input[1]
    node.input[0], node.input[1] = second, first
    return True


def rewired(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """An input read from another value of the same shape that exists already."""
    shapes = graph.shapes
    made: list[str] = [value.name for value in graph.model.graph.input]
    for other in graph.model.graph.node:
        if other is node or other.name == node.name:
            break
        made += other.output
    weights = {tensor.name for tensor in graph.model.graph.initializer}
    for place, name in enumerate(node.input):
        same = [m for m in made if m != name and m not in node.input and shapes.get(m) == shapes.get(name)]
        if name not in weights and name in shapes and len(shapes[name]) > 1 and same:
            node.input[place] = rng.choice(same)
            return True
    return False


def other_axis(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """A reduction or a softmax over another axis."""
    for attribute in node.attribute:
        if node.op_type == "Softmax" and attribute.name == "axis":
            attribute.i = -2 if attribute.i in (-1,) else -1
            return True
        if node.op_type.startswith("Reduce") and attribute.name == "axes" and len(attribute.ints) == 2:
            del attribute.ints[0]
            return True
        if node.op_type == "Transpose" and attribute.name == "perm" and len(attribute.ints) > 3:
            attribute.ints[-1], attribute.ints[-2] = attribute.ints[-2], attribute.ints[-1]
            return True
    return False


def shifted_pads(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """Padding on the wrong side."""
    for attribute in node.attribute:
        if attribute.name == "pads" and any(attribute.ints):
            half = len(attribute.ints) // 2
            pads = [n - (n > 0) for n in attribute.ints[:half]] + [n + (n > 0) for n in attribute.ints[half:]]
            del attribute.ints[:]
            attribute.ints.extend(pads)
            return True
    return False


def epsilon(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """A normalisation's epsilon of 0.1."""
    if "Normalization" not in node.op_type:
        return False
    kept = [attribute for attribute in node.attribute if attribute.name != "epsilon"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("epsilon", 0.1)])
    return True


def baked_size(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """A size that was computed, as the number of the traced shape."""
    made = {name for other in graph.model.graph.node for name in other.output}
    if node.op_type not in ("Reshape", "Expand") or node.input[1] not in made:
        return False
    shape = graph.sizes.get(node.output[0])
    if shape is None:
        return False
    graph.model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{node.name}/baked"))
    node.input[1] = f"{node.name}/baked"
    return True


FAULTS: dict[str, Fault] = {
    "weight off by 1 %": _scaled(1.01),
    "weight doubled": _scaled(2.0),
    "one channel": one_channel,
    "no bias": no_bias,
    "activation dropped": dropped,
    "activation removed": removed,
    "activation doubled": doubled,
    "other operator": other_operator,
    "swapped inputs": swapped,
    "rewired input": rewired,
    "other axis": other_axis,
    "shifted pads": shifted_pads,
    "epsilon": epsilon,
    "baked size": baked_size,
}


def load(graph: OnnxGraph, feeds: dict[str, np.ndarray]) -> Loaded:
    """Read a graph and learn what its values are on the traced inputs."""
    model = onnx.load(str(graph.path))
    values = onnx.shape_inference.infer_shapes(model).graph
    floats, shapes = set(), {}
    for value in (*values.input, *values.value_info, *values.output):
        kind = value.type.tensor_type
        if kind.elem_type == onnx.TensorProto.FLOAT:
            floats.add(value.name)
            shapes[value.name] = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    outputs = {output.name for output in model.graph.output}
    for name in floats & {name for node in model.graph.node for name in node.output} - outputs:
        shown.graph.output.append(onnx.ValueInfoProto(name=name))
    with OrtRuntime(shown.SerializeToString(), optimise=False) as runtime:
        sizes = {name: array.shape for name, array in runtime.run(feeds).items()}
    return Loaded(model, frozenset(floats), shapes, sizes)


@dataclass(frozen=True)
class Outcome:
    """One fault: its place and the one that was named."""

    target: str
    graph: str
    fault: str
    broken_node: str
    broken_op: str
    broken_module: str
    named: Location | None
    seconds: float

    @property
    def is_right(self) -> bool:
        """Return True if the module that was named is the broken one."""
        return self.named is not None and self.named.module == self.broken_module

    @property
    def is_node_right(self) -> bool:
        """Return True if the node that was named is the broken one."""
        return self.is_right and self.named is not None and self.named.node == self.broken_node


def break_one(
    found: HealthyModel, stage: str, loaded: Loaded, kind: str, folder: Path, rng: random.Random
) -> tuple[OnnxGraph, onnx.NodeProto, Case] | None:
    """The graph with one node of this kind of fault, and a case that shows it; None if none counts."""
    graph = found.graphs[stage]
    nodes = [node.name for node in loaded.model.graph.node if node.name in graph.modules]
    rng.shuffle(nodes)
    for name in nodes[:40]:
        model = onnx.ModelProto()
        model.CopyFrom(loaded.model)
        node = next(node for node in model.graph.node if node.name == name)
        before = onnx.NodeProto()
        before.CopyFrom(node)
        if not FAULTS[kind](replace(loaded, model=model), node, rng):
            continue
        path = folder / "broken.onnx"
        onnx.save(model, str(path))
        first = f"{name}/first"
        broken = replace(graph, path=path, modules={**graph.modules, first: graph.modules[name]})
        try:
            runtime = OrtRuntime(path, optimise=False)
        except Exception:  # not a graph at all: nothing to find
            continue
        with runtime:
            for case, reference in found.pairs:
                results = judge_case(runtime.run, case, reference)
                if any(comparison.ratio > 2 * LIMIT for _, comparison in results):
                    return broken, before, case
    return None


def outcomes(name: str, count: int, seed: int) -> Iterator[Outcome]:
    """Up to ``count`` faults of one target, the kinds in turn and the two graphs alternating."""
    rng = random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        found = healthy_model(name, folder)
        loaded = {stage: load(graph, found.pairs[0][0].feeds) for stage, graph in found.graphs.items()}
        for stage, graph in found.graphs.items():
            for case, _ in found.pairs:
                if (blamed := locate(found.module, graph, case, optimise=False)) is not None:
                    yield Outcome(name, stage, "none", "", "", "nothing is broken", blamed, 0.0)
        done: set[tuple[str, str, str]] = set()
        kinds = list(FAULTS)
        rng.shuffle(kinds)
        made = 0
        for attempt in range(4 * len(kinds)):
            kind, stage = kinds[attempt % len(kinds)], list(loaded)[(attempt + attempt // len(kinds)) % 2]
            broken = break_one(found, stage, loaded[stage], kind, folder, rng)
            if broken is None or (stage, kind, broken[1].name) in done:
                continue
            graph, node, case = broken
            done.add((stage, kind, node.name))
            since = time.perf_counter()
            named = locate(found.module, graph, case, optimise=False)
            seconds = time.perf_counter() - since
            module = plain_path(graph.modules[node.name])
            yield Outcome(name, stage, kind, node.name, node.op_type, module, named, seconds)
            made += 1
            if made == count:
                return


def document(found: list[Outcome], seed: int) -> dict[str, Any]:
    """The results as plain data."""
    faults = [outcome for outcome in found if outcome.fault != "none"]
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, CPU only",
        "method": f"one node broken per graph, seed {seed}; counts from a ratio of {2 * LIMIT:g}",
        "versions": {name: version(name) for name in ("torch", "timm", "onnx", "onnxsim")},
        "faults": len(faults),
        "module_right": sum(outcome.is_right for outcome in faults),
        "node_right": sum(outcome.is_node_right for outcome in faults),
        "proven": sum(outcome.named is not None and outcome.named.proven for outcome in faults),
        "healthy_blamed": len(found) - len(faults),
        "rows": [row(outcome) for outcome in found],
    }


def row(outcome: Outcome) -> dict[str, Any]:
    """One outcome as plain data."""
    named = None if outcome.named is None else outcome.named.to_json()
    if named is not None:
        named["source"] = shorten(named["source"], {f"{ROOT}{os.sep}": "", f"{sys.prefix}{os.sep}": ""})
    return {
        "target": outcome.target,
        "graph": outcome.graph,
        "fault": outcome.fault,
        "broken": [outcome.broken_module, outcome.broken_node, outcome.broken_op],
        "named": named,
        "module_right": outcome.is_right,
        "node_right": outcome.is_node_right,
        "seconds": round(outcome.seconds, 2),
    }


def page(results: dict[str, Any]) -> str:
    """The docs page."""
    rows = [row for row in results["rows"] if row["fault"] != "none"]
    lines = [
        "# Where: is the module that is named the broken one?",
        "",
        f"Generated by `python benchmarks/localize.py` on {results['date']} ({results['machine']}; "
        f"{', '.join(f'{name} {number}' for name, number in results['versions'].items())}).",
        "",
        f"Each fault changes one node of an exported or simplified graph ({results['method']}).",
        f"Of {results['faults']} faults the module was named rightly in **{results['module_right']}**, the very",
        f"node in {results['node_right']}; in {results['proven']} the module alone, fed PyTorch's own inputs,",
        f"showed the error too. Healthy graphs that were blamed: {results['healthy_blamed']}.",
        "A node counts as right only if it is the one that was changed: the reader of a node that was removed does",
        "not count. If several nodes together are one operator of PyTorch, the verdict's sentence says so and names",
        "the first and the last.",
        "",
        "| fault | faults | module right | node right | proven |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key, label in (("fault", None), ("target", "target")):
        if label:
            lines += [
                "",
                f"| {label} | faults | module right | node right | proven |",
                "| --- | --- | --- | --- | --- |",
            ]
        counts = Counter(row[key] for row in rows)
        for value, number in sorted(counts.items()):
            of = [row for row in rows if row[key] == value]
            cells = [
                sum(row["module_right"] for row in of),
                sum(row["node_right"] for row in of),
                sum(bool(row["named"] and row["named"]["proven"]) for row in of),
            ]
            shown = f"`{value}`" if label else value
            lines.append(f"| {shown} | {number} | {' | '.join(map(str, cells))} |")
    misses = [row for row in rows if not row["module_right"]]
    lines += ["", "## Misses", ""]
    lines += [
        f"- `{row['target']}` ({row['graph']}), {row['fault']} in `{row['broken'][0]}` ({row['broken'][2]}): "
        + (f"named `{row['named']['module']}`, {row['named']['detail']}" if row["named"] else "nothing was named")
        for row in misses
    ] or ["None."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Break, locate, count; exit code 1 for any miss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: the blocks, two networks and three modules of its own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--per-target", type=int, default=7, help="faults in each target; 5 at most in a network (default: 7)"
    )
    options = parser.parse_args()
    found: list[Outcome] = []
    torch.set_num_threads(1)
    for name in options.targets or TARGETS:
        count = min(options.per_target, 5) if name in NETWORKS else options.per_target
        for outcome in outcomes(name, count, options.seed):
            found.append(outcome)
            mark = "right" if outcome.is_right else "WRONG"
            named = "nothing" if outcome.named is None else f"{outcome.named.module}:{outcome.named.node}"
            print(f"{mark}{'+node' if outcome.is_node_right else ''} {outcome.seconds:5.1f} s  {name}", end=" ")
            print(f"{outcome.graph}, {outcome.fault}: {outcome.broken_module}:{outcome.broken_node}", end=" ")
            print(f"({outcome.broken_op}), named {named}; {outcome.named.detail if outcome.named else ''}", flush=True)
    results = document(found, options.seed)
    print({key: value for key, value in results.items() if key != "rows"})
    if not options.targets:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(results), encoding="utf-8")
    return 0 if results["module_right"] == results["faults"] and not results["healthy_blamed"] else 1


if __name__ == "__main__":
    sys.exit(main())
