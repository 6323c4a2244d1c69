"""TensorRT in a process of its own: a crash, an out-of-memory kill or a hang there is an error here, no more."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ...core.bundle import Bundle, spec_to_json
from ...core.extend import changing, extend
from ...errors import CheckFailed, StorageError
from ..child import ANSWER_SECONDS, Child
from ..runtime import Arrays
from .build import Order
from .build_child import order_to_json
from .flavours import FLAVOURS
from .plans import Plan, kernels_name
from .runtime_child import KERNELS

BUILD_SECONDS = 3600


class IsolatedPlan(Child):
    """A plan of a bundle behind a pipe. Its file is deserialised only if its hash is the manifest's.

    Raises CheckFailed if the file is another one, and if its process dies or does not answer.
    """

    def __init__(self, bundle: Bundle, plan: Plan, *, seconds: float = ANSWER_SECONDS) -> None:
        arguments = checked(bundle, plan)
        who = plan.product.title
        super().__init__("engines.tensorrt.runtime_child", *map(str, arguments), who=who, seconds=seconds)

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name. Raises what ``TensorRTRuntime.run`` raises, and CheckFailed if the process is gone."""
        return self.ask("running the plan", {}, feeds)[1]

    def kernel_cache(self) -> bytes:
        """The kernels that TensorRT for RTX compiled while it ran; empty for another TensorRT."""
        return self.ask("reading its kernels", {"do": KERNELS})[1][KERNELS].tobytes()


def checked(bundle: Bundle, plan: Plan) -> tuple[Path, str]:
    """Return the plan's file and, as JSON, what ``open_described`` has to know of it.

    Raises CheckFailed if the manifest does not list the file. Its hash is checked by whoever reads it.
    """
    file = bundle.path / plan.file
    listed = bundle.manifest["files"].get(plan.file)
    if listed is None:
        raise CheckFailed(f"{file} is no file that the manifest lists; run `attn2trt compile` again")
    return file, described(bundle, plan, sha256=str(listed["sha256"]))


def described(bundle: Bundle, plan: Plan, *, sha256: str) -> str:
    """Return as JSON what ``open_described`` must know of a plan of this hash, with its graph's inputs and outputs."""
    cache = kernels_name(plan.file)
    listed = bundle.manifest["files"].get(cache)
    about = {
        "plan": plan.to_json(),
        "sha256": sha256,
        "inputs": [spec_to_json(spec) for spec in bundle.inputs_of(plan.precision)],
        "outputs": [spec_to_json(spec) for spec in bundle.outputs_of(plan.precision)],
        "kernel_cache": listed and {"file": str(bundle.path / cache), "sha256": listed["sha256"]},
    }
    return json.dumps(about)


def keep_kernels(bundle: Bundle, plan: Plan, cache: bytes) -> Bundle:
    """Put the kernels that TensorRT for RTX compiled beside the plan, and list them in the manifest.

    Returns the bundle as it then is. Nothing changes if there are none, if they are there already, or if the bundle
    cannot be written: the kernels are compiled again the next time.
    """
    name = kernels_name(plan.file)
    listed = bundle.manifest["files"].get(name)
    if not cache or (listed is not None and listed["sha256"] == hashlib.sha256(cache).hexdigest()):
        return bundle
    role = f"kernels that {plan.built_by} compiled for {plan.file} on this machine"
    try:
        with changing(bundle.path) as current:
            # not listed while it is another one
            without = current if listed is None else extend(current, {}, {}, without=[name])
            (bundle.path / name).write_bytes(cache)
            return extend(without, {name: role}, {})
    except (OSError, StorageError):
        return bundle


class BuildChild(Child):
    """The process that builds a plan; its crash, out-of-memory kill or hang is an error here."""

    def built(self) -> dict[str, Any]:
        """Wait for the plan; returns what ``build`` returns, and raises what it raises."""
        self.load()
        return self.answer("building the plan")[0]


def start_build(order: Order, *, seconds: float = BUILD_SECONDS) -> BuildChild:
    """Have ``build`` work on the order in a process of its own."""
    child = BuildChild("engines.tensorrt.build_child", who=FLAVOURS[order.flavour].title, seconds=seconds)
    child.tell(order_to_json(order))
    return child


def build_isolated(order: Order, *, seconds: float = BUILD_SECONDS) -> dict[str, Any]:
    """``build`` in a process of its own, with the same errors."""
    with start_build(order, seconds=seconds) as child:
        return child.built()
