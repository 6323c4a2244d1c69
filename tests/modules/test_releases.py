"""Key maps: files with exactly a release's keys and shapes, drawn up here from the release's architecture.

Every tensor of such a file is one number all over, its own: the number shows the place of the tensor.
"""

from __future__ import annotations

import re

import pytest
import timm
import torch
from torch import nn

from attn2trt.errors import InputError
from attn2trt.modules.backbones.index import create
from attn2trt.modules.catalog import build
from attn2trt.modules.checkpoint import HUB, _names, load, load_into, locate
from attn2trt.modules.grammar import parse
from attn2trt.modules.placement import insert
from attn2trt.modules.releases import fit

DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def conv(path, made, given, kernel=1, bias=False):
    shapes = {f"{path}.weight": (made, given, kernel, kernel)}
    return {**shapes, f"{path}.bias": (made,)} if bias else shapes


def linear(path, made, given, bias=True):
    shapes = {f"{path}.weight": (made, given)}
    return {**shapes, f"{path}.bias": (made,)} if bias else shapes


def norm(path, width, counter=True):
    keys = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{path}.{key}": (width,) for key in keys}, **({f"{path}.num_batches_tracked": ()} if counter else {})}


def under(prefix, shapes):
    return {f"{prefix}{key}": shape for key, shape in shapes.items()}


def resnet(depth, block=lambda width, stage: {}, middle=lambda path, width: conv(path, width, width, 3), wide=1):
    """A ResNet; ``block`` gives what a residual block has besides, ``middle`` a bottleneck's second convolution."""
    shapes = {**conv("conv1", 64, 3, 7), **norm("bn1", 64)}
    given = 64
    for stage, count in enumerate(DEPTHS[depth]):
        width = 64 * 2**stage
        made = width * (4 if depth >= 50 else 1)
        for unit in range(count):
            path = f"layer{stage + 1}.{unit}"
            if depth >= 50:
                shapes |= {**conv(f"{path}.conv1", width * wide, given), **norm(f"{path}.bn1", width * wide)}
                shapes |= {**middle(f"{path}.conv2", width * wide), **norm(f"{path}.bn2", width * wide)}
                shapes |= {**conv(f"{path}.conv3", made, width * wide), **norm(f"{path}.bn3", made)}
            else:
                shapes |= {**conv(f"{path}.conv1", width, given, 3), **norm(f"{path}.bn1", width)}
                shapes |= {**conv(f"{path}.conv2", width, width, 3), **norm(f"{path}.bn2", width)}
            if unit == 0 and given != made:
                shapes |= {**conv(f"{path}.downsample.0", made, given), **norm(f"{path}.downsample.1", made)}
            shapes |= under(f"{path}.", block(made, stage))
            given = made
    return {**shapes, **linear("fc", 1000, given)}


