"""The folder that is handed over: opened with suspicion, verified by hash.

The hashes prove that files are the ones the manifest lists, not who wrote the manifest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import CheckFailed, InputError
from ..modules.target import Axis, TensorSpec

FORMAT = 1
MANIFEST = "bundle.json"
MODEL = "model.onnx"
TUNED = "model.ort-cpu.onnx"
REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class Finding:
    """One checked file of a bundle."""

    file: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. ``reused`` tells that it was found unchanged instead of being built."""

    path: Path
    manifest: Mapping[str, Any]
    reused: bool = False

    @property
    def name(self) -> str:
        """The target's name."""
        return str(self.manifest["target"]["name"])

    @property
    def axes(self) -> dict[str, Axis]:
        """The dynamic axes with their ranges."""
        return {name: Axis(*sizes) for name, sizes in self.manifest["axes"].items()}

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return tuple(spec_from_json(entry) for entry in self.manifest["inputs"])

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return tuple(spec_from_json(entry) for entry in self.manifest["outputs"])

    @property
    def model_path(self) -> Path:
        """The float32 graph."""
        return self.path / MODEL

    @property
    def graphs(self) -> dict[str, str]:
        """The file of every graph by its precision, float32 first."""
        lowered = self.manifest.get("precisions", {})
        return {"fp32": MODEL, **{name: str(entry["file"]) for name, entry in lowered.items()}}

    def node_modules(self, precision: str) -> Mapping[str, str]:
        """The path of the PyTorch module of each node of the graph of that precision."""
        entry = self.manifest.get("precisions", {}).get(precision, self.manifest)
        found: Mapping[str, str] = entry.get("modules", {})
        return found

    @property
    def graph_files(self) -> list[str]:
        """The file of every graph, of every precision and tuned."""
        return [*dict.fromkeys(self.graphs.values()), *([] if self.tuned is None else [str(self.tuned["file"])])]

    @property
    def tuned(self) -> Mapping[str, Any] | None:
        """What the manifest says of the graph in the forms that were fastest in ONNX Runtime on the CPU, if any."""
        return self.manifest.get("tuned")

    @property
    def reference_path(self) -> Path:
        """The recorded inputs and PyTorch outputs."""
        return self.path / REFERENCE


def spec_to_json(spec: TensorSpec) -> dict[str, Any]:
    """A spec as the manifest holds it."""
    entry: dict[str, Any] = {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype}
    if spec.layout != "nchw":
        entry["layout"] = spec.layout
    return entry if spec.low is None else {**entry, "low": spec.low, "high": spec.high}


def spec_from_json(entry: Mapping[str, Any]) -> TensorSpec:
    """The inverse of spec_to_json."""
    bounds = entry.get("low"), entry.get("high")
    return TensorSpec(entry["name"], tuple(entry["shape"]), entry["dtype"], *bounds, entry.get("layout", "nchw"))


def axis_to_json(axis: Axis) -> list[int]:
    """A range as the manifest holds it: [min, opt, max], and what every size is a multiple of where that is not 1."""
    return [axis.min, axis.opt, axis.max, *([axis.multiple] if axis.multiple > 1 else [])]


def open_bundle(path: Path | str) -> Bundle:
    """Read a bundle's manifest; raises InputError where the folder is no bundle, or one that leaves its folder."""
    folder = Path(path)
    file = folder / MANIFEST
    if not file.is_file():
        raise InputError(
            f"{folder} is not a bundle: it holds no {MANIFEST}; give the folder that `attn2trt deploy` printed"
        )
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file} is not readable JSON ({error}); deploy the target again") from error
    _check_manifest(file, manifest)
    return Bundle(folder, manifest)


def _check_manifest(file: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise InputError(f"{file} has format {found!r}; this version reads format {FORMAT}; deploy the target again")
    shapes = {
        "target": dict,
        "files": dict,
        "axes": dict,
        "inputs": list,
        "outputs": list,
        "cases": list,
        "verdict": dict,
    }
    for key, kind in shapes.items():
        if not isinstance(manifest.get(key), kind):
            raise InputError(f"{file} has no usable {key!r}; expected a {kind.__name__}; deploy the target again")
    for name, entry in manifest["files"].items():
        if (
            not is_inside(name)
            or not isinstance(entry, dict)
            or not re.fullmatch(r"[0-9a-f]{64}", str(entry.get("sha256")))
        ):
            raise InputError(f"{file} lists {name!r}, which leaves the bundle or has no sha256; do not use this bundle")
    lowered = manifest.get("precisions", {})
    if not isinstance(lowered, dict) or not all(isinstance(entry, dict) for entry in lowered.values()):
        raise InputError(f"{file} has no usable 'precisions'; expected a dict of dicts; deploy the target again")
    tuned = manifest.get("tuned")
    if tuned is not None and not isinstance(tuned, dict):
        raise InputError(f"{file} has no usable 'tuned'; expected a dict; deploy the target again")
    more = [str(entry.get("file")) for entry in (*lowered.values(), *([] if tuned is None else [tuned]))]
    for name in (MODEL, REFERENCE, *more):
        if name not in manifest["files"]:
            raise InputError(f"{file} does not list {name}; deploy the target again")


def is_inside(name: str) -> bool:
    """Whether ``name`` is a plain relative path that stays in the bundle's folder."""
    path = PurePosixPath(name)
    return bool(name) and "\\" not in name and ":" not in name and not path.is_absolute() and ".." not in path.parts


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(path: Path | str) -> list[Finding]:
    """Compare every file that the manifest lists with its hash, and what the graph refers to with the list."""
    bundle = open_bundle(path)
    root = bundle.path.resolve()
    findings = [_verify_file(root, name, entry) for name, entry in bundle.manifest["files"].items()]
    if all(finding.ok for finding in findings):
        findings += _verify_external_data(bundle)
    return findings


def is_as_listed(bundle: Bundle, name: str) -> bool:
    """Whether this file of the bundle is the one that its manifest lists."""
    entry = bundle.manifest["files"].get(name)
    return entry is not None and _verify_file(bundle.path.resolve(), name, entry).ok


def require_unchanged(bundle: Bundle) -> None:
    """Raise CheckFailed for the first file that is not the one the manifest lists."""
    for finding in verify(bundle.path):
        if not finding.ok:
            raise CheckFailed(
                f"{bundle.path / finding.file} is {finding.detail}; deploy the target again or restore the file"
            )


def _verify_file(root: Path, name: str, entry: Mapping[str, Any]) -> Finding:
    file = root / name
    if not file.is_file():
        return Finding(name, False, "missing")
    if not file.resolve().is_relative_to(root):
        return Finding(name, False, "is a link that leaves the bundle")
    found = sha256(file)
    if found != entry["sha256"]:
        others = f"{found[:12]}… where the manifest says {entry['sha256'][:12]}…"
        return Finding(name, False, f"changed: its sha256 is {others}")
    return Finding(name, True, f"sha256 {found[:12]}…, {file.stat().st_size} bytes")


def _verify_external_data(bundle: Bundle) -> list[Finding]:
    """Weights kept beside a graph must be files of this bundle that the manifest lists."""
    import onnx

    findings = []
    for name in bundle.graph_files:
        model = onnx.load(str(bundle.path / name), load_external_data=False)
        entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
        for location in sorted({entry.value for entry in entries if entry.key == "location"}):
            if not is_inside(location) or location not in bundle.manifest["files"]:
                findings.append(Finding(name, False, f"refers to {location!r}, which the manifest does not list"))
    return findings
