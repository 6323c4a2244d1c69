"""TensorRT in a process of its own: a crash, an out-of-memory kill or a hang there is an error here, no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import CheckFailed
from ...export.bundle import Bundle, is_as_listed, spec_to_json
from ..child import ANSWER_SECONDS, Child
from ..runtime import Arrays
from .build import Order
from .build_child import order_to_json
from .plans import Plan

BUILD_SECONDS = 3600


class IsolatedPlan(Child):
    """A plan of a bundle behind a pipe. Its file is deserialised only if its hash is the manifest's.

    Raises CheckFailed where the file is another one, and where its process dies or does not answer.
    """

    def __init__(self, bundle: Bundle, plan: Plan, *, seconds: float = ANSWER_SECONDS) -> None:
        arguments = checked(bundle, plan)
        super().__init__("engines.tensorrt.runtime_child", *map(str, arguments), who="TensorRT", seconds=seconds)

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name. Raises what ``TensorRTRuntime.run`` raises, and CheckFailed where the process is gone."""
        return self.ask("running the plan", {}, feeds)[1]


def checked(bundle: Bundle, plan: Plan) -> tuple[Path, str]:
    """The plan's file and, as JSON, what ``open_described`` has to know of it.

    Raises CheckFailed where the file is not the one that the manifest lists.
    """
    file = bundle.path / plan.file
    if not is_as_listed(bundle, plan.file):
        raise CheckFailed(f"{file} is not the file that the manifest lists; run `attn2trt compile` again")
    return file, described(bundle, plan)


def described(bundle: Bundle, plan: Plan) -> str:
    """As JSON what ``open_described`` has to know of a plan with the bundle's inputs and outputs."""
    about = {
        "plan": plan.to_json(),
        "inputs": [spec_to_json(spec) for spec in bundle.inputs],
        "outputs": [spec_to_json(spec) for spec in bundle.outputs],
    }
    return json.dumps(about)


def build_isolated(order: Order, *, seconds: float = BUILD_SECONDS) -> dict[str, Any]:
    """``build`` in a process of its own, with the same errors."""
    with Child("engines.tensorrt.build_child", who="TensorRT", seconds=seconds) as child:
        return child.ask("building the plan", order_to_json(order))[0]
