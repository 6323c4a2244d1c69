"""Insertion points: exact parameter counts of the papers' networks, chosen places, and what is refused."""

from __future__ import annotations

import copy
import functools

import pytest
import torch

from attn2trt.errors import InputError
from attn2trt.modules.backbones.index import create
from attn2trt.modules.block_index import block_info, block_names
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.grammar import parse
from attn2trt.modules.paper_places import MOBILENETV2, RESNET, SITES
from attn2trt.modules.placement import insert


@functools.cache
def without_values(name):
    """The plain backbone; to copy it takes half the time that timm does."""
    with torch.device("meta"):
        return create(name)


def place(spec, plain=create):
    """The backbone with its blocks, without the weights' calibration."""
    parsed = parse(spec)
    model = plain(parsed.base.name)
    insert(model, parsed.base.name, parsed.insertions, lambda: [torch.zeros(1, 3, 64, 64)])
    return model


def place_shapes(spec):
    """The same without any values."""
    with torch.device("meta"):
        return place(spec, lambda name: copy.deepcopy(without_values(name)))


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
        ("resnet50+cot", 22.2),  # the release's own tables, as the four below
        ("resnet101+cot", 38.3),
        ("resnext50_32x4d+sk", 27.5),
        ("resnet34+simam", 21.80),
        ("resnext50_32x4d+simam", 25.03),
        ("mobilenetv2_100+simam", 3.50),
        ("mobilenetv2_100+triplet", 3.51),
        ("mobilenetv2_100+triplet:kernel=3", 3.506),
        ("resnet50+shuffle_attention", 25.56),
    ],
)
def test_parameter_counts_are_the_papers_as_rounded(spec, millions):
    decimals = len(str(millions).partition(".")[2])
    assert round(count(place_shapes(spec)) / 1e6, decimals) == millions


def only_in_bottlenecks(block):
    return block_info(block).replaces_conv3x3 or block == "strip_pooling"


@pytest.mark.parametrize("block", [name for name in block_names() if name != "gam"])
def test_every_block_runs_in_a_backbone(block):
    model = place_shapes(f"{'resnet50' if only_in_bottlenecks(block) else 'resnet18'}+{block}").eval()
    with torch.no_grad():
        assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("block", ["bam", "coord_att", "eca"])
@pytest.mark.parametrize("backbone", ["mobilenetv1_100", "mobilenetv2_050", "mobilenext_100", "bn_inception"])
def test_blocks_run_in_every_family(backbone, block):
    model = place_shapes(f"{backbone}+{block}").eval()
    with torch.no_grad():
        assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("spec", ["epsanet50+se", "efficientnet_b0+cbam"])
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


def units(*depths, leaf):
    return [f"layer{stage}.{unit}.{leaf}" for stage, depth in enumerate(depths, 1) for unit in range(depth)]


@pytest.mark.parametrize(
    ("spec", "class_name", "where"),
    [
        ("resnet18+simam", "SimAM", units(2, 2, 2, 2, leaf="conv2.attn")),
        ("resnet50+simam", "SimAM", units(3, 4, 6, 3, leaf="conv2.attn")),
        ("resnet50+gc", "GlobalContext", units(3, 4, 6, 3, leaf="se")[3:]),
        ("resnet50+bot", "BoT", units(3, 4, 6, 3, leaf="conv2")[-3:]),
        ("resnet50+cot", "CoT", units(3, 4, 6, 3, leaf="conv2")),
        ("resnext50_32x4d+sk", "SK", units(3, 4, 6, 3, leaf="conv2")),
        (
            "resnet50+strip_pooling",
            "StripPooling",
            [f"layer{place}.aa.attn" for place in ("1.2", "2.3", "3.5", "4.0", "4.1", "4.2")],
        ),
        (
            "resnet50+non_local",
            "NonLocal",
            [f"layer{place}.act3.attn" for place in ("2.1", "2.3", "3.1", "3.3", "3.5")],
        ),
        (
            "resnet101+non_local",
            "NonLocal",
            [f"layer{place}.act3.attn" for place in ("2.1", "2.3", "3.6", "3.13", "3.20")],
        ),
        (
            "mobilenetv2_100+simam",
            "SimAM",
            [
                f"blocks.{stage}.{unit}.conv_dw.attn"
                for stage, n in enumerate((1, 2, 3, 4, 3, 3, 1))
                for unit in range(n)
            ],
        ),
    ],
)
def test_a_block_goes_where_its_release_has_it(spec, class_name, where):
    assert sites(place_shapes(spec), class_name) == where


