"""Everything that a page shows of one bundle, read from its manifest and its files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ..core.bundle import Bundle
from ..core.command_line import quoted
from ..core.manifest import MODEL, REPORT
from ..core.precision import FP32
from ..core.tensor_spec import optima
from ..errors import InputError
from ..modules.shapes import Shape
from ..validate.verdict import Verdict
from .map_section import MapSection, map_section
from .measured_section import CostSection, LatencySection, cost_section, latency_section
from .network_section import AlongSection, NetworkSection, along_sections, network_sections
from .precision_section import AchievedSection, AskedSection, achieved_sections, asked_sections
from .predictions_section import PredictionsSection, predictions_section
from .scale import size
from .tuned_section import TunedRow, tuned_rows
from .verdict_section import VerdictSection, verdict_section

# Entries of the manifest that commands add after the bundle was made.
VALIDATED: Final = "validated"
BENCHMARK: Final = "benchmark"
COST: Final = "cost"
PREDICTIONS: Final = "predictions"  # within VALIDATED, as is the next
NETWORK: Final = "network"
# What of a recorded command its reader is not to type again: given twice it is refused, and JSON is for programs.
_NOT_AGAIN = re.compile(r" (?:--precision[= ]\S+|--force|--json)(?= |$)")

Section = TypeVar("Section")


@dataclass(frozen=True)
class FileRow:
    """A file of the bundle."""

    name: str
    role: str
    size: str
    sha256: str


@dataclass(frozen=True)
class BundleView:
    """A bundle, ready to be written down.

    Attributes:
        name: The target's name.
        path: The folder, as the reader will write it.
        anchor: The beginning of the ids of its sections.
        verdicts: That of ``deploy``, and the last one of ``validate`` before it if there is one.
        facts: What describes the graph, as pairs of a name and a text.
        made: How the bundle was made, likewise.
        commands: The commands that fill sections, by their name, and those that a reader may want.
    """

    name: str
    path: str
    anchor: str
    verdicts: tuple[VerdictSection, ...]
    error_map: MapSection | None
    networks: tuple[NetworkSection, ...]
    along: tuple[AlongSection, ...]
    predictions: PredictionsSection | None
    asked: tuple[AskedSection, ...]
    achieved: tuple[AchievedSection, ...]
    cost: CostSection | None
    latency: LatencySection | None
    tuned: tuple[TunedRow, ...]
    facts: tuple[tuple[str, str], ...]
    made: tuple[tuple[str, str], ...]
    files: tuple[FileRow, ...]
    commands: Mapping[str, str]

    @property
    def verdict(self) -> VerdictSection:
        """The latest one."""
        return self.verdicts[0]


def bundle_view(bundle: Bundle, shown: Path, *, number: int) -> BundleView:
    """The view of a bundle, the ``number``-th of its page; ``shown`` is its path as the user writes it.

    Raises InputError for an entry of the manifest that cannot be read.
    """
    made, judged = _verdicts(bundle)
    verdicts = [*judged, *made]
    validated = bundle.manifest.get(VALIDATED, {})
    return BundleView(
        name=bundle.name,
        path=str(shown),
        anchor=f"b{number}",
        verdicts=tuple(verdict_section(verdict, by) for verdict, by in verdicts),
        error_map=map_section([verdict for verdict, _ in verdicts]),
        networks=network_sections([verdict for verdict, _ in verdicts], _classes(bundle)),
        along=_read(validated.get(NETWORK), along_sections, NETWORK, "validate --network") or (),
        predictions=_read(validated.get(PREDICTIONS), predictions_section, PREDICTIONS, "validate --dataset"),
        asked=asked_sections(bundle),
        achieved=achieved_sections(bundle),
        cost=_read(bundle.manifest.get(COST), cost_section, COST, COST),
        latency=_read(bundle.manifest.get(BENCHMARK), latency_section, BENCHMARK, BENCHMARK),
        tuned=tuned_rows(bundle),
        facts=tuple(_facts(bundle)),
        made=tuple(_made(bundle)),
        files=tuple(
            FileRow(name, entry.get("role", ""), size(entry["bytes"]) if "bytes" in entry else "", entry["sha256"])
            for name, entry in bundle.manifest["files"].items()
            if name != REPORT  # it cannot hold its own hash
        ),
        commands=_commands(bundle, shown),
    )


def _verdicts(bundle: Bundle) -> tuple[list[tuple[Verdict, str]], list[tuple[Verdict, str]]]:
    """The verdict of the command that made the bundle, and the last one of ``validate``, each with whose it is."""
    made = [(Verdict.from_json(bundle.manifest["verdict"]), "attn2trt deploy, when the bundle was made")]
    entry = bundle.manifest.get(VALIDATED)
    if entry is None:
        return made, []
    if not isinstance(entry, Mapping):
        raise InputError(f"received a bundle whose {VALIDATED!r} is no dict; run attn2trt validate again")
    where = str(entry.get("machine", {}).get("cpu", ""))
    return made, [(Verdict.from_json(entry["verdict"]), ", ".join(filter(None, ["attn2trt validate", where])))]


def _classes(bundle: Bundle) -> dict[str, tuple[str, str]]:
    """Return the class of each module that is not PyTorch's own, and its line."""
    entries = bundle.manifest.get("classes", ())
    return {path: (entry["name"], entry["source"]) for entry in entries for path in entry["modules"]}


