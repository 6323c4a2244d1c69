"""Ask TensorRT for RTX, operator by operator and type by type, what it takes; write the docs' table.

Usage: python benchmarks/tensorrt_operators.py [--jobs N] [--resume] [TARGET ...]. The operators are those of the graphs
that are exported of the blocks, the papers' backbones, the examples and the modules of tests/traps, in every precision,
each as it stands there, and those that the policy would lower although none of these graphs has them. Needs no GPU.
Writes benchmarks/results/tensorrt_operators.json and docs/tensorrt_operators.md after every target, and takes up
an interrupted run of the same code and versions; --resume keeps what was asked with other code, too. With TARGETs
it prints their operators and writes nothing.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnx
from code_hash import code_hash
from exported_graphs import TARGETS, export, precisions_of, target_of
from operator_samples import EIGHT_BIT, PRECISIONS, WRITTEN, Sample, Sampler, from_schema, write, written
from page_text import generated, table
from real_builder import ask, short
from stored_results import heading, row_options, store

from attn2trt.core.graph import DEFAULT_OPSET, OPSETS, OnnxGraph
from attn2trt.core.operators import ARITHMETIC, PRODUCTS
from attn2trt.core.precision import CAST, FP32
from attn2trt.core.refused_types import REFUSED, refusal
from attn2trt.errors import Attn2trtError
from attn2trt.export.passes import float_policy
from attn2trt.export.passes.quantize_policy import QUANTIZABLE, TRANSPOSED
from attn2trt.modules.own_module import from_module
from attn2trt.modules.target import Target

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/tensorrt_operators.json", ROOT / "docs/tensorrt_operators.md"
DOCUMENTED = ROOT / "benchmarks/results/onnx_tensorrt_types.json"
sys.path.insert(0, str(ROOT / "tests"))

from traps import TRAPS  # noqa: E402  tests/ is not installed

TRAP = "trap:"
LOWERABLE = PRODUCTS | ARITHMETIC | float_policy.MOVES | float_policy.COMPARISONS
SCHEMAS = "ONNX's own description"
INTRODUCTION = """\
A sample is an operator with the attributes and the kinds of inputs that it has in an exported graph. The graphs are
those of the blocks, the papers' backbones, the examples and the modules of `tests/traps`. Operators that a user's
module may bring and none of these has are asked as ONNX describes them. Half precision is asked between casts, 8
bits behind pairs of `QuantizeLinear` and `DequantizeLinear`, as the exports write them. It is TensorRT for RTX that
was asked, without a GPU; nothing was run.

*Taken*: parsed and built. `-`: ONNX has no such type for the operator at any opset that is written, or the operator
computes integers. The columns of TensorRT are the types that the documentation of its parser names; 8.6 has no
bfloat16. *Policy*: the types that an export may lower the operator to. What one of the three refuses stays in float32
(`core/refused_types.py`).
"""
NO_OPERATOR = frozenset(("Constant",))


def targets() -> list[str]:
    """Everything whose graphs are looked through."""
    return [*TARGETS, *(f"{TRAP}{name}" for name in TRAPS)]


def resolve(name: str) -> tuple[Target, tuple[str, ...]]:
    """A target and the precisions that it is written in."""
    if not name.startswith(TRAP):
        return target_of(name), precisions_of(name)
    trap = TRAPS[name.removeprefix(TRAP)]
    return from_module(trap.build(), trap.example(), dynamic=trap.dynamic), (FP32,)


def samples(name: str, known: Iterable[str]) -> Iterator[Sample | str]:
    """The samples of a target's graphs, and the keys of those that are known; nothing of a module that is refused."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            target, precisions = resolve(name)
            graphs = {
                key: graph for key, graph in export(target, Path(folder), precisions) if not isinstance(graph, str)
            }
        except Attn2trtError:
            if name.startswith(TRAP):
                return
            raise
        operators = {precision: _operators(graph) for precision, graph in graphs.items()}
        # the passes change operators' types, and write others of their own; whatever else they wrote has no sample
        for precision, found in operators.items():
            if unknown := found - operators[FP32] - {*WRITTEN} - NO_OPERATOR:
                raise SystemExit(
                    f"{name} in {precision} has {', '.join(sorted(unknown))}, which its float32 graph lacks"
                )
        for operator in sorted(
            {*WRITTEN} & set.union(*(found for key, found in operators.items() if key != FP32), set())
        ):
            yield written(operator)
        yield from Sampler(graphs[FP32]).samples(set(known))


