"""Models of transformers as targets, shrunk by options: their answers, folders, what is refused. Nothing is fetched."""

from __future__ import annotations

import json
import socket

import pytest
import torch

transformers = pytest.importorskip("transformers")

from attn2trt.errors import InputError, MissingRequirement  # noqa: E402
from attn2trt.modules.catalog import resolve  # noqa: E402

SHAPE = ["2x3x64x64"]
WIDTHS = "d_model=32,encoder_hidden_dim=32,encoder_ffn_dim=32,decoder_ffn_dim=32,decoder_layers=1,num_queries=8,"
HEADS = "encoder_attention_heads=2,decoder_attention_heads=2,decoder_in_channels=32/32/32,encoder_in_channels=8/16/16,"
BACKBONE = "backbone_config.embedding_size=8,backbone_config.hidden_sizes=8/8/16/16,backbone_config.depths=1/1/1/1,"
RT_DETR = f"transformers:rt_detr:{WIDTHS}{HEADS}{BACKBONE}backbone_config.layer_type=basic,num_labels=3"
SEGFORMER = "transformers:segformer:hidden_sizes=8/8/8/8,depths=1/1/1/1,num_attention_heads=1/2/2/2"
SEGFORMER = f"{SEGFORMER},decoder_hidden_size=8,num_labels=4"


def since(name):
    return pytest.mark.skipif(not hasattr(transformers, name), reason=f"this transformers has no {name}")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def connect(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def run(module):
    with torch.no_grad():
        return module(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


def test_a_detector_gives_its_answers_by_name_and_says_what_was_left_out():
    target = resolve(RT_DETR, shapes=SHAPE)
    module = target.build()
    found = run(module)
    assert {name: tuple(value.shape) for name, value in found.items()} == {"logits": (1, 8, 3), "pred_boxes": (1, 8, 4)}
    assert float(found["logits"].std()) > 0.1
    assert target.inputs[0].name == "pixel_values"
    assert isinstance(module, transformers.RTDetrForObjectDetection)
    assert "auxiliary_loss=False: the outputs of inner layers are there for training" in target.notes
    assert "enc_topk_logits" in target.notes[-1]
    assert target.preprocessing.resize == "stretch"
    frozen = module.get_submodule("model.backbone.model.embedder.embedder.0.normalization")
    assert float((frozen.running_var - 1).abs().max()) > 0.01  # not as it was created


def test_a_segmenter_with_a_block_at_a_module_path():
    spec = f"{SEGFORMER}+cbam:reduction=2@decode_head.linear_fuse"
    module = resolve(spec, shapes=SHAPE).build()
    found = run(module)
    assert tuple(found["logits"].shape) == (1, 4, 16, 16)
    assert "decode_head.linear_fuse.attn.ChannelGate.mlp.1.weight" in module.state_dict()
    assert list(resolve(spec, shapes=SHAPE).build().state_dict()) == list(module.state_dict())


def test_a_folder_with_weights_and_one_without(tmp_path):
    saved = resolve(SEGFORMER, shapes=SHAPE, seed=4).build()
    transformers.SegformerForSemanticSegmentation.save_pretrained(saved, tmp_path / "own")
    (tmp_path / "own" / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "SegformerImageProcessor", "size": {"height": 32, "width": 96}})
    )
    target = resolve(f"transformers:{tmp_path / 'own'}", shapes=SHAPE)
    assert torch.equal(run(target.build())["logits"], run(saved)["logits"])
    assert target.weights.startswith("safetensors of own, sha256")
    assert resolve(f"transformers:{tmp_path / 'own'}").inputs[0].shape == (2, 3, 32, 96)
    with pytest.raises(InputError, match=r"whose weights are not those of its Segformer.*mismatched"):
        resolve(f"transformers:{tmp_path / 'own'}:decoder_hidden_size=16", shapes=SHAPE).build()
    (tmp_path / "own" / "model.safetensors").unlink()
    assert resolve(f"transformers:{tmp_path / 'own'}", shapes=SHAPE).weights.startswith("random, seed 0")
    (tmp_path / "own" / "pytorch_model.bin").touch()
    with pytest.raises(InputError, match=r"weights are in pytorch_model\.bin; expected safetensors"):
        resolve(f"transformers:{tmp_path / 'own'}", shapes=SHAPE)


