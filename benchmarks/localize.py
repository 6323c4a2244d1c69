"""Break exported graphs inside known modules and count how often attn2trt names the module that was broken.

Usage: python benchmarks/localize.py [--seed N] [--per-target N] [TARGET ...]. Every fault is one node changed, in the
exported or in the simplified graph; it counts when the output moves by more than twice the verdict's limit. Writes
benchmarks/results/localize.json and docs/localize.md; exit code 1 if a module was named wrongly or a healthy graph was
blamed. PyTorch runs with one thread: the models are small.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from localization.faults import FAULTS, Loaded, load
from localization.healthy_model import NETWORKS, TARGETS, HealthyModel, healthy_model
from outcomes import shorten
from page_text import generated, table
from stored_results import heading, store

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.validate.boundaries import plain_path
from attn2trt.validate.case_judgement import judge_case
from attn2trt.validate.cases import Case
from attn2trt.validate.localize import Location, locate
from attn2trt.validate.metrics import LIMIT

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/localize.json", ROOT / "docs/localize.md"


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
    return heading("torch", "timm", "onnx", "onnxsim") | {
        "command": f"python benchmarks/localize.py --seed {seed}",
        "method": f"one node broken per graph, seed {seed}; counts from a ratio of {2 * LIMIT:g}",
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
        named["source"] = shorten(named["source"])
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
        generated(results["command"], results),
        "",
        f"Each fault changes one node of an exported or simplified graph ({results['method']}).",
        f"Of {results['faults']} faults the module was named rightly in **{results['module_right']}**, the very",
        f"node in {results['node_right']}; in {results['proven']} the module alone, fed PyTorch's own inputs,",
        f"showed the error too. Healthy graphs that were blamed: {results['healthy_blamed']}.",
        "A node counts as right only if it is the one that was changed: the reader of a node that was removed does",
        "not count. If several nodes together are one operator of PyTorch, the verdict's sentence says so and names",
        "the first and the last.",
        "",
        *_counts(rows, "fault"),
        "",
        *_counts(rows, "target"),
    ]
    misses = [row for row in rows if not row["module_right"]]
    lines += ["", "## Misses", ""]
    lines += [
        f"- `{row['target']}` ({row['graph']}), {row['fault']} in `{row['broken'][0]}` ({row['broken'][2]}): "
        + (f"named `{row['named']['module']}`, {row['named']['detail']}" if row["named"] else "nothing was named")
        for row in misses
    ] or ["None."]
    return "\n".join(lines) + "\n"


def _counts(rows: Sequence[Mapping[str, Any]], key: str) -> Iterator[str]:
    """Return the table of how often the right place was named, for each kind of fault or each target."""
    counted = []
    for value in sorted({row[key] for row in rows}):
        of = [row for row in rows if row[key] == value]
        right = [sum(row[name] for row in of) for name in ("module_right", "node_right")]
        proven = sum(bool(row["named"] and row["named"]["proven"]) for row in of)
        shown = f"`{value}`" if key == "target" else value
        counted.append((shown, len(of), *right, proven))
    return table(f"{key} | faults | module right | node right | proven", counted)


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
        store(results, RESULTS, PAGE, page(results))
    return 0 if results["module_right"] == results["faults"] and not results["healthy_blamed"] else 1


if __name__ == "__main__":
    sys.exit(main())
