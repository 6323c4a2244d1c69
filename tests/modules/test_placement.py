"""Insertion points: exact parameter counts of the papers' networks, chosen places, and what is refused."""

from __future__ import annotations

import pytest
import torch

from attn2trt.errors import InputError
from attn2trt.modules.backbones.index import create
from attn2trt.modules.block_index import block_names
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.grammar import parse
from attn2trt.modules.placement import insert


def place(spec, size=64):
    """The backbone with its blocks, without the weights' calibration."""
    parsed = parse(spec)
    model = create(parsed.base.name)
    insert(model, parsed.base.name, parsed.insertions, lambda: [torch.zeros(1, 3, size, size)])
    return model


def place_shapes(spec, size=64):
    """The same without any values."""
    with torch.device("meta"):
        return place(spec, size)


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
    assert count(place_shapes(spec)) == parameters


@pytest.mark.parametrize(
    ("spec", "millions"),
    [
        ("epsanet50", 22.56),  # the release's own table
        ("epsanet50_large", 27.90),
        ("epsanet101", 38.90),
        ("epsanet101_large", 49.59),
        ("mobilenetv1_100+se", 4.7),  # the places of both are inferred from these counts
        ("mobilenetv1_100+cbam", 5.07),
        ("resnet50+bam", 25.92),
    ],
)
def test_parameter_counts_are_the_papers_as_rounded(spec, millions):
    decimals = len(str(millions).partition(".")[2])
    assert round(count(place_shapes(spec)) / 1e6, decimals) == millions


@pytest.mark.parametrize("block", [name for name in block_names() if name not in ("gam", "psa")])
def test_every_block_runs_in_a_backbone(block):
    model = place_shapes(f"resnet18+{block}").eval()
    with torch.no_grad():
        assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("block", ["bam", "coord_att", "eca"])
@pytest.mark.parametrize("backbone", ["mobilenetv1_100", "mobilenetv2_050", "mobilenext_100", "bn_inception"])
def test_blocks_run_in_every_family(backbone, block):
    model = place_shapes(f"{backbone}+{block}").eval()
    with torch.no_grad():
        assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("spec", ["resnet50+psa", "epsanet50+se", "efficientnet_b0+cbam"])
def test_the_larger_backbones_run_too(spec):
    model = place_shapes(spec).eval()
    with torch.no_grad():
        assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


def test_gam_in_groups():
    assert count(place_shapes("mobilenetv2_050+gam:groups=2")) > count(place_shapes("mobilenetv2_050"))


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
    model = place_shapes(spec)
    got = [{unit.se.conv.weight.shape[-1] for unit in getattr(model, f"layer{stage}")} for stage in range(1, 5)]
    assert got == [{kernel} for kernel in kernels]


def test_mobilenetv2_takes_se_where_it_expands_and_eca_after_every_projection():
    assert len(sites(place_shapes("mobilenetv2_100+se"), "SE")) == 16
    model = place_shapes("mobilenetv2_100+eca")
    found = sites(model, "ECA")
    assert len(found) == 17
    assert (found[0], found[1]) == ("blocks.0.0.bn2.attn", "blocks.1.0.bn3.attn")
    assert [model.get_submodule(path).conv.weight.shape[-1] for path in (found[0], found[-1])] == [1, 3]


def test_efficientnet_gives_its_own_squeeze_away():
    model = place_shapes("efficientnet_b0+cbam")
    assert len(sites(model, "CBAM")) == 16
    assert not sites(model, "SqueezeExcite")


def test_bam_follows_the_first_three_stages_and_renames_nothing():
    model = place_shapes("resnet50+bam")
    assert sites(model, "BAM") == ["layer1.attn", "layer2.attn", "layer3.attn"]
    added = {key for path in sites(model, "BAM") for key in model.state_dict() if key.startswith(f"{path}.")}
    assert set(model.state_dict()) - added == set(create("resnet50").state_dict())


