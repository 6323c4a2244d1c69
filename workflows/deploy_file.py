"""Make a bundle of an ONNX file that something else wrote: the stages of ``check``, and the files of ``deploy``."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.bundle import Bundle
from ..core.bundle_writer import BundleWriter
from ..core.graph import DEFAULT_OPSET
from ..core.memory import child_bytes, children_take
from ..core.progress import StageTimes
from ..core.tensor_spec import Axis, TensorSpec
from ..engines.child import ANSWER_SECONDS
from ..errors import CheckFailed, InputError
from ..export.contract import check_contract
from ..export.deploy_files import write_script
from ..export.onnx_axes import BATCH, choose_sizes
from ..export.onnx_file import OnnxFile, OnnxFileReader
from ..export.simplify import Simplifier
from ..validate.metrics import GRAPH
from ..validate.stages.build import BuildStages
from .check import name_of
from .deploy_manifest import graph_entries, own_files, verdict_entries
from .deploy_request import DeployRequest
from .file_judgement import FileGraph, FileJudge, build_against
from .float32_graph import EXPORTED, simplify
from .judgement import judge_each
from .place import Place
from .precision import files_of
from .report import made_by, write_page
from .reuse import key_of, unchanged
from .versions import package_versions

if TYPE_CHECKING:
    from torch import nn

    from ..modules.dynamic import Ranges

NOT_COMPARED = "not compared with PyTorch: the truth is the graph itself in float64"


@dataclass(frozen=True)
class FileTarget:
    """An ONNX file to make a bundle of.

    Attributes:
        name: The TARGET as it was written.
        path: The file.
        shapes: Sizes of its inputs.
        dynamic: Ranges of its symbolic dimensions.
        against: The PyTorch module that it is held against, or the name of one.
        batches: Batches that the range of an open batch must hold, if ``dynamic`` is None.
        most_cases: The number of cases that are recorded; None for all.
    """

    name: str
    path: Path
    shapes: Sequence[str] = ()
    dynamic: str | Ranges | None = None
    against: str | nn.Module | None = None
    batches: Sequence[int] = ()
    most_cases: int | None = None

    def require_sense(self, request: DeployRequest, *, example_inputs: Any, layout: Any) -> None:
        """Raise InputError for arguments that need a PyTorch module."""
        weights = request.weights
        given = {
            "example_inputs": example_inputs is not None,
            "a layout; write it in shapes": layout is not None,
            f"--opset {request.opset}": request.opset != DEFAULT_OPSET,
            "--precision auto": request.precision.chooses,
            "--pretrained": weights.pretrained and self.against is None,
            "--checkpoint": weights.checkpoint is not None and self.against is None,
            "--random-weights": weights.random,
            "--trust": weights.trust and self.against is None,
        }
        for option, is_given in given.items():
            if is_given:
                raise InputError(
                    f"received {option} with the ONNX file {self.path}; expected none: it is for a PyTorch module, and "
                    "a file has its own opset, inputs and weights; leave it out"
                )


def deploy_file(
    target: FileTarget, request: DeployRequest, place: Place, times: StageTimes, *, force: bool = False
) -> Bundle:
    """Return the bundle of an ONNX file; a file that the same one was made of before is not read by any library.

    Raises:
        InputError: The file is no ONNX file or breaks ONNX's rules, or an argument does not fit it.
        MissingRequirement: Its graph has no truth in float64, or a package that is needed is not installed.
        StorageError: Reading or writing failed.
    """
    request = request.seen_from(place)
    with children_take(child_bytes()):
        times.start("read", "reading the file")
        with OnnxFileReader(target.path, seconds=ANSWER_SECONDS) as reader:
            maker = _Maker.of(target, request, reader, times)
            times.start("reuse", "comparing with the bundle that is there")
            key = maker.key
            # a module of the user's computes what no key holds
            if not force and target.against is None and (found := unchanged(place.path, key)) is not None:
                return place.named(found)
            with BundleWriter(place.path) as writer:
                manifest, files = maker.make(writer.path)
                describe = write_page(place.shown, functools.partial(times.start, "report"))
                return place.named(writer.commit({**manifest, "key": key, "seconds": times.done()}, files, describe))


@dataclass(frozen=True)
class _Maker:
    """Makes the files of one bundle; the fields are what ``deploy_file`` was given, read and checked."""

    target: FileTarget
    request: DeployRequest
    reader: OnnxFileReader
    times: StageTimes
    file: OnnxFile
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]

    @classmethod
    def of(cls, target: FileTarget, request: DeployRequest, reader: OnnxFileReader, times: StageTimes) -> _Maker:
        """Read the file, and choose the sizes of its inputs."""
        file = reader.read()
        inputs, axes = choose_sizes(file, target.shapes, target.dynamic)
        if target.batches and target.dynamic is None and BATCH in axes:
            axes[BATCH] = _holding(target.batches, axes[BATCH])
        request.require_size(inputs, axes)
        return cls(target, request, reader, times, file, inputs, axes)

    @property
    def key(self) -> str:
        """The key of the bundle: the hashes of the file and of the weights beside it, and all that was asked for."""
        target, request = self.target, self.request
        about = {
            "name": target.name,
            "file": self.file.sha256,
            "weights": dict(self.file.files),
            "against": name_of(target.against),
            "most_cases": target.most_cases,
        }
        options = request.options(is_default_batch=self.is_default_batch)
        return key_of(about, self.inputs, self.axes, options=options, read=request.read)

    @property
    def is_default_batch(self) -> bool:
        """True if the file leaves the batch open, and nobody chose it."""
        return BATCH in self.axes and not self.target.shapes and self.target.dynamic is None

    def make(self, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
        """Write the graphs, the reference and the plans into ``folder``; return manifest entries, and the files."""
        with Simplifier() as simplifier, BuildStages(folder, self.request.build_for) as builds:
            model = self._graph(folder, simplifier)
            judge = self._judge(model, folder)
            cases = judge.cases()[: self.target.most_cases]
            built = builds if self.request.judging.verdict else None
            judgement = judge_each(
                lambda precision: judge.write(precision, cases),
                judge.lower,
                lambda lowered: judge.judge(cases, lowered, built),
            )
            self.file.require_unchanged()
            if not judgement.cases and not judgement.cases_left_out:  # nothing could ever be checked
                raise judge.without_truth(judgement, "judge a bundle by")
            source = judgement.verdict.source
            truth = "the graph in float64" if source == GRAPH else source
            write_script(folder, self.file.path.stem, self.inputs, self.axes, self.file.opset, truth=truth)
            manifest = {
                **self._entries(model, judge, was_interrupted=simplifier.was_interrupted),
                **verdict_entries(judgement, model),
                "plans": [plan.to_json() for plan in builds.plans],
            }
            files = own_files(folder, self.file.precision, reference="inputs and outputs in float64")
            return manifest, files | files_of(judgement.lowered) | builds.files

    def _graph(self, folder: Path, simplifier: Simplifier) -> FileGraph:
        """Return the file's graph with its contract checked, and simplified if that keeps the contract."""
        written = self.reader.write(folder / EXPORTED, self.file, self.inputs, self.axes)
        try:
            check_contract(
                written, opset=self.file.opset, inputs=self.inputs, outputs=written.outputs, after="reading the file"
            )
        except CheckFailed as error:
            raise InputError(f"received {self.file.path}, whose graph cannot be deployed: {error}") from error
        simplified = simplify(written, folder, self.times, simplifier)
        whole = replace(simplified, itself=self.file.path.absolute())
        return FileGraph(**vars(whole), file=self.file, preprocessing=self.request.preprocessing)

    def _judge(self, model: FileGraph, folder: Path) -> FileJudge:
        request, target = self.request, self.target
        if target.against is not None:
            self.times.start("build", "building the PyTorch module")
        module = build_against(target.against, model.graph, request.weights, self.file)
        return FileJudge(
            model, request.precision, request.weights, request.judging, folder, ANSWER_SECONDS, self.times, module
        )

    def _entries(self, model: FileGraph, judge: FileJudge, *, was_interrupted: bool) -> dict[str, Any]:
        file, target = self.file, self.target
        entries = graph_entries(model, model, was_interrupted=was_interrupted)
        producer = f", {file.producer}" if file.producer else ""
        notes = [*entries["notes"], *([NOT_COMPARED] if judge.module is None else judge.notes)]
        return {
            "tool": f"attn2trt {version('attn2trt')}",
            "target": {
                "name": target.name,
                "paper": "",
                "source": f"{file.path}: opset {file.opset}, IR version {file.ir_version}{producer}",
                "weights": "those of the file",
            },
            "build": None,
            "preprocessing": {} if model.preprocessing is None else model.preprocessing.to_json(),
            **made_by(),
            "onnx_file": {
                "name": file.path.name,
                "sha256": file.sha256,
                "weights": dict(file.files),
                "opset": file.opset,
                "ir_version": file.ir_version,
                "producer": file.producer,
            },
            "precision": file.precision,
            "against": name_of(target.against) or None,
            "classes": [],
            "opset": file.opset,
            **entries,
            "notes": notes,
            "default_batch": f"{self.axes[BATCH]} by default" if self.is_default_batch else "",
            "versions": package_versions(),
        }


def _holding(batches: Sequence[int], axis: Axis) -> Axis:
    """Return the range with these batches in it; its optimum is the first of them that is more than one."""
    optimum = next((batch for batch in batches if batch > 1), batches[0])
    return Axis(min(axis.min, *batches), optimum, max(axis.max, *batches))
