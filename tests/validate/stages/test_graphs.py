"""The status of a stage whose graph could not be loaded."""

from __future__ import annotations

import pytest

from attn2trt.errors import CheckFailed, MissingRequirement
from attn2trt.validate.stages.graphs import STAGE_ORT, STAGE_SIMPLIFIED, not_loaded

NO_KERNEL = "NOT_IMPLEMENTED : Could not find an implementation for Conv(11) node with name 'conv'"


@pytest.mark.parametrize(
    ("stage", "error", "status", "why"),
    [
        (STAGE_ORT, CheckFailed("cannot load the model"), "failed", "cannot load the model"),
        (STAGE_ORT, CheckFailed(NO_KERNEL), "failed", NO_KERNEL),
        ("bf16 onnxruntime cpu", CheckFailed(NO_KERNEL), "not checked", "has no bfloat16 Conv (opset 11)"),
        ("bf16 onnxruntime cpu", CheckFailed("cannot load the model"), "failed", "cannot load the model"),
        (STAGE_SIMPLIFIED, MissingRequirement("pip install onnxruntime"), "not checked", "pip install onnxruntime"),
        ("int8 onnxruntime cpu", MissingRequirement("pip install onnxruntime"), "not checked", "pip install"),
    ],
)
def test_a_runtime_that_is_not_here_is_not_checked_and_a_refused_graph_has_failed(
    stage: str, error: CheckFailed | MissingRequirement, status: str, why: str
) -> None:
    found = not_loaded(stage, error)
    assert (found.stage, found.status) == (stage, status)
    assert why in found.why
