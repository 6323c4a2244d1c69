"""Parameters and multiply-accumulates of the papers' models, and where their blocks sit."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from attn2trt.errors import InputError, SizesRefused
from attn2trt.modules.backbones.known import KNOWN
from attn2trt.modules.describe import describe
from attn2trt.modules.metering import meter


@pytest.mark.parametrize(
    ("spec", "parameters", "millions"),
    [
        # published: parameters exactly, multiply-accumulates as rounded in the papers' own tables
        ("resnet50+se", 28_088_024, 4090),
        ("resnet50+cbam", 28_089_624, 4100),
        ("resnet50+psa", 22_561_715, 3600),
        ("mobilenetv2_100+se", 3_888_208, 301),
        ("mobilenetv2_100+coord_att", 3_950_648, 307),
    ],
)
def test_published_costs(spec: str, parameters: int, millions: int) -> None:
    found = describe(spec)
    assert found.cost.parameters == parameters
    assert round(found.cost.macs / 1e6, -1 if millions > 1000 else 0) == millions
    assert found.plain is not None
    assert found.plain.macs == KNOWN[spec.split("+", maxsplit=1)[0]].macs
    added = sum(place.parameters for place in found.places)
    if "psa" not in spec:  # which replaces a convolution
        assert found.cost.parameters - found.plain.parameters == added


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "efficientnet_b1"])
def test_what_is_written_of_a_backbone_is_what_it_costs(name: str) -> None:
    found = describe(name)
    assert (found.cost.parameters, found.cost.macs) == (KNOWN[name].parameters, KNOWN[name].macs)
    assert found.plain is None
    assert found.places == ()


def test_places_have_the_shape_that_the_block_is_given() -> None:
    found = describe("resnet18+eca@stage3,stage4", shapes=["4x3x64x96"])
    assert [place.path for place in found.places] == ["layer3.0.se", "layer3.1.se", "layer4.0.se", "layer4.1.se"]
    assert {place.shape for place in found.places} == {(1, 256, 4, 6), (1, 512, 2, 3)}


def test_a_deformable_convolution_counts_as_the_convolution_that_it_moves() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.deform = DeformConv2d(8, 6, 3, padding=1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.deform(x, x.new_zeros(x.shape[0], 18, *x.shape[2:]))

    found = meter(Deformed(), [torch.zeros(2, 8, 5, 7)])
    assert found.cost.macs == found.macs["deform"] == 2 * 6 * 5 * 7 * 4 * 9


def test_a_block_alone_shows_its_operators() -> None:
    found = describe("se", shapes=["2x32x8x8"])
    assert [(step.module, step.operator) for step in found.steps][-2:] == [("fc.3", "sigmoid"), ("", "mul")]
    assert found.steps[0].shapes == ((1, 32, 8, 8),)
    assert found.cost.macs == 2 * 32 * 2


def test_a_module_that_computes_with_values_is_counted_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, wanted=1.0):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
            self.register_buffer("factor", torch.ones(1))
            self.wanted = wanted

        def forward(self, x):
            if self.factor.item() != self.wanted:
                raise ValueError("no such factor")
            return self.conv(x)
    """
    (tmp_path / "counted_nets.py").write_text(textwrap.dedent(code))
    monkeypatch.chdir(tmp_path)
    found = describe("py:counted_nets:Net", shapes=["1x3x8x8"])
    assert (found.cost.parameters, found.cost.macs) == (108, 108 * 64)


def test_a_module_that_raises_on_the_meta_device_and_on_values_is_refused() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no such size")

    with pytest.raises(
        SizesRefused, match=r"^received input 0=1x3x8x8 for Broken, which raised ValueError: no such size"
    ):
        meter(Broken(), [torch.empty(1, 3, 8, 8, device="meta")])


def test_a_module_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from torch import nn\n\ndef shown_net():\n    return nn.Conv2d(3, 4, 3, padding=1, bias=False)\n"
    (tmp_path / "shown_nets.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    found = describe("py:shown_nets:shown_net", shapes=["2x3x8x8"])
    assert (found.kind, found.cost.parameters, found.cost.macs) == ("module", 108, 108 * 64)


def test_a_wrong_target_is_one_line() -> None:
    with pytest.raises(InputError, match="expected stage1 to stage4"):
        describe("resnet18+se@stage9")