def test_several_blocks_share_a_model():
    model = place_shapes("resnet50+se@stage1+cbam@stage4+eca@stage4")
    assert sites(model, "SE") == [f"layer1.{unit}.se" for unit in range(3)]
    assert sites(model, "CBAM") == [f"layer4.{unit}.se.base" for unit in range(3)]
    assert sites(model, "ECA") == [f"layer4.{unit}.se.attn" for unit in range(3)]


# One model of each way in which timm's modules hang together, with a glob over its paths
@pytest.mark.parametrize(
    ("spec", "blocks"),
    [
        ("convnext_atto+cbam@stages.*.blocks.0.conv_dw", 4),
        ("densenet121+cbam@features.denseblock*.denselayer1.conv2", 4),
        ("dla34+cbam@level[345].tree1", 3),
        ("ese_vovnet19b_dw+cbam@stages.*.blocks.0", 4),
        ("hrnet_w18_small+cbam@layer1.*", 1),
        ("mobilenetv3_small_050+cbam@**.conv_dw", 11),
        ("regnety_002+cbam@s?.b1", 4),
        ("repvgg_a0+cbam@stages.*.0", 4),
        ("res2net50_26w_4s+cbam@stage2", 4),
        ("resnext50_32x4d+cbam@layer?.0.conv2", 4),
        ("cspresnet50+cbam@stages.*", 4),
        ("vgg11+cbam@features.2", 1),
        ("xception41+cbam@blocks.0.stack.conv?", 3),
        ("nfnet_l0+cbam@stages.*.0", 4),
        ("poolformerv2_s12+cbam@stages.*", 4),
        ("fastvit_t8+cbam@stages.*.blocks.0", 4),
    ],
)
def test_globs_over_the_paths_of_any_timm_model(spec, blocks):
    model = place_shapes(spec).eval()
    assert len(sites(model, "CBAM")) == blocks
    with torch.no_grad():
        assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


def test_psa_carries_the_stride():
    model = place_shapes("resnet50+psa")
    assert len(sites(model, "PSA")) == 16
    assert model.layer2[0].conv2.conv_1.stride == (2, 2)
    assert model.layer2[1].conv2.conv_1.stride == (1, 1)


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ("resnet18+cbam@stage3,stage4", ["layer3.0.se", "layer3.1.se", "layer4.0.se", "layer4.1.se"]),
        ("resnet18+cbam@layer4", ["layer4.attn"]),
        ("resnet18+se@layer4+cbam@layer4", ["layer4.attn2"]),
        ("resnet18+bam+cbam@stage1", ["layer1.0.se", "layer1.1.se"]),
        ("resnet18+cbam@stage1+se@layer1.**.conv1", ["layer1.0.se", "layer1.1.se"]),
        ("resnet18+cbam@**.bn2", [f"layer{stage}.{unit}.bn2.attn" for stage in range(1, 5) for unit in (0, 1)]),
        ("resnet18+cbam@layer4,layer4.1", ["layer4.1.attn", "layer4.attn"]),
        ("mobilenext_100+cbam@stage8", ["features.20.conv.2.attn"]),
        ("bn_inception+cbam@stage1", [f"inception_3{unit}_output" for unit in "abc"]),
        ("mobilenetv1_100+cbam@stage1", ["blocks.0.0.se", "blocks.0.0.bn2.attn"]),
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
    model = place_shapes(spec)
    assert sites(model, "CBAM") == where
    with torch.no_grad():
        assert model.eval()(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


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
        ("resnet18+bam@stage4", "where its paper puts none; expected stage1, stage2, stage3"),
        ("convnext_tiny+se@stages.0.blocks.0.mlp", "which gives (1, 16, 16, 96), channels last"),
        ("resnet18+se:reduction=65@stage1", "reduction 65 on 64 channels"),
    ],
)
def test_refuses_a_place(spec, message):
    with pytest.raises(InputError) as caught:
        place_shapes(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_builds_what_a_target_says():
    model = build("resnet18+eca:k=3@stage3")
    assert sites(model, "ECA") == ["layer3.0.se", "layer3.1.se"]
    assert resolve("resnet18+eca:k=3@stage3").build().training is False
