"""Each block against its paper's formula, written again in NumPy float64 in tests/block_formulas."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from block_formulas.operations import conv

from attn2trt.errors import InputError
from attn2trt.modules.block_index import block_info, block_names
from attn2trt.modules.randomise import randomise

CHANNELS = 64


def make(name, channels=CHANNELS, size=(8, 9), **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = block_info(name).create(channels, size=size, options=options)
    randomise(block, [images((2, channels, *size))], seed=1)
    return block.double()


def images(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) + torch.randn((*shape[:2], 1, 1), generator=generator)


def weights(block):
    return {key: value.double().numpy() for key, value in block.state_dict().items()}


def formulas(name):
    """Return the entry of tests/block_formulas: formula, VARIANTS of options, KEYS of parameters, REFUSED options."""
    return import_module(f"block_formulas.{name}")


CASES = [(name, options) for name in block_names() for options in formulas(name).VARIANTS]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@pytest.mark.parametrize("size", [(1, 9, 14), (3, 7, 5)], ids=str)
def test_equals_the_formula(name, options, size):
    n, h, w = size
    block = make(name, size=(h, w), **options)
    x = images((n, CHANNELS, h, w), seed=2).double()
    with torch.no_grad():
        got = block(x).numpy()
    want = formulas(name).formula(x.numpy(), weights(block), **options)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-12 * np.abs(want).max()
    assert np.abs(want - x.numpy()).max() > 0.05  # the block does something


def test_the_comparison_sees_a_wrong_formula():
    block = make("cbam")
    x = images((2, CHANNELS, 6, 7), seed=2).double()
    wrong = weights(block)
    wrong["SpatialGate.spatial.conv.weight"] = wrong["SpatialGate.spatial.conv.weight"][:, ::-1]  # mean before max
    with torch.no_grad():
        error = np.abs(block(x).numpy() - formulas("cbam").formula(x.numpy(), wrong)).max()
    assert error > 1e-3


@pytest.mark.parametrize("stride", [1, 2])
def test_psa_carries_a_stride_and_other_widths(stride):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = block_info("psa").load()(64, 128, stride).double().eval()
    x = images((2, 64, 10, 7)).double()
    with torch.no_grad():
        got = block(x).numpy()
    want = formulas("psa").formula(x.numpy(), weights(block), stride=stride)
    assert got.shape == want.shape == (2, 128, -(-10 // stride), -(-7 // stride))
    assert np.abs(got - want).max() <= 1e-12


@pytest.mark.parametrize("size", [(10, 8), (7, 9), (1, 4)], ids=str)
def test_bot_carries_a_stride_as_a_convolution_does(size):
    block = block_info("bot").load()(64, stride=2, size=size, heads=2).double().eval()
    x = images((2, 64, *size)).double()
    with torch.no_grad():
        got = block(x).numpy()
    want = formulas("bot").formula(x.numpy(), weights(block), stride=2, heads=2)
    assert got.shape == want.shape == (2, 64, -(-size[0] // 2), -(-size[1] // 2))
    assert np.abs(got - want).max() <= 1e-12


def test_bot_takes_the_size_that_it_was_made_for_alone():
    block = block_info("bot").create(16, size=(6, 8), options={})
    with pytest.raises(InputError, match="received feature maps of 8x6 for bot; expected 6x8"):
        block(torch.zeros(1, 16, 8, 6))


@pytest.mark.parametrize("name", block_names())
def test_takes_a_tensor_that_is_not_contiguous(name):
    block = make(name, size=(6, 9))
    x = images((2, CHANNELS, 6, 9)).double()
    turned = x.transpose(2, 3).contiguous().transpose(2, 3).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.allclose(block(turned), block(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", block_names())
def test_trains(name):
    block = make(name, size=(6, 9)).train()
    x = images((2, CHANNELS, 6, 9)).double().requires_grad_()
    block(x).square().sum().backward()
    assert all(part.grad is not None for part in (x, *block.parameters()))


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


@pytest.mark.parametrize("name", block_names())
def test_parameter_names_are_the_releases(name):
    keys = formulas(name).KEYS
    assert {key for key, _ in make(name).named_parameters()} == keys
    kept = set(make(name).state_dict()) - keys - getattr(formulas(name), "BUFFERS", set())
    assert all(key.endswith(("running_mean", "running_var", "num_batches_tracked")) for key in kept)


@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [(name, *refused) for name in block_names() for refused in formulas(name).REFUSED],
)
def test_refuses_a_bad_option_in_one_line(name, channels, options, message):
    with pytest.raises(InputError) as caught:
        block_info(name).load()(channels, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
