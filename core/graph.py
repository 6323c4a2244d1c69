"""An ONNX graph on disk, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .precision import FP32
from .tensor_spec import Axis, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

# torch.onnx writes opset 18 and up; 17 is converted down from it (passes/opset17.py), and 23 is the newest tried.
OPSETS = range(17, 24)
DEFAULT_OPSET = 17


def require_opset(opset: int) -> None:
    """Raise InputError for an opset that no graph is written in."""
    if opset not in OPSETS:
        expected = f"{OPSETS.start} to {OPSETS.stop - 1}"
        raise InputError(f"received opset {opset!r}; expected {expected}; leave it out for {DEFAULT_OPSET}")


# A protobuf file ends at 2 GiB; weights above this many bytes go to a file beside the graph.
EXTERNAL_DATA_BYTES = 1_900_000_000
WEIGHTS = "model.onnx.data"


@dataclass(frozen=True)
class OnnxGraph:
    """A graph file; weights that are too large for one file lie beside it in ``model.onnx.data``.

    Attributes:
        path: The file.
        opset: Its ONNX opset.
        inputs: The inputs, with the names of the axes that vary.
        outputs: The outputs.
        modules: The path of the PyTorch module whose result each node gives, ``layer1.0.conv2``, by the node's name.
        axes: The ranges that the graph really holds for: narrower than what was asked for if the module takes only
            multiples of a number.
        merged: The module paths of the nodes that a node took in, as a convolution its normalisation, by its name.
        program: The digest of the traced program that the graph was made of, if the module is the user's.
        notes: Sentences that users of the graph should know.
        io: The type of those inputs and outputs that the module has in float32.
        precision: The one that the module itself computes in.
    """

    path: Path
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    modules: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, Axis] = field(default_factory=dict)
    merged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    program: str = ""
    notes: tuple[str, ...] = ()
    io: str = "float32"
    precision: str = FP32

    @property
    def module_paths(self) -> tuple[str, ...]:
        """The paths of all modules that a node came from, each once, in the order of the graph."""
        return tuple(dict.fromkeys(path for node in self.modules for path in self.modules_of(node)))

    def modules_of(self, node: str) -> tuple[str, ...]:
        """The paths of the modules that a node came from, by its name: first the one whose result it gives."""
        return (*([self.modules[node]] if node in self.modules else []), *self.merged.get(node, ()))

    def paths_of(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """The paths of all modules that these nodes came from, each once."""
        return tuple(dict.fromkeys(path for node in nodes for path in self.modules_of(node) if path))

    @property
    def files(self) -> tuple[Path, ...]:
        """The graph file and, where there is one, its weight file."""
        data = self.path.with_name(WEIGHTS)
        return (self.path, data) if data.exists() else (self.path,)


@dataclass(frozen=True)
class ModelGraph:
    """The graph of a model, as it is deployed and as it was before simplification.

    Attributes:
        graph: The graph to be deployed.
        exported: The graph as PyTorch exported it, or as a file has it; the same one if it is deployed so.
        why_not_simplified: The reason if the two are the same although simplification was tried; else "".
        itself: The file that the graph is a copy of, if runtimes are judged on that very file.
    """

    graph: OnnxGraph
    exported: OnnxGraph
    why_not_simplified: str = ""
    itself: Path | None = None


def has_weights_beside(path: Path) -> bool:
    """Return True if the weights of the graph in ``path`` are too large for one file, and lie in another."""
    return path.with_name(WEIGHTS).exists() or path.with_name(f"{path.name}.data").exists()


def save(model: ir.Model, path: Path) -> tuple[str, ...]:
    """Write the model, its weights beside it if they are too large for one file; returns the names of the files."""
    import onnx_ir as ir

    # the body of a loop may have weights of its own
    weights = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    size = sum(weight.nbytes for weight in weights if weight is not None)
    if size <= EXTERNAL_DATA_BYTES:
        ir.save(model, str(path))
        return (path.name,)
    data = f"{path.name}.data"
    ir.save(model, str(path), external_data=data)
    return path.name, data
