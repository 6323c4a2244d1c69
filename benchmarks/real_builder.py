"""TensorRT for RTX asked to build a graph: taken, or its own words for why not."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.tensorrt.build import BuildOrder
from attn2trt.engines.tensorrt.build_child import PATHS
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.isolated import build_isolated
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.engines.tensorrt.targets import DEFAULT, parse_targets, split_targets
from attn2trt.errors import CheckFailed

TAKEN = ""
MOST = 170


def ask(
    graph: Path,
    precision: str,
    inputs: Sequence[TensorSpec],
    axes: Mapping[str, Axis],
    modules: Mapping[str, str] | None = None,
) -> tuple[str, float]:
    """Build the graph for every default target that computes in the precision.

    Returns TAKEN or the message of the refusal, and the seconds that the builder took (0 for a refusal).
    """
    targets, _ = split_targets(parse_targets(DEFAULT, RTX), precision)
    with tempfile.TemporaryDirectory(prefix="attn2trt-ask-") as folder:
        order = BuildOrder(
            **{name: Path(folder) / name for name in PATHS} | {"graph": graph.resolve()},
            inputs=tuple(inputs),
            profiles=(Profile(dict(axes)),),
            modules=modules or {},
            precision=precision,
            flavour=RTX.name,
            targets=targets,
        )
        try:
            return TAKEN, float(build_isolated(order)["seconds"])
        except CheckFailed as error:
            return str(error), 0.0


def short(message: str) -> str:
    """Return the cause in a message: the product, the node's name, the advice and a long tail are left out."""
    found = re.sub(r"^TensorRT for RTX \S+ cannot (?:read|build the plan)[^:]*: ", "", message)
    found = re.sub(r"^node [^:]*: ", "", found)
    return (found.rpartition("; ")[0] or found)[:MOST].strip()
