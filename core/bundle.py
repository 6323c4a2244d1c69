"""The folder that is handed over: opened with suspicion, verified by hash.

The hashes prove that files are the ones the manifest lists, not who wrote the manifest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import CheckFailed, InputError
from .arguments import require_kind
from .command_line import quoted
from .graph_io import FLOAT32, with_io
from .input_path import require_utf8
from .manifest import HASH, MANIFEST, MODEL, REFERENCE, is_inside, manifest_hash, read_manifest
from .manifest_entries import Manifest, PrecisionEntry, TunedEntry, TunedGraphEntry
from .precision import FP32
from .preprocessing import Preprocessing
from .tensor_spec import Axis, TensorSpec

if TYPE_CHECKING:
    import onnx

__all__ = [
    "MANIFEST",
    "MODEL",
    "REFERENCE",
    "TUNED",
    "Bundle",
    "Finding",
    "Folder",
    "axis_to_json",
    "is_as_listed",
    "is_inside",
    "open_bundle",
    "require_unchanged",
    "sha256",
    "spec_from_json",
    "spec_to_json",
    "tensors",
    "verify",
]

TUNED = "model.ort-cpu.onnx"
Folder = str | os.PathLike[str]  # of a bundle; a Bundle is one


@dataclass(frozen=True)
class Finding:
    """One checked file of a bundle."""

    file: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. Its path is that of its folder, so that it is taken wherever a folder is.

    Attributes:
        path: The folder.
        manifest: The content of ``bundle.json``.
        reused: True if it was found unchanged instead of being built.
    """

    path: Path
    manifest: Manifest
    reused: bool = False

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def passed(self) -> bool:
        """True if the verdict that the manifest records is a pass; ``validate_bundle`` judges again."""
        return self.manifest["verdict"].get("passed") is True

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
        """The float32 graph's inputs."""
        return tuple(spec_from_json(entry) for entry in self.manifest["inputs"])

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The float32 graph's outputs."""
        return tuple(spec_from_json(entry) for entry in self.manifest["outputs"])

    def io(self, precision: str) -> str:
        """Return the type that float inputs and outputs have in the graph of this precision."""
        entry = self.precisions.get(precision)
        return FLOAT32 if entry is None else entry.get("inputs_and_outputs", FLOAT32)

    def inputs_of(self, precision: str) -> tuple[TensorSpec, ...]:
        """Return the inputs of the graph of this precision."""
        return with_io(self.inputs, self.io(precision))

    def outputs_of(self, precision: str) -> tuple[TensorSpec, ...]:
        """Return the outputs of the graph of this precision."""
        return with_io(self.outputs, self.io(precision))

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The way from a photograph to the input; None if the model's author does not say it.

        Raises InputError for an entry that says what cannot be.
        """
        return Preprocessing.from_json(self.manifest.get("preprocessing", {}))

    @property
    def model_path(self) -> Path:
        """The graph that the others are made of."""
        return self.path / MODEL

    @property
    def precisions(self) -> dict[str, PrecisionEntry]:
        """The manifest's entry of each graph below float32."""
        return self.manifest.get("precisions", {})

    @property
    def precision(self) -> str:
        """The precision of the graph that the others are made of: an ONNX file may have another than float32."""
        return self.manifest.get("precision", FP32)

    @property
    def has_own_levels(self) -> bool:
        """True if the module that the bundle was made of has the levels of its 8-bit graph itself."""
        return self.manifest.get("own_levels", False)

    @property
    def graphs(self) -> dict[str, str]:
        """The file of every graph by its precision, ``model.onnx`` first."""
        return {self.precision: MODEL, **{name: entry["file"] for name, entry in self.precisions.items()}}

    def node_modules(self, precision: str) -> Mapping[str, str]:
        """The path of the PyTorch module of each node of the graph of that precision."""
        return self.precisions.get(precision, self.manifest).get("modules", {})

    @property
    def graph_files(self) -> list[str]:
        """The file of every graph, of every precision and tuned."""
        tuned = [*([] if self.tuned is None else [self.tuned]), *self.tuned_graphs]
        return [*dict.fromkeys(self.graphs.values()), *(str(entry["file"]) for entry in tuned)]

    @property
    def tuned(self) -> TunedEntry | None:
        """The manifest's entry of the graph that ``tune`` wrote for ONNX Runtime on the CPU, if any."""
        return self.manifest.get("tuned")

    @property
    def tuned_graphs(self) -> list[TunedGraphEntry]:
        """The manifest's entries of the graphs that ``tune`` wrote for TensorRT."""
        return self.manifest.get("tuned_graphs", [])

    def tuned_graph(self, flavour: str, precision: str) -> TunedGraphEntry | None:
        """Return the entry of the graph that ``tune`` wrote for this TensorRT in this precision; None without one."""
        wanted = (flavour, precision)
        return next((one for one in self.tuned_graphs if (one["flavour"], one["precision"]) == wanted), None)

    def with_entries(self, entries: Mapping[str, Any]) -> Bundle:
        """Return the bundle as it would be with these entries of the manifest; nothing is written."""
        return replace(self, manifest=cast(Manifest, {**self.manifest, **entries}))

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


