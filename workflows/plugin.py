"""``plugin``: compile the channel gate's TensorRT plugin, and write a bundle's graph with its nodes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.file_hashes import require_unchanged, sha256
from ..core.new_folder import new_folder, require_free
from ..core.precision import FP16, FP32, TF32
from ..core.progress import Progress, silent
from ..core.scratch import scratch
from ..engines.tensorrt.plugin.build import ABOUT, PluginBuild, build_plugin, choose_targets
from ..engines.tensorrt.plugin.toolkit import find_headers, find_toolkit
from ..engines.tensorrt.targets import read_targets
from ..errors import CheckFailed, InputError
from ..validate.missing_cases import require_cases
from ..validate.recorded import recorded_cases
from ..validate.stages.onnxruntime import judge_graph_for_plan
from ..validate.stages.stage import PLUGIN_GRAPH, Stage
from ..validate.verdict import Verdict
from .compile import require_graph

if TYPE_CHECKING:
    import onnx_ir as ir


PRECISIONS = (FP32, TF32, FP16)


@dataclass(frozen=True)
class PluginGraph:
    """A graph with nodes of the plugin.

    Attributes:
        file: Its name in the folder.
        precision: The precision of the bundle's graph that it was made of.
        gates: The names of the plugin's nodes.
        verdict: The graph in ONNX Runtime on the CPU, each node written out in ONNX's own operators.
    """

    file: str
    precision: str
    gates: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Plugin:
    """A compiled plugin, with the graph that was asked for."""

    build: PluginBuild
    graph: PluginGraph | None = None

    @property
    def path(self) -> Path:
        """The folder."""
        return self.build.folder

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        verdict = {} if self.graph is None else {"verdict": self.graph.verdict.to_json()}
        return {"path": str(self.path), "library": str(self.build.library), **self.build.about, **verdict}


@checked
def compile_plugin(
    out: Folder,
    *,
    trt_include: Folder | None = None,
    cuda: Folder | None = None,
    targets: str | None = None,
    bundle: Folder | None = None,
    precision: str = FP32,
    progress: Progress | None = None,
) -> Plugin:
    """Compile the plugin for the TensorRT of these headers. No GPU is needed, and none is used.

    Args:
        out: A folder that is not there, or empty. Interrupted, it is as before.
        trt_include: The folder with TensorRT's headers; by default those that are installed.
        cuda: The folder with ``bin/nvcc``; by default the first that is found.
        targets: Compute capabilities, ``sm86,sm90``; by default those that are usual.
        bundle: Write this bundle's graph with the plugin's nodes beside the library. The bundle stays as it is.
        precision: The precision of that graph.
        progress: Called with a line for every step.

    Raises:
        InputError: Something is in the way, a folder or a target is not what it should be, or the graph has no gate.
        MissingRequirement: The compiler or the headers are not on this machine.
        CheckFailed: The compiler refuses the sources, the library does not load, the graph computes something else, or
            a file of the bundle has changed.
    """
    destination, report = Path(out), progress or silent
    require_free(destination)
    asked = () if targets is None else read_targets(targets)
    gated = None if bundle is None else _read_gates(open_bundle(bundle), precision, report)
    headers = find_headers(None if trt_include is None else Path(trt_include))
    toolkit = find_toolkit(None if cuda is None else Path(cuda))
    chosen = choose_targets(asked, toolkit)
    with new_folder(destination) as partial:
        graph = None if gated is None else _write_graph(gated, partial, report)
        built = build_plugin(partial, toolkit, headers, chosen, progress=report)
        if graph is not None:
            built = _with_graph(built, graph)
    return Plugin(PluginBuild(destination, built.about), graph)


@dataclass(frozen=True)
class _Gated:
    """A bundle's graph in memory, with the plugin's nodes in place of its gates.

    Attributes:
        bundle: The bundle, whose files are those of its manifest.
        precision: That of the graph.
        file: The graph's name in the bundle.
        model: The graph.
        gates: The names of the plugin's nodes.
    """

    bundle: Bundle
    precision: str
    file: str
    model: ir.Model
    gates: tuple[str, ...]


def _read_gates(bundle: Bundle, precision: str, report: Progress) -> _Gated:
    """Read a bundle's graph and replace its gates.

    Raises InputError if it has no such graph or no gate, CheckFailed if a file of it has changed or a case is missing.
    """
    import onnx_ir as ir

    from ..export.channel_gate import replace_gates

    if precision not in PRECISIONS:
        raise InputError(
            f"received --precision {precision}; expected one of {', '.join(PRECISIONS)}, which the gate has"
        )
    source = bundle.path / require_graph(bundle, precision)
    report("checking hashes")
    require_unchanged(bundle)
    model = ir.load(str(source))
    gates = replace_gates(model)
    if not gates:
        raise InputError(
            f"received --bundle {bundle.path}, whose {precision} graph has no gate of the plugin's kind; expected a "
            "mean over height and width, two layers with ReLU between them, a sigmoid and the product with the map; "
            "leave --bundle out"
        )
    require_cases(bundle)
    return _Gated(bundle, precision, source.name, model, gates)


def _write_graph(gated: _Gated, folder: Path, report: Progress) -> PluginGraph:
    """Write the graph with the plugin's nodes, and judge it with each of them written out."""
    from ..core.graph import save
    from ..export.channel_gate import write_out

    count = len(gated.gates)
    save(gated.model, folder / gated.file)
    report(f"judging the graph with {count} {'gate' if count == 1 else 'gates'} written out")
    with scratch("plugin") as work:
        write_out(gated.model)
        save(gated.model, work / gated.file)
        verdict = _judged(gated.bundle, gated.precision, work / gated.file)
    if verdict.first_failure is not None:
        raise CheckFailed(f"the graph with the plugin's nodes computes something else: {verdict.first_failure.why}")
    if why := verdict.why_unjudged:
        raise CheckFailed(f"the graph with the plugin's nodes was not judged: {why}; deploy the target again")
    return PluginGraph(gated.file, gated.precision, gated.gates, verdict)


def _judged(bundle: Bundle, precision: str, graph: Path) -> Verdict:
    stages = judge_graph_for_plan(bundle, graph, Stage(PLUGIN_GRAPH, precision), partial(recorded_cases, bundle))
    return Verdict(tuple(stages), source=Verdict.from_json(bundle.manifest["verdict"]).source)


def _with_graph(built: PluginBuild, graph: PluginGraph) -> PluginBuild:
    """Return the build with the graph listed in its ``plugin.json``."""
    entry = {"sha256": sha256(built.folder / graph.file), "precision": graph.precision, "gates": [*graph.gates]}
    about = {**built.about, "files": {**built.about["files"], graph.file: entry}}
    (built.folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return PluginBuild(built.folder, about)
