"""The facts about a plan file, and the reason if it cannot be loaded here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...core.bundle import Bundle
from ...core.manifest import is_inside
from ...core.tensor_spec import Axis
from ...errors import InputError
from .flavours import FLAVOURS, TENSORRT, Flavour, sm
from .profiles import Profile
from .targets import name_targets
from .versions import Version

FOLDER = "plans"


@dataclass(frozen=True)
class Plan:
    """A plan of a bundle.

    Attributes:
        file: Its path in the bundle.
        precision: That of the graph.
        graph: The SHA-256 of the graph that it was built from.
        profiles: The ranges that its kernels were chosen for.
        tensorrt: The version of its flavour.
        gpu: The GPU that it was built on; empty if on none.
        capabilities: The compute capabilities that it runs on, as ``9.0``.
        driver: The newest CUDA of the driver there; empty without a GPU.
        flags: What the builder was given.
        seconds: The time that building took.
        device_bytes: What a context takes on the device; 0 if unknown, since no GPU loaded it.
        flavour: The name of the TensorRT that built it, and runs it.
        tuned: It was built from the graph that ``tune`` wrote for this TensorRT, in place of the precision's own.
    """

    file: str
    precision: str
    graph: str
    profiles: tuple[Profile, ...]
    tensorrt: str
    gpu: str
    capabilities: tuple[str, ...]
    driver: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    device_bytes: int = 0
    flavour: str = TENSORRT.name
    tuned: bool = False

    @property
    def product(self) -> Flavour:
        """The flavour itself."""
        return FLAVOURS[self.flavour]

    @property
    def built_by(self) -> str:
        """The product with its version, in words."""
        return f"{self.product.title} {self.tensorrt}"

    def why_not_here(self, version: Version, capability: str) -> str:
        """Return why its TensorRT in this version, on a GPU of this capability, cannot load it; empty if it can."""
        built, flags = self.product.parse_version(self.tensorrt), self.flags
        same_version = built == version or (flags.get("version_compatible") and built.major <= version.major)
        ampere = float(capability) >= 8.0
        same_gpu = capability in self.capabilities or (flags.get("hardware_compatible") and ampere)
        if same_version and same_gpu:
            return ""
        return (
            f"{self.file} was built with {self.built_by} for {name_targets(self.capabilities)}, here is "
            f"{self.product.title} {version} on {sm(capability)}: run `attn2trt compile`"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        profiles = [
            {name: [axis.min, axis.opt, axis.max] for name, axis in profile.axes.items()} for profile in self.profiles
        ]
        lists = {"profiles": profiles, "capabilities": [*self.capabilities]}
        return {**asdict(self), "flags": dict(self.flags), **lists}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Plan:
        """Read what ``to_json`` wrote, in this version or before flavours were written down.

        Raises InputError for anything else, and for a file outside of the bundle.
        """
        try:
            profiles = tuple(
                Profile({str(name): Axis(*map(int, sizes)) for name, sizes in profile.items()})
                for profile in entry["profiles"]
            )
            capabilities = entry["capabilities"] if "capabilities" in entry else [entry["capability"]]
            plan = cls(
                file=str(entry["file"]),
                precision=str(entry["precision"]),
                graph=str(entry["graph"]),
                profiles=profiles,
                tensorrt=str(entry["tensorrt"]),
                gpu=str(entry["gpu"]),
                capabilities=tuple(str(float(capability)) for capability in capabilities),
                driver=str(entry["driver"]),
                flags=dict(entry["flags"]),
                seconds=float(entry["seconds"]),
                device_bytes=int(entry["device_bytes"]),
                flavour=FLAVOURS[entry.get("flavour", TENSORRT.name)].name,
                tuned=bool(entry.get("tuned", False)),
            )
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"received a plan's entry that cannot be read ({error!r}); run `attn2trt compile` again"
            ) from None
        if not is_inside(plan.file):
            raise InputError(f"received a plan at {plan.file!r}, outside of the bundle; do not use this bundle")
        return plan


def plans_of(bundle: Bundle) -> list[Plan]:
    """Every plan that the bundle holds. Raises what ``Plan.from_json`` raises."""
    return [Plan.from_json(entry) for entry in bundle.manifest.get("plans", ())]


def graph_of(bundle: Bundle, plan: Plan) -> str | None:
    """Return the file of the graph that the bundle has for the plan now: tuned, or of its precision; None for none."""
    if plan.tuned:
        entry = bundle.tuned_graph(plan.flavour, plan.precision)
        return None if entry is None else str(entry["file"])
    return bundle.graphs.get(plan.precision)


def modules_of(bundle: Bundle, plan: Plan) -> Mapping[str, str]:
    """Return the path of the PyTorch module of each node of the plan's graph."""
    entry = bundle.tuned_graph(plan.flavour, plan.precision) if plan.tuned else None
    return bundle.node_modules(plan.precision) if entry is None else entry["modules"]


def is_of_its_graph(bundle: Bundle, plan: Plan) -> bool:
    """Tell whether the plan was built from the graph that the bundle has for it now."""
    graph = graph_of(bundle, plan)
    return graph is not None and plan.graph == bundle.manifest["files"][graph]["sha256"]


def is_measured(bundle: Bundle, plan: Plan) -> bool:
    """Tell whether a tuned plan is the one that ``tune`` timed and judged: ``compile --tuned`` builds others."""
    entry = bundle.tuned_graph(plan.flavour, plan.precision)
    listed = bundle.manifest["files"].get(plan.file)
    return plan.tuned and entry is not None and listed is not None and entry.get("plan") == listed["sha256"]


def file_name(
    flavour: Flavour, capabilities: Sequence[str], version: Version, precision: str, *, tuned: bool = False
) -> str:
    """The path of a plan in its bundle, ``plans/sm86+sm120-rtx1.7.1-fp16.plan``."""
    return f"{FOLDER}/{'+'.join(map(sm, capabilities))}-{flavour.tag}{version}-{precision}{'-tuned' * tuned}.plan"


def log_name(flavour: Flavour, precision: str, *, tuned: bool) -> str:
    """Return the path in the bundle of the last build's log of this flavour and precision."""
    name = f"{precision}{'-tuned' * tuned}.log"
    return f"{FOLDER}/{name}" if flavour is TENSORRT else f"{FOLDER}/{flavour.tag}-{name}"


def tuned_name(flavour: Flavour, precision: str) -> str:
    """Return the file in a bundle of the graph that ``tune`` writes: ``model.fp16.tensorrt.onnx``."""
    return f"model.{precision}.{flavour.name}.onnx"


def layers_name(plan: str) -> str:
    """The path of what TensorRT's inspector says of a plan, beside it."""
    return f"{plan.removesuffix('.plan')}.layers.json"


def layers_role(plan: str) -> str:
    """Return what that file is, for the manifest."""
    return f"what TensorRT's inspector says of {plan}"


def kernels_name(plan: str) -> str:
    """The path of the kernels that TensorRT for RTX compiled for a plan, beside it."""
    return f"{plan.removesuffix('.plan')}.kernels"
