"""Feature maps as outputs: the same as timm's own, with blocks and a classifier's checkpoint in them."""

from __future__ import annotations

import pytest
import timm
import torch

from attn2trt.errors import InputError
from attn2trt.modules.backbones.index import create
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.describe import describe
from attn2trt.modules.features import Features


def run(model, size=64):
    with torch.no_grad():
        return model.eval()(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("name", "indices"),
    [
        ("resnet18", (0, 2, 4)),
        ("mobilenetv2_050", (1, 2, 3, 4)),
        ("convnext_atto", (0, 1, 2, 3)),
    ],
)
def test_the_maps_are_timms(name, indices):
    theirs = timm.create_model(name, features_only=True, out_indices=indices)
    classifier = create(name)
    shared = {key: value for key, value in theirs.state_dict().items() if key in classifier.state_dict()}
    if name == "convnext_atto":  # timm joins the first two steps of a path by _ there
        paths = {key.replace(".", "_"): key for key in classifier.state_dict()}
        shared = {paths[key.replace(".", "_")]: value for key, value in theirs.state_dict().items()}
    assert len(shared) == len(theirs.state_dict())
    classifier.load_state_dict(shared, strict=False)
    for got, want in zip(run(Features(classifier, indices)), run(theirs), strict=True):
        assert torch.equal(got, want)


def test_a_target_names_its_maps_and_drops_the_head():
    target = resolve("resnet18:features_only=true,out_indices=2/3/4+cbam@stage4", shapes=["2x3x64x64"])
    assert target.output_names == ("features_2", "features_3", "features_4")
    module = target.build()
    assert [tuple(found.shape) for found in run(module)] == [(1, 128, 8, 8), (1, 256, 4, 4), (1, 512, 2, 2)]
    assert any("layer4.1.se.ChannelGate" in key for key in module.state_dict())
    assert not any(".fc." in key and ".se." not in key for key in module.state_dict())


def test_the_arguments_of_timm_decide_the_network_and_its_input():
    target = resolve("resnet18:num_classes=10,in_chans=1,global_pool=max+eca@stage4", shapes=["2x1x64x64"])
    module = target.build()
    assert (module.fc.out_features, module.conv1.in_channels, module.global_pool.pool_type) == (10, 1, "max")
    assert target.preprocessing is None
    assert target.output_names == ("logits",)
    assert resolve("resnet18:num_classes=0").output_names == ("embedding",)
    assert resolve("vit_tiny_patch16_224:img_size=64/96").inputs[0].shape == (2, 3, 64, 96)
    maps = resolve("vit_tiny_patch16_224:img_size=32,depth=2,features_only=true")
    assert maps.output_names == ("features_0", "features_1")
    assert [tuple(found.shape) for found in run(maps.build(), 32)] == [(1, 192, 2, 2)] * 2


def test_a_size_that_an_argument_would_allow_is_refused_with_that_argument():
    wanted = (
        r"Input height.*give vit_tiny_patch16_224 the option img_size=64 or dynamic_img_size=true, or change --shape"
    )
    with pytest.raises(InputError, match=wanted):
        resolve("vit_tiny_patch16_224:depth=1", shapes=["2x3x64x64"]).build()


def test_all_maps_without_indices():
    assert resolve("resnet18:features_only=true").output_names == tuple(f"features_{index}" for index in range(5))
    assert resolve("resnet18:features_only=false").output_names == ("logits",)


def test_a_classifiers_checkpoint_and_one_without_its_head(tmp_path):
    classifier = create("resnet18")
    torch.save(classifier.state_dict(), tmp_path / "whole.pth")
    without = {key: value for key, value in classifier.state_dict().items() if not key.startswith(("fc.", "layer4."))}
    torch.save(without, tmp_path / "without.pth")
    want = run(Features(classifier, (2, 3)))
    for name in ("whole.pth", "without.pth"):
        module = build("resnet18:features_only=true,out_indices=2/3", checkpoint=tmp_path / name)
        assert all(map(torch.equal, run(module), want))
    with pytest.raises(InputError, match=r"with 2 missing \(fc.weight, fc.bias\)|missing \(layer4"):
        build("resnet18:features_only=true,out_indices=4", checkpoint=tmp_path / "without.pth")


def test_the_plain_backbone_beside_it_gives_the_same_maps():
    found = describe("resnet18:features_only=true,out_indices=1/2+eca")
    assert found.plain is not None
    assert found.cost.parameters > found.plain.parameters
    assert found.plain.parameters == sum(
        parameter.numel() for parameter in Features(create("resnet18"), (1, 2)).parameters()
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18:features_only=maybe", "received features_only=maybe for backbone resnet18; expected true or false"),
        ("resnet18:out_indices=2", "received out_indices for backbone resnet18 without features_only"),
        ("resnet18:features_only=true,out_indices=2-3", "expected ascending numbers from 0, with / between"),
        ("resnet18:features_only=true,out_indices=3/2", "expected ascending numbers from 0, with / between"),
        ("resnet18:features_only=true,out_indices=2/7", "received out_indices 2/7 for a ResNet; expected indices"),
        (
            "resnet18:depth=3",
            "received backbone resnet18 with depth=3; expected keyword arguments of timm's resnet18, got TypeError",
        ),
        (
            "resnet18:pretrained=true",
            "received option pretrained of backbone resnet18; expected keyword arguments of the network",
        ),
        (
            "epsanet50:num_classes=3",
            "received options num_classes for backbone epsanet50; expected none but features_only",
        ),
    ],
)
def test_refuses(spec, message):
    with pytest.raises(InputError) as caught:
        resolve(spec).build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_without_feature_maps_is_refused():
    with torch.device("meta"), pytest.raises(InputError, match="for a BNInception, which gives no feature maps"):
        Features(create("bn_inception"), (1,))
