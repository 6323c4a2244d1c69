"""A bundle on disk, the folder that is deployed. Its manifest may hold anything until it was checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ..errors import InputError
from .arguments import checked
from .command_line import quoted
from .graph_io import FLOAT32, with_io
from .input_path import is_there, require_utf8
from .manifest import MANIFEST, MODEL, REFERENCE, read_manifest
from .manifest_entries import Manifest, PrecisionEntry, TunedEntry, TunedGraphEntry
from .precision import FP32
from .preprocessing import Preprocessing
from .tensor_spec import Axis, TensorSpec

TUNED = "model.ort-cpu.onnx"
Folder = str | os.PathLike[str]  # of a bundle; a Bundle is one


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
        return tuple(TensorSpec.from_json(entry) for entry in self.manifest["inputs"])

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The float32 graph's outputs."""
        return tuple(TensorSpec.from_json(entry) for entry in self.manifest["outputs"])

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
    def opset(self) -> int:
        """The ONNX opset of the graph that the others are made of. Raises InputError for a manifest without it."""
        if (opset := self.manifest.get("opset")) is None:
            raise InputError(
                f"{self.path / MANIFEST} has no usable 'opset'; expected an entry; deploy the target again"
            )
        return opset

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
    def is_of_file(self) -> bool:
        """True if the bundle was made of an ONNX file, not of a PyTorch module."""
        return "onnx_file" in self.manifest

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

    @property
    def reference_hash(self) -> str:
        """The hash of the recorded inputs and outputs: another one is of another model, or of other weights."""
        return str(self.manifest["files"][REFERENCE]["sha256"])


@checked
def open_bundle(path: Folder) -> Bundle:
    """Read a bundle's manifest.

    Raises InputError if the folder is no bundle, or one that leaves its folder, or has a name that is not UTF-8.
    """
    if not os.fspath(path):
        raise InputError("received an empty path; expected the folder of a bundle; write it")
    folder = Path(path)
    require_utf8(str(folder), "")
    file = folder / MANIFEST
    if not is_there(file, "file"):
        raise InputError(f"{folder} is not a bundle: {_why_no_bundle(folder)}")
    return Bundle(folder, read_manifest(file))


def _why_no_bundle(folder: Path) -> str:
    if folder.suffix == ".onnx" and not is_there(folder, "folder"):
        return f"it is an ONNX file; make a bundle of it by `attn2trt deploy {quoted(folder)}`"
    if folder.name == MANIFEST and folder.is_file():
        return f"it is the manifest of one; give its folder, {folder.parent}"
    if not is_there(folder, "folder"):
        found = "it is a file" if is_there(folder, "either") else "it is not there"
        return f"{found}; give the folder that `attn2trt deploy` printed"
    return f"it holds no {MANIFEST}; give the folder that `attn2trt deploy` printed"
