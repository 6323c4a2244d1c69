"""A module that float64 cannot run is judged against float32, and its reference says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import ModuleRefused
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.metrics import Reference
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import Stage


class Single(nn.Module):
    """Two convolutions that refuse float64, on every case or on wide ones alone."""

    def __init__(self, *, is_always: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 4, 1))
        self.is_always = is_always

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, torch.DoubleTensor) and (self.is_always or x.shape[3] > 10):
            raise RuntimeError("no kernel for Double")
        return self.body(x)


CASES = make_cases([TensorSpec("x", (2, 3, 8, "width"))], {"width": Axis(6, 8, 12)})


def run(module: nn.Module) -> list[tuple[Case, Reference]]:
    return list(zip(CASES, references(module.eval(), CASES), strict=True))


@pytest.mark.parametrize("is_always", [True, False])
def test_the_truth_is_float32s_for_the_cases_that_float64_cannot_run(is_always: bool) -> None:
    module = Single(is_always=is_always)
    pairs = run(module)
    said = [bool(reference.no_float64) for _, reference in pairs]
    assert said == [is_always or case.sizes["width"] > 10 for case, _ in pairs]
    for _, reference in pairs:
        assert reference.outputs64["output"].dtype == np.float64
        assert 0 < reference.floors["output"].l2 < 1e-5
        assert reference.largest > 0
        if reference.no_float64:
            assert reference.no_float64 == "RuntimeError: no kernel for Double"

    def runtime(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {"output": module(torch.from_numpy(feeds["x"])).numpy()}

    def wrong(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"output": runtime(feeds)["output"] * np.float32(1.0001)}

    stages = [judge(Stage("right"), runtime, pairs), judge(Stage("wrong"), wrong, pairs)]
    assert [stage.status for stage in stages] == ["passed against float32", "failed"]


def test_what_float32_cannot_run_is_refused() -> None:
    class Broken(Single):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no kernel")

    with pytest.raises(ModuleRefused, match=r"PyTorch itself cannot run case traced .*no kernel"):
        run(Broken())


def test_state_is_found_without_float64() -> None:
    class Counting(Single):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x) + self.calls

    with pytest.raises(ModuleRefused, match="changes its calls at"):
        run(Counting())
