"""Random weights are worth checking with: nothing vanishes, nothing explodes, gates are neither shut nor at a half."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from attn2trt.modules.block_index import block_names
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.randomise import randomise


class Gates(TorchFunctionMode):
    """Collect what every sigmoid gives, smooth or hard."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.sigmoid, torch.Tensor.sigmoid, nn.functional.sigmoid, nn.functional.hardsigmoid):
            self.seen.append(result.flatten())
        return result


NO_SIGMOID = {
    "bot",
    "cot",
    "criss_cross",
    "danet",
    "double_attention",
    "external_attention",
    "gc",
    "gct",
    "lska",
    "non_local",
    "outlook",
    "sk",
    "swin",
}
network = functools.cache(build)


def images(shape, seed=9):
    generator = torch.Generator().manual_seed(seed)
    channels = torch.randn((*shape[:2], 1, 1), generator=generator)
    positions = torch.randn((shape[0], 1, *shape[2:]), generator=generator)
    return torch.randn(shape, generator=generator) + channels + positions


def gates_of(model, x):
    gates = Gates()
    with gates, torch.no_grad():
        output = model(x)
    return output, torch.cat(gates.seen) if gates.seen else None


@pytest.mark.parametrize("name", block_names())
@pytest.mark.parametrize("seed", [0, 7])
def test_gates_of_a_block_are_spread(name, seed):
    # one size that a block alone may belong to
    target = resolve(name, shapes=["4x64x20x28"], seed=seed)
    output, gates = gates_of(target.build(), images((4, 64, 20, 28)))
    assert output.std() > 0.1
    assert (gates is None) == (name in NO_SIGMOID)
    if gates is not None:
        assert gates.std() > 0.05
        assert ((gates > 0.02) & (gates < 0.98)).float().mean() > 0.8


@pytest.mark.parametrize("spec", ["resnet18+cbam", "efficientnet_b0"])
def test_a_network_stays_of_order_one(spec):
    model = network(spec)
    sizes = []

    def measure(_part, _args, output):
        sizes.append(output.abs().flatten(1).amax(1))

    handles = [part.register_forward_hook(measure) for part in model.modules()]
    logits, gates = gates_of(model, images((8, 3, 128, 128)))
    for handle in handles:
        handle.remove()
    assert 0.2 < logits.std(1).median() < 5
    assert torch.stack(sizes).amax(0).median() < 100
    assert gates.std() > 0.1


def test_normalisations_are_not_trivial_and_nothing_is_zero():
    for part in network("resnet18+cbam").modules():
        if isinstance(part, nn.BatchNorm2d) and part.num_features > 1:
            assert part.weight.abs().min() > 0.09  # the end of a residual branch; 0.6 elsewhere
            assert part.running_mean.std() > 0
            assert (part.running_var - 1).abs().max() > 0.05
            assert part.running_var.min() > 1e-4


class Squeezed(nn.Module):
    """The hidden units of a gate."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, 16, 3), layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = self.stem(x).relu().mean((2, 3), keepdim=isinstance(self.layer, nn.Conv2d))
        return self.layer(means).relu().flatten(1)


@pytest.mark.parametrize("layer", [nn.Linear(16, 32), nn.Conv2d(16, 32, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_few_hidden_units_of_a_gate_are_shut_for_every_image_but_some_are(layer: nn.Module, seed: int) -> None:
    model = Squeezed(copy.deepcopy(layer))
    randomise(model, [1 + 0.1 * images((2, 3, 32, 32))], seed=seed)
    with torch.no_grad():
        units = model(1 + 0.1 * images((8, 3, 32, 32), seed=1))
    assert 1 <= (units == 0).all(0).sum() < 8


class Unbatched(nn.Module):
    """Layers that are given one image, one vector, and no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 5, 3), nn.ConvTranspose2d(5, 4, 2)
        self.query, self.linear = nn.Parameter(torch.ones(6)), nn.Linear(6, 4)
        self.none = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.linear(self.query).sigmoid()[:, None, None]
        return self.up(self.conv(x[0])) * gate + self.none(x[:0]).sum()


def test_layers_without_a_batch_are_scaled_and_one_without_numbers_is_left_finite() -> None:
    model, x = Unbatched(), images((1, 3, 8, 8))
    randomise(model, [x], seed=0)
    with torch.no_grad():
        assert 0.7 < model.conv(x[0]).square().mean().sqrt() < 1.4
        assert model(x).isfinite().all()


def test_only_and_keep():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    randomise(model, [images((2, 3, 8, 8))], seed=0, only=[model[2]])
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"2.weight", "2.bias"}
    randomise(model, [images((2, 3, 8, 8))], seed=0, keep=[model[0]])
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