def test_code_of_a_folder_is_never_run(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}, "architectures": ["Evil"]})
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match=r"expected the config\.json of a model of transformers"):
        resolve(f"transformers:{tmp_path}", shapes=SHAPE)
    assert not (tmp_path / "ran").exists()


def test_the_head_of_a_model_type_and_of_a_class():
    assert resolve("transformers:swinv2:depths=1/1").source.endswith("Swinv2ForImageClassification")
    assert resolve("transformers:mobilevitv2").source.endswith("MobileViTV2ForSemanticSegmentation")
    assert resolve("transformers:DFineConfig").source.endswith("DFineForObjectDetection")
    assert resolve("transformers:MobileViTV2ForImageClassification").inputs[0].shape == (2, 3, 256, 256)
    assert resolve("transformers:detr").preprocessing.resize == "letterbox"


VIT = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=16,image_size=32"


def test_a_model_without_a_head_and_an_option_of_the_forward():
    assert resolve("transformers:vit_mae").source.endswith("ViTMAEModel")
    assert resolve("transformers:clip_vision_model").source.endswith("CLIPVisionModel")
    module = resolve(f"transformers:vit:{VIT},num_labels=3,interpolate_pos_encoding=true", shapes=SHAPE).build()
    assert tuple(run(module)["logits"].shape) == (1, 3)
    with pytest.raises(InputError, match=r"for transformers:vit.*give it the option image_size=64"):
        resolve(f"transformers:vit:{VIT}", shapes=SHAPE).build()
    tower = ",".join(f"vision_config.{option}" for option in VIT.split(","))
    with pytest.raises(InputError, match=r"its own are 3x32x32: give it the option vision_config.image_size=64, or ch"):
        resolve(f"transformers:clip:{tower}", shapes=SHAPE).build()


@since("PPOCRV5ServerDetConfig")
def test_a_configuration_without_a_value_is_refused_with_its_key():
    wanted = r"TypeError: .*`self.conv_reduce.*options \(no value: intraclass_block_config, .*folder with config\.json"
    with pytest.raises(InputError, match=wanted):
        resolve("transformers:pp_ocrv5_server_det", shapes=SHAPE).build()


def test_a_model_that_needs_another_package():
    with pytest.raises(MissingRequirement, match=r"transformers:dinat; .*requires the natten library.*; install it"):
        resolve("transformers:dinat", shapes=SHAPE).build()


def test_a_processor_without_defaults_is_none():
    assert resolve("transformers:timm_wrapper").preprocessing is None


def test_a_model_of_clips():
    target = resolve(f"transformers:videomae:{VIT},num_frames=4,num_labels=3")
    assert target.inputs[0].shape == (2, 4, 3, 32, 32)
    assert target.preprocessing is None
    with torch.no_grad():
        assert tuple(target.build()(torch.rand(1, 4, 3, 32, 32))["logits"].shape) == (1, 3)


@pytest.mark.parametrize("name", ["lightglue", "superglue", "EfficientLoFTRModel"])
def test_a_model_that_matches_two_images_takes_pairs(name):
    target = resolve(f"transformers:{name}", shapes=["1x2x3x64x64"])
    assert target.inputs[0].shape == (1, 2, 3, 64, 64)
    with pytest.raises(InputError, match=r"expected 5 sizes of float32; write it as 2x2x3x224x224$"):
        resolve(f"transformers:{name}", shapes=SHAPE)


