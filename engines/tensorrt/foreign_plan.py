"""A plan that no bundle lists, in a process of its own. Its user said that they trust it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.file_hashes import sha256
from ...core.tensor_spec import Axis, TensorSpec
from ...errors import MissingRequirement
from ..child import ANSWER_SECONDS
from ..environment import ask_driver
from .flavours import RTX
from .here import probe_flavour, why_no_flavour
from .isolated import PlanProcess
from .plan_header import PlanHeader
from .plugin.library import PluginLibrary
from .profiles import Profile


class ForeignPlan(PlanProcess):
    """The plan of a file behind a pipe.

    Args:
        path: The file.
        header: What its first bytes say.
        inputs: Those of the graph that it was built from.
        outputs: Likewise.
        plugin: The library of plugins that it needs.
        seconds: Time limit of loading and of every answer.
    """

    def __init__(
        self,
        path: Path,
        header: PlanHeader,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        plugin: PluginLibrary | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.sha256 = sha256(path)
        about: dict[str, Any] = {
            "sha256": self.sha256,
            "flavour": header.flavour.name,
            "inputs": [spec.to_json() for spec in inputs],
            "outputs": [spec.to_json() for spec in outputs],
            "plugin": None if plugin is None else plugin.to_json(),
        }
        arguments = str(path.absolute()), json.dumps(about)
        super().__init__("engines.tensorrt.foreign_plan_child", *arguments, who=header.flavour.title, seconds=seconds)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The ranges that it runs in."""
        entries = self.load()["profiles"]
        return tuple(Profile({name: Axis(*sizes) for name, sizes in entry.items()}) for entry in entries)

    @property
    def types(self) -> dict[str, str]:
        """The type in which it takes each input and gives each output."""
        return dict(self.load()["types"])


def require_here(path: Path, header: PlanHeader) -> None:
    """Raise MissingRequirement if this machine cannot run a plan with this header.

    A plan of TensorRT may carry a runtime of its own, for the version that built it and later ones: only its
    deserialisation tells.
    """
    expected = "expected an NVIDIA GPU and the version that built it; run this command on a machine with both"
    if why := why_no_flavour(header.flavour):
        raise MissingRequirement(f"received {path}, a plan of {header}, which cannot run here: {why}; {expected}")
    found = header.flavour.parse_version(probe_flavour(header.flavour).version)
    if found != header.version and (header.flavour is RTX or found < header.version):
        gpu = next(iter(ask_driver().devices), "no GPU")
        raise MissingRequirement(
            f"received {path}, a plan of {header}, and here is {header.flavour.title} {found} on {gpu}; {expected}, "
            f"install {header.version}, or build the plan again"
        )