def _operators(graph: OnnxGraph) -> set[str]:
    return {node.op_type for node in onnx.load(str(graph.path), load_external_data=False).graph.node}


def measure(sample: Sample, source: str) -> dict[str, Any]:
    """One row: each type with TensorRT's words, "" if it takes it; a type that does not apply is left out."""
    results = {}
    for precision in PRECISIONS:
        with tempfile.TemporaryDirectory() as folder:
            path = write(sample, precision, Path(folder))
            if path is not None:
                results[precision] = short(ask(path, precision, sample.inputs, sample.axes)[0])
    return {"sample": sample.key, "operator": sample.operator, "from": source, "results": results}


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = document["rows"]
    documented = json.loads(DOCUMENTED.read_text())
    columns = (*PRECISIONS, *(f"TensorRT {name}" for name in documented["versions"]))
    operators = sorted({row["operator"] for row in rows})

    def shown(operator: str) -> list[object]:
        asked = [row for row in rows if row["operator"] == operator]
        types = [_documented(found.get(operator)) for found in documented["versions"].values()]
        results = [_cell(asked, precision) for precision in PRECISIONS]
        return [f"`{operator}`", len(asked), *results, *types, ", ".join(policy(operator)) or "-"]

    refused = (
        (f"`{row['sample']}`", key, row["from"].replace(TRAP, ""), words)
        for row in rows
        for key, words in row["results"].items()
        if words
    )
    lines = [
        "# What TensorRT takes, operator by operator",
        "",
        generated("python benchmarks/tensorrt_operators.py", document),
        "",
        f"Asked: {len(rows)} samples of {len(operators)} operators. {INTRODUCTION}",
        *table(f"operator | samples | {' | '.join(columns)} | policy", map(shown, operators)),
        "",
        "## Refusals",
        "",
        *table("sample | type | from | TensorRT for RTX", refused),
    ]
    if document["not_asked"]:
        names = ", ".join(f"`{name}`" for name in document["not_asked"])
        lines += ["", f"The policy would lower these, and nothing here wrote them, so that none was asked: {names}."]
    return "\n".join(lines) + "\n"


def _cell(rows: list[dict[str, Any]], precision: str) -> str:
    asked = [row["results"][precision] for row in rows if precision in row["results"]]
    refused = sum(map(bool, asked))
    if not asked or not refused:
        return "taken" if asked else "-"
    return "**refused**" if refused == len(asked) else f"**refused: {refused} of {len(asked)}**"


def _documented(types: list[str] | None) -> str:
    return "no operator" if not types else ", ".join(types)


def policy(operator: str) -> tuple[str, ...]:
    """The lower types that the policies would write the operator in, wherever it stands."""
    halves = operator in LOWERABLE - float_policy.FLOAT32_OPERATORS
    found = [
        name
        for name, low in CAST.items()
        if halves
        and not refusal(operator, name)
        and float_policy.first_opset(operator, low, DEFAULT_OPSET) < OPSETS.stop
    ]
    is_quantized = operator in QUANTIZABLE and operator not in TRANSPOSED
    return (*found, *(name for name in EIGHT_BIT if is_quantized and not refusal(operator, name)))


