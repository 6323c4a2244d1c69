"""What is known of a plan file, and whether it may be loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import InputError
from ...export.bundle import Bundle, is_inside
from ...modules.target import Axis
from .profiles import Profile
from .versions import Version, parse_version

FOLDER = "plans"


@dataclass(frozen=True)
class Plan:
    """A plan of a bundle; ``file`` is its path in there, ``graph`` the SHA-256 of the graph that it was built from.

    ``capability`` is the GPU's, as ``9.0``; ``flags`` what the builder was told.
    """

    file: str
    precision: str
    graph: str
    profiles: tuple[Profile, ...]
    tensorrt: str
    gpu: str
    capability: str
    driver: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    device_bytes: int = 0

    @property
    def stage(self) -> str:
        """Its name in a verdict."""
        return f"tensorrt {self.precision}"

    def why_not_here(self, version: Version, capability: str) -> str:
        """Why TensorRT of this version on a GPU of this capability cannot load it; empty where it can."""
        built, flags = parse_version(self.tensorrt), self.flags
        same_version = built == version or (flags.get("version_compatible") and built.major <= version.major)
        ampere = float(capability) >= 8.0
        same_gpu = self.capability == capability or (flags.get("hardware_compatible") and ampere)
        if same_version and same_gpu:
            return ""
        return (
            f"{self.file} was built with TensorRT {self.tensorrt} on {sm(self.capability)}, here is TensorRT "
            f"{version} on {sm(capability)}: run `attn2trt compile`"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        profiles = [
            {name: [axis.min, axis.opt, axis.max] for name, axis in profile.axes.items()} for profile in self.profiles
        ]
        return {**asdict(self), "flags": dict(self.flags), "profiles": profiles}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Plan:
        """Raise InputError where the entry is not what ``to_json`` writes, or names a file outside of the bundle."""
        try:
            profiles = tuple(
                Profile({str(name): Axis(*map(int, sizes)) for name, sizes in profile.items()})
                for profile in entry["profiles"]
            )
            plan = cls(
                file=str(entry["file"]),
                precision=str(entry["precision"]),
                graph=str(entry["graph"]),
                profiles=profiles,
                tensorrt=str(entry["tensorrt"]),
                gpu=str(entry["gpu"]),
                capability=str(float(entry["capability"])),
                driver=str(entry["driver"]),
                flags=dict(entry["flags"]),
                seconds=float(entry["seconds"]),
                device_bytes=int(entry["device_bytes"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"received a plan's entry that cannot be read ({error!r}); run `attn2trt compile` again"
            ) from None
        if not is_inside(plan.file):
            raise InputError(f"received a plan at {plan.file!r}, outside of the bundle; do not use this bundle")
        return plan


def plans_of(bundle: Bundle) -> list[Plan]:
    """Every plan that the bundle holds. Raises what ``Plan.from_json`` raises."""
    return [Plan.from_json(entry) for entry in bundle.manifest.get("plans", ())]


def is_of_its_graph(bundle: Bundle, plan: Plan) -> bool:
    """Whether the plan was built from the graph that the bundle has in its precision now."""
    graph = bundle.graphs.get(plan.precision)
    return graph is not None and plan.graph == bundle.manifest["files"][graph]["sha256"]


def file_name(capability: str, version: Version, precision: str) -> str:
    """Where a plan lies in its bundle."""
    return f"{FOLDER}/{sm(capability)}-trt{version}-{precision}.plan"


def layers_name(plan: str) -> str:
    """Where what the inspector says of a plan lies, beside it."""
    return f"{plan.removesuffix('.plan')}.layers.json"


def sm(capability: str) -> str:
    """``9.0`` as ``sm90``."""
    return f"sm{capability.replace('.', '')}"
