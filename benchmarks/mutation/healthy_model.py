"""One healthy model, exported as the tool exports it, and everything that its mutants are held against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import CheckFailed
from attn2trt.export.contract import check_contract
from attn2trt.export.simplify import simplify
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import resolve
from attn2trt.modules.target import Target
from attn2trt.validate.batch_consistency import compare_rows
from attn2trt.validate.case_judgement import Run
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.metrics import Reference
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import ROWS, Stage
from attn2trt.validate.verdict import FAILED

from .graph import Anatomy, examine
from .operators import Mutant
from .search import Search

OPSET = 17


@dataclass(frozen=True)
class Outcome:
    """``refused`` (does not load: no mutant that counts), ``equivalent`` (no input shows it), ``caught`` or ``missed``.

    ``by`` says what caught it, or where a missed one shows.
    """

    status: str
    by: str


class HealthyModel:
    """A target with its references, computed once for all of its mutants."""

    def __init__(
        self, spec: str, shape: str, dynamic: str, folder: Path, *, seed: int, inputs: int, simplified: bool = True
    ) -> None:
        self.target: Target = resolve(spec, shapes=[shape], dynamic=dynamic, seed=seed)
        module = self.target.build()
        self._folder = folder
        exported = trace(self.target, module, folder / "exported.onnx", opset=OPSET)
        self._exported = exported
        self.graphs = {"exported": onnx.load(str(exported.path))}
        if simplified:
            smaller, _ = simplify(exported, folder / "simplified.onnx")
            if _structure(smaller) != _structure(exported):
                self.graphs["simplified"] = onnx.load(str(smaller.path))
        cases = make_cases(self.target.inputs, self.target.axes, seed=seed)
        names = [spec.name for spec in exported.outputs]
        self.pairs: list[tuple[Case, Reference]] = list(
            zip(cases, references(module, cases, names, seed=seed), strict=True)
        )
        self._runtime = OrtRuntime(exported.path, optimise=False, threads=1)
        # a seed of its own: the verdict never sees these inputs
        self.search = Search(self.target, module, self._runtime.run, count=inputs, seed=1_000_000 + seed)
        healthy = self.caught(self._runtime.run)
        if healthy:
            raise SystemExit(f"the healthy {spec} fails its verdict: {healthy}")

    def anatomy(self, which: str) -> Anatomy:
        """Shapes inside the graph, and which axes are dynamic."""
        traced, other = self.target.sizes("opt"), self.target.sizes("max")
        return examine(
            self.graphs[which],
            *(
                {spec.name: np.zeros(spec.resolve(sizes), spec.dtype) for spec in self.target.inputs}
                for sizes in (traced, other)
            ),
        )

    def outcome(self, mutant: Mutant) -> Outcome:
        """Return the outcome of one mutant."""
        try:
            runtime = OrtRuntime(mutant.model, optimise=False, threads=1)
        except CheckFailed:
            return Outcome("refused", "loading")
        with runtime:
            shows = self.search.shows(runtime.run)
            if not shows:
                return Outcome("equivalent", "")
            by = self.caught(runtime.run) or self._contract(mutant)
        return Outcome("caught", by) if by else Outcome("missed", shows)

    def caught(self, run: Run) -> str:
        """Return the first case that fails, with what decided; empty if the verdict passes.

        Cases are judged one by one, since the first failure decides; then together, for what is judged over all cases.
        """
        for case, reference in self.pairs:
            result = judge(Stage("mutant"), run, [(case, reference)])
            if result.status == FAILED:
                which = next(found.which for _, found in result.comparisons if not found.passed)
                return f"{case.name} ({which})"
        together = judge(Stage("mutant"), run, self.pairs)
        if together.status == FAILED:
            return f"all cases: {together.why}"
        result = compare_rows(run, self.pairs, Stage("mutant", kind=ROWS))
        return "" if result.status != FAILED else f"{ROWS}: {result.why}"

    def _contract(self, mutant: Mutant) -> str:
        path = self._folder / "mutant.onnx"
        path.write_bytes(mutant.model)
        graph = OnnxGraph(path, OPSET, self._exported.inputs, self._exported.outputs)
        try:
            check_contract(graph, opset=OPSET, inputs=graph.inputs, outputs=graph.outputs, after="mutation")
        except CheckFailed:
            return "contract"
        return ""


def _structure(graph: OnnxGraph) -> list[str]:
    return [node.op_type for node in onnx.load(str(graph.path)).graph.node]