def contradictions(document: dict[str, Any]) -> list[str]:
    """List what the policy lowers though it is refused, by the results or by what TensorRT's parsers document, and
    what it refuses though none of them does."""
    refused = {
        (row["operator"], key): words
        for row in document["rows"]
        for key, words in row["results"].items()
        if words and not row["results"].get(FP32)  # else it is not the type that is refused
    }
    documented = json.loads(DOCUMENTED.read_text())["versions"]
    for release, types in documented.items():
        for precision in CAST:
            wanted = CAST[precision].words
            if precision == "bf16" and release == "8.6":  # which has none at all
                continue
            for operator in LOWERABLE & {*types}:
                if types[operator] and wanted not in types[operator]:
                    refused.setdefault((operator, precision), f"TensorRT {release} documents {types[operator]}")
    found = [
        f"the policy lowers {operator} to {precision}, which is refused: {words}"
        for (operator, precision), words in sorted(refused.items())
        if precision in policy(operator)
    ]
    needless = [(operator, key) for key, operators in REFUSED.items() for operator in operators]
    return found + [
        f"the policy keeps {operator} out of {precision}, which nothing refuses"
        for operator, precision in needless
        if (operator, precision) not in refused
    ]


class Asked:
    """The results so far, written after every target unless only some are asked for."""

    def __init__(self, document: dict[str, Any], jobs: int, *, keep: bool) -> None:
        self.document = document
        self._jobs = jobs
        self._keep = keep
        self._rows = {row["sample"]: row for row in document["rows"]}

    def ask(self, name: str, found: Iterable[Sample | str]) -> None:
        """Ask for what is new of a target, or of another source."""
        met = [*found]
        new = [sample for sample in met if isinstance(sample, Sample) and sample.key not in self._rows]
        with ThreadPoolExecutor(self._jobs) as pool:
            rows = list(pool.map(lambda sample: measure(sample, name), new))
        self._rows |= {row["sample"]: row for row in rows}
        self.document["targets"][name] = [one if isinstance(one, str) else one.key for one in met]
        self.document["rows"] = sorted(self._rows.values(), key=lambda row: str(row["sample"]))
        print(f"{name}: {len(met)} samples, {len(new)} new", flush=True)
        for row in rows:
            for precision, words in row["results"].items():
                if words:
                    print(f"  {row['sample']} in {precision}: {words}", flush=True)
        self.save()

    def save(self) -> None:
        """Write results and page."""
        if self._keep:
            store(self.document, RESULTS, PAGE, page(self.document))

    @property
    def known(self) -> list[str]:
        """The keys of what was asked."""
        return [*self._rows]


def main(names: list[str], jobs: int, *, resume: bool) -> int:
    """Ask for every operator; exit code 1 if the policy would lower one to a type in which it was refused."""
    document: dict[str, Any] = heading("tensorrt-rtx", "torch", "timm", "onnx", "onnxscript", "onnxsim") | {
        "sources": code_hash(("modules", "export")),
        "not_asked": [],
        "targets": {},
        "rows": [],
    }
    if not names and RESULTS.exists():
        before = json.loads(RESULTS.read_text())
        if before["versions"] == document["versions"] and (resume or before["sources"] == document["sources"]):
            document |= {key: before[key] for key in ("targets", "rows")}
    asked = Asked(document, jobs, keep=not names)
    for name in names or targets():
        if name not in document["targets"]:
            asked.ask(name, samples(name, asked.known))
    if not names:
        halves = {*CAST}
        met = {row["operator"] for row in document["rows"] if row["from"] != SCHEMAS and halves & {*row["results"]}}
        described = {operator: from_schema(operator) for operator in sorted(LOWERABLE - met) if policy(operator)}
        asked.ask(SCHEMAS, filter(None, described.values()))
        document["not_asked"] = [operator for operator, sample in described.items() if sample is None]
        asked.save()
    wrong = contradictions(document)
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    options = row_options(__doc__, "TARGET", kept="what was asked with other code, too").parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(options.names, options.jobs, resume=options.resume))
