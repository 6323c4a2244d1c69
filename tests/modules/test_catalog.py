"""From a TARGET to a Target: what is described without torch, what a build gives, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch

from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import InputError, MissingRequirement
from attn2trt.modules import catalog
from attn2trt.modules.backbones.index import find
from attn2trt.modules.backbones.known import KNOWN
from attn2trt.modules.block_index import block_info, block_names
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.grammar import Part, parse
from attn2trt.modules.libraries.index import LIBRARIES
from attn2trt.modules.listing import entries

OWN_RANGES = "batch=1:2:8,height=16:32:64,width=16:32:64"


def test_a_block():
    target = resolve("coord_att", dynamic=OWN_RANGES)
    assert str(target.inputs[0]) == "x: float32[batch, 64, height, width]"
    assert target.inputs[0].resolve(target.sizes()) == (2, 64, 32, 32)
    assert target.output_names == ("output",)
    assert target.paper == "https://arxiv.org/abs/2103.02907"
    assert target.preprocessing is None
    assert target.weights == "random, seed 0, scaled layer by layer"
    assert resolve("se").inputs[0].shape == (2, 64, 56, 56)


def test_a_blocks_channels_are_those_of_the_shape():
    target = resolve("se:reduction=4", shapes=["x=3x24x8x8"])
    assert target.build().fc[0].weight.shape == (6, 24)


def test_a_backbone():
    target = resolve("resnet50+cbam", dynamic={"batch": Axis(1, 4, 8)})
    assert str(target.inputs[0]) == "image: float32[batch, 3, 224, 224]"
    assert target.output_names == ("logits",)
    assert target.source == "timm resnet50"
    assert target.paper.split() == ["https://arxiv.org/abs/1512.03385", "https://arxiv.org/abs/1807.06521"]
    assert target.preprocessing.mean == (0.485, 0.456, 0.406)
    assert target.preprocessing.size == (3, 224, 224)
    assert resolve("resnet50", shapes=["2x3x64x96"]).preprocessing.size == (3, 64, 96)


@pytest.mark.parametrize("spec", block_names())
def test_builds_are_equal_separate_and_ready(spec):
    axes = block_info(spec).axes
    target = resolve(spec, dynamic=",".join(text for text in OWN_RANGES.split(",") if text.startswith(axes)))
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, second = target.build(), target.build()
    assert torch.equal(torch.get_rng_state(), before)
    states = first.state_dict(), second.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert first is not second
    assert not any(part.training for part in first.modules())
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert {parameter.dtype for parameter in first.parameters()} <= {torch.float32}
    other = resolve(spec, seed=1).build().state_dict()
    assert not other or any(not torch.equal(states[0][key], other[key]) for key in other)


def test_fingerprints(tmp_path, monkeypatch):
    (tmp_path / "w.pth").write_bytes(b"one")
    given = [
        {"spec": "cbam"},
        {"spec": "cbam", "seed": 1},
        {"spec": "cbam", "shapes": ["2x32x8x8"]},
        {"spec": "cbam", "checkpoint": tmp_path / "w.pth"},
        {"spec": "resnet50+cbam"},
        {"spec": "resnet50+cbam", "pretrained": True},
        {"spec": "resnet50+eca:k=3"},
    ]
    first = [resolve(**item).fingerprint for item in given]
    assert len(set(first)) == len(given)
    assert first == [resolve(**item).fingerprint for item in given]
    (tmp_path / "w.pth").write_bytes(b"two")
    assert resolve(**given[3]).fingerprint != first[3]
    monkeypatch.setattr(catalog, "_source_digest", lambda: "changed")
    assert resolve("cbam").fingerprint != first[0]


def test_describing_a_target_imports_no_torch():
    code = (
        "import sys; from attn2trt.modules.catalog import resolve\n"
        f"resolve('coord_att', dynamic={OWN_RANGES!r}); resolve('resnet50+eca:k=3@stage3')\n"
        "print([name for name in ('torch', 'timm', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_known_backbones_are_as_timm_has_them():
    for name, backbone in KNOWN.items():
        if backbone.file != "timm":
            continue
        config = timm.get_pretrained_cfg(name)
        with torch.device("meta"):
            model = timm.create_model(name)
        assert sum(parameter.numel() for parameter in model.parameters()) == backbone.parameters
        assert tuple(config.input_size) == backbone.size
        assert (tuple(config.mean), tuple(config.std)) == (backbone.mean, backbone.std)
        assert (config.interpolation, config.crop_pct) == (backbone.interpolation, backbone.crop)


def test_any_other_timm_model():
    backbone = find("convnext_atto")
    assert backbone.size == (3, 224, 224)
    assert resolve("convnext_atto").inputs[0].shape == (2, 3, 224, 224)
    assert find("vit_tiny_patch16_224.augreg_in21k").mean == (0.5, 0.5, 0.5)


def test_entries():
    found = {entry.name: entry for entry in entries()}
    assert set(block_names()) | set(KNOWN) | set(LIBRARIES) == set(found)
    assert found["se"].parameters == 2 * 64 * 4
    assert found["eca"].options == {"k": None}
    assert found["resnet50"].parameters == 25_557_032
    assert all(entry.summary and (entry.paper or entry.kind == "library") for entry in found.values())
    assert found["torchvision"].installed
    assert "deeplabv3_resnet50" in found["torchvision"].examples


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("cbm", {}, "received target 'cbm'; expected a block, a backbone (any timm model), LIBRARY:NAME"),
        ("cbm", {}, "did you mean cbam"),
        ("ResNet50", {}, "did you mean resnet50?"),
        ("efficientnet-b0", {}, "did you mean efficientnet_b0?"),
        ("resnet5", {}, "did you mean resnet50"),
        ("convnext_ato", {}, "did you mean convnext_atto"),
        ("yolov8n", {}, "did you mean ultralytics:yolo"),
        ("fcn_resnet101", {}, "did you mean torchvision:fcn_resnet101?"),
        ("yolo11n.pt", {}, "did you mean ultralytics:yolo11n.yaml?"),
        ("rt_detr", {}, "did you mean transformers:rt_detr?"),
        ("retinanet", {}, "did you mean torchvision:retinanet_resnet50_fpn"),
        ("no_such_thing", {}, "see attn2trt list"),
        ("resnet50.no_such_tag", {}, "received backbone 'resnet50.no_such_tag'"),
        ("hf-hub:someone/something", {}, "expected option=value, each option once"),
        (
            "my.nets:Net",
            {},
            "in 'my.nets:Net'; expected option=value, each option once; write it as",
        ),
        ("my.nets:Net", {}, "or py:my.nets:Net for a module of your own"),
        ("smp:Unet", {}, r"for a model of another library, FILE.py with a make() that returns it"),
        ("py:my.nets.Net", {}, "expected py:package.module:name; write py:my.nets:Net"),
        ("timm:resnet18+se", {}, "expected a timm model by its bare name; write resnet18"),
        ("onnx:model.onnx", {}, "is not supported by this command"),
        ("", {}, "expected NAME:option=value"),
        ("resnet50+", {}, "received '' in target 'resnet50+'"),
        ("resnet50+cbam@", {}, "with an empty place"),
        ("resnet50+cbam@stage1,", {}, "with an empty place"),
        ("resnet50+cbam:", {}, "expected NAME:option=value"),
        ("resnet50+cbam:reduction", {}, "received 'reduction' in 'cbam:reduction'; expected option=value"),
        ("resnet50+cbam:kernel=3,kernel=5", {}, "each option once"),
        ("cbam@stage1", {}, "with a place after cbam"),
        ("cbam+se", {}, "received block 'cbam' before a +; expected a backbone there; write resnet50+se"),
        ("resnet50:k=3", {}, "received backbone resnet50 with k=3; expected keyword arguments"),
        ("cbam", {"pretrained": True}, "received --pretrained for block cbam"),
        ("resnet50", {"shapes": ["2x1x64x64"]}, "expected 3; correct --shape, or write resnet50:in_chans=1"),
        ("resnet50:in_chans=4", {"shapes": ["2x1x64x64"]}, "expected 4; correct --shape or in_chans"),
        ("resnet50", {"shapes": ["2x3x64"]}, "expected four sizes of float32"),
        ("cbam", {"shapes": ["2x64x8x8:int64"]}, "expected four sizes of float32"),
        ("cbam", {"shapes": ["2x64x8x8", "2x64x8x8"]}, "with no name"),
        ("cbam", {"shapes": ["image=2x64x8x8"]}, "with the name 'image'"),
        ("cbam", {"dynamic": "channels"}, "received dynamic axis 'channels'"),
        ("cbam", {"shapes": ["1x64x8x8"], "dynamic": "height=4:16:32"}, "with a shape of height 8"),
    ],
)
def test_refuses_a_target(spec, options, message):
    with pytest.raises(InputError) as caught:
        resolve(spec, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_sources_of_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="received --pretrained and --checkpoint"):
        resolve("resnet50", pretrained=True, checkpoint=tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("psa", {"shapes": ["2x48x8x8"]}, "received psa with 48 channels"),
        ("se", {"shapes": ["2x8x8x8"]}, "reduction 16 on 8 channels"),
        ("resnet18+cbam@stage9", {}, "received place 'stage9'"),
        ("vit_tiny_patch16_224", {"shapes": ["3x3x64x64"]}, "received image=3x3x64x64 for vit_tiny_patch16_224"),
        ("mobilenetv2_075", {"pretrained": True}, "received --pretrained for mobilenetv2_075"),
    ],
)
def test_refuses_what_only_the_build_tells(spec, options, message):
    with pytest.raises(InputError) as caught:
        resolve(spec, **options).build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pytorch_missing_says_how_to_install_it(monkeypatch):
    def without_torch(name, package=None):
        return None if name == "torch" else find_spec(name, package)

    monkeypatch.setattr("attn2trt.modules.packages.find_spec", without_torch)
    target = resolve("resnet50+cbam")
    with pytest.raises(MissingRequirement, match=r"expected torch, .* pip install torch timm"):
        target.build()
    assert all(entry.parameters is None for entry in entries() if entry.kind == "block")


def test_build_is_what_resolve_builds():
    ours, theirs = build("eca", seed=4).state_dict(), resolve("eca", seed=4).build().state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_plus_in_a_path_or_a_number_parts_no_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my+net.py", "c++/gate.py"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    found = parse("my+net.py:Net:scale=1e+3,shift=2E+05+c++/gate.py:Gate:k=3@layer4+se+eca:k=3+gam")
    assert found.base == Part("my+net.py:Net", {"scale": "1e+3", "shift": "2E+05"})
    gate = Part("c++/gate.py:Gate", {"k": "3"}, ("layer4",))
    assert found.insertions == (gate, Part("se"), Part("eca", {"k": "3"}), Part("gam"))
    assert [part.name for part in parse("no+net.py:Net").insertions] == ["net.py:Net"]
