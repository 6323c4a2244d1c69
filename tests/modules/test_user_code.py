"""The user's own modules and blocks, by ``py:`` and from Python."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch
from torch import nn

from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import InputError, ModuleRefused
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.own_module import from_module

CODE = '''
import torch
from torch import nn


class Scale(nn.Module):
    """A block of the user's own."""

    def __init__(self, channels, power=1, kind="plain"):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), 2.0))
        self.power = power

    def forward(self, x):
        return x * self.weight**self.power


class Shrink(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return x[:, :, ::2]


class Breaks(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        raise ZeroDivisionError("no")


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.mix = nn.Conv2d(3, 8, 1)

    def forward(self, image, ids, scale=None):
        features = self.mix(image).mean((2, 3)) + self.table(ids).mean(1)
        return {"features": features, "ids": ids + 1}


def factory():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))


class Split(nn.Module):
    """A block as its authors wrote it, with more than the number of channels."""

    def __init__(self, inp, oup, groups=32):
        super().__init__()
        self.mix = nn.Conv2d(inp, oup, 1)

    def forward(self, x):
        return x * self.mix(x).sigmoid()


def half():
    return nn.Linear(3, 3).half()


def number():
    return 7


def broken():
    values = {}
    return values["weights"]


def leaves():
    raise SystemExit(3)


