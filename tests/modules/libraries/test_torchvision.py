"""Models of torchvision as targets: their results by name, blocks at module paths, and the ones that are refused."""

from __future__ import annotations

import pytest
import torch
import torchvision

from attn2trt.errors import InputError, MissingRequirement
from attn2trt.modules.catalog import resolve
from attn2trt.modules.libraries import index

SMALL = ["2x3x64x64"]


def run(module, *shape):
    with torch.no_grad():
        return module(torch.rand(shape or (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)))


def own_module(name, **options):
    return own_module_of_classifier(name, weights_backbone=None, **options)


def own_module_of_classifier(name, **options):
    return torchvision.models.get_model_builder(name)(weights=None, **options).eval()


def test_a_segmenter_gives_what_torchvision_does_under_its_names():
    target = resolve("torchvision:lraspp_mobilenet_v3_large:num_classes=4", shapes=SMALL)
    module = target.build()
    assert not module.training
    found = run(module)
    assert {name: tuple(value.shape) for name, value in found.items()} == {"out": (1, 4, 64, 64)}
    theirs = own_module("lraspp_mobilenet_v3_large", num_classes=4)
    theirs.load_state_dict(module.state_dict())
    assert torch.equal(run(theirs)["out"], found["out"])
    assert float(found["out"].std()) > 0.1


def test_the_auxiliary_head_is_left_out_and_that_is_noted():
    target = resolve("torchvision:deeplabv3_mobilenet_v3_large", shapes=SMALL)
    module = target.build()
    assert list(run(module)) == ["out"]
    assert target.notes == ["output aux left out: its head is there for training; the option aux_loss=true keeps it"]
    kept = resolve("torchvision:deeplabv3_mobilenet_v3_large:aux_loss=true", shapes=SMALL)
    assert list(run(kept.build())) == ["out", "aux"]
    assert kept.notes == []


def test_a_checkpoint_with_the_auxiliary_head_and_one_without(tmp_path):
    weights = own_module("deeplabv3_mobilenet_v3_large", aux_loss=True).state_dict()
    without = {key: value for key, value in weights.items() if not key.startswith("aux_classifier.")}
    for name, state in (("with", weights), ("without", without)):
        torch.save(state, tmp_path / f"{name}.pth")
        module = resolve(
            "torchvision:deeplabv3_mobilenet_v3_large", shapes=SMALL, checkpoint=tmp_path / f"{name}.pth"
        ).build()
        assert torch.equal(module.state_dict()["classifier.4.weight"], weights["classifier.4.weight"])
        assert module.aux_classifier is None
    del without["classifier.4.bias"]
    torch.save(without, tmp_path / "lacking.pth")
    with pytest.raises(InputError, match=r"1 missing \(classifier\.4\.bias\)"):
        resolve("torchvision:deeplabv3_mobilenet_v3_large", shapes=SMALL, checkpoint=tmp_path / "lacking.pth").build()


def test_the_heads_of_a_classifier_that_training_alone_runs_are_left_out():
    target = resolve("torchvision:googlenet:num_classes=4", shapes=SMALL)
    keys = target.build().state_dict()
    assert "conv1.conv.weight" in keys
    assert not any(key.startswith("aux") for key in keys)
    assert target.notes == ["aux1, aux2 left out: training alone runs them"]


def test_a_one_stage_detector_gives_its_head_before_suppression():
    target = resolve("torchvision:ssdlite320_mobilenet_v3_large:num_classes=5", shapes=["2x3x320x320"])
    module = target.build()
    found = run(module, 1, 3, 320, 320)
    assert {name: value.shape[2] for name, value in found.items()} == {"bbox_regression": 4, "cls_logits": 5}
    assert any("before the suppression of overlaps" in note for note in target.notes)
    assert target.preprocessing.resize == "stretch"
    assert target.preprocessing.mean == (0.5, 0.5, 0.5)


def test_a_block_by_module_path_in_a_library_model():
    target = resolve("torchvision:resnet18+cbam@layer4.1+se@layer1", shapes=SMALL)
    module = target.build()
    assert "layer4.1.attn.ChannelGate.mlp.1.weight" in module.state_dict()
    assert list(run(module)) == ["logits"]
    plain = resolve("torchvision:resnet18", shapes=SMALL).build()
    assert not torch.equal(run(module)["logits"], run(plain)["logits"])


def test_the_network_that_torchvision_would_quantise_is_deployed_in_float32():
    module = resolve("torchvision:quantized_mobilenet_v2", shapes=SMALL).build()
    theirs = own_module_of_classifier("quantized_mobilenet_v2")
    theirs.load_state_dict(module.state_dict())
    assert torch.equal(run(theirs), run(module)["logits"])


