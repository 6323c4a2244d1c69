"""Sets of weights inside of checkpoint files: found, named, chosen, and read without running anything."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from attn2trt.errors import InputError
from attn2trt.modules.catalog import resolve
from attn2trt.modules.checkpoint import load_into, sha256
from attn2trt.modules.checkpoint_file import named, read_weights, shard_names, split


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


RAW, MEAN = network(1).state_dict(), network(2).state_dict()


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}


def loaded(content: object, folder: Path, entry: str = "") -> tuple[dict[str, torch.Tensor], list[str]]:
    torch.save(content, folder / "w.pt")
    module = network()
    notes = load_into(module, folder / f"w.pt{entry}")
    return module.state_dict(), notes


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


ONE_SET = {
    "model_state_dict": ({"model_state_dict": RAW, "epoch": 3}, "model_state_dict"),
    "net": ({"net": RAW, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}}, "net"),
    "nested": ({"ema": {"module": RAW}}, "ema.module"),
    "beside None": ({"model": None, "weights": RAW}, "weights"),
    "beside class weights": ({"model": RAW, "classes": {"weight": torch.ones(3)}}, "model"),
    "beside an optimizer": ({"model": RAW, "optimizer": {"buf": torch.zeros(2)}}, "model"),
    "beside arguments": ({"model": RAW, "args": argparse.Namespace(lr=0.1, output=Path("runs"))}, "model"),
    "beside NumPy scalars": ({"model": RAW, "best": np.float64(76.1), "epoch": np.int64(3)}, "model"),
}


@pytest.mark.parametrize("kind", ONE_SET)
def test_one_set_of_weights_is_taken_and_named(kind: str, tmp_path: Path) -> None:
    content, entry = ONE_SET[kind]
    state, notes = loaded(content, tmp_path)
    assert same(state, RAW)
    assert notes == [f"entry {entry!r}"]


SEVERAL = {
    "ema": ({"model": RAW, "ema": {"module": MEAN}}, "model (7 tensors), ema.module (7 tensors)", "ema.module"),
    "timm": ({"state_dict": RAW, "state_dict_ema": MEAN}, "state_dict (7 tensors), state_dict_ema", "state_dict_ema"),
    "torchvision": ({"model": RAW, "model_ema": MEAN, "epoch": 3}, "model (7 tensors), model_ema", "model_ema"),
    "basicsr": ({"params": RAW, "params_ema": MEAN}, "params (7 tensors), params_ema", "params_ema"),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_sets_are_listed_and_one_can_be_chosen(kind: str, tmp_path: Path) -> None:
    content, listed, entry = SEVERAL[kind]
    with pytest.raises(InputError) as caught:
        loaded(content, tmp_path)
    assert f"with 2 sets of weights: {listed}" in str(caught.value)
    assert f"--checkpoint w.pt#{entry}" in str(caught.value)
    state, notes = loaded(content, tmp_path, f"#{entry}")
    assert same(state, MEAN)
    assert notes == [f"entry {entry!r}"]


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "net.backbone."])
def test_a_prefix_of_all_keys_is_left_out_and_stated(prefix: str, tmp_path: Path) -> None:
    state, notes = loaded({"state_dict": prefixed(RAW, prefix)}, tmp_path)
    assert same(state, RAW)
    assert notes == ["entry 'state_dict'", f"prefix {prefix!r} left out"]


def test_a_prefix_that_the_module_has_too_is_kept(tmp_path: Path) -> None:
    module = nn.ModuleDict({"model": network()})
    torch.save(prefixed(RAW, "model."), tmp_path / "w.pt")
    assert load_into(module, tmp_path / "w.pt") == []
    assert same(module["model"].state_dict(), RAW)


def test_keys_beside_the_modules_are_refused_with_the_way_to_leave_them_out(tmp_path: Path) -> None:
    content = {"state_dict": {**prefixed(RAW, "net."), "loss.weight": torch.ones(2)}}
    with pytest.raises(InputError, match=r"1[0-9]* unexpected|unexpected") as caught:
        loaded(content, tmp_path)
    assert "the keys under 'net.' are those: give --checkpoint w.pt#net" in str(caught.value)
    state, notes = loaded(content, tmp_path, "#net")
    assert same(state, RAW)
    assert notes == ["entry 'net'"]
    assert same(loaded(content, tmp_path, "#state_dict.net")[0], RAW)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_stated(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in RAW.items()}
    found, notes = loaded(state, tmp_path)
    assert {value.dtype for value in found.values() if value.is_floating_point()} == {torch.float32}
    assert notes == [f"6 tensors of {str(dtype).removeprefix('torch.')} read as float32"]


@pytest.mark.parametrize("entry", ["#average", "#"])
def test_an_entry_that_is_not_there_lists_those_that_are(entry: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of its sets of weights, model, ema; name one after #"):
        loaded({"model": RAW, "ema": MEAN}, tmp_path, entry)


def test_a_file_whose_name_has_the_sign_is_a_file(tmp_path: Path) -> None:
    torch.save(RAW, tmp_path / "w#2.pt")
    assert split(tmp_path / "w#2.pt") == (tmp_path / "w#2.pt", "")
    assert split(tmp_path / "w.pt#ema") == (tmp_path / "w.pt", "ema")
    assert same(read_weights(tmp_path / "w#2.pt")[0], RAW)


def sharded(folder: Path, names: tuple[str, str] = ("a.safetensors", "b.safetensors")) -> Path:
    keys = list(RAW)
    parts = {names[0]: keys[:3], names[1]: keys[3:]}
    for name, part in parts.items():
        if Path(name).name == name:
            save_file({key: RAW[key] for key in part}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, part in parts.items() for key in part}}))
    return index


def test_shards_are_read_by_their_index_and_hashed_with_it(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    assert shard_names(index) == ["a.safetensors", "b.safetensors"]
    module = network()
    assert load_into(module, index) == []
    assert same(module.state_dict(), RAW)
    before = sha256(index)
    save_file({key: RAW[key] + 1 for key in list(RAW)[:3]}, tmp_path / "a.safetensors")
    assert sha256(index) != before
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"b\.safetensors; expected a file, got No such file"):
        read_weights(index)


@pytest.mark.parametrize("name", ["../b.safetensors", "/tmp/b.safetensors", "sub/b.safetensors"])
def test_a_shard_outside_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file beside it"):
        read_weights(sharded(tmp_path, ("a.safetensors", name)))


def test_an_index_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.index.json").write_text("[1]")
    with pytest.raises(InputError, match="an index without a weight_map"):
        read_weights(tmp_path / "w.index.json")


def test_objects_of_other_kinds_are_still_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="refused since it would run code or hold objects other than tensors"):
        loaded({"model": RAW, "module": network()}, tmp_path)
    with pytest.raises(InputError, match="refused since"):
        loaded({"model": RAW, "array": np.array([{}], dtype=object)}, tmp_path)


def test_the_entry_is_part_of_what_a_target_is_and_of_its_words(tmp_path: Path) -> None:
    state, other = (resolve("eca", seed=seed).build().state_dict() for seed in (1, 2))
    torch.save({"model": state, "ema": {"module": other}}, tmp_path / "w.pt")
    one, two = (resolve("eca", checkpoint=tmp_path / f"w.pt#{entry}") for entry in ("model", "ema.module"))
    assert one.fingerprint != two.fingerprint
    assert same(two.build().state_dict(), other)
    assert two.weight_notes == ["entry 'ema.module'"]


def test_a_message_names_the_file_from_the_folder_that_people_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    assert named(tmp_path / "inside/weights.pt") == "checkpoint weights.pt"
    assert named(tmp_path / "weights.pt") == f"checkpoint {tmp_path / 'weights.pt'}"
    with pytest.raises(InputError, match=r"^received checkpoint weights\.pt; expected a file, got No such file"):
        load_into(nn.Linear(1, 1), tmp_path / "inside/weights.pt")
    (tmp_path / "inside").rmdir()
    assert named(tmp_path / "weights.pt") == f"checkpoint {tmp_path / 'weights.pt'}"
