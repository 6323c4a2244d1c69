"""Each block against its paper's formula, written again in NumPy float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from attn2trt.errors import InputError
from attn2trt.modules.block_index import block_info, block_names
from attn2trt.modules.randomise import randomise

CHANNELS = 64
BN_EPSILON = 1e-5


def make(name, channels=CHANNELS, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = block_info(name).load()(channels, **options)
    randomise(block, [images((2, channels, 8, 9))], seed=1)
    return block.double()


def images(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) + torch.randn((*shape[:2], 1, 1), generator=generator)


def weights(block):
    return {key: value.double().numpy() for key, value in block.state_dict().items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def conv(x, weight, bias=None, *, groups=1, stride=1):
    """Grouped 2-D convolution with half the kernel as padding, as the sum over the kernel's taps."""
    out, per_group, kh, kw = weight.shape
    n, _, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2)))
    result = np.zeros((n, out, h, w))
    for group, i, j in itertools.product(range(groups), range(kh), range(kw)):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        taps = padded[:, group * per_group : (group + 1) * per_group, i : i + h, j : j + w]
        result[:, rows] += np.einsum("oc,nchw->nohw", weight[rows, :, i, j], taps)
    if bias is not None:
        result += bias[:, None, None]
    return result[:, :, ::stride, ::stride]


