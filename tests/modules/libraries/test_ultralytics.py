"""Ultralytics' networks as targets: with a package that stands in for it, and, if it is installed, with its own."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from ultralytics_stand_in import LAYERS, installed, write

from attn2trt.core import bounds
from attn2trt.errors import InputError, MissingRequirement, SizesRefused
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.libraries import ultralytics_yaml
from attn2trt.modules.libraries.ultralytics_offline import network_tasks

SHAPE = ["2x3x16x16"]
real = pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    with installed(tmp_path / "site", monkeypatch):
        yield tmp_path


def test_results_are_the_predictions_alone_by_the_librarys_names(stand_in: Path) -> None:
    x = torch.rand(2, 3, 16, 16)
    assert {name: tuple(value.shape) for name, value in build("ultralytics:yolo9n.yaml", shapes=SHAPE)(x).items()} == {
        "output0": (2, 7, 16)
    }
    assert [*build("ultralytics:yolo9n-seg.yaml", shapes=SHAPE)(x)] == ["output0", "output1"]
    assert build("ultralytics:yolo9n.yaml:nc=9", shapes=SHAPE)(x)["output0"].shape == (2, 13, 16)


def test_facts_and_switches_are_said(stand_in: Path) -> None:
    target = resolve("ultralytics:yolo9.yaml")
    target.build()
    assert target.source == "ultralytics 8.4.7 yolo9.yaml"
    assert target.inputs[0].name == "images"
    assert target.preprocessing is not None
    assert (target.preprocessing.resize, target.preprocessing.pad) == ("letterbox", (114.0,))
    notes = " | ".join(target.notes)
    for said in ("scale n, the first of n, s", "Detect.export=True", "before the suppression of overlaps", "AGPL-3.0"):
        assert said in notes


def test_no_place_of_a_box_is_kept_from_one_size_to_the_next(stand_in: Path) -> None:
    module = build("ultralytics:yolo9n.yaml", shapes=SHAPE)
    for side in (16, 24, 16):
        assert module(torch.rand(1, 3, side, side))["output0"].shape[2] == (side // 4) ** 2
    with pytest.raises(SizesRefused, match="height and width must be multiples of 4, as 20x16;"):
        build("ultralytics:yolo9n.yaml", shapes=["2x3x18x16"])


def test_a_decoder_forgets_the_sizes_of_the_last_image(stand_in: Path) -> None:
    target = resolve("ultralytics:rtdetr-l.yaml", shapes=SHAPE)
    module = target.build()
    for side in (16, 24, 24):
        assert module(torch.rand(1, 3, side, side))["output0"].shape[2] == (side // 4) ** 2
    assert any("RTDETRDecoder.export=True: the best 4 boxes" in note for note in target.notes)


def test_a_block_behind_a_layer(stand_in: Path) -> None:
    module = build("ultralytics:yolo9n.yaml+se:reduction=4@model.1", shapes=SHAPE)
    assert "model.1.attn" in dict(module.named_modules())
    assert module(torch.rand(1, 3, 16, 16))["output0"].shape == (1, 7, 16)


@pytest.mark.parametrize(
    ("option", "kept", "left"), [("", "cv2", "one2one_cv2"), (":end2end=true", "one2one_cv2", "cv2")]
)
def test_the_branch_that_does_not_run_is_left_out(stand_in: Path, option: str, kept: str, left: str) -> None:
    target = resolve(f"ultralytics:yolo10n.yaml{option}", shapes=SHAPE)
    head = target.build().get_submodule("model.2")
    assert getattr(head, kept) is not None
    assert getattr(head, left) is None
    assert any(note.endswith("branch left out: it does not run") for note in target.notes)


def test_the_best_boxes_inside_the_graph(stand_in: Path) -> None:
    module = build("ultralytics:yolo10n.yaml:end2end=true,max_det=3", shapes=SHAPE)
    assert module(torch.rand(2, 3, 16, 16))["output0"].shape == (2, 3, 7)
    with pytest.raises(InputError, match=r"end2end=true, whose Detect has no branch .* leave it out$"):
        resolve("ultralytics:yolo9n.yaml:end2end=true")


def test_a_checkpoint_may_have_the_branch_that_is_left_out_or_lack_it(stand_in: Path) -> None:
    network = network_tasks().DetectionModel(ultralytics_yaml.read("yolo10n.yaml").layers, ch=3, verbose=False)
    weights = {
        key: torch.rand_like(value) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    for name, kept in (("all", weights), ("one", {k: v for k, v in weights.items() if "one2one" not in k})):
        save_file(kept, f"{name}.safetensors")
        module = build("ultralytics:yolo10n.yaml", shapes=SHAPE, checkpoint=f"{name}.safetensors")
        assert torch.equal(module.state_dict()["model.2.cv2.weight"], weights["model.2.cv2.weight"])


def test_a_pickle_is_read_if_it_is_trusted(stand_in: Path) -> None:
    network = network_tasks().DetectionModel(ultralytics_yaml.read("yolo9n.yaml").layers, ch=3, verbose=False).half()
    with Path("best.pt").open("wb") as file:
        torch.serialization.save(network, file)
    with pytest.raises(InputError, match=r"without --trust; .*pickle.*runs whatever.*\.yaml --checkpoint weights"):
        resolve("ultralytics:best.pt")
    target = resolve("ultralytics:best.pt", shapes=SHAPE, trust=True)
    state = target.build().state_dict()
    assert all(torch.equal(value.float(), state[key].float()) for key, value in network.state_dict().items())
    assert target.weights.startswith("best.pt as it was trained, sha256 ")
    Path("no.pt").write_bytes(pickle.dumps("x"))
    with Path("linear.pt").open("wb") as file:
        torch.serialization.save(torch.nn.Linear(2, 2), file)
    wrong = (("no.pt", "cannot read: "), ("linear.pt", "TypeError: it holds a Linear"))
    for name, message in (*wrong, ("other.pt", "found none in .* none is fetched")):
        with pytest.raises(InputError, match=message):
            resolve(f"ultralytics:{name}", trust=True)
    with pytest.raises(InputError, match="its own number of classes; leave nc out"):
        resolve("ultralytics:best.pt:nc=2", trust=True)


def test_a_trained_network_finds_the_blocks_beside_it(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("trained")
    folder.mkdir()
    code = "from torch import nn\nclass Gate(nn.Module):\n    def forward(self, x):\n        return x * x.sigmoid()\n"
    (folder / "own_blocks.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    network = network_tasks().DetectionModel(ultralytics_yaml.read("yolo9n.yaml").layers, ch=3, verbose=False)
    network.model[0].act = importlib.import_module("own_blocks").Gate()
    with (folder / "best.pt").open("wb") as file:
        torch.serialization.save(network, file)
    sys.path.remove(str(folder))
    monkeypatch.delitem(sys.modules, "own_blocks")
    assert (
        type(resolve("ultralytics:trained/best.pt", shapes=SHAPE, trust=True).build().model[0].act).__name__ == "Gate"
    )
    monkeypatch.delitem(sys.modules, "own_blocks")
    (folder / "best.pt").rename("best.pt")
    (folder / "own_blocks.py").rename(folder / "moved.py")
    with pytest.raises(
        InputError, match="No module named 'own_blocks'; expected the code of its blocks; put it beside"
    ):
        resolve("ultralytics:best.pt", shapes=SHAPE, trust=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolo9k.yaml", r"did you mean .*yolo9n\.yaml"),
        ("yolo9x.yaml", "with the scale x; expected n, s; write one of them"),
        ("yolo9n", r"the name of a description, or a file of weights; write ultralytics:yolo9n\.yaml, "),
        ("nothing", r"write ultralytics:yolo11n\.yaml, ultralytics:your/own\.yaml or ultralytics:best\.pt$"),
        ("yolo9n.pt", r"fetch it yourself, or deploy ultralytics:yolo9n\.yaml with random weights$"),
        ("mine.pt", "correct the path, or fetch it yourself$"),
        ("yolo9n-world.yaml", "a text encoder that would be fetched"),
        ("yolo9n.yaml:end2end=3", "expected nc=COUNT, end2end=true"),
        ("yolo9n.yaml:size=3", "expected nc=COUNT, end2end=true"),
        ("own/runs.yaml", "'os.system' ?.*|which Ultralytics would run as Python"),
        ("own/what.yaml", "with the module 'Convv', which .* did you mean Conv"),
        ("own/data.yaml", "a data set's .yaml is none"),
        ("own/broken.yaml", "which is no YAML"),
        ("own/headless.yaml", "whose last module is Conv; expected a head"),
    ],
)
def test_what_cannot_be_a_network_is_refused_in_one_line(stand_in: Path, name: str, message: str) -> None:
    own = stand_in / "own"
    own.mkdir()
    plain = LAYERS.format(head="Detect", more="")
    (own / "runs.yaml").write_text(plain + "activation: nn.ReLU() if not open('ran', 'w') else nn.ReLU()\n")
    (own / "what.yaml").write_text(plain.replace("Conv", "Convv"))
    (own / "data.yaml").write_text("nc: 3\ntrain: images\n")
    (own / "broken.yaml").write_text("a: [")
    (own / "headless.yaml").write_text(plain.replace("Detect, [nc]", "Conv, [8]"))
    with pytest.raises(InputError, match=message) as raised:
        resolve(f"ultralytics:{name}")
    assert "\n" not in str(raised.value)
    assert not Path("ran").exists()


def test_a_file_of_the_users_comes_before_the_librarys_name(stand_in: Path) -> None:
    Path("yolo9n.yaml").write_text(
        LAYERS.format(head="Detect", more="activation: nn.LeakyReLU(0.1)").replace("nc: 3", "nc: 5")
    )
    assert build("ultralytics:yolo9n.yaml", shapes=SHAPE)(torch.rand(1, 3, 16, 16))["output0"].shape[1] == 9


def test_weights_that_a_description_would_fetch_are_not() -> None:
    layer = [-1, 1, "TorchVision", [512, "resnet18", "DEFAULT", True, 2]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ultralytics_yaml, "_module", lambda kind: torch.nn.Identity)
        ultralytics_yaml._check_layer("own.yaml", layer)
    assert layer[3] == [512, "resnet18", None, True, 2]


def test_importing_it_leaves_this_process_and_the_home_as_they_were(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = stand_in / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("YOLO_OFFLINE", "mine")
    before, save, width = dict(os.environ), torch.save, np.get_printoptions()["linewidth"]
    network_tasks()
    utils = sys.modules["ultralytics.utils"]
    assert (utils.ONLINE, utils.AUTOINSTALL, utils.SETTINGS["sync"]) == (False, False, False)
    assert not Path(utils.FOLDER).exists()
    assert not [*home.iterdir()]
    assert dict(os.environ) == before
    assert torch.save is save
    assert np.get_printoptions()["linewidth"] == width


def test_one_that_was_imported_before_is_switched_off(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(stand_in))
    from ultralytics import utils  # as another part of the process may

    assert utils.ONLINE
    network_tasks()
    assert (utils.ONLINE, utils.AUTOINSTALL, utils.SETTINGS["sync"]) == (False, False, False)
    assert '"sync": true' in (stand_in / "settings.json").read_text()  # the user's own file is not written


def test_an_old_one_and_a_broken_one_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "8.3.9")
    bounds._outside.cache_clear()
    expected = r"received ultralytics 8\.3\.9; expected ultralytics>=8\.4; pip install 'ultralytics>=8\.4'$"
    with installed(tmp_path, monkeypatch), pytest.raises(MissingRequirement, match=expected):
        resolve("ultralytics:yolo9n.yaml")
    bounds._outside.cache_clear()
    broken = tmp_path / "broken"
    write(broken)
    for code, message in (
        (
            "raise ImportError('libGL.so.1: cannot open shared object file')",
            "pip install --force-reinstall opencv-python-h",
        ),
        ("raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')", "pip install opencv-python-headless$"),
        ("import no_such_package.part", "No module named 'no_such_package'; pip install no_such_package$"),
    ):
        (broken / "ultralytics/utils/__init__.py").write_text(code)
        with installed(broken, monkeypatch), pytest.raises(MissingRequirement, match=message):
            resolve("ultralytics:yolo9n.yaml")


def test_no_weights_are_fetched(stand_in: Path) -> None:
    with pytest.raises(InputError, match="no weights are fetched"):
        resolve("ultralytics:yolo9n.yaml", pretrained=True)


@pytest.mark.slow
@real
def test_the_real_one_opens_no_socket_and_writes_nothing_at_home(tmp_path: Path) -> None:
    """In a process of its own: an audit hook cannot be taken away again."""
    code = """