def open_bundle(path: Folder) -> Bundle:
    """Read a bundle's manifest.

    Raises InputError if the folder is no bundle, or one that leaves its folder, or has a name that is not UTF-8.
    """
    require_kind(path, (str, os.PathLike), "bundle", "a Bundle, or the folder of one")
    if not os.fspath(path):
        raise InputError("received an empty path; expected the folder of a bundle; write it")
    folder = Path(path)
    require_utf8(str(folder), "")
    file = folder / MANIFEST
    if not file.is_file():
        raise InputError(f"{folder} is not a bundle: {_why_no_bundle(folder)}")
    return Bundle(folder, read_manifest(file))


def _why_no_bundle(folder: Path) -> str:
    if folder.suffix == ".onnx" and not folder.is_dir():
        return f"it is an ONNX file; make a bundle of it by `attn2trt deploy {quoted(folder)}`"
    if folder.name == MANIFEST and folder.is_file():
        return f"it is the manifest of one; give its folder, {folder.parent}"
    if not folder.is_dir():
        found = "it is a file" if folder.exists() else "it is not there"
        return f"{found}; give the folder that `attn2trt deploy` printed"
    return f"it holds no {MANIFEST}; give the folder that `attn2trt deploy` printed"


def sha256(*paths: Path) -> str:
    """The SHA-256 of a file, or of several one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def verify(path: Folder) -> list[Finding]:
    """Compare the manifest and every listed file with their hashes, and what graphs and plans name with the list."""
    bundle = open_bundle(path)
    root = bundle.path.resolve()
    findings = [_verify_manifest(bundle.manifest)]
    findings += _verify_plans(bundle.manifest)
    findings += [_verify_file(root, name, entry) for name, entry in bundle.manifest["files"].items()]
    if all(finding.ok for finding in findings):
        findings += _verify_external_data(bundle)
    return findings


def is_as_listed(bundle: Bundle, name: str) -> bool:
    """Tell whether this file of the bundle is the one that its manifest lists."""
    entry = bundle.manifest["files"].get(name)
    return entry is not None and _verify_file(bundle.path.resolve(), name, entry).ok


def require_unchanged(bundle: Bundle) -> None:
    """Raise CheckFailed for the first file that is not the one the manifest lists."""
    for finding in verify(bundle.path):
        if not finding.ok:
            raise CheckFailed(
                f"{bundle.path / finding.file}: {finding.detail}; deploy the target again or restore the file"
            )


def _verify_file(root: Path, name: str, entry: Mapping[str, Any]) -> Finding:
    file = root / name
    if not file.is_file():
        return Finding(name, False, "missing")
    if not file.resolve().is_relative_to(root):
        return Finding(name, False, "a link that leaves the bundle")
    found = sha256(file)
    if found != entry["sha256"]:
        others = f"{found[:12]}…, the manifest has {entry['sha256'][:12]}…"
        return Finding(name, False, f"changed: its sha256 is {others}")
    return Finding(name, True, f"sha256 {found[:12]}…, {file.stat().st_size} bytes")


def _verify_manifest(manifest: Mapping[str, Any]) -> Finding:
    """Compare what the manifest says with its own hash, if it has one."""
    if HASH not in manifest:
        return Finding(MANIFEST, True, "manifest not covered: written by a version that did not hash it")
    found = manifest_hash(manifest)
    if found != manifest[HASH]:
        return Finding(
            MANIFEST, False, f"changed: its content has sha256 {found[:12]}… instead of {manifest[HASH][:12]}…"
        )
    return Finding(MANIFEST, True, f"content sha256 {found[:12]}…")


def _verify_plans(manifest: Mapping[str, Any]) -> list[Finding]:
    """Find plans that no hash covers, since they are no files of this bundle."""
    unlisted = [entry["file"] for entry in manifest.get("plans", ()) if entry["file"] not in manifest["files"]]
    return [Finding(MANIFEST, False, f"names the plan {name!r}, which it does not list") for name in unlisted]


def _verify_external_data(bundle: Bundle) -> list[Finding]:
    """Find weights beside a graph that are no files of this bundle, wherever in the graph they are named."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    findings = []
    for name in bundle.graph_files:
        try:
            model = onnx.load(str(bundle.path / name), load_external_data=False)
        except (DecodeError, ValueError) as error:
            findings.append(Finding(name, False, f"no ONNX graph: {' '.join(str(error).split())[:200]}"))
            continue
        locations = {
            entry.value for tensor in tensors(model) for entry in tensor.external_data if entry.key == "location"
        }
        for location in sorted(locations):
            if not is_inside(location) or location not in bundle.manifest["files"]:
                findings.append(Finding(name, False, f"refers to {location!r}, which the manifest does not list"))
    return findings


def tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a message of ONNX, at any depth: attributes, sub-graphs, functions, sparse values."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in (value,) if hasattr(value, "ListFields") else value:  # one message, or several
                yield from tensors(part)
