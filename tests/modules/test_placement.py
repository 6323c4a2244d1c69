"""Insertion points: exact parameter counts of the papers' networks, chosen places, and what is refused."""

from __future__ import annotations

import pytest
import timm
import torch

from attn2trt.errors import InputError
from attn2trt.modules.block_index import block_names
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.grammar import parse
from attn2trt.modules.placement import insert


def place(spec):
    """The backbone with its blocks, without the weights' calibration."""
    parsed = parse(spec)
    model = timm.create_model(parsed.base.name)
    insert(model, parsed.base.name, parsed.insertions, lambda: [torch.zeros(1, 3, 64, 64)])
    return model


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def sites(model, class_name):
    return [path for path, part in model.named_modules() if type(part).__name__ == class_name]


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        ("resnet50+se", 28_088_024),
        ("resnet50+se:bias=false", 28_071_976),
        ("resnet50+cbam", 28_089_624),
        ("resnet50+eca", 25_557_112),
        ("resnet50+psa", 22_561_715),
        ("mobilenetv2_100+se", 3_888_208),
        ("mobilenetv2_100+coord_att", 3_950_648),
    ],
)
def test_parameter_counts_are_the_papers(spec, parameters):
    assert count(place(spec)) == parameters


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenetv2_100", "efficientnet_b0"])
@pytest.mark.parametrize("block", [name for name in block_names() if name != "gam"])
def test_every_block_runs_in_every_family_that_takes_it(backbone, block):
    if block == "psa" and backbone != "resnet50":
        with pytest.raises(InputError, match="expected a ResNet of bottlenecks"):
            place(f"{backbone}+{block}")
        return
    model = place(f"{backbone}+{block}").eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_gam_in_groups():
    assert count(place("mobilenetv2_050+gam:groups=2")) > count(timm.create_model("mobilenetv2_050"))


def test_resnet_takes_it_before_the_addition():
    model = place("resnet50+se")
    assert len(sites(model, "SE")) == 16
    assert sites(model, "SE")[0] == "layer1.0.se"
    unit = model.layer1[1].eval()
    with torch.no_grad():
        unit.se.fc[2].bias.fill_(-1e4)  # the gate closed: nothing but the shortcut is left
        x = torch.rand(1, 256, 8, 8)
        assert torch.equal(unit(x), x)


@pytest.mark.parametrize(
    ("spec", "kernels"),
    [
        ("resnet18+eca", [3, 5, 7, 7]),
        ("resnet34+eca", [3, 3, 5, 7]),
        ("resnet50+eca", [3, 5, 5, 7]),
        ("resnet101+eca", [3, 3, 5, 7]),
        ("resnet50+eca:k=3", [3, 3, 3, 3]),
    ],
)
def test_eca_takes_the_releases_kernel_of_each_stage(spec, kernels):
    model = place(spec)
    got = [{unit.se.conv.weight.shape[-1] for unit in getattr(model, f"layer{stage}")} for stage in range(1, 5)]
    assert got == [{kernel} for kernel in kernels]


def test_mobilenetv2_takes_se_where_it_expands_and_eca_after_every_projection():
    assert len(sites(place("mobilenetv2_100+se"), "SE")) == 16
    model = place("mobilenetv2_100+eca")
    found = sites(model, "ECA")
    assert len(found) == 17
    assert (found[0], found[1]) == ("blocks.0.0.bn2.attn", "blocks.1.0.bn3.attn")
    assert [model.get_submodule(path).conv.weight.shape[-1] for path in (found[0], found[-1])] == [1, 3]


def test_efficientnet_gives_its_own_squeeze_away():
    model = place("efficientnet_b0+cbam")
    assert len(sites(model, "CBAM")) == 16
    assert not sites(model, "SqueezeExcite")


def test_psa_carries_the_stride():
    model = place("resnet50+psa")
    assert len(sites(model, "PSA")) == 16
    assert model.layer2[0].conv2.conv_1.stride == (2, 2)
    assert model.layer2[1].conv2.conv_1.stride == (1, 1)


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ("resnet18+cbam@stage3,stage4", ["layer3.0.se", "layer3.1.se", "layer4.0.se", "layer4.1.se"]),
        ("resnet18+cbam@layer4", ["layer4.attn"]),
        ("resnet18+cbam@layer3.*", ["layer3.0.attn", "layer3.1.attn"]),
        ("resnet18+cbam@layer*.1.bn2", [f"layer{stage}.1.bn2.attn" for stage in range(1, 5)]),
        ("resnet18+cbam@stage4,layer1", ["layer1.attn", "layer4.0.se", "layer4.1.se"]),
        ("mobilenetv2_050+cbam@stage7", ["blocks.6.0.se"]),
        ("resnet18+se@stage1+cbam@stage4", ["layer4.0.se", "layer4.1.se"]),
        ("resnet18+se@stage4+cbam@stage4", ["layer4.0.se.attn", "layer4.1.se.attn"]),
        ("convnext_atto+cbam:reduction=8@stages.1", ["stages.1.attn"]),
    ],
)
def test_places(spec, where):
    model = place(spec)
    assert sites(model, "CBAM") == where
    with torch.no_grad():
        assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_psa_replaces_one_named_convolution():
    model = place("resnet18+psa@layer3.1.conv2")
    assert sites(model, "PSA") == ["layer3.1.conv2"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18+cbam@stage5", "received place 'stage5' in resnet18; expected stage1 to stage4"),
        ("resnet18+cbam@layer9", "received place 'layer9', which no module of resnet18 has"),
        ("resnet18+cbam@layer9", "did you mean layer"),
        ("resnet18+cbam@fc", "received cbam after fc, which gives (1, 1000); expected one (n, c, h, w) tensor"),
        ("mobilenetv2_100+se@stage1", "received se at stage1 of mobilenetv2_100, where its paper puts none"),
        ("mobilenetv2_100+psa", "expected a ResNet of bottlenecks"),
        ("resnet34+psa@stage2", "expected a ResNet of bottlenecks"),
        ("resnext50_32x4d+psa", "expected a 3x3 convolution without groups"),
        ("resnet18+psa@layer1", "received psa at layer1, a Sequential; expected a 3x3 convolution"),
        ("convnext_atto+cbam", "without a module path; expected one, since no paper says where it goes"),
        ("seresnet50+cbam", "which has an attention of its own"),
        ("resnet18+se:reduction=65@stage1", "reduction 65 on 64 channels"),
    ],
)
def test_refuses_a_place(spec, message):
    with pytest.raises(InputError) as caught:
        place(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_builds_what_a_target_says():
    model = build("resnet18+eca:k=3@stage3")
    assert sites(model, "ECA") == ["layer3.0.se", "layer3.1.se"]
    assert resolve("resnet18+eca:k=3@stage3").build().training is False