import socket, sys
seen = []
events = ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostby", "urllib.", "subprocess.")
def watch(event, args):
    if event.startswith(events) and "ldconfig" not in str(args[0]):  # by which a library is looked for on the disk
        seen.append((event, args))
sys.addaudithook(watch)
from attn2trt.modules.catalog import build
for name in ("yolo11n.yaml", "yolo26n.yaml:end2end=true", "yolo11n-cls-resnet18.yaml"):
    build(f"ultralytics:{name}", shapes=["2x3x64x64"])
if seen:
    sys.exit(repr(seen))
socket.getaddrinfo("localhost", 0)
assert seen, "nothing is watched"
"""
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("XDG_CONFIG_HOME", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*ltralytics*"))


@pytest.mark.slow
@real
@pytest.mark.parametrize(
    "name", ["yolo11n", "yolo26n", "yolov8n", "yolov10n", "yolo11n-seg", "yolo26n-seg", "yolo11n-pose"]
)
def test_the_real_ones_give_what_the_library_gives(name: str) -> None:
    module = build(f"ultralytics:{name}.yaml", shapes=["2x3x64x96"])
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        ours = list(module(x).values())
        for part in module.modules():
            if hasattr(part, "export"):
                part.export = part.dynamic = False
        theirs = type(module).__mro__[2].forward(module, x)[0]
    theirs = list(theirs) if isinstance(theirs, tuple) else [theirs]
    assert [tuple(one.shape) for one in ours] == [tuple(one.shape) for one in theirs]
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-4) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.slow
@real
def test_every_description_of_the_real_one_is_read_or_refused_by_name() -> None:
    for name in ultralytics_yaml.names():
        if "world" in name or "yoloe" in name:
            with pytest.raises(InputError, match="text encoder"):
                ultralytics_yaml.read(name)
        else:
            assert ultralytics_yaml.read(name).network.endswith("Model")
    assert ultralytics_yaml.newest() in ultralytics_yaml.names()
