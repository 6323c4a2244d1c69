"""Checks of an ONNX file that is to be deployed. Each raises InputError; ``shown`` is the name of the file in there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.command_line import quoted
from ..core.file_hashes import tensors
from ..core.manifest import is_inside
from ..core.nodes import bodies, nodes
from ..errors import InputError, one_line

if TYPE_CHECKING:
    import onnx

OWN_DOMAINS = ("", "ai.onnx")
_OLDEST_IR = 3
_WEIGHTS = "deploy the module that the weights are for, by attn2trt deploy net.py --checkpoint {}"
_PLAN = "judge a plan beside the file that it was built from, by attn2trt check model.onnx --plan {} --trust"
# Advice on files that are no ONNX, by the ending of their names.
_OTHERS = {
    ".py": "deploy the module, by attn2trt deploy {}",
    ".pt2": "deploy the program, by attn2trt deploy {} --trust",
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".safetensors"), _WEIGHTS),
    **dict.fromkeys((".plan", ".engine", ".trt"), _PLAN),
}

# PyTorch's optimiser folds a normalisation into a bfloat16 convolution as float32 weights.
_BFLOAT16 = (
    ", by torch.onnx.export with opset_version=22, the first with bfloat16 convolutions, and optimize=False, or by "
    "attn2trt deploy net.py --precision bf16"
)


def load(path: Path, shown: str) -> onnx.ModelProto:
    """Return the model without the weights that lie beside it."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.stat().st_size:
        raise InputError(f"received {shown}, which is empty; expected an ONNX file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        reason = one_line(error, 120)
        raise InputError(
            f"received {shown}, which is no ONNX file or only the beginning of one ({reason}); expected a model that "
            f"onnx.load reads; {_OTHERS.get(Path(shown).suffix, 'export or copy it again').format(quoted(Path(shown)))}"
        ) from error
    if not model.opset_import or not model.HasField("graph"):
        raise InputError(
            f"received {shown}, which is no ONNX file: it names no opset and no graph; expected a model that onnx.save "
            "wrote"
        )
    if not _OLDEST_IR <= model.ir_version <= onnx.IR_VERSION:
        raise InputError(
            f"received {shown} of IR version {model.ir_version}; expected {_OLDEST_IR} to {onnx.IR_VERSION}, which "
            f"onnx {onnx.__version__} knows; export it again, or update onnx"
        )
    return model


def opset_of(model: onnx.ModelProto, shown: str) -> int:
    """Return the opset of ONNX's own operators."""
    import onnx

    newest = onnx.defs.onnx_opset_version()
    found = [entry.version for entry in model.opset_import if entry.domain in OWN_DOMAINS]
    if not found:
        raise InputError(f"received {shown} without an opset of ONNX's own operators; expected 1 to {newest}")
    if len({*found}) > 1:
        opsets = " and ".join(map(str, found))
        raise InputError(
            f"received {shown}, which names the opsets {opsets} of ONNX's own operators, and runtimes take either; "
            "expected one; export it again"
        )
    if not 1 <= found[0] <= newest:
        raise InputError(
            f"received {shown} of opset {found[0]}; expected 1 to {newest}, which onnx {onnx.__version__} knows; "
            "export it with a lower opset, or update onnx"
        )
    return int(found[0])


def external_files(model: onnx.ModelProto, folder: Path, shown: str) -> list[str]:
    """Return the weight files; raises InputError unless each lies in the file's folder and has the stated length."""
    import onnx

    found: dict[str, None] = {}
    for tensor in tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        location = said.get("location", "").removeprefix("./")
        file = folder / location
        if not is_inside(location) or not file.resolve().is_relative_to(folder):
            raise InputError(
                f"received {shown}, whose weight {tensor.name!r} lies in {location!r}, outside of its folder; expected "
                "weights beside the file; save it again with them there"
            )
        if not file.is_file():
            raise InputError(
                f"received {shown} without {location}, which holds its weight {tensor.name!r}; expected it beside the "
                "file; copy it there"
            )
        try:
            start, length = int(said.get("offset", 0)), int(said.get("length", 0))
            end = start + length if min(start, length) >= 0 else -1
        except ValueError:
            end = -1
        if not 0 <= end <= file.stat().st_size:
            raise InputError(
                f"received {location} of {file.stat().st_size} bytes, and the weight {tensor.name!r} of {shown} ends "
                f"at {end}; expected the whole file; copy it again"
            )
        found[location] = None
    return [*found]


def require_dense(model: onnx.ModelProto, shown: str) -> None:
    """Raise InputError for a weight that is stored as sparse, which the checker and TensorRT do not take."""
    graphs = (model.graph, *(body for node in nodes(model.graph) for body in bodies(node)))
    sparse = next((tensor for graph in graphs for tensor in graph.sparse_initializer), None)
    if sparse is not None:
        raise InputError(
            f"received {shown}, whose weight {sparse.values.name!r} is stored as sparse; expected all of its numbers; "
            "save it as an initializer"
        )


def require_own_operators(model: onnx.ModelProto, opset: int, shown: str) -> None:
    """Raise InputError for operators of other domains, and for those that the opset does not have."""
    import onnx

    foreign: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for node in nodes(model.graph):
        if node.domain not in OWN_DOMAINS:
            foreign[f"{node.domain}::{node.op_type}"] += 1
        elif not onnx.defs.has(node.op_type, opset, ""):
            unknown[node.op_type] += 1
    for found, why in (
        (foreign, "which are not ONNX's own: no library of custom operators is loaded; export it without them"),
        (unknown, f"which opset {opset} does not have; export it with the opset that has them"),
    ):
        if found:
            listed = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in found.most_common(5))
            raise InputError(f"received {shown} with the operators {listed}, {why}")


def check(model: onnx.ModelProto | Path, shown: str) -> None:
    """Let ONNX's checker and its shape inference look at the model, or at one that is too large for a message."""
    import onnx

    try:
        onnx.checker.check_model(str(model) if isinstance(model, Path) else model, full_check=True)
    except Exception as error:  # the checker raises several unrelated types
        reason = " ".join(str(error).partition("==>")[0].split())[:240] or type(error).__name__
        loaded = onnx.load(str(model), load_external_data=False) if isinstance(model, Path) else model
        advice = _BFLOAT16 if any(one.data_type == one.BFLOAT16 for one in tensors(loaded)) else ""
        raise InputError(
            f"received {shown}, which ONNX's checker refuses: {reason}; export it again{advice}"
        ) from error
