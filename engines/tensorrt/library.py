"""The TensorRT library itself: imported only if it can be used without ending the process, and its log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import MissingRequirement, one_line
from .device import Device
from .flavours import Flavour
from .versions import Version

# TensorRT 8.6 to 11, and TensorRT for RTX
PARSING = re.compile(r"Parsing node: (?P<name>.*) \[(?P<operator>\w+)\]")
# A plugin of the library itself whose creator asks the driver, as that for RoiAlign
NO_DRIVER = re.compile(r"Cuda Error in \w+: 35\b")


@dataclass(frozen=True)
class Library:
    """The imported module ``trt`` of a flavour, and its ``version``."""

    trt: Any
    flavour: Flavour
    version: Version

    @property
    def api(self) -> Version:
        """The version of TensorRT whose API it has, to ask versions.py with."""
        return self.flavour.api or self.version

    def __str__(self) -> str:
        return f"{self.flavour.title} {self.version}"


def load(flavour: Flavour, device: Device | None) -> Library:
    """Import the flavour's module.

    ``device`` proves that there is a GPU: without one TensorRT ends the process. Only a flavour that builds for other
    machines may be loaded without.

    Raises MissingRequirement if the module is not installed, lacks a library, or is too old.
    """
    assert device is not None or flavour.targets
    try:
        module = import_module(flavour.module)
    except ImportError as error:
        reason = one_line(error)
        fix = flavour.install if "No module" in reason else "install the library that the message names"
        raise MissingRequirement(f"{flavour.title} cannot be imported ({reason}); {fix}, or ask attn2trt doctor") from (
            error
        )
    return Library(module, flavour, flavour.parse_version(str(module.__version__)))


def make_runtime(trt: Any, logger: Any, version_compatible: bool) -> Any:
    """A runtime; one for plans that carry their own may run the code in them."""
    runtime = trt.Runtime(logger)
    if version_compatible:
        runtime.engine_host_code_allowed = True
    return runtime


def open_plan(runtime: Any, plan: bytes) -> Any:
    """Return the engine, or None if TensorRT refuses the plan. Its hash has been proven on these very bytes."""
    return runtime.deserialize_cuda_engine(plan)


def make_logger(trt: Any, path: Path) -> Any:
    """Return a logger that writes everything to ``path``.

    Its ``last_error`` is what TensorRT complained of last, and ``last_node`` the name and the operator of the node that
    the parser came to last. ``lacks_driver`` is True if a plugin for that node found no driver of a GPU.
    """

    class FileLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.last_error = ""
            self.last_node = ("", "")
            self.lacks_driver = False
            self._stream = path.open("w", encoding="utf-8", buffering=1)

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, from any of its threads."""
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last_error = message
                self.lacks_driver |= NO_DRIVER.search(message) is not None
            elif found := PARSING.match(message):
                self.last_node = (found["name"], found["operator"])
                self.lacks_driver = False
            self._stream.write(f"{str(severity).rpartition('.')[2]}: {message}\n")

    return FileLogger()
