"""Weights that are drawn for a user's own code, in place of those that it was made with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import InputError
from attn2trt.modules import catalog
from attn2trt.modules.own_module import from_module
from attn2trt.modules.own_weights import draw
from attn2trt.modules.target import Target

SOURCE = """
import torch
from torch import nn

class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.squeeze, self.scale = nn.Conv2d(channels, channels, 1), nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.fixed = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False).requires_grad_(False)

    def forward(self, x):
        return x + self.scale * self.fixed(x) * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.gate = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), Gate(8)

    def forward(self, image):
        return self.gate(self.norm(self.conv(image)).relu())
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)


def resolved(spec: str, shape: str, **weights: object) -> Target:
    return catalog.resolve(spec, shapes=[shape], **weights)  # type: ignore[arg-type]


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    """The names of the weights that are others, but for statistics that count calls."""
    values = after.state_dict()
    return {key for key, value in before.state_dict().items() if not torch.equal(value, values[key])}


def test_all_but_what_is_frozen_is_drawn_from_the_seed() -> None:
    made, target = (resolved("net.py:Net", "1x3x16x16", random=random) for random in (False, True))
    before, after = made.build(), target.build()
    kept = {"gate.fixed.weight", "norm.num_batches_tracked"}
    assert changed(before, after) == before.state_dict().keys() - kept
    assert (made.weights, target.weights) == (
        "as net.py:Net gives them, seed 0",
        "random, seed 0, scaled layer by layer",
    )
    assert target.weight_notes == ["gate.fixed, which needs no gradient, as net.py:Net gives it"]
    assert changed(after, target.build()) == set()
    assert changed(after, resolved("net.py:Net", "1x3x16x16", random=True, seed=1).build()) > {"conv.weight"}
    assert changed(after, catalog.build("net.py:Net", shapes=["1x3x16x16"], random=True)) == set()
    assert float(after(torch.randn(2, 3, 16, 16)).std()) == pytest.approx(1.0, abs=0.5)


def test_a_block_in_a_backbone_is_drawn_as_well() -> None:
    spec = "lcnet_035+net.py:Gate@blocks.0.0"
    made, drawn = (resolved(spec, "1x3x64x64", random=random).build() for random in (False, True))
    gates = [dict(part.named_parameters()) for net in (made, drawn) for part in net.modules() if _is_gate(part)]
    assert [bool(gate["scale"].any()) for gate in gates] == [False, True]
    assert torch.equal(gates[0]["fixed.weight"], gates[1]["fixed.weight"])


def _is_gate(part: nn.Module) -> bool:
    return type(part).__name__ == "Gate"


def test_a_copy_of_the_callers_module_is_drawn() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    target = from_module(module, torch.zeros(1, 3, 8, 8), seed=0)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert changed(module, target.build()) > {"0.weight", "1.running_mean"}
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert target.weights == "random, seed 0, scaled layer by layer"


class Caching(nn.Module):
    """It keeps what it has computed, as the biases of attentions are."""

    def __init__(self) -> None:
        super().__init__()
        self.bias, self.table = nn.Parameter(torch.zeros(4)), {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table.setdefault("bias", self.bias * 2.0)


def test_what_a_forward_pass_leaves_behind_is_not_kept() -> None:
    module = Caching()
    draw(module, [TensorSpec("x", (2, 4))], {}, name="Caching", seed=0)
    assert module.table == {}
    assert bool(module.bias.any())


class Listing(nn.Module):
    """It notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 1)

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        SEEN.append(given)
        return self.fc(torch.zeros(1, 1, dtype=self.fc.weight.dtype))


SEEN: list[tuple[torch.Tensor, ...]] = []


def test_inputs_are_of_the_kind_that_was_asked_for() -> None:
    SEEN.clear()
    specs = [
        TensorSpec("image", ("batch", 8, 8, 3), layout="nhwc"),
        TensorSpec("ids", ("batch", 50), "int64", 0, 9),
        TensorSpec("mask", (40,), "bool"),
        TensorSpec("scale", (40,), "float32", 2.0, 3.0),
        TensorSpec("query", ("batch", 40)),
    ]
    draw(Listing(), specs, {"batch": Axis(3, 3, 15, 3)}, name="Listing", seed=0)
    image, ids, mask, scale, query = SEEN[0]
    assert [tuple(given.shape) for given in SEEN[0]] == [(3, 8, 8, 3), (3, 50), (40,), (40,), (3, 40)]
    assert (ids.dtype, mask.dtype, {*ids.flatten().tolist()}) == (torch.int64, torch.bool, {*range(10)})
    assert {*mask.tolist()} == {True, False}
    assert 2.0 <= float(scale.min()) < float(scale.max()) <= 3.0
    assert float(query.std()) == pytest.approx(1.0, abs=0.3)
    assert float(image.mean((1, 2)).std(1).min()) > 0.1  # each channel has a mean of its own


@pytest.mark.parametrize(
    ("spec", "shape", "weights", "said"),
    [
        ("resnet18+se", "1x3x64x64", {}, "for resnet18+se; expected a module or a block of your own"),
        ("se", "1x16x8x8", {}, "for se; expected a module or a block of your own"),
        ("net.pt2", "1x3x8x8", {"trust": True}, "net.pt2, a program that holds its weights; expected the module"),
        ("net.py:Net", "1x3x8x8", {"checkpoint": "net.py"}, "--random-weights and --checkpoint; expected one source"),
    ],
)
def test_weights_that_are_no_ones_own_are_refused(spec: str, shape: str, weights: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=r"^received --random-weights") as refused:
        resolved(spec, shape, random=True, **weights)
    assert said in str(refused.value)


def test_a_module_without_weights_that_train_is_refused() -> None:
    for module in (nn.ReLU(), nn.Conv2d(3, 3, 1).requires_grad_(False)):
        with pytest.raises(InputError, match="which has no weights that train; expected some to draw; leave it out"):
            from_module(module, torch.zeros(1, 3, 8, 8), seed=0).build()


def test_sizes_that_the_module_does_not_take_are_named() -> None:
    with pytest.raises(InputError, match="received input=1x5x8x8 for Conv2d, which raised RuntimeError"):
        from_module(nn.Conv2d(3, 3, 1), torch.zeros(1, 5, 8, 8), dynamic="none", seed=0).build()
