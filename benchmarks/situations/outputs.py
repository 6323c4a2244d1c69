"""The outputs of a module: names, repeated tensors, inputs, nothing that a graph has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from situations.situation import PASSES, Deploy, refused, situation

BATCH = "--shape 2x4x8x8 --dynamic batch"


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 6, 1)


@situation(
    "A nested dict with None, a list, and one tensor twice",
    "https://github.com/pytorch/pytorch/issues/165758",
    "https://github.com/onnx/onnx/issues/3507",
    "https://github.com/yxlee245/pytorch2tf/issues/24",
    Deploy(BATCH, "right numbers, called output_0, output_4, output_2, output_3, output_4_alias_4", PASSES),
)
class NestedOutputs(Mixing):
    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.mix(x)
        pyramid = [y, nn.functional.avg_pool2d(y, 2)]
        return {
            "mask": y.sigmoid(),
            "auxiliary": None,
            "pyramid": pyramid,
            "head": {"logits": y.amax((2, 3)), "map": y},
        }


@situation(
    "The input passed through beside the prediction",
    "https://github.com/pytorch/pytorch/issues/165758",
    Deploy(BATCH, "exit code 1: the inputs are ['output_1_orig'], and ['x'] was asked for", PASSES),
)
class PassesThrough(Mixing):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mix(x), x


@situation(
    "A spectrum, which is complex, among the outputs",
    "https://github.com/pytorch/pytorch/issues/173169",
    Deploy(BATCH, "refused, without the line of the user's file", refused("'spectrum'.*torch.view_as_real")),
)
class ComplexOutput(Mixing):
    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"spectrum": torch.fft.rfft2(self.mix(x)), "stride": 8}


SCRIPTS = "https://github.com/pytorch/pytorch/issues/155091"


class Plain(Mixing):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.mix(x).relu()
        return found


@situation(
    "A TorchScript module, as torch.jit.script gives it",
    SCRIPTS,
    "https://github.com/pytorch/pytorch/issues/24824",
    Deploy(
        BATCH, "internal error: requires_grad_ is not supported on ScriptModules", refused("give the nn.Module Plain")
    ),
)
def scripted() -> nn.Module:
    return torch.jit.script(Plain().eval())  # type: ignore[no-any-return]


@situation(
    "A TorchScript module, as torch.jit.trace gives it",
    SCRIPTS,
    Deploy(BATCH, "internal error: no signature found", refused("give the nn.Module Plain")),
)
def traced() -> nn.Module:
    return torch.jit.trace(Plain().eval(), torch.ones(2, 4, 8, 8))  # type: ignore[no-any-return, no-untyped-call]
