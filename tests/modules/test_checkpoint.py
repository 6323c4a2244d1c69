"""Checkpoints: what loads, under which keys, and what is refused before anything runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from attn2trt.errors import InputError, StorageError
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.checkpoint import load, load_into, sha256
from attn2trt.modules.grammar import parse
from attn2trt.modules.placement import insert


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def state(seed=3):
    return {key: value.clone() for key, value in build("cbam", seed=seed).state_dict().items()}


def same(module, expected):
    got = module.state_dict()
    return all(torch.equal(got[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {"model": tensors},
        lambda tensors: OrderedDict((f"module.{key}", value) for key, value in tensors.items()),
        lambda tensors: {"state_dict": {f"module.{key}": value for key, value in tensors.items()}, "best": 76.1},
        lambda tensors: {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")},
    ],
)
def test_loads_pytorch_files(tmp_path, wrap):
    torch.save(wrap(state()), tmp_path / "weights.pth")
    assert same(build("cbam", checkpoint=tmp_path / "weights.pth"), state())


def test_loads_safetensors(tmp_path):
    save_file({f"module.{key}": value for key, value in state().items()}, tmp_path / "weights.safetensors")
    assert same(build("cbam", checkpoint=tmp_path / "weights.safetensors"), state())
    assert set(load(tmp_path / "weights.safetensors")) == set(state())


def test_loads_half_precision_as_float32(tmp_path):
    save_file(
        {key: value.half() if value.is_floating_point() else value for key, value in state().items()},
        tmp_path / "h.safetensors",
    )
    module = build("cbam", checkpoint=tmp_path / "h.safetensors")
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_reads_a_releases_name_for_the_blocks_place(tmp_path):
    model = timm.create_model("resnet18")
    insert(model, "resnet18", parse("resnet18+cbam@stage4").insertions, list)
    ours = model.state_dict()
    torch.save({f"module.{key}".replace(".se.", ".cbam."): value for key, value in ours.items()}, tmp_path / "w.pth")
    assert same(build("resnet18+cbam@stage4", checkpoint=tmp_path / "w.pth"), ours)


def test_reads_the_mobilenet_releases_names_in_coordinate_attention(tmp_path):
    ours = {key: value.clone() for key, value in build("coord_att", seed=1).state_dict().items()}
    theirs = {key.replace("conv_h", "conv2").replace("conv_w", "conv3"): value for key, value in ours.items()}
    torch.save(theirs, tmp_path / "w.pth")
    assert same(build("coord_att", checkpoint=tmp_path / "w.pth"), ours)


def test_lists_every_fault_in_one_line_and_loads_nothing(tmp_path):
    tensors = state()
    del tensors["ChannelGate.mlp.1.bias"]
    tensors["ChannelGate.mlp.3.bias"] = torch.zeros(3)
    tensors.update({f"head.{index}": torch.zeros(1) for index in range(7)})
    save_file(tensors, tmp_path / "w.safetensors")
    module = build("cbam", seed=5)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_into(module, tmp_path / "w.safetensors")
    message = str(caught.value)
    assert "1 missing (ChannelGate.mlp.1.bias)" in message
    assert "7 unexpected (head.0, head.1, head.2, head.3, head.4 and 2 more)" in message
    assert "1 mis-shaped (ChannelGate.mlp.3.bias (3,) instead of (64,))" in message
    assert "\n" not in message
    assert same(module, before)


def test_a_checkpoint_of_the_backbone_alone_is_answered_with_two_ways(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"missing .*; give one that was trained with .*, strict=False\) and deploy"):
        build("resnet18+se@layer4", shapes=["2x3x32x32"], checkpoint=tmp_path / "w.pth")


def test_a_checkpoint_of_other_options_is_answered_with_them(tmp_path):
    save_file(build("se:reduction=8", shapes=["2x64x8x8"]).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"mis-shaped .*; give .* or the target the options of the checkpoint's"):
        build("se", shapes=["2x64x8x8"], checkpoint=tmp_path / "w.safetensors")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path, legacy):
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    if legacy:
        path.write_bytes(pickle.dumps({"weight": Evil(marker)}))
    else:
        torch.save({"weight": Evil(marker)}, path)
    with pytest.raises(InputError, match="refused since it would run code"):
        build("cbam", checkpoint=path)
    assert not marker.exists()


def test_counters_of_training_steps_may_have_any_type(tmp_path):
    torch.save({key: value.float() for key, value in state().items()}, tmp_path / "averaged.pth")
    assert same(build("cbam", checkpoint=tmp_path / "averaged.pth"), state())


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("m.pth", lambda path: torch.save(nn.SiLU(), path), r"than tensors, as torch\.nn\.modules\.activation\.SiLU; "),
        ("m.pth", lambda path: path.write_text('{"lr": 1}'), "torch.save did not write it; .*; give the file of the w"),
        (
            "m.pth",
            lambda path: path.write_bytes(b"PK\3\4 cut off"),
            "it is no whole archive; .*; copy it again",
        ),
        (
            "m.pt",
            lambda path: zipfile.ZipFile(path, "w").writestr("x", ""),
            "an archive that torch.save did not write; ",
        ),
        ("m.pt2", lambda path: path.write_bytes(b"PK"), "it is a program of torch.export; .*; give it as TARGET"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(InputError, match=message):
        build("cbam", checkpoint=tmp_path / name)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused_with_the_way_to_its_weights(tmp_path):
    torch.jit.trace(nn.ReLU(), torch.zeros(1)).save(tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"it is TorchScript, which runs code; .*; save torch\.jit\.load\(path\)\.st"):
        build("cbam", checkpoint=tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"\x80\x02}"])
def test_garbage_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="received checkpoint") as caught:
        build("cbam", checkpoint=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_cut_off_file_is_refused(tmp_path):
    torch.save(state(), tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="received checkpoint"):
        build("cbam", checkpoint=tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "a list; expected tensors by key"),
        ({"lr": 0.1}, "with 'lr', which is no tensor"),
        ({}, "with no tensor"),
        (torch.zeros(3), "a Tensor; expected tensors by key"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "w.pth")
    assert message in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="expected a file, got No such file"):
        resolve("cbam", checkpoint=tmp_path / "nowhere.pth")
    with pytest.raises(InputError, match="expected a file, got Is a directory"):
        resolve("cbam", checkpoint=tmp_path)


def test_a_file_that_may_not_be_read_is_a_storage_error(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    path.touch()

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        sha256(path)


def test_a_checkpoint_is_not_randomised_over(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    torch.save(module.state_dict(), tmp_path / "w.pth")
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    load_into(other, tmp_path / "w.pth")
    assert same(other, module.state_dict())


def test_a_name_with_a_byte_of_zero_is_bad_input(tmp_path):
    for read in (load, sha256):
        with pytest.raises(InputError, match="with a byte of zero, which no path holds"):
            read(tmp_path / "weights\0.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_fifo_and_a_device_are_refused_without_reading(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (load, sha256):
        with pytest.raises(InputError, match="a device, FIFO or socket; expected a file"):
            read(tmp_path / name)
        with pytest.raises(InputError, match="a device, FIFO or socket; expected a file"):
            read(type(tmp_path)("/dev/zero"))


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.eye(3).to_sparse(), "sparse or quantized|refused since"),
        (torch.empty(2, 2, device="meta"), "without values"),
    ],
)
def test_a_tensor_without_dense_values_is_refused(tmp_path, tensor, words):
    torch.save({"weight": tensor}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=words):
        load(tmp_path / "weights.pt")
