"""The backbones that timm lacks: exact parameter counts, the releases' names, shapes and what the papers draw."""

from __future__ import annotations

import pytest
import torch

from attn2trt.errors import InputError
from attn2trt.modules.backbones.index import create
from attn2trt.modules.backbones.known import KNOWN
from attn2trt.modules.catalog import resolve
from attn2trt.modules.metering import meter

OWN = [name for name, backbone in KNOWN.items() if backbone.file != "timm"]


def on_meta(name):
    with torch.device("meta"):
        return create(name).eval()


@pytest.mark.parametrize("name", [name for name in OWN if not name.startswith("epsanet101")])
def test_what_is_written_is_what_it_costs(name):
    cost = meter(on_meta(name), [torch.empty(1, 3, 224, 224, device="meta")]).cost
    assert (cost.parameters, cost.macs) == (KNOWN[name].parameters, KNOWN[name].macs)


@pytest.mark.parametrize(
    ("name", "parameters", "millions_of_macs"),
    [
        ("epsanet50", 22_561_715, 3600),
        ("epsanet50_large", 27_899_518, 4690),
        ("bn_inception", 11_295_240, 2030),
    ],
)
def test_published_counts(name, parameters, millions_of_macs):
    assert KNOWN[name].parameters == parameters
    assert round(KNOWN[name].macs / 1e6, -1) == millions_of_macs


@pytest.mark.parametrize("name", ["epsanet50_large", "mobilenext_100", "bn_inception"])
def test_takes_any_size(name):
    with torch.no_grad():
        assert on_meta(name)(torch.empty(2, 3, 72, 97, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        (
            "epsanet50",
            {
                "layer1.0.conv2.conv_4.weight": (16, 4, 9, 9),
                "layer4.2.conv2.se.fc1.weight": (8, 128, 1, 1),
                "layer2.0.downsample.0.weight": (512, 256, 1, 1),
            },
        ),
        ("epsanet50_large", {"layer1.0.conv2.conv_4.weight": (32, 4, 7, 7), "layer1.0.conv3.weight": (256, 128, 1, 1)}),
        (
            "mobilenext_100",
            {
                "features.0.0.weight": (32, 3, 3, 3),
                "features.1.conv.0.weight": (32, 1, 3, 3),  # enters by a depthwise convolution
                "features.3.conv.0.weight": (32, 144, 1, 1),  # widens: it does not
                "features.3.conv.5.weight": (192, 1, 3, 3),
                "features.17.conv.3.bias": (960,),  # keeps its size too: nothing after the second 1x1
                "features.20.conv.3.weight": (208, 960, 1, 1),
                "classifier.1.weight": (1000, 1280),
            },
        ),
        (
            "bn_inception",
            {
                "conv1_7x7_s2.bias": (64,),
                "inception_3c_double_3x3_2.weight": (96, 96, 3, 3),
                "inception_4e_3x3.weight": (192, 128, 3, 3),
                "inception_5b_pool_proj_bn.running_var": (128,),
                "last_linear.weight": (1000, 1024),
            },
        ),
    ],
)
def test_parameters_have_the_releases_names(name, shapes):
    state = on_meta(name).state_dict()
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def test_the_shortcut_of_a_sandglass_joins_its_wide_ends():
    model = create("mobilenext_100").eval()
    with torch.no_grad():
        model.features[4].conv[-1].weight.zero_()  # the last normalisation closed: nothing but the shortcut is left
        x = torch.rand(1, 192, 4, 4)
        assert torch.equal(model.features[4](x), x)
        assert not torch.equal(model.features[2](torch.rand(1, 96, 4, 4)), torch.zeros(1, 144, 4, 4))


def test_an_inception_concatenates_its_branches_in_the_releases_order():
    model = create("bn_inception").eval()
    given = {}
    model.inception_3a_output.register_forward_hook(lambda _, args, __: given.setdefault("x", args[0]))
    with torch.no_grad():
        model.inception_3a_3x3_bn.weight.zero_()
        model.inception_3a_3x3_bn.bias.fill_(3)
        model.inception_3a_pool_proj_bn.weight.zero_()
        model.inception_3a_pool_proj_bn.bias.fill_(7)
        model(torch.rand(1, 3, 64, 64))
    means = given["x"].mean((0, 2, 3))
    assert set(means[64:128].tolist()) == {3.0}
    assert set(means[224:].tolist()) == {7.0}


@pytest.mark.parametrize(("size", "pooled"), [(8, 4), (9, 5)])
def test_an_inception_pools_beside_its_strided_convolutions_as_caffe_rounds(size, pooled):
    model = create("bn_inception").eval()
    x = torch.randn(1, 320, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        branch = model._branches("3c", x)[:, -320:]
    assert branch.shape[2:] == (pooled, pooled)
    for row in range(pooled):
        for column in range(pooled):
            window = x[0, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            assert torch.equal(branch[0, :, row, column], window.amax((1, 2)))


def test_no_weights_are_fetched_for_what_timm_lacks():
    with pytest.raises(InputError, match="received --pretrained for epsanet50; expected a backbone of timm's"):
        resolve("epsanet50", pretrained=True).build()


def test_the_channel_order_is_reported():
    assert resolve("bn_inception").preprocessing.order == "BGR"
    assert resolve("resnet50").preprocessing.order == "RGB"