ready = nn.Conv2d(3, 4, 1)
constant = 5
'''
numbers = itertools.count()


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The name of a module with the code above, in the current directory."""
    name = f"users_code_{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_factory(code):
    target = resolve(f"py:{code}:factory", shapes=["2x3x16x16"], dynamic="batch=1:2:4,height,width")
    assert str(target.inputs[0]) == "input: float32[batch, 3, height, width]"
    assert target.axes == {"batch": Axis(1, 2, 4), "height": Axis(8, 16, 32), "width": Axis(8, 16, 32)}
    assert (target.fingerprint, target.output_names, target.preprocessing) == (None, (), None)
    first, second = target.build(), target.build()
    assert first is not second
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert torch.equal(first[1].running_mean, torch.zeros(4))  # the user's weights are not randomised
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_a_class_an_instance_and_no_shape(code):
    assert isinstance(build(f"py:{code}:Two"), nn.Module)
    assert isinstance(build(f"py:{code}:ready"), nn.Conv2d)
    target = resolve(f"py:{code}:Two", shapes=["ids=2x5:int64[0,9]", "image=2x3x8x8"], dynamic="batch,ids.dim1")
    assert [str(spec) for spec in target.inputs] == ["image: float32[batch, 3, 8, 8]", "ids: int64[batch, ids.dim1]"]
    assert (target.inputs[1].low, target.inputs[1].high) == (0, 9)
    target.build()


def test_the_import_path_is_left_as_it_was(code):
    before = list(sys.path)
    build(f"py:{code}:factory")
    assert sys.path == before


def test_a_checkpoint_for_a_factory(code, tmp_path):
    torch.save({f"module.{key}": value + 1 for key, value in build(f"py:{code}:factory").state_dict().items()}, "w.pth")
    module = build(f"py:{code}:factory", checkpoint=tmp_path / "w.pth")
    assert torch.equal(module[1].running_mean, torch.ones(4))


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("number", "received int from"),
        ("constant", "a int; expected a callable that returns a torch.nn.Module"),
        ("factry", "expected 'factry' in users_code"),
        ("factry", "did you mean factory?"),
        ("broken", "got KeyError: 'weights' ("),
        ("leaves", "got SystemExit: 3 ("),
        ("SPLTI", "did you mean Split?"),
        (
            "Split",
            ":Split', which needs inp and oup; expected a value for each; add :inp=VALUE,oup=VALUE behind its name",
        ),
    ],
)
def test_a_factory_that_fails(code, attribute, message):
    with pytest.raises(InputError) as caught:
        resolve(f"py:{code}:{attribute}", shapes=["2x3x8x8"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    if attribute == "broken":
        line = CODE.splitlines().index('    return values["weights"]') + 1
        assert f"{code}.py:{line}" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("py:no_such_module_here:factory", "expected module no_such_module_here in"),
        ("py:factory", "expected py:package.module:name"),
        ("py:{code}:factory+cbam", "with blocks after a module of your own"),
        ("py:{code}:factory:width=3", "received option 'width' for py:"),
        ("py:{code}:Split:inp=4", "which needs oup; expected a value for each; add ,oup=VALUE behind its name, or "),
        ("py:{code}:half", "received parameter weight in float16; expected float32"),
        ("resnet18+py:{code}:Shrink@layer4", "which turns (2, 512, 8, 8) into (2, 512, 4, 8)"),
        ("resnet18+py:{code}:Breaks@layer4", "which raised ZeroDivisionError: no"),
        ("resnet18+py:{code}:Scale:pwr=2@layer4", "received option 'pwr' for py:"),
        ("resnet18+py:{code}:number@layer4", "but 1 was given; correct its parameters"),
        (
            "resnet18+py:{code}:Split@layer4",
            "needs oup beside the number of channels; expected a value for each; add :o",
        ),
        ("resnet18+py:{code}:Split:groups=2@layer4", "; add ,oup=VALUE behind its name"),
        ("resnet18+py:{code}:constant@layer4", "a int; expected a class"),
    ],
)
def test_refuses(code, spec, message):
    with pytest.raises(InputError) as caught:
        build(spec.format(code=code))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"), [("def f(:\n", "SyntaxError"), ("import not_there_at_all\n", "ModuleNotFound")]
)
def test_a_module_that_does_not_import(tmp_path, monkeypatch, text, reason):
    monkeypatch.chdir(tmp_path)
    name = f"users_broken_{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(InputError) as caught:
        build(f"py:{name}:factory")
    assert reason in str(caught.value)
    assert f"{name}.py:1" in str(caught.value)


def test_shapes_that_do_not_fit(code):
    spec = f"py:{code}:Two"
    for shapes, message in [
        (
            [],
            "input of forward(image, ids, scale=…) without a default; add --shape image=2x3x224x224 --shape ids=SIZES",
        ),
        (["image=2x3x8x8"], "received no shape for input 'ids'"),
        (
            ["2x3x8x8"],
            "'ids'; expected one for each of forward(image, ids, scale=…) without a default; add --shape ids=",
        ),
        (["imag=2x3x8x8", "ids=2x5:int64[0,9]"], "did you mean image?"),
    ]:
        with pytest.raises(InputError) as caught:
            resolve(spec, shapes=shapes)
        assert message in str(caught.value)
    with pytest.raises(InputError, match=r"received image=2x4x8x8, ids=2x5 for Two, which raised RuntimeError"):
        resolve(spec, shapes=["image=2x4x8x8", "ids=2x5:int64[0,9]"]).build()


def test_pretrained_is_for_backbones(code):
    with pytest.raises(InputError, match="received --pretrained for py:"):
        resolve(f"py:{code}:factory", shapes=["2x3x8x8"], pretrained=True)


def test_a_users_block_in_a_backbone(code):
    target = resolve(f"resnet18+py:{code}:Scale:power=3,kind=odd@layer4")
    assert target.fingerprint is None
    model = target.build()
    assert model.layer4.attn.power == 3
    assert torch.equal(model.layer4.attn.weight, torch.full((512, 1, 1), 2.0))  # the user's weights are not touched
    assert model.bn1.running_mean.abs().max() > 0.01  # the backbone's are randomised


class Pair(nn.Module):
    def forward(self, left, right):
        return left + right, left * right


def test_from_module():
    module = nn.Conv2d(3, 4, 3).train()
    weights = module.weight.detach().clone()
    target = from_module(module, torch.rand(2, 3, 8, 8), dynamic={"batch": (1, 2, 8)})
    assert target.name == "Conv2d"
    assert target.inputs[0].shape == ("batch", 3, 8, 8)
    assert target.build() is not module
    assert torch.equal(target.build().weight, module.weight)
    assert module.training
    assert not target.build().training
    assert module.weight.requires_grad
    assert torch.equal(module.weight, weights)


def test_from_module_with_several_inputs():
    a, b = torch.rand(2, 3), torch.rand(2, 3)
    assert [spec.name for spec in from_module(Pair(), (a, b)).inputs] == ["left", "right"]
    assert [spec.name for spec in from_module(Pair(), {"right": b, "left": a}).inputs] == ["left", "right"]
    assert [spec.name for spec in from_module(Pair(), (a, b), input_names=["p", "q"]).inputs] == ["p", "q"]
    ids = from_module(nn.Embedding(10, 4), torch.tensor([[3, 7]])).inputs[0]
    assert (ids.dtype, ids.low, ids.high) == ("int64", 3, 7)


def test_from_module_refuses():
    a = torch.rand(2, 3)
    for module, example, options, error, message in [
        (Pair(), (a,), {}, InputError, "received no shape for input 'right'"),
        (Pair(), (a, a, a), {}, InputError, "expected 2, of forward(left, right); leave the others out, or wrap a"),
        (Pair(), (a, 3), {}, InputError, "received a int for input 'right'"),
        (Pair(), (a, a.double()), {}, InputError, "received float64[2, 3] for input 'right'"),
        (Pair(), (a, a), {"input_names": ["p"]}, InputError, "received input_names ['p'] for 2 inputs"),
        (Pair(), {"left": a, "rigt": a}, {}, InputError, "did you mean right?"),
        (nn.Linear(3, 3).double(), a, {}, ModuleRefused, "received parameter weight in float64"),
        (len, a, {}, InputError, "expected a torch.nn.Module"),
        (nn.Linear(3, 3), a, {"dynamic": "batch=1:4:8"}, InputError, "received dynamic batch=1:4:8 with a shape"),
    ]:
        with pytest.raises(error) as caught:
            from_module(module, example, **options)
        assert message in str(caught.value)