def se(width, _stage):  # moskomule/senet.pytorch
    return {**linear("se.fc.0", width // 16, width, bias=False), **linear("se.fc.2", width, width // 16, bias=False)}


def timm_se(width, _stage):
    return {**conv("se.fc1", width // 16, width, bias=True), **conv("se.fc2", width, width // 16, bias=True)}


def legacy_se(width, _stage):
    return {
        **conv("se_module.fc1", width // 16, width, bias=True),
        **conv("se_module.fc2", width, width // 16, bias=True),
    }


def spatial_gate(path, counter=True):
    return {**conv(f"{path}.conv", 1, 2, 7), **norm(f"{path}.bn", 1, counter)}


def cbam(width, _stage):  # Jongchan/attention-module
    return {
        **linear("cbam.ChannelGate.mlp.1", width // 16, width),
        **linear("cbam.ChannelGate.mlp.3", width, width // 16),
        **spatial_gate("cbam.SpatialGate.spatial", counter=False),
    }


def timm_cbam(width, _stage):
    return {
        **conv("se.channel.fc1", width // 16, width),
        **conv("se.channel.fc2", width, width // 16),
        **spatial_gate("se.spatial.conv"),
    }


def bam(path, width):  # Jongchan/attention-module
    hidden = width // 16
    shapes = {
        **linear("channel_att.gate_c.gate_c_fc_0", hidden, width),
        **norm("channel_att.gate_c.gate_c_bn_1", hidden),
        **linear("channel_att.gate_c.gate_c_fc_final", width, hidden),
        **conv("spatial_att.gate_s.gate_s_conv_reduce0", hidden, width, bias=True),
        **norm("spatial_att.gate_s.gate_s_bn_reduce0", hidden),
        **conv("spatial_att.gate_s.gate_s_conv_final", 1, hidden, bias=True),
    }
    for index in range(2):
        shapes |= conv(f"spatial_att.gate_s.gate_s_conv_di_{index}", hidden, hidden, 3, bias=True)
        shapes |= norm(f"spatial_att.gate_s.gate_s_bn_di_{index}", hidden)
    return under(f"{path}.", shapes)


def eca(_width, stage):  # BangguWu/ECANet, eca_resnet50
    return {"eca.conv.weight": (1, 1, (3, 5, 5, 7)[stage])}


def triplet(_width, _stage):  # landskape-ai/triplet-attention, its networks
    gates = ("ChannelGateH", "ChannelGateW", "SpatialGate")
    return {key: shape for gate in gates for key, shape in spatial_gate(f"triplet_attention.{gate}.spatial").items()}


def triplet_for_reuse():  # the same, its file for reuse
    return {key: shape for gate in ("cw", "hc", "hw") for key, shape in spatial_gate(f"{gate}.conv").items()}


def simam(path, width):  # ZjjConan/SimAM: the block has no weights, but its convolution another name
    return conv(f"{path}.0", width, width, 3)


def fca(width, stage):  # cfzd/FcaNet
    size = 56 // 2**stage
    return {
        **linear("att.fc.0", width // 16, width, bias=False),
        **linear("att.fc.2", width, width // 16, bias=False),
        "att.dct_layer.weight": (width, size, size),
    }


def shuffle(width, _stage):  # wofmanaf/SA-Net, 64 groups
    part = width // 128
    shapes = {f"sa.{name}": (1, part, 1, 1) for name in ("cweight", "cbias", "sweight", "sbias")}
    return {**shapes, "sa.gn.weight": (part,), "sa.gn.bias": (part,)}


def contextual(path, width):  # JDAI-CV/CoTNet
    return {
        **conv(f"{path}.key_embed.0", width, width // 4, 3),
        **norm(f"{path}.key_embed.1", width),
        **conv(f"{path}.embed.0", width // 2, 2 * width),
        **norm(f"{path}.embed.1", width // 2),
        **conv(f"{path}.embed.3", 9 * width // 8, width // 2, bias=True),
        **{f"{path}.embed.4.{kind}": (9 * width // 8,) for kind in ("weight", "bias")},
        **conv(f"{path}.conv1x1.0", width, width),
        **norm(f"{path}.conv1x1.1", width),
        **norm(f"{path}.bn", width),
        **conv(f"{path}.se.0", max(width // 2, 32), width, bias=True),
        **norm(f"{path}.se.1", max(width // 2, 32)),
        **conv(f"{path}.se.3", 2 * width, max(width // 2, 32), bias=True),
    }


def without_bn2(shapes):
    return {key: shape for key, shape in shapes.items() if ".bn2." not in key}


def pyramid(path, width):  # murufeng/EPSANet
    shapes = {}
    for index, (kernel, groups) in enumerate(zip((3, 5, 7, 9), (1, 4, 8, 16), strict=True), 1):
        shapes |= conv(f"{path}.conv_{index}", width // 4, width // groups, kernel)
    branch = width // 4
    return {
        **shapes,
        **conv(f"{path}.se.fc1", branch // 16, branch, bias=True),
        **conv(f"{path}.se.fc2", branch, branch // 16, bias=True),
    }


MOBILE = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def coordatt_mobilenetv2():  # houqb/CoordAttention, mbv2_ca.py: one flat sequence per block
    shapes = {**conv("features.0.0", 32, 3, 3), **norm("features.0.1", 32)}
    given, number = 32, 1
    for expansion, made, count in MOBILE:
        for _ in range(count):
            wide, path = given * expansion, f"features.{number}.conv"
            if expansion == 1:
                shapes |= {**conv(f"{path}.0", wide, 1, 3), **norm(f"{path}.1", wide)}
                shapes |= {**conv(f"{path}.3", made, wide), **norm(f"{path}.4", made)}
            else:
                shapes |= {**conv(f"{path}.0", wide, given), **norm(f"{path}.1", wide)}
                shapes |= {**conv(f"{path}.3", wide, 1, 3), **norm(f"{path}.4", wide)}
                shared = max(8, wide // 32)
                shapes |= {**conv(f"{path}.6.conv1", shared, wide, bias=True), **norm(f"{path}.6.bn1", shared)}
                shapes |= conv(f"{path}.6.conv2", wide, shared, bias=True)
                shapes |= conv(f"{path}.6.conv3", wide, shared, bias=True)
                shapes |= {**conv(f"{path}.7", made, wide), **norm(f"{path}.8", made)}
            given, number = made, number + 1
    return {**shapes, **conv("conv.0", 1280, given), **norm("conv.1", 1280), **linear("classifier.1", 1000, 1280)}


def torchvision_mobilenetv2(
    block=lambda made: {}, norm_at=1
):  # and BangguWu/ECANet's eca_mobilenetv2.py: nested sequences
    shapes = {**conv("features.0.0", 32, 3, 3), **norm("features.0.1", 32)}
    given, number = 32, 1
    for expansion, made, count in MOBILE:
        for _ in range(count):
            wide, path, last = given * expansion, f"features.{number}.conv", 1
            if expansion != 1:
                shapes |= {**conv(f"{path}.0.0", wide, given), **norm(f"{path}.0.1", wide)}
                last = 2
            shapes |= {**conv(f"{path}.{last - 1}.0", wide, 1, 3), **norm(f"{path}.{last - 1}.{norm_at}", wide)}
            shapes |= {**conv(f"{path}.{last}", made, wide), **norm(f"{path}.{last + 1}", made)}
            shapes |= under(f"{path}.{last + 2}.", block(made))
            given, number = made, number + 1
    return {
        **shapes,
        **conv("features.18.0", 1280, given),
        **norm("features.18.1", 1280),
        **linear("classifier.1", 1000, 1280),
    }


def eca_mobile(made):
    return {"conv.weight": (1, 1, 1 if made < 96 else 3)}


def legacy(shapes):
    renamed = {re.sub(r"^(conv1|bn1)\.", r"layer0.\1.", key): shape for key, shape in shapes.items()}
    return {re.sub(r"^fc\.", "last_linear.", key): shape for key, shape in renamed.items()}


def numbered(shapes, of=float):
    """A tensor for each key without storage of its own: the key's number, all over."""
    return {
        key: torch.tensor(index if key.endswith("tracked") else of(index)).expand(shape)
        for index, (key, shape) in enumerate(shapes.items())
    }


def on_meta(spec):
    parsed = parse(spec)
    with torch.device("meta"):
        module = create(parsed.base.name)
        insert(module, parsed.base.name, parsed.insertions, lambda: [torch.empty(1, 3, 64, 64)])
    return module


def fitted(spec, shapes):
    module = on_meta(spec)
    expected = module.state_dict()
    return fit(numbered(shapes), expected, _names(module, expected))


WHOLE = {
    "moskomule": (
        "resnet50+se",
        lambda: resnet(50, se),
        {"layer1.0.se.fc.0.weight": "layer1.0.se.fc.0.weight", "layer4.2.se.fc.2.weight": "layer4.2.se.fc.2.weight"},
    ),
    "moskomule, no bias here either": ("resnet50+se:bias=false", lambda: resnet(50, se), {}),
    "timm se": (
        "resnet50+se",
        lambda: resnet(50, timm_se),
        {"layer1.0.se.fc.0.weight": "layer1.0.se.fc1.weight", "layer4.2.se.fc.2.bias": "layer4.2.se.fc2.bias"},
    ),
    "cbam": (
        "resnet50+cbam",
        lambda: resnet(50, cbam),
        {
            "layer1.0.se.ChannelGate.mlp.1.weight": "layer1.0.cbam.ChannelGate.mlp.1.weight",
            "layer3.5.se.SpatialGate.spatial.bn.bias": "layer3.5.cbam.SpatialGate.spatial.bn.bias",
            "layer3.5.bn3.bias": "layer3.5.bn3.bias",
        },
    ),
    "timm cbam": (
        "resnet50+cbam",
        lambda: resnet(50, timm_cbam),
        {
            "layer1.0.se.ChannelGate.mlp.3.weight": "layer1.0.se.channel.fc2.weight",
            "layer3.5.se.SpatialGate.spatial.conv.weight": "layer3.5.se.spatial.conv.conv.weight",
            "layer3.5.se.SpatialGate.spatial.bn.weight": "layer3.5.se.spatial.conv.bn.weight",
        },
    ),
    "bam": (
        "resnet50+bam",
        lambda: {**bam("bam1", 256), **bam("bam2", 512), **bam("bam3", 1024), **resnet(50)},
        {
            "layer2.attn.channel_att.gate_c.gate_c_fc_0.weight": "bam2.channel_att.gate_c.gate_c_fc_0.weight",
            "layer3.attn.spatial_att.gate_s.gate_s_conv_final.bias": "bam3.spatial_att.gate_s.gate_s_conv_final.bias",
            "layer2.0.conv1.weight": "layer2.0.conv1.weight",
        },
    ),
    "simam": (
        "resnet50+simam",
        lambda: resnet(50, middle=simam),
        {"layer2.1.conv2.base.weight": "layer2.1.conv2.0.weight", "layer2.1.conv1.weight": "layer2.1.conv1.weight"},
    ),
    "simam mobile": (
        "mobilenetv2_100+simam",
        lambda: torchvision_mobilenetv2(norm_at=2),
        {"blocks.0.0.bn1.weight": "features.1.conv.0.2.weight", "blocks.6.0.bn2.bias": "features.17.conv.1.2.bias"},
    ),
    "simam, from plain weights": ("resnet50+simam", lambda: resnet(50), {}),
    "fca": (
        "resnet50+fca",
        lambda: resnet(50, fca),
        {"layer1.2.se.dct_layer.weight": "layer1.2.att.dct_layer.weight"},
    ),
    "shuffle attention": (
        "resnet50+shuffle_attention",
        lambda: resnet(50, shuffle),
        {"layer4.2.se.gn.bias": "layer4.2.sa.gn.bias"},
    ),
    "cot": ("resnet50+cot", lambda: without_bn2(resnet(50, middle=contextual)), {}),
    "eca": ("resnet50+eca", lambda: resnet(50, eca), {"layer4.1.se.conv.weight": "layer4.1.eca.conv.weight"}),
    "eca mobile": (
        "mobilenetv2_100+eca",
        lambda: torchvision_mobilenetv2(eca_mobile),
        {
            "blocks.0.0.bn2.attn.conv.weight": "features.1.conv.3.conv.weight",
            "blocks.0.0.bn2.base.running_var": "features.1.conv.2.running_var",
            "blocks.3.1.bn3.attn.conv.weight": "features.8.conv.4.conv.weight",
            "blocks.6.0.bn3.base.weight": "features.17.conv.3.weight",
            "blocks.6.0.conv_dw.weight": "features.17.conv.1.0.weight",
            "conv_head.weight": "features.18.0.weight",
        },
    ),
    "torchvision": (
        "mobilenetv2_100",
        torchvision_mobilenetv2,
        {"blocks.6.0.bn3.weight": "features.17.conv.3.weight", "classifier.bias": "classifier.1.bias"},
    ),
    "triplet": (
        "resnet50+triplet",
        lambda: resnet(50, triplet),
        {
            f"layer2.3.se.{gate}.spatial.conv.weight": f"layer2.3.triplet_attention.{gate}.spatial.conv.weight"
            for gate in ("ChannelGateH", "ChannelGateW", "SpatialGate")
        },
    ),
    "triplet mobile": (
        "mobilenetv2_100+triplet",
        lambda: torchvision_mobilenetv2(lambda made: triplet_for_reuse()),
        {"blocks.2.1.bn3.attn.ChannelGateW.spatial.conv.weight": "features.5.conv.4.hc.conv.conv.weight"},
    ),
    "coordinate attention": (
        "mobilenetv2_100+coord_att",
        coordatt_mobilenetv2,
        {
            "blocks.0.0.conv_pw.weight": "features.1.conv.3.weight",
            "blocks.1.0.se.conv_h.weight": "features.2.conv.6.conv2.weight",
            "blocks.1.0.se.conv_w.weight": "features.2.conv.6.conv3.weight",
            "blocks.6.0.conv_pwl.weight": "features.17.conv.7.weight",
            "blocks.6.0.bn3.running_mean": "features.17.conv.8.running_mean",
            "bn2.weight": "conv.1.weight",
            "conv_stem.weight": "features.0.0.weight",
        },
    ),
    "epsanet": (
        "epsanet50",
        lambda: resnet(50, middle=pyramid),
        {"layer1.0.conv2.conv_4.weight": "layer1.0.conv2.conv_4.weight"},
    ),
    "epsanet as a resnet with psa": ("resnet50+psa", lambda: resnet(50, middle=pyramid), {}),
    "legacy se": (
        "resnet50+se",
        lambda: legacy(resnet(50, legacy_se)),
        {"conv1.weight": "layer0.conv1.weight", "layer1.2.se.fc.2.bias": "layer1.2.se_module.fc2.bias"},
    ),
}


@pytest.mark.parametrize(("spec", "layout", "ends_up"), WHOLE.values(), ids=WHOLE)
def test_a_release_fits_whole_and_every_tensor_has_its_place(spec, layout, ends_up):
    shapes = layout()
    found = fitted(spec, shapes)
    assert (found.missing, found.unexpected, found.misshaped) == ([], [], [])
    numbers = {key: float(index) for index, key in enumerate(shapes)}
    for ours, theirs in ends_up.items():
        assert set(found.tensors[ours].flatten().tolist()) == {numbers[theirs]}
    values = [
        value for value in found.tensors.values() if value.device.type != "meta"
    ]  # which are zeros for the module
    taken = {float(value.flatten()[0]) for value in values if value.is_floating_point()}
    assert taken >= {number for key, number in numbers.items() if not key.endswith("tracked")}


def test_what_a_release_computes_without_becomes_zero():
    found = fitted("resnet50+se", resnet(50, se))
    assert "moskomule" in found.release.name
    assert found.tensors["layer1.0.se.fc.0.bias"].device.type == "meta"  # as the module's own, zeroed
    assert "layer1.0.se.fc.0.bias" not in fitted("resnet50+se:bias=false", resnet(50, se)).tensors


def test_a_part_of_the_biases_is_not_taken_for_a_release_without():
    shapes = resnet(50, se)
    shapes["layer1.0.se.fc.0.bias"] = (16,)
    found = fitted("resnet50+se", shapes)
    assert len(found.missing) == 2 * 16 - 1


@pytest.mark.parametrize(
    ("block", "shapes", "pairs"),
    [
        (
            "triplet",
            triplet_for_reuse(),
            {"ChannelGateH": "cw.conv", "ChannelGateW": "hc.conv", "SpatialGate": "hw.conv"},
        ),
        (
            "coord_att",
            {
                **conv("conv1", 8, 64, bias=True),
                **norm("bn1", 8),
                **conv("conv2", 64, 8, bias=True),
                **conv("conv3", 64, 8, bias=True),
            },
            {"conv_h": "conv2", "conv_w": "conv3"},
        ),
        ("se", {**conv("fc1", 4, 64), **conv("fc2", 64, 4)}, {"fc.0": "fc1", "fc.2": "fc2"}),
    ],
)
def test_a_block_alone_loads_under_the_releases_names(tmp_path, block, shapes, pairs):
    state = {key: value.clone() for key, value in numbered(shapes).items()}
    torch.save(state, tmp_path / "w.pth")
    ours = build(block, checkpoint=tmp_path / "w.pth").state_dict()
    for here, there in pairs.items():
        numbers = {float(value.flatten()[0]) for key, value in state.items() if key.startswith(f"{there}.")}
        assert {float(value.flatten()[0]) for key, value in ours.items() if key.startswith(f"{here}.")} == numbers


def run(model, x):
    with torch.no_grad():
        return model.eval()(x)


@pytest.mark.parametrize(
    ("block", "layer"),
    # timm's SE has 8 hidden units at least
    [("se:reduction=8@stage1+se@stage2,stage3,stage4", "se"), ("cbam", "cbam"), ("eca:k=none", "eca")],
)
def test_timms_own_networks_compute_the_same_here(tmp_path, block, layer):
    theirs = timm.create_model("resnet18", block_args={"attn_layer": layer})
    for index, (name, buffer) in enumerate(theirs.named_buffers()):
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(index)) + 0.1)
    torch.save({"state_dict": under("module.", theirs.state_dict())}, tmp_path / "w.pth")
    ours = create("resnet18")
    insert(ours, "resnet18", parse(f"resnet18+{block}").insertions, list)
    load_into(ours, tmp_path / "w.pth")
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(run(ours, x), run(theirs, x), rtol=1e-5, atol=1e-5)


def test_the_caffe_release_is_sent_to_its_own_network(tmp_path):
    with torch.device("meta"):
        its_own = timm.create_model("legacy_seresnet18").state_dict()
    shapes = legacy(resnet(18, legacy_se))
    assert {key: tuple(value.shape) for key, value in its_own.items()} == shapes
    torch.save({key: value.clone() for key, value in numbered(shapes).items()}, tmp_path / "w.pth")
    ours = create("resnet18")
    insert(ours, "resnet18", parse("resnet18+se").insertions, list)
    with pytest.raises(InputError, match=r"the Caffe release of SE-Net.*deploy timm's legacy_seresnet50"):
        load_into(ours, tmp_path / "w.pth")


def test_what_is_left_over_is_listed_under_the_nearest_map(tmp_path):
    shapes = resnet(18, cbam)
    del shapes["layer1.0.cbam.ChannelGate.mlp.1.bias"]
    shapes["layer1.1.cbam.ChannelGate.mlp.1.bias"] = (5,)
    shapes["extra.weight"] = (2, 2)
    torch.save({key: value.clone() for key, value in numbered(shapes).items()}, tmp_path / "w.pth")
    module = on_meta("resnet18+cbam")
    with pytest.raises(InputError) as caught:
        load_into(module, tmp_path / "w.pth")
    message = str(caught.value)
    assert "nearest to CBAM's authors (Jongchan/attention-module), with 1 missing" in message
    assert "1 missing (layer1.0.se.ChannelGate.mlp.1.bias)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 mis-shaped (layer1.1.cbam.ChannelGate.mlp.1.bias (5,) instead of (4,))" in message
    assert "\n" not in message


def test_two_keys_for_one_place_are_an_error():
    shapes = {**resnet(18, cbam), "layer1.0.se.ChannelGate.mlp.1.bias": (4,)}
    assert fitted("resnet18+cbam", shapes).unexpected == ["layer1.0.se.ChannelGate.mlp.1.bias"]


def test_integers_for_weights_are_an_error():
    module = nn.Linear(2, 2)
    found = fit({"weight": torch.zeros(2, 2, dtype=torch.int8), "bias": torch.zeros(2)}, module.state_dict(), {})
    assert found.misshaped == ["weight int8 instead of float32"]


@pytest.mark.parametrize("spec", ["resnet18+se@stage4+cbam@stage4", "resnet18+cbam@**.bn2"])
def test_its_own_file_fits_with_and_without_the_blocks_beside(spec):
    module = on_meta(spec)
    state = module.state_dict()
    names = _names(module, state)
    assert not fit(state, state, names).left_over
    assert not fit({name: state[key] for name, key in names.items()}, state, names).left_over
    assert set(names) >= set(on_meta("resnet18").state_dict())


def test_a_file_of_the_hub(tmp_path, monkeypatch):
    asked = []
    torch.save({"weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")

    def download(repository, name, revision):
        from huggingface_hub.errors import EntryNotFoundError

        asked.append((repository, name, revision))
        if name != "pytorch_model.bin":
            raise EntryNotFoundError("404")
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert set(load(locate(f"{HUB}owner/name@v2"))) == {"weight"}
    assert asked == [("owner/name", "model.safetensors", "v2"), ("owner/name", "pytorch_model.bin", "v2")]


def test_the_hub_out_of_reach_is_one_line(monkeypatch):
    def download(repository, name, revision):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(InputError, match="expected a repository of the Hugging Face hub within reach") as caught:
        build("resnet18", checkpoint=f"{HUB}owner/name")
    assert "ConnectionError: no route" in str(caught.value)
    assert "\n" not in str(caught.value)