class Squaring(nn.Module):
    """A residual branch that multiplies what it is given, without a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.mlp = nn.Conv2d(4, 4, 1)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.norm(self.conv(x))
        return x + branch * self.mlp(branch)


def test_a_network_that_multiplies_without_gates_survives_loud_and_black_images():
    torch.manual_seed(0)
    example = torch.randn(2, 4, 8, 8)
    model = nn.Sequential(*(Squaring() for _ in range(12)))
    randomise(model, [example], seed=0)
    with torch.no_grad():
        largest = [float(model(example * factor).abs().max()) for factor in (1, 16, 0)]
    assert max(largest) < 1e5 * largest[0]
    assert model[0].norm.weight.abs().max() < 0.1  # and not 0.1 to 0.3


class Attending(nn.Module):
    """A residual block as timm builds one: an attention behind the branch's last normalisation, then a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.se, self.drop = nn.Sequential(nn.Conv2d(8, 16, 1), nn.GELU(), nn.Conv2d(16, 8, 1)), nn.Identity()
        self.shortcut = nn.Conv2d(8, 8, 1)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.drop(self.se(self.norm(self.conv(x))))
        return branch + self.shortcut(x)


def test_what_follows_a_branchs_end_does_not_undo_its_scale():
    torch.manual_seed(0)
    model = Attending()
    example = torch.randn(4, 8, 12, 12)
    randomise(model, [example], seed=0)
    sizes = {}
    for name, part in model.named_children():
        part.register_forward_hook(lambda _part, _args, output, name=name: sizes.update({name: output.std().item()}))
    with torch.no_grad():
        model(example)
    assert sizes["norm"] < 0.35
    assert sizes["se"] <= 1.05 * sizes["norm"]
    assert sizes["se"] > 0.5 * sizes["norm"]
    assert 0.8 < sizes["shortcut"] < 1.3  # which is called behind the branch, and is no part of it
    assert model.se[2].bias.abs().min() > 0


def test_what_is_kept_is_not_scaled_at_a_branchs_end():
    torch.manual_seed(0)
    model = Attending()
    before = model.se[2].weight.detach().clone()
    randomise(model, [torch.randn(4, 8, 12, 12)], seed=0, keep=[*model.se.modules()])
    assert torch.equal(model.se[2].weight, before)


class Unit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(self.norm(x).relu())


class Trunk(nn.Module):
    """A residual block whose branch has residual units of its own, before its last normalisation or behind it."""

    def __init__(self, *, is_behind: bool) -> None:
        super().__init__()
        units = nn.Sequential(Unit(), Unit())
        self.norm, self.is_behind = nn.BatchNorm2d(8), is_behind
        self.first, self.last = (nn.Identity(), units) if is_behind else (units, nn.Identity())
        self.units = [*units]
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.last(self.norm(self.first(x)))


@pytest.mark.parametrize("is_behind", [True, False])
def test_residual_units_inside_of_a_residual_block_add_a_fifth_of_what_they_get(is_behind):
    model, example = Trunk(is_behind=is_behind), torch.randn(4, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    randomise(model, [example], seed=0)
    added = []
    for unit in model.units[: 1 if is_behind else 2]:  # behind an end the last one is scaled by what the units give
        unit.register_forward_hook(lambda _unit, args, output: added.append((output - args[0]).std() / args[0].std()))
    with torch.no_grad():
        model(example)
    assert all(0.1 < share < 0.3 for share in added)


class Pooled(nn.Module):
    """Layers behind a global average, whose normalisations see one number for each row and channel."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU()) for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu().mean((2, 3))
        for layer in self.layers:
            x = x + layer(x)
        return x


def pooled(depth, more):
    torch.manual_seed(0)
    model, few = Pooled(depth), images((2, 3, 12, 12), seed=2)
    randomise(model, [few], seed=2, more=more)
    with torch.no_grad():
        growth = model(images((8, 3, 12, 12), seed=99)).abs().max() / model(few).abs().max()
    return model.state_dict(), float(growth)


def test_statistics_of_too_few_rows_are_taken_again_of_more():
    more = [images((8, 3, 12, 12), seed=2)]
    assert pooled(8, more=[])[1] > 500
    assert pooled(8, more=more)[1] < 20
    # one that makes nothing else of other images keeps its weights, bit by bit
    alone, beside = (pooled(1, given)[0] for given in ([], more))
    assert all(torch.equal(alone[key], beside[key]) for key in alone)


def test_a_network_with_few_positions_is_scaled_by_enough_images():
    model = build("efficientvit_m0", shapes=["2x3x96x96"])
    with torch.no_grad():
        assert model(images((8, 3, 96, 96))).abs().max() < 200  # above 1000 if two images scale it


@pytest.mark.parametrize(
    "seed",
    [
        0,  # chaotic when eight images scaled it
        7,  # chaotic, though it makes as much of other images as of the two that scaled it
    ],
)
def test_a_network_of_many_attentions_keeps_float32s_digits(seed: int) -> None:
    model = build("efficientvit_m0", shapes=["2x3x96x96"], seed=seed)
    seen = images((24, 3, 96, 96), seed=1)
    with torch.no_grad():
        single, truth = model(seen), copy.deepcopy(model).double()(seen.double())
    lost = (single - truth).norm(dim=1) / truth.norm(dim=1)
    assert lost.max() < 1e-3, lost  # of which no graph can be told from a wrong one


class Joint(nn.Module):
    """Reads the weight of its layer without a call, as EVA and BEiT do, to add a bias for two parts of it alone."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj, self.bias = (
            nn.Linear(192, 3 * 64, bias=False),
            nn.Linear(64, 64),
            nn.Parameter(torch.ones(64)),
        )

    def forward(self, x):
        bias = torch.cat([self.bias, torch.zeros_like(self.bias), self.bias])
        q, k, v = nn.functional.linear(x, self.qkv.weight, bias).chunk(3, -1)
        return self.proj((q @ k.mT / 8).softmax(-1) @ v)