def _read(entry: Any, read: Callable[[Any], Section], name: str, command: str) -> Section | None:
    """Return the section of the manifest's entry ``name``, which ``command`` writes; None if there is no entry."""
    if entry is None:
        return None
    try:
        return read(entry)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"received a bundle whose {name!r} cannot be read ({error!r}); run attn2trt {command} again"
        ) from None


def _facts(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    rows = [("input", str(spec)) for spec in bundle.inputs]
    rows += [("output", str(spec)) for spec in bundle.outputs]
    rows += [("axis", f"{name} {axis} (min:opt:max)") for name, axis in bundle.axes.items()]
    rows += [("default batch", manifest.get("default_batch", ""))]
    rows += [("narrowed", f"{name}: {text}") for name, text in manifest.get("narrowed", {}).items()]
    rows += [
        ("graph", f"{name}, {precision}, inputs and outputs {bundle.io(precision)}")
        for precision, name in bundle.graphs.items()
    ]
    rows += [("opset", str(manifest.get("opset", "")))]
    rows += [("preprocessing", f"{name}: {value}") for name, value in _mapping(manifest, "preprocessing").items()]
    return [row for row in rows if row[1]]


def _made(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    rows = [("command", manifest.get("command", ""))]
    rows += [("made by", manifest.get("tool", ""))]
    target = manifest["target"]
    rows += [(name, str(target[name])) for name in ("paper", "source", "weights") if target.get(name)]
    build = manifest.get("build")
    rows += [("seed", str(build["seed"]))] if build is not None else []
    rows += [("version", f"{name} {version}") for name, version in manifest.get("versions", {}).items()]
    rows += [("note", str(note)) for note in manifest.get("notes", ())]
    rows += [("seconds", ", ".join(f"{name} {value}" for name, value in _mapping(manifest, "seconds").items()))]
    return [row for row in rows if row[1]]


def _mapping(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name, {})
    return found if isinstance(found, Mapping) else {}


def _commands(bundle: Bundle, shown: Path) -> dict[str, str]:
    path, name = quoted(shown), shlex.quote(bundle.name)
    lower = next(iter(bundle.precisions), bundle.precision)
    is_file = bundle.is_of_file
    target = name if is_file else f"{name}{_shapes(bundle)}"
    deployed = _NOT_AGAIN.sub("", bundle.manifest.get("command") or f"attn2trt deploy {target}")
    # cost holds a module's blocks against the plain backbone, and an ONNX file has neither
    of_module = {"cost": f"attn2trt cost {target} -o cost.json && attn2trt report {path} --add cost.json"}
    return {
        **({} if is_file else of_module),
        "validate": f"attn2trt validate {path}",
        "network": f"attn2trt validate {path} --network",
        "verify": f"attn2trt verify {path}",
        "compile": f"attn2trt compile {path} --precision {lower}",
        "benchmark": f"attn2trt benchmark {path}",
        **({"deploy": f"{deployed} --precision fp32,fp16 --force"} if bundle.precision == FP32 else {}),
        "netron": f"pip install netron && netron {quoted(shown / MODEL)}",
    }


def _shapes(bundle: Bundle) -> str:
    """The option --shape for each input at the size that was traced."""
    sizes = optima(bundle.axes)
    shapes = [
        Shape(spec.name, spec.resolve(sizes), spec.dtype, spec.low, spec.high, spec.layout.replace("nchw", ""))
        for spec in bundle.inputs
    ]
    texts = [shape.text if len(shapes) > 1 else shape.unnamed for shape in shapes]
    return "".join(f" --shape {shlex.quote(text)}" for text in texts)
