"""TensorRT in a process of its own: a crash, an out-of-memory kill or a hang there is an error here, no more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.bundle import Bundle
from ...core.extend import changing, extend
from ...core.scratch import scratch
from ...errors import CheckFailed, StorageError
from ..child import Child
from ..runtime import Arrays
from .build import BuildOrder
from .build_child import order_to_json
from .flavours import FLAVOURS
from .plans import Plan, kernels_name, layers_name, layers_role
from .runtime_child import KERNELS, LAYERS

BUILD_SECONDS = 3600
PARSE_SECONDS = 300


class PlanProcess(Child):
    """A plan behind a pipe."""

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name. Raises what ``TensorRTRuntime.run`` raises, and CheckFailed if the process is gone."""
        return self.ask("running the plan", {}, feeds)[1]

    def layers(self) -> str:
        """Return what the inspector says of the plan: once it has run, TensorRT 8.6 tells types that were open."""
        return self.ask("inspecting the plan", {"do": LAYERS})[1][LAYERS].tobytes().decode()


class IsolatedPlan(PlanProcess):
    """A plan of a bundle behind a pipe. Its file is deserialised only if its hash is the manifest's.

    Raises CheckFailed if the file is another one, and if its process dies or does not answer.
    """

    def __init__(self, bundle: Bundle, plan: Plan) -> None:
        arguments = checked(bundle, plan)
        super().__init__("engines.tensorrt.runtime_child", *map(str, arguments), who=plan.product.title)

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
        "inputs": [spec.to_json() for spec in bundle.inputs_of(plan.precision)],
        "outputs": [spec.to_json() for spec in bundle.outputs_of(plan.precision)],
        "kernel_cache": listed and {"file": str(bundle.path / cache), "sha256": listed["sha256"]},
    }
    return json.dumps(about)


def keep_kernels(bundle: Bundle, plan: Plan, cache: bytes) -> Bundle:
    """Put the kernels that TensorRT for RTX compiled beside the plan, and list them in the manifest.

    Returns the bundle as it then is. Nothing changes if there are none, if they are there already, or if the bundle
    cannot be written: the kernels are compiled again the next time.
    """
    role = f"kernels that {plan.built_by} compiled for {plan.file} on this machine"
    return _keep(bundle, kernels_name(plan.file), cache, role)


def keep_layers(bundle: Bundle, plan: Plan, text: str) -> Bundle:
    """Put what the inspector says of a plan that has run in place of what it said when the plan was built.

    Returns the bundle as it then is. Nothing changes if that is the same, if the bundle does not list the plan, or if
    it cannot be written.
    """
    if plan.file not in bundle.manifest["files"]:
        return bundle
    return _keep(bundle, layers_name(plan.file), text.encode(), layers_role(plan.file))


def _keep(bundle: Bundle, name: str, content: bytes, role: str) -> Bundle:
    """Write a file that belongs to a plan, and list it, if it is another one and the bundle can be written."""
    listed = bundle.manifest["files"].get(name)
    if not content or (listed is not None and listed["sha256"] == hashlib.sha256(content).hexdigest()):
        return bundle
    try:
        with changing(bundle.path) as current:
            # not listed while it is another one
            without = current if listed is None else extend(current, {}, {}, without=[name])
            (bundle.path / name).write_bytes(content)
            return extend(without, {name: role}, {})
    except (OSError, StorageError):
        return bundle


class BuildChild(Child):
    """The process that builds a plan; its crash, out-of-memory kill or hang is an error here."""

    def built(self) -> dict[str, Any]:
        """Wait for the plan; returns what ``build`` returns, and raises what it raises."""
        self.load()
        return self.answer("building the plan")[0]


def start_build(order: BuildOrder, *, seconds: float) -> BuildChild:
    """Have ``build`` work on the order in a process of its own."""
    child = BuildChild("engines.tensorrt.build_child", who=FLAVOURS[order.flavour].title, seconds=seconds)
    child.tell(order_to_json(order))
    return child


def networks_of(orders: Sequence[BuildOrder], *, seconds: float) -> list[str]:
    """Return the hash of the network that TensorRT parses of each graph, in a process of its own; "" for one without.

    Raises what ``load`` raises, and Interrupted if the process dies or takes more ``seconds``.
    """
    who = FLAVOURS[orders[0].flavour].title
    with scratch("parsed") as folder, Child("engines.tensorrt.network_child", who=who, seconds=seconds) as child:
        child.tell({"orders": [order_to_json(order) for order in orders], "log": str(folder / "log")})
        child.load()
        return [str(one) for one in child.answer("parsing the graphs")[0]["digests"]]


def build_isolated(order: BuildOrder, *, seconds: float = BUILD_SECONDS) -> dict[str, Any]:
    """``build`` in a process of its own, with the same errors."""
    with start_build(order, seconds=seconds) as child:
        return child.built()