def test_a_weight_that_is_read_without_a_call_is_scaled_by_its_kernel():
    model, x = Joint(), torch.randn(4, 20, 192, generator=torch.Generator().manual_seed(3))
    randomise(model, [x], seed=0)
    with torch.no_grad():
        assert 0.6 < nn.functional.linear(x, model.qkv.weight).std() < 1.6
        out = model(x)
        rounding = (out - model.double()(x.double())).norm() / out.norm()
    assert rounding < 1e-6


@pytest.mark.parametrize(
    "computed",
    [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm],
    ids=lambda f: f.__name__,
)
def test_a_weight_that_is_computed_is_left_alone(computed):
    model = nn.Sequential(computed(nn.Conv2d(3, 8, 3)), nn.Conv2d(8, 4, 1))
    before = model[0].weight.detach().clone()
    randomise(model, [torch.randn(2, 3, 8, 8)], seed=0)
    torch.testing.assert_close(model[0].weight, before)
    assert model(torch.randn(2, 3, 8, 8)).std() > 0.3


class Sampled(nn.Module):
    """Samples its image at a grid that it makes, and has an embedding of no tokens."""

    def __init__(self):
        super().__init__()
        self.mix, self.tokens = nn.Conv2d(3, 4, 1), nn.Parameter(torch.zeros(1, 0, 4))

    def forward(self, image):
        line = torch.linspace(-1, 1, 5).float()
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).expand(len(image), -1, -1, -1)
        return nn.functional.grid_sample(self.mix(image), grid, align_corners=True)


def test_a_forward_of_float32_alone_is_scaled_in_float32_and_a_parameter_may_be_empty():
    first, second = Sampled(), Sampled()
    image = torch.randn(2, 3, 8, 8)
    for module in (first, second):
        randomise(module, [image], seed=0)
    assert first.mix.weight.dtype == torch.float32
    assert torch.equal(first.mix.weight, second.mix.weight)
    size = (first.mix(image) - first.mix.bias.view(-1, 1, 1)).square().mean().sqrt()
    assert size.item() == pytest.approx(1, rel=1e-3)
    assert first(image).shape == (2, 4, 5, 5)


class Standardised(nn.Conv2d):
    """A convolution whose weight is standardised and multiplied by a gain that starts at zero."""

    def __init__(self, *channels):
        super().__init__(*channels, 1)
        self.gain = nn.Parameter(torch.zeros(self.out_channels, 1, 1, 1))

    def forward(self, x):
        mean, deviation = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, self.gain * (self.weight - mean) / deviation, self.bias)


def test_a_standardised_weight_is_scaled_by_its_gain():
    model, x = nn.Sequential(Standardised(3, 16), nn.ReLU(), Standardised(16, 8)), 5 * images((2, 3, 8, 8))
    randomise(model, [x], seed=0)
    for layer, reaches in ((model[0], x), (model[2], model[:2](x))):
        given = layer(reaches) - layer.bias.reshape(1, -1, 1, 1)
        assert given.square().mean().sqrt().item() == pytest.approx(1, rel=1e-3)
        assert layer.gain.std() > 0


class NormFreeBlock(nn.Module):
    """A residual block, no normalisation though its name says so, whose branch starts at zero."""

    def __init__(self):
        super().__init__()
        self.branch, self.skipinit = nn.Conv2d(3, 3, 1), nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        return x + self.skipinit * self.branch(x)


def test_a_scale_that_a_block_holds_itself_is_drawn_whatever_the_blocks_name():
    model = NormFreeBlock()
    randomise(model, [images((2, 3, 4, 4))], seed=0)
    assert model.skipinit != 0


def test_parameters_that_start_constant_are_moved():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.full((8,), 1e-5))
            self.table = nn.Parameter(torch.linspace(-1, 1, 8))

        def forward(self, x):
            return x * self.gamma + self.table

    model = Scaled()
    randomise(model, [torch.rand(2, 8)], seed=0)
    assert model.gamma.abs().max() > 0.05
    assert torch.allclose(model.table, torch.linspace(-1, 1, 8))


@pytest.mark.parametrize("name", ["bn_inception", "mobilenetv1_100"])
def test_a_deep_network_without_shortcuts_keeps_float32_rounding_small(name):
    module = build(name)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        single, double = module(x).double(), module.double()(x.double())
    assert float((single - double).norm() / double.norm()) < 2e-6