def test_every_build_is_equal_and_leaves_the_callers_random_numbers():
    target = resolve("torchvision:squeezenet1_1+eca@features.12", shapes=SMALL, seed=3)
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    first, second = target.build(), target.build()
    assert torch.equal(torch.rand(1), wanted)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert target.fingerprint != resolve("torchvision:squeezenet1_1+eca@features.12", shapes=SMALL).fingerprint


def test_the_preprocessing_is_that_of_the_published_weights():
    target = resolve("torchvision:resnet50")
    assert target.inputs[0].shape == (2, 3, 224, 224)
    assert target.preprocessing.interpolation == "bilinear"
    assert target.preprocessing.crop == pytest.approx(224 / 232)
    assert target.preprocessing.std == (0.229, 0.224, 0.225)
    assert resolve("torchvision:vit_b_16:image_size=64").inputs[0].shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet5", r"received target torchvision:resnet5; expected one of .* did you mean resnet50"),
        ("torchvision:fasterrcnn_resnet50_fpn", r"two-stage detector: .*suppression.* use torchvision:retinanet"),
        ("torchvision:keypointrcnn_resnet50_fpn", r"two-stage detector: .* use transformers:VitPoseForPoseEstimation"),
        ("torchvision:maskrcnn_resnet50_fpn", r"two-stage detector: .* use transformers:Mask2Former"),
        ("torchvision:r3d_18", r"received shape 2x3x64x64 for .*; expected 5 sizes .* as 2x3x16x112x112"),
        ("torchvision:quantized_resnet18:quantize=true", r"use torchvision:quantized_resnet18, with --precision int8"),
        ("torchvision:resnet18:weights=DEFAULT", "option weights of .* give weights with --pretrained or --checkpoint"),
        ("torchvision:fcn_resnet50:weights_backbone=DEFAULT", "received option weights_backbone of .* leave it out"),
        ("torchvision:raft", r"did you mean raft_large or raft_small\?$"),
        ("torchvision:resnet18:width=3", "received torchvision:resnet18 with width=3; .*unexpected keyword"),
        ("torchvision:resnet18+cbam", r"without a module path; .*torchvision:resnet18\+cbam@PATH"),
        ("torchvision:resnet18+cbam@layer4.1.bn9", r"no module of torchvision:resnet18 has; .*did you mean layer4.1"),
        ("torchvision:", "expected torchvision:NAME, or torchvision:NAME:option=value"),
        ("torchvision:resnet18:num_classes", "expected option=value"),
    ],
)
def test_what_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        resolve(spec, shapes=SMALL).build()


def test_two_frames_and_a_clip_are_inputs_of_their_own():
    flow = resolve("torchvision:raft_small:num_flow_updates=2", shapes=["2x3x136x128"], dynamic="batch=1:2:3,height")
    assert {spec.name: spec.shape for spec in flow.inputs} == {
        "image1": ("batch", 3, "height", 128),
        "image2": ("batch", 3, "height", 128),
    }
    assert flow.preprocessing is None
    assert [spec.shape for spec in resolve("torchvision:mvit_v2_s").inputs] == [(2, 3, 16, 224, 224)]
    clip = resolve("torchvision:r3d_18", shapes=["2x3x8x32x32"], dynamic="batch=1:2:3,dim2=4:8:16")
    assert clip.inputs[0].shape == ("batch", 3, "dim2", 32, 32)
    sides = resolve("torchvision:r3d_18", shapes=["2x3x8x32x32"], dynamic="height,width=32:32:64")
    assert sides.inputs[0].shape == (2, 3, 8, "height", "width")
    with pytest.raises(
        InputError, match=r"received no shape for image2 of torchvision:raft_small; .*add --shape image2"
    ):
        resolve("torchvision:raft_small", shapes=["image1=2x3x128x128"])


def test_sizes_that_the_model_cannot_take_are_refused_with_its_reason():
    wanted = r"image=2x3x64x64 for torchvision:vit_b_16.*Wrong image height.*give it the option image_size=64"
    with pytest.raises(InputError, match=wanted):
        resolve("torchvision:vit_b_16", shapes=SMALL).build()


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(index, "find_spec", lambda _: None)
    with pytest.raises(MissingRequirement, match="expected torchvision, which is not installed; pip install"):
        resolve("torchvision:resnet18")


def test_published_weights_are_read_as_tensors_alone(monkeypatch):
    from torchvision.models import _api

    asked = {}

    def load(url, **options):
        asked.update(options, url=url)
        return torchvision.models.squeezenet1_1(weights=None).state_dict()

    monkeypatch.setattr(_api, "load_state_dict_from_url", load)
    target = resolve("torchvision:squeezenet1_1", shapes=SMALL, pretrained=True)
    target.build()
    assert asked["weights_only"] is True
    assert target.weights.startswith("torchvision's published weights SqueezeNet1_1_Weights")

    def out_of_reach(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(_api, "load_state_dict_from_url", out_of_reach)
    with pytest.raises(InputError, match=r"published weights within reach, got OSError: no route; .*--checkpoint"):
        target.build()
