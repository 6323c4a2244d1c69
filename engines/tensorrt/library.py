"""The TensorRT library itself: imported once a device is there, and its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import MissingRequirement
from .device import Device
from .versions import Version, parse_version


def load(device: Device) -> tuple[Any, Version]:
    """The module ``tensorrt`` and its version. ``device`` proves that there is one: without, TensorRT ends the process.

    Raises MissingRequirement where it is not installed, lacks a library, or is too old.
    """
    assert device is not None
    try:
        import tensorrt
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        fix = "pip install tensorrt" if "No module" in reason else "install the library that the message names"
        raise MissingRequirement(f"TensorRT cannot be imported ({reason}); {fix}, or ask attn2trt doctor") from error
    return tensorrt, parse_version(str(tensorrt.__version__))


def make_runtime(trt: Any, logger: Any, version_compatible: bool) -> Any:
    """A runtime; one for plans that carry their own may run the code in them."""
    runtime = trt.Runtime(logger)
    if version_compatible:
        runtime.engine_host_code_allowed = True
    return runtime


def open_plan(runtime: Any, plan: Path) -> Any:
    """The engine; None where TensorRT refuses the plan."""
    return runtime.deserialize_cuda_engine(plan.read_bytes())


def make_logger(trt: Any, path: Path) -> Any:
    """A logger that writes everything to ``path``; ``last_error`` is what TensorRT complained of last."""

    class FileLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.last_error = ""
            self._stream = path.open("w", encoding="utf-8", buffering=1)

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, from any of its threads."""
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last_error = message
            self._stream.write(f"{str(severity).rpartition('.')[2]}: {message}\n")

    return FileLogger()