def test_what_post_processing_reads_is_an_answer():
    from attn2trt.modules.libraries.image_processor import read_by_post_processing
    from attn2trt.modules.libraries.transformers import Results

    assert {"predicted_depth", "field_of_view"} <= read_by_post_processing("depth_pro")
    assert {"keypoints", "scores", "descriptors", "mask"} <= read_by_post_processing("superpoint")
    assert read_by_post_processing("bert") == frozenset()
    depth = type("Depth", (Results,), {"read": frozenset({"field_of_view"})})
    one = torch.ones(1)
    found = depth.answers({"predicted_depth": one, "field_of_view": one, "features": one, "attentions": None})
    assert list(found) == ["predicted_depth", "field_of_view"]
    assert list(depth.answers({"last_hidden_state": one})) == ["last_hidden_state"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "transformers:rt_det",
            r"a folder with config\.json, a model type or a class .* did you mean rt_detr",
        ),
        ("transformers:RTDetrForObjectDetectio", r"did you mean RTDetrForObjectDetection or .*\?$"),
        ("transformers:bert", "a BertModel that takes input_ids; expected a model of pixel_values alone; wrap it"),
        ("transformers:grounding-dino", "a GroundingDinoModel that takes input_ids; .*; wrap it"),
        ("transformers:siglip2", "a Siglip2ForImageClassification that takes spatial_shapes; .* alone; wrap it"),
        ("transformers:sam3", "a Sam3Model that takes input_ids; .* alone; use transformers:Sam3VisionModel or"),
        (
            "transformers:CLIPModel",
            "a CLIPModel that takes input_ids; .* of pixel_values alone; use .*transformers:CLIPVisionModel",
        ),
        ("transformers:owlv2", "an? Owlv2Model that takes input_ids; .* use transformers:Owlv2VisionModel, or wrap it"),
        ("transformers:owner/name", "found none there; correct the path, or add --pretrained"),
        ("transformers:rt_detr:num_layers=3", "received option 'num_layers' of transformers:rt_detr"),
        (
            "transformers:rt_detr:backbone_config.model_type=resnt",
            "a model type of transformers; did you mean res",
        ),
        (
            "transformers:swinv2:embed_dim=16,depths=1/1,num_heads=3/4",
            "expected a configuration that it can be made of",
        ),
    ],
)
def test_what_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        resolve(spec, shapes=SHAPE).build()


def test_weights_of_the_hub_are_asked_for_by_name():
    with pytest.raises(InputError, match=r"expected a repository of the Hugging Face hub, since a model type has no"):
        resolve("transformers:rt_detr", pretrained=True)


def test_a_folder_that_happens_to_have_the_name_of_a_model_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet").mkdir()
    assert resolve("transformers:resnet").source.endswith("ResNetForImageClassification")


def test_a_folder_without_a_configuration(tmp_path):
    with pytest.raises(InputError, match=r"a folder without config\.json"):
        resolve(f"transformers:{tmp_path}")


def test_the_switches_that_were_set_before_are_not_named():
    detr = transformers.AutoConfig.for_model("detr")
    fetches = getattr(detr, "use_pretrained_backbone", False)  # True in transformers 5.0
    assert any("use_pretrained_backbone" in note for note in _notes("transformers:detr")) == fetches
    assert not any("attn_implementation" in note for note in _notes("transformers:ResNetForImageClassification"))


def _notes(spec):
    return resolve(spec).notes or list(_model(spec).notes)


def _model(spec):
    from attn2trt.modules.libraries import index

    return index.find(spec, {}, pretrained=False)


@since("VideomtConfig")
def test_sizes_of_a_clip_are_read_by_its_input_and_of_a_tower_from_the_configuration_inside():
    small = "hidden_size=32,num_hidden_layers=2,num_attention_heads=2,num_blocks=1,num_queries=4,image_size=32"
    clip = resolve(f"transformers:VideomtForUniversalSegmentation:{small}")
    assert clip.inputs[0].shape[1:] == (16, 3, 32, 32)
    tower = "vision_config.image_size=64,vision_config.num_hidden_layers=1"
    assert resolve(f"transformers:CLIPForImageClassification:{tower}").inputs[0].shape[1:] == (3, 64, 64)
