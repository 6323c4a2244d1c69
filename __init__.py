"""attn2trt: vision attention models from PyTorch to ONNX to TensorRT, each step checked against PyTorch in float64."""

from __future__ import annotations

import logging as _logging
import os as _os
from typing import TYPE_CHECKING, Any

from .errors import (
    Attn2trtError,
    CheckFailed,
    InputError,
    Interrupted,
    MissingRequirement,
    ModuleRefused,
    PrecisionRefused,
    SizesRefused,
    StorageError,
)

if TYPE_CHECKING:
    from .core.bundle import Bundle, open_bundle
    from .core.preprocessing import Preprocessing
    from .engines.tensorrt.build import BuildOptions
    from .engines.timing.method import Method
    from .modules.catalog import build
    from .validate.predictions.choose import Thresholds
    from .validate.predictions.results import Predictions
    from .validate.verdict import Verdict
    from .workflows.benchmark import benchmark
    from .workflows.check import CheckedModel, check_model
    from .workflows.check_plan import CheckedPlan, check_plan
    from .workflows.compile import compile_bundle
    from .workflows.cost import cost
    from .workflows.cost_plan import cost_plan
    from .workflows.deploy import deploy
    from .workflows.export import export_bundle
    from .workflows.options import Judging, PrecisionRequest, Weights
    from .workflows.plugin import compile_plugin
    from .workflows.programs import write_programs
    from .workflows.report import report_bundle
    from .workflows.sweep import sweep
    from .workflows.triton import write_triton_repository
    from .workflows.tune import tune_bundle
    from .workflows.tune_plans import TuneRequest, tune_plans
    from .workflows.validate import ServerVerdict, validate_bundle, validate_server
    from .workflows.validate_predictions import validate_predictions
    from .workflows.verify import verify_bundle

__all__ = [
    "Attn2trtError",
    "BuildOptions",
    "Bundle",
    "CheckFailed",
    "CheckedModel",
    "CheckedPlan",
    "InputError",
    "Interrupted",
    "Judging",
    "Method",
    "MissingRequirement",
    "ModuleRefused",
    "PrecisionRefused",
    "PrecisionRequest",
    "Predictions",
    "Preprocessing",
    "ServerVerdict",
    "SizesRefused",
    "StorageError",
    "Thresholds",
    "TuneRequest",
    "Verdict",
    "Weights",
    "__version__",
    "benchmark",
    "build",
    "check_model",
    "check_plan",
    "compile_bundle",
    "compile_plugin",
    "cost",
    "cost_plan",
    "deploy",
    "export_bundle",
    "open_bundle",
    "report_bundle",
    "sweep",
    "tune_bundle",
    "tune_plans",
    "validate_bundle",
    "validate_predictions",
    "validate_server",
    "verify_bundle",
    "write_programs",
    "write_triton_repository",
]
# ONNX Runtime 1.29 and later otherwise tell Microsoft what they run, and leave an identifier in the home and a file in
# TMPDIR or the current folder. They read this when they are loaded; child processes inherit it.
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
__version__: str  # by __getattr__: to read it takes longer than all that is imported here
_logging.getLogger(__name__).addHandler(_logging.NullHandler())  # a program that wants the log says so

# Loaded on first use, so that `import attn2trt` and `attn2trt --help` touch neither torch nor onnx.
_HOME = {
    "BuildOptions": ".engines.tensorrt.build",
    "Bundle": ".core.bundle",
    "CheckedModel": ".workflows.check",
    "CheckedPlan": ".workflows.check_plan",
    "Judging": ".workflows.options",
    "Method": ".engines.timing.method",
    "PrecisionRequest": ".workflows.options",
    "Predictions": ".validate.predictions.results",
    "Preprocessing": ".core.preprocessing",
    "Thresholds": ".validate.predictions.choose",
    "ServerVerdict": ".workflows.validate",
    "TuneRequest": ".workflows.tune_plans",
    "Verdict": ".validate.verdict",
    "Weights": ".workflows.options",
    "benchmark": ".workflows.benchmark",
    "build": ".modules.catalog",
    "check_model": ".workflows.check",
    "check_plan": ".workflows.check_plan",
    "compile_bundle": ".workflows.compile",
    "compile_plugin": ".workflows.plugin",
    "cost": ".workflows.cost",
    "cost_plan": ".workflows.cost_plan",
    "deploy": ".workflows.deploy",
    "export_bundle": ".workflows.export",
    "open_bundle": ".core.bundle",
    "report_bundle": ".workflows.report",
    "sweep": ".workflows.sweep",
    "tune_bundle": ".workflows.tune",
    "tune_plans": ".workflows.tune_plans",
    "validate_bundle": ".workflows.validate",
    "validate_predictions": ".workflows.validate_predictions",
    "validate_server": ".workflows.validate",
    "verify_bundle": ".workflows.verify",
    "write_programs": ".workflows.programs",
    "write_triton_repository": ".workflows.triton",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("attn2trt")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