@pytest.mark.parametrize(
    "spec",
    [
        "resnet50+cot@stage2+strip_pooling+gct+simam@stage1",
        "resnet50+gct+strip_pooling+non_local+gc+bot@layer4",
        "resnet18+cbam@**.bn2+se+simam",
        "mobilenetv2_050+simam+eca+se",
    ],
)
def test_places_are_found_with_other_blocks_there(spec):
    with torch.no_grad():
        assert place_shapes(spec).eval()(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


def test_gct_stands_before_every_convolution():
    model = place_shapes("resnet18+gct")
    with torch.device("meta"):
        plain = create("resnet18")
    convolutions = {path: part for path, part in plain.named_modules() if isinstance(part, torch.nn.Conv2d)}
    assert sites(model, "GCT") == [f"{path}.attn" for path in convolutions]
    assert count(model) - count(plain) == 3 * sum(part.in_channels for part in convolutions.values())
    with torch.no_grad():
        assert model.eval()(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


def test_gct_takes_what_its_convolution_would():
    part = place("resnet18+gct@stage2").layer2[0].conv1.eval()
    with torch.no_grad():
        part.attn.beta.fill_(1e4)  # a gate of 2
        x = torch.rand(1, 64, 8, 8)
        assert torch.allclose(part(x), 2 * part.base(x), atol=1e-5)


@pytest.mark.parametrize("spec", ["resnet50+cot", "resnext50_32x4d+sk", "resnet50+cot@layer?.*.conv2"])
def test_a_block_with_its_own_norm_takes_the_bottlenecks(spec):
    model = place_shapes(spec)
    for path in units(3, 4, 6, 3, leaf=""):
        unit = model.get_submodule(path.rstrip("."))
        assert {type(unit.bn2), type(unit.act2)} == {torch.nn.Identity}
    assert not [key for key in model.state_dict() if ".bn2." in key]


def test_cot_halves_before_and_sk_within():
    cot, sk = place_shapes("resnet50+cot"), place_shapes("resnext50_32x4d+sk")
    assert [cot.layer2[unit].conv2.avd.__class__.__name__ for unit in (0, 1)] == ["AvgPool2d", "Identity"]
    assert [sk.layer2[unit].conv2.paths[1].conv.stride for unit in (0, 1)] == [(2, 2), (1, 1)]
    assert sk.layer1[0].conv2.paths[0].conv.groups == 32


@pytest.mark.parametrize(("height", "width"), [(224, 224), (96, 160), (72, 104)])
def test_bot_is_made_for_the_size_of_its_image(height, width):
    with torch.device("meta"):
        model = create("resnet50")
        insert(model, "resnet50", parse("resnet50+bot").insertions, lambda: [torch.zeros(1, 3, height, width)])
        # before and after the stride of the last stage
        for unit, scale in ((0, 16), (1, 32), (2, 32)):
            embedding = model.layer4[unit].conv2.pos_embed
            assert (embedding.height, embedding.width) == (-(-height // scale), -(-width // scale))
        assert isinstance(model.layer4[0].bn2, torch.nn.BatchNorm2d)
        with torch.no_grad():
            assert model.eval()(torch.zeros(2, 3, height, width)).shape == (2, 1000)


def test_bot_anywhere_else_is_made_for_what_it_follows():
    model = place_shapes("resnet18+bot@layer3,layer4.1.conv2")
    assert sites(model, "BoT") == ["layer3.attn", "layer4.1.conv2"]
    sizes = [model.get_submodule(path).pos_embed.height for path in sites(model, "BoT")]
    assert sizes == [4, 2]


def test_options_by_stage_are_the_releases():
    fca = place_shapes("resnet18+fca")
    assert [getattr(fca, f"layer{stage}")[0].se.dct for stage in range(1, 5)] == [56, 28, 14, 7]
    assert place_shapes("resnet18+fca:dct=7").layer1[0].se.dct == 7
    assert {part.e_lambda for part in place_shapes("resnet18+simam").modules() if hasattr(part, "e_lambda")} == {0.1}


def test_the_table_of_places_speaks_of_blocks_and_sites_that_there_are():
    for table in (RESNET, MOBILENETV2):
        assert set(table) <= set(block_names())
        assert all(place.site in SITES and place.source for place in table.values())


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


def test_a_block_replaces_a_named_convolution_and_follows_anything_else():
    model = place_shapes("resnet18+psa@layer3.1.conv2,layer1")
    assert sites(model, "PSA") == ["layer1.attn", "layer3.1.conv2"]
    with torch.no_grad():
        assert model.eval()(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18+cbam@stage5", "received place 'stage5' in resnet18; expected stage1 to stage4"),
        ("resnet18+cbam@layer9", "received place 'layer9', which no module of resnet18 has"),
        ("resnet18+cbam@layer9", "did you mean layer"),
        ("resnet18+cbam@fc", "received cbam after fc, which gives (1, 1000); expected one (n, c, h, w) tensor"),
        ("mobilenetv2_100+se@stage1", "received se at stage1 of mobilenetv2_100, which has none in its paper"),
        ("mobilenetv2_100+psa", "expected a ResNet of bottlenecks"),
        ("resnet34+psa@stage2", "expected a ResNet of bottlenecks"),
        ("resnext50_32x4d+psa", "expected a 3x3 convolution without groups"),
        ("mobilenetv2_100+psa@blocks.6.0.conv_dw", "received psa at blocks.6.0.conv_dw, a Conv2d; expected a 3x3 conv"),
        ("resnext50_32x4d+cot", "received cot at layer1.0.conv2, a Conv2d; expected a 3x3 convolution without groups"),
        ("resnet18+strip_pooling", "expected a ResNet of bottlenecks, since it stands before their last one"),
        ("mobilenetv2_100+bot", "expected a ResNet of bottlenecks"),
        ("resnet50+bot@stage3", "received bot at stage3 of resnet50, which has none in its paper; expected stage4"),
        ("resnet18+gc@stage1", "which has none in its paper; expected stage2, stage3, stage4"),
        ("resnet50+bot:heads=5", "heads 5 on 512 channels"),
        ("convnext_atto+cbam", "without a module path; expected one, since no paper says where it goes"),
        ("seresnet50+cbam", "which has an attention of its own"),
        ("resnet18+bam@stage4", "which has none in its paper; expected stage1, stage2, stage3"),
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
