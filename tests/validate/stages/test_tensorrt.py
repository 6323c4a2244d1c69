"""A plan that takes less than the bundle's ranges is judged inside of its profiles, and the other cases are named."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served_bundle

from attn2trt.validate.recorded import recorded_cases
from attn2trt.validate.stages import tensorrt as stages
from attn2trt.validate.stages.of_bundle import plans
from attn2trt.validate.verdict import StageResult


class Twice:
    """A loaded plan that computes what the bundle's graph does."""

    def __init__(self, *_: Any) -> None:
        return None

    def __enter__(self) -> Twice:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def load(self) -> None:
        return None

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return {"y": feeds["x"] * np.float32(2)}

    def layers(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("batches", "why"), [((1, 2, 2), "outside of its profiles, so not judged: case 2"), ((1, 2, 8), "")]
)
def test_cases_outside_of_a_plans_profiles_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: tuple[int, int, int], why: str
) -> None:
    bundle = served_bundle.write(tmp_path / "b", plans=[served_bundle.plan(batches=[batches])])
    (one,) = plans(bundle)
    assert one.plan is not None
    monkeypatch.setattr(stages, "IsolatedPlan", Twice)
    monkeypatch.setattr(stages, "check_layers", lambda bundle, plan, layers: StageResult(one.stage, "passed", ""))
    monkeypatch.setattr(stages, "is_fuller", lambda *_: False)
    values, rows, _ = stages._judged(bundle, one.plan, one.stage, partial(recorded_cases, bundle), None)
    assert (values.status, values.why) == ("passed", why)
    assert rows.why == ""
