"""An ONNX file that something else wrote, read in a process of its own and written again as a graph of this package.

The process looks at the file before any library computes with it: what it imports, the place of its weights, whether
ONNX's checker and shape inference take it. It writes a copy in which every node has a name, functions of the file are
inlined, weights are no inputs, and the dimensions of inputs have the names of the axes that they vary by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.command_line import quoted
from ..core.file_hashes import sha256
from ..core.graph import OnnxGraph
from ..core.input_path import require_readable
from ..core.manifest import MANIFEST
from ..core.plain_data import plain
from ..core.tensor_spec import Axis, TensorSpec
from ..core.worker import Worker
from ..errors import InputError

READ_SECONDS = 600


@dataclass(frozen=True)
class FileTensor:
    """An input or output of the file; a dimension is a size, a name, or "" if the file says nothing."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]


@dataclass(frozen=True)
class OnnxFile:
    """A file as it was found.

    Attributes:
        path: The file.
        sha256: Its hash.
        opset: The opset of ONNX's own operators.
        ir_version: The version of the file format.
        producer: The program that wrote it, as far as the file tells.
        precision: The precision that it computes in: fp32, or fp16, bf16, int8 or fp8 if it has such values inside.
        operators: The number of nodes by operator.
        inputs: What is fed, weights left out.
        outputs: What is given.
        draws: The operators that give something else in every run.
        files: The files beside it that hold weights, with the hash of each.
        notes: Sentences about what was changed on the way.
    """

    path: Path
    sha256: str
    opset: int
    ir_version: int
    producer: str
    precision: str
    operators: Mapping[str, int]
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    draws: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def require_unchanged(self) -> None:
        """Raise InputError if the file, or one with its weights, is another one by now."""
        known = {self.path: self.sha256, **{self.path.parent / name: digest for name, digest in self.files.items()}}
        for path, digest in known.items():
            if not path.is_file() or sha256(path) != digest:
                raise InputError(f"received {path}, which changed while it was read; run the command again")

    def to_json(self) -> dict[str, Any]:
        """Return every field by name but for the inputs and outputs, as plain data."""
        return {name: value for name, value in plain(self).items() if name not in ("inputs", "outputs")}


class OnnxFileReader:
    """The process that reads one file: ``read`` says what it is, ``write`` makes the graph. Use it in a ``with``."""

    def __init__(self, path: Path, *, seconds: float = READ_SECONDS) -> None:
        if (path / MANIFEST).is_file():
            raise InputError(
                f"received {path}, a bundle; expected an ONNX file; judge it by attn2trt validate {quoted(path)}"
            )
        self._path = require_readable(path, "an ONNX file")
        self._worker = Worker("export.onnx_file_child", who="the reader of the ONNX file", seconds=seconds)

    def __enter__(self) -> OnnxFileReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__(None, None, None)

    def read(self) -> OnnxFile:
        """Return what the file is.

        Raises:
            InputError: It is no ONNX file, or one that breaks ONNX's rules, needs what is not in it, or uses operators
                that are not ONNX's.
            Interrupted: Reading it took too long or too much memory.
        """
        before = sha256(self._path)
        self._worker.tell({"path": str(self._path.absolute()), "shown": str(self._path)})
        about, _ = self._worker.answer(f"reading {self._path}")
        inputs, outputs = (
            tuple(FileTensor(entry["name"], entry["dtype"], tuple(entry["dims"])) for entry in about.pop(kind))
            for kind in ("inputs", "outputs")
        )
        notes, draws = tuple(about.pop("notes")), tuple(about.pop("draws"))
        files = {name: sha256(self._path.parent / name) for name in about.pop("files")}
        if sha256(self._path) != before:
            raise InputError(f"received {self._path}, which changed while it was read; run the command again")
        return OnnxFile(
            path=self._path,
            sha256=before,
            inputs=inputs,
            outputs=outputs,
            draws=draws,
            files=files,
            notes=notes,
            **about,
        )

    def write(self, path: Path, file: OnnxFile, inputs: tuple[TensorSpec, ...], axes: Mapping[str, Axis]) -> OnnxGraph:
        """Write the graph to ``path`` with the dimensions of ``inputs``, and return it."""
        dims = {spec.name: [*spec.shape] for spec in inputs}
        self._worker.tell({"destination": str(path.absolute()), "dims": dims})
        answer, _ = self._worker.answer("writing the graph")
        outputs = tuple(TensorSpec(entry["name"], tuple(entry["dims"]), entry["dtype"]) for entry in answer["outputs"])
        return OnnxGraph(path, file.opset, inputs, outputs, axes=axes, precision=file.precision)
