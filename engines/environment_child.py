"""The process that environment.py tries in what may crash: to import a library, or to run a model with a provider.

It answers once that worked. Any failure ends it with the reason as the last line on stderr.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from ..core.channel import claim_stdout, send

CPU = "CPUExecutionProvider"


def main(what: str, name: str) -> None:
    """Try to "import" the module of that name, or to run a model with the "provider"."""
    answers = os.fdopen(claim_stdout(), "wb")
    if what == "import":
        import_module(name)
    else:
        _run_with(name)
    send(answers, {})


def _run_with(provider: str) -> None:
    """Add 1 and 1. That a provider is listed says nothing."""
    import numpy as np
    import onnxruntime as ort

    if provider not in ort.get_available_providers():  # it would take another one, and complain of that one's libraries
        sys.exit(f"this ONNX Runtime has no {provider}")
    if provider != CPU and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(_model().SerializeToString(), options, providers=[provider])
    got = session.get_providers()[0]
    if got != provider:
        sys.exit(f"ONNX Runtime falls back to {got}: the provider's libraries do not load")
    if session.run(None, {"x": np.ones(1, np.float32)})[0][0] != 2:
        sys.exit("it computes 1 + 1 wrongly")


def _model() -> Any:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "probe", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
