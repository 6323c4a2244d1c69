"""The two products called TensorRT: the module that each is, what it can build for, and what loads its plans.

They share the ONNX parser and the API, so that one code serves both; every difference that is not a matter of versions
is a field here. Branches between versions are in versions.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...errors import InputError
from .versions import OLDEST, Version, parse_version

FlavourName = Literal["tensorrt", "tensorrt-rtx"]


@dataclass(frozen=True)
class Flavour:
    """One of the products.

    Attributes:
        name: In the names of stages and runtimes, in manifests, and for ``--require``.
        title: The product's own name, for sentences.
        module: The Python module to import.
        distributions: Installed packages that tell its version, the first that is there.
        install: The command that installs it.
        tag: In the names of plan files, before the version.
        oldest: The first version that is supported.
        api: The version of TensorRT whose API it has; its own if None.
        targets: Compute capabilities that it builds for without a GPU. Empty if it builds for the GPU at hand alone.
        loaded_by: The tools that load its plans.
    """

    name: FlavourName
    title: str
    module: str
    distributions: tuple[str, ...]
    install: str
    tag: str
    oldest: Version
    api: Version | None
    targets: tuple[str, ...]
    loaded_by: str

    def parse_version(self, text: str) -> Version:
        """Read ``"10.13.3.9.post1"``; raises MissingRequirement if it is no version or older than ``oldest``."""
        return parse_version(text, title=self.title, oldest=self.oldest, install=self.install)

    def require_targets(self, capabilities: tuple[str, ...]) -> None:
        """Raise InputError for the first compute capability that it does not build for."""
        for capability in capabilities:
            if capability not in self.targets:
                known = ", ".join(map(sm, self.targets))
                raise InputError(
                    f"received --for {sm(capability)}; expected some of {known}, which {self.title} builds for; "
                    f"for another GPU run attn2trt compile on a machine that has it"
                )


TENSORRT = Flavour(
    name="tensorrt",
    title="TensorRT",
    module="tensorrt",
    distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt_bindings"),
    install="pip install 'tensorrt>=8.6'",
    tag="trt",
    oldest=OLDEST,
    api=None,
    targets=(),
    loaded_by="trtexec, Triton and ONNX Runtime's TensorRT provider of the same version",
)
RTX = Flavour(
    name="tensorrt-rtx",
    title="TensorRT for RTX",
    module="tensorrt_rtx",
    distributions=("tensorrt-rtx", "tensorrt-rtx-cu13"),
    install="pip install 'tensorrt-rtx>=1.7'",
    tag="rtx",
    oldest=Version(1, 7),
    # Every network is strongly typed and the flags for precisions are gone, as in TensorRT 11.
    api=Version(11),
    targets=("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"),
    loaded_by="TensorRT for RTX of the same version alone: neither trtexec nor Triton",
)
FLAVOURS: dict[str, Flavour] = {flavour.name: flavour for flavour in (TENSORRT, RTX)}


def sm(capability: str) -> str:
    """Write the compute capability ``9.0`` as ``sm90``."""
    return f"sm{capability.replace('.', '')}"
