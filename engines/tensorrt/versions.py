"""Every difference between the versions of TensorRT, 8.6, 10 and 11, that this package meets, in one place.

TensorRT for RTX goes by the version whose API it has (flavours.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...core.precision import FP16, FP32, PRECISIONS, TF32
from ...errors import InputError, MissingRequirement
from .layer_types import bind_layers


class Version(NamedTuple):
    """A version of TensorRT; build numbers behind the third do not matter here."""

    major: int
    minor: int = 0
    patch: int = 0

    def __str__(self) -> str:
        return ".".join(map(str, self))


OLDEST = Version(8, 6)
# name: (first version that has it, first that has it no longer). What is not listed every supported version has.
BRANCHES: dict[str, tuple[Version, Version | None]] = {
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": (OLDEST, Version(11)),
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": (Version(10), None),
    "ParserError.node_name": (Version(10), None),
    "ParserError.node_operator": (Version(10), None),
    "ICudaEngine.device_memory_size": (OLDEST, Version(11)),
    "ICudaEngine.device_memory_size_v2": (Version(10, 3), None),
    "BuilderFlag.FP16": (OLDEST, Version(11)),
    "BuilderFlag.INT8": (OLDEST, Version(11)),
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": (OLDEST, Version(11)),
    "ILayer.precision": (OLDEST, Version(11)),
    "ILayer.set_output_type": (OLDEST, Version(11)),
    "TacticSource.CUBLAS": (OLDEST, Version(11)),
    "TacticSource.CUBLAS_LT": (OLDEST, Version(11)),
    "TacticSource.CUDNN": (OLDEST, Version(11)),
}
TACTICS = ("cublas", "cublas_lt", "cudnn", "edge_mask_convolutions", "jit_convolutions")


def read_version(text: str) -> Version | None:
    """Read ``"10.13.3.9.post1"`` as a version; None if it is none."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return Version(*(int(part or 0) for part in found.groups())) if found else None


def parse_version(
    text: str, *, title: str = "TensorRT", oldest: Version = OLDEST, install: str = "pip install 'tensorrt>=8.6'"
) -> Version:
    """Read ``text`` as a version; raises MissingRequirement if it is none or older than ``oldest``."""
    version = read_version(text)
    if version is None or version < oldest:
        raise MissingRequirement(f"received {title} {text}; expected {oldest} or newer; {install}")
    return version


def has(version: Version, name: str) -> bool:
    """Tell whether TensorRT of this version has the name, ``Class.attribute``."""
    first, gone = BRANCHES.get(name, (OLDEST, None))
    return first <= version and (gone is None or version < gone)


def network_flags(trt: Any, version: Version, *, weakly_typed: bool = False) -> int:
    """Return the network flags: STRONGLY_TYPED if this version has it (unless ``weakly_typed``), else EXPLICIT_BATCH.

    They are 0 from TensorRT 11. Raises MissingRequirement for a weakly typed network if all are strongly typed.
    """
    kinds = trt.NetworkDefinitionCreationFlag
    if version.major >= 11:
        if weakly_typed:
            raise MissingRequirement(
                f"TensorRT {version} takes a graph's precisions as they are and chooses none; "
                "a weakly typed network needs TensorRT 8.6 or 10"
            )
        return 0
    if has(version, "NetworkDefinitionCreationFlag.STRONGLY_TYPED") and not weakly_typed:
        return 1 << int(kinds.STRONGLY_TYPED)
    return 1 << int(kinds.EXPLICIT_BATCH)


def keep_precision(trt: Any, version: Version, config: Any, network: Any, precision: str, graph: Path) -> None:
    """Hold the builder to the precisions of the ``graph``, the network's ONNX file, if it would choose them itself.

    From 10 on networks are strongly typed and need no flag. A weakly typed one computes in float32 unless a flag allows
    less, and then only layers that are bound to a precision keep it. A quantised graph needs the flag alone: its
    QuantizeLinear nodes say where integers are. tf32 is on by default in every version and is not float32.
    """
    if precision == TF32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if has(version, "NetworkDefinitionCreationFlag.STRONGLY_TYPED"):
        return
    how = PRECISIONS[precision].graph
    if how != "float32":
        config.set_flag(getattr(trt.BuilderFlag, precision.upper()))
    if how == "casts":
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        bind_layers(trt, network, graph)


def allow_precision(trt: Any, config: Any, precision: str) -> None:
    """Let the builder of a weakly typed network choose this precision wherever it is faster, as `trtexec --fp16` does.

    tf32 needs no word, it is on by default. Raises InputError for a precision that the graph itself has to have.
    """
    if precision == FP16:
        config.set_flag(trt.BuilderFlag.FP16)
    elif precision == FP32:
        config.clear_flag(trt.BuilderFlag.TF32)
    elif precision != TF32:
        raise InputError(f"received precision {precision}; expected fp32, tf32 or fp16; leave it out")


def tactic_mask(trt: Any, version: Version, current: int, excluded: Sequence[str]) -> int:
    """``current`` without the ``excluded`` sources of TACTICS. Raises InputError for one that this version lacks."""
    for name in excluded:
        attribute = name.upper()
        if not has(version, f"TacticSource.{attribute}"):
            raise InputError(
                f"received --without-tactics {name}; TensorRT {version} has no such source any more; leave it out"
            )
        current &= ~(1 << int(getattr(trt.TacticSource, attribute)))
    return current


def device_bytes(engine: Any, version: Version) -> int:
    """Return the bytes on the device that a context of the engine takes for its activations."""
    if has(version, "ICudaEngine.device_memory_size_v2"):
        return int(engine.device_memory_size_v2)
    return int(engine.device_memory_size)


def failed_node(error: Any, version: Version) -> tuple[int, str, str]:
    """Return index, name and operator of a parser error's node; the last two are empty if the error has none."""
    named = has(version, "ParserError.node_name")
    return int(error.node()), error.node_name() if named else "", error.node_operator() if named else ""