def norm(x, w, prefix):
    scale = w[f"{prefix}.weight"] / np.sqrt(w[f"{prefix}.running_var"] + BN_EPSILON)
    shift = w[f"{prefix}.bias"] - w[f"{prefix}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def formula_se(x, w, **_):
    hidden = np.maximum(x.mean((2, 3)) @ w["fc.0.weight"].T + w.get("fc.0.bias", 0), 0)
    return x * sigmoid(hidden @ w["fc.2.weight"].T + w.get("fc.2.bias", 0))[:, :, None, None]


def formula_cbam(x, w, **_):
    def mlp(pooled):
        hidden = np.maximum(pooled @ w["ChannelGate.mlp.1.weight"].T + w["ChannelGate.mlp.1.bias"], 0)
        return hidden @ w["ChannelGate.mlp.3.weight"].T + w["ChannelGate.mlp.3.bias"]

    x = x * sigmoid(mlp(x.mean((2, 3))) + mlp(x.max((2, 3))))[:, :, None, None]
    pooled = np.stack([x.max(1), x.mean(1)], 1)
    spatial = conv(pooled, w["SpatialGate.spatial.conv.weight"])
    return x * sigmoid(norm(spatial, w, "SpatialGate.spatial.bn"))


def formula_eca(x, w, **_):
    kernel = w["conv.weight"][0, 0]
    mean = np.pad(x.mean((2, 3)), ((0, 0), (len(kernel) // 2,) * 2))
    gate = sum(tap * mean[:, i : i + x.shape[1]] for i, tap in enumerate(kernel))
    return x * sigmoid(gate)[:, :, None, None]


def formula_coord_att(x, w, **_):
    h = x.shape[2]
    joined = np.concatenate([x.mean(3), x.mean(2)], 2)[..., None]  # (n, c, h + w, 1)
    joined = norm(conv(joined, w["conv1.weight"], w["conv1.bias"]), w, "bn1")
    joined = joined * np.clip(joined + 3, 0, 6) / 6
    gate_h = sigmoid(conv(joined[:, :, :h], w["conv_h.weight"], w["conv_h.bias"]))
    gate_w = sigmoid(conv(joined[:, :, h:], w["conv_w.weight"], w["conv_w.bias"])).transpose(0, 1, 3, 2)
    return x * gate_h * gate_w


def formula_gam(x, w, *, groups=1, channel_gate="none", **_):
    rows = x.transpose(0, 2, 3, 1)
    hidden = np.maximum(rows @ w["channel_attention.0.weight"].T + w["channel_attention.0.bias"], 0)
    channel = (hidden @ w["channel_attention.2.weight"].T + w["channel_attention.2.bias"]).transpose(0, 3, 1, 2)
    x = x * (sigmoid(channel) if channel_gate == "sigmoid" else channel)
    spatial = conv(x, w["spatial_attention.0.weight"], w["spatial_attention.0.bias"], groups=groups)
    spatial = np.maximum(norm(spatial, w, "spatial_attention.1"), 0)
    spatial = conv(spatial, w["spatial_attention.3.weight"], w["spatial_attention.3.bias"], groups=groups)
    gate = sigmoid(norm(spatial, w, "spatial_attention.4"))
    n, c, height, width = gate.shape
    if groups > 1:  # the release's channel shuffle
        gate = gate.reshape(n, groups, c // groups, height, width).swapaxes(1, 2).reshape(n, c, height, width)
    return x * gate


def formula_psa(x, w, *, stride=1, **_):
    branches = [
        conv(x, w[f"conv_{index + 1}.weight"], groups=groups, stride=stride)
        for index, groups in enumerate((1, 4, 8, 16))
    ]

    def squeeze(branch):
        hidden = np.maximum(branch.mean((2, 3)) @ w["se.fc1.weight"][:, :, 0, 0].T + w["se.fc1.bias"], 0)
        return sigmoid(hidden @ w["se.fc2.weight"][:, :, 0, 0].T + w["se.fc2.bias"])

    scores = np.exp([squeeze(branch) for branch in branches])
    shares = scores / scores.sum(0)
    weighed = [branch * share[:, :, None, None] for branch, share in zip(branches, shares, strict=True)]
    return np.concatenate(weighed[::-1], 1)


FORMULAS = {
    "se": (formula_se, [{}, {"reduction": 4}, {"bias": True}]),
    "cbam": (formula_cbam, [{}, {"reduction": 8, "kernel": 3}]),
    "eca": (formula_eca, [{}, {"k": 1}, {"k": 7}]),
    "coord_att": (formula_coord_att, [{}, {"reduction": 4}]),
    "gam": (formula_gam, [{}, {"channel_gate": "sigmoid"}, {"groups": 4}]),
    "psa": (formula_psa, [{}, {"reduction": 4}]),
}
CASES = [(name, options) for name, (_, variants) in FORMULAS.items() for options in variants]


@pytest.mark.parametrize("name", block_names())
def test_every_block_has_a_formula(name):
    assert name in FORMULAS


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@pytest.mark.parametrize("size", [(1, 9, 14), (3, 7, 5)], ids=str)
def test_equals_the_formula(name, options, size):
    block = make(name, **options)
    n, h, w = size
    x = images((n, CHANNELS, h, w), seed=2).double()
    with torch.no_grad():
        got = block(x).numpy()
    want = FORMULAS[name][0](x.numpy(), weights(block), **options)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-12 * np.abs(want).max()
    assert np.abs(want - x.numpy()).max() > 0.05  # the block does something


def test_the_comparison_sees_a_wrong_formula():
    block = make("cbam")
    x = images((2, CHANNELS, 6, 7), seed=2).double()
    wrong = weights(block)
    wrong["SpatialGate.spatial.conv.weight"] = wrong["SpatialGate.spatial.conv.weight"][:, ::-1]  # mean before max
    with torch.no_grad():
        error = np.abs(block(x).numpy() - formula_cbam(x.numpy(), wrong)).max()
    assert error > 1e-3


@pytest.mark.parametrize("stride", [1, 2])
def test_psa_carries_a_stride_and_other_widths(stride):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = block_info("psa").load()(64, 128, stride).double().eval()
    x = images((2, 64, 10, 7)).double()
    with torch.no_grad():
        got = block(x).numpy()
    want = formula_psa(x.numpy(), weights(block), stride=stride)
    assert got.shape == want.shape == (2, 128, -(-10 // stride), -(-7 // stride))
    assert np.abs(got - want).max() <= 1e-12


@pytest.mark.parametrize("name", block_names())
def test_takes_a_tensor_that_is_not_contiguous(name):
    block = make(name)
    x = images((2, CHANNELS, 6, 9)).double()
    turned = x.transpose(2, 3).contiguous().transpose(2, 3).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.allclose(block(turned), block(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", block_names())
def test_trains(name):
    block = make(name).train()
    x = images((2, CHANNELS, 6, 9)).double()
    block(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


def test_coord_att_in_training_normalises_rows_and_columns_together():
    block = make("coord_att").train()
    x = images((2, CHANNELS, 6, 9)).double()
    joined = conv(
        np.concatenate([x.numpy().mean(3), x.numpy().mean(2)], 2)[..., None],
        block.conv1.weight.detach().numpy(),
        block.conv1.bias.detach().numpy(),
    )
    before = block.bn1.running_mean.numpy().copy()
    block(x)
    after = block.bn1.running_mean.numpy()
    assert np.allclose(after, 0.9 * before + 0.1 * joined.mean((0, 2, 3)), atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "k"), [(8, 3), (16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)]
)
def test_eca_chooses_its_kernel_as_the_release_does(channels, k):
    # the release: t = int(abs((log2(C) + 1) / 2)), k = t if odd else t + 1
    assert block_info("eca").load()(channels).conv.weight.shape == (1, 1, k)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("se", {"fc.0.weight", "fc.2.weight"}),
        ("eca", {"conv.weight"}),
        (
            "cbam",
            {
                *(f"ChannelGate.mlp.{index}.{kind}" for index in (1, 3) for kind in ("weight", "bias")),
                "SpatialGate.spatial.conv.weight",
                *(f"SpatialGate.spatial.bn.{kind}" for kind in ("weight", "bias")),
            },
        ),
        (
            "psa",
            {
                *(f"conv_{index}.weight" for index in range(1, 5)),
                *(f"se.fc{index}.{kind}" for index in (1, 2) for kind in ("weight", "bias")),
            },
        ),
        (
            "coord_att",
            {f"{part}.{kind}" for part in ("conv1", "bn1", "conv_h", "conv_w") for kind in ("weight", "bias")},
        ),
        (
            "gam",
            {
                f"{part}.{kind}"
                for part in (
                    *(f"channel_attention.{i}" for i in (0, 2)),
                    *(f"spatial_attention.{i}" for i in (0, 1, 3, 4)),
                )
                for kind in ("weight", "bias")
            },
        ),
    ],
)
def test_parameter_names_are_the_releases(name, keys):
    assert {key for key, _ in make(name).named_parameters()} == keys
    kept = set(make(name).state_dict()) - keys
    assert all(key.endswith(("running_mean", "running_var", "num_batches_tracked")) for key in kept)


@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [
        ("se", 8, {}, "reduction 16 on 8 channels; expected 1 <= reduction <= 8"),
        ("se", 8, {"reduction": 0}, "reduction 0 on 8 channels"),
        ("cbam", 8, {}, "reduction 16 on 8 channels"),
        ("cbam", 64, {"kernel": 4}, "kernel 4; expected an odd number"),
        ("eca", 64, {"k": 4}, "k 4 on 64 channels; expected an odd number"),
        ("eca", 2, {"k": 5}, "k 5 on 2 channels; expected an odd number below 4"),
        ("coord_att", 64, {"reduction": 0}, "reduction 0; expected 1 or more"),
        ("gam", 2, {}, "rate 4 on 2 channels"),
        ("gam", 64, {"groups": 3}, "groups 3; expected a divisor of 64 and of 16"),
        ("gam", 64, {"groups": 0}, "groups 0; expected a divisor"),
        ("gam", 64, {"channel_gate": "relu"}, "channel_gate 'relu'; expected none or sigmoid"),
        ("psa", 48, {}, "48 channels in and 48 out; expected a multiple of 64"),
        ("psa", 64, {"reduction": 17}, "reduction 17 on branches of 16 channels"),
    ],
)
def test_refuses_a_bad_option_in_one_line(name, channels, options, message):
    with pytest.raises(InputError) as caught:
        block_info(name).load()(channels, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
