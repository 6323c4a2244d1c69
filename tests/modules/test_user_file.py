"""``mynet.py`` and ``mynet.py:Net``: files of the user by their path, what each stands for, and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from cli_run import run

from attn2trt.errors import InputError
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.grammar import Part, parse
from attn2trt.modules.target import file_name

HEAD = "import torch\nfrom torch import nn\n"
GATE = """
class Gate(nn.Module):
    def __init__(self, channels, ratio=4):
        super().__init__()
        self.ratio = ratio
        self.scale = nn.Conv2d(channels, channels, 1)
    def forward(self, x):
        return x * self.scale(x).sigmoid()
"""
NET = """
class Net(nn.Module):
    def __init__(self, width=4, *more, **options):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
    def forward(self, image):
        return self.stem(image)
"""
MAKE = "\ndef make():\n    return nn.Sequential(Net(5))\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "mynet.py") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + text)
    return path


def test_make_comes_before_the_only_class() -> None:
    write(GATE + NET + MAKE)
    assert build("mynet.py")[0].stem.out_channels == 5
    write(GATE + NET)
    assert build("mynet.py").stem.out_channels == 4


@pytest.mark.parametrize("spec", ["mynet.py:width=6", "mynet.py:Net:width=6", "py:mynet:Net:width=6"])
def test_options_are_arguments_of_what_makes_the_module(spec: str) -> None:
    write(NET)
    assert build(spec).stem.out_channels == 6
    assert resolve(spec, shapes=["2x3x8x8"]).weights == f"as {spec} gives them, seed 0"


@pytest.mark.parametrize("program", ["/bin/attn2trt", "/site/attn2trt/__main__.py"])
def test_a_parser_of_its_own_reads_no_argument_of_the_command_line(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--width', {})\n"
    parse = "given = parser.parse_args()\n"
    arguments = [program, "deploy", "mynet.py", "--for", "none"]
    monkeypatch.setattr(sys, "argv", arguments)
    write(parser.format("default=4") + parse + NET)
    assert build("mynet.py:Net").stem.out_channels == 4
    assert sys.argv == arguments
    write(parser.format("required=True") + parse + NET)
    with pytest.raises(InputError, match=r"got SystemExit: 2 \(mynet\.py:\d+ `given = parser\.parse_args\(\)`\); corr"):
        build("mynet.py:Net")
    monkeypatch.setattr(sys, "argv", ["mine.py", "--width", "8"])
    assert build("mynet.py:Net").stem.out_channels == 4


def test_a_name_works_as_behind_py() -> None:
    write(GATE + NET + MAKE + "\nready = Net(7)\n")
    assert build("mynet.py:Net").stem.out_channels == 4
    assert build("mynet.py:make")[0].stem.out_channels == 5
    assert build("mynet.py:ready").stem.out_channels == 7
    target = resolve("mynet.py", shapes=["2x3x8x8"], dynamic="batch")
    assert (target.name, target.fingerprint, str(target.inputs[0])) == (
        "mynet.py",
        None,
        "input: float32[batch, 3, 8, 8]",
    )


@pytest.mark.parametrize("name", ["my-net.py", "nets/deep/my net.py", "torch.py", "random.py", "timm.py", "cbam.py"])
def test_any_path_and_any_name_of_a_file(name: str, tmp_path: Path) -> None:
    write(NET + "\nimport random, timm\nassert random.random and timm.create_model\n", name)
    before = list(sys.path)
    assert build(name).stem.out_channels == 4
    assert build(str(tmp_path / name)).stem.out_channels == 4
    assert sys.path == before
    assert sys.modules["torch"] is torch
    assert "site-packages" in str(sys.modules["timm"].__file__)


def test_files_beside_it_are_found() -> None:
    write(GATE, "nets/gates_beside.py")
    write("from gates_beside import Gate\ndef make():\n    import gates_beside\n    return Gate(8)\n", "nets/whole.py")
    assert build("nets/whole.py").scale.out_channels == 8
    # an imported class is none of the file's own
    write("from gates_beside import Gate\n" + NET, "nets/whole.py")
    assert build("nets/whole.py").stem.out_channels == 4
    sys.modules.pop("gates_beside")


def package(root: str, name: str, source: str) -> Path:
    write(GATE, f"{root}/{name}/parts/gates.py")
    Path(root, name, "__init__.py").touch()
    Path(root, name, "parts", "__init__.py").touch()
    return write(source, f"{root}/{name}/parts/whole.py")


def test_a_file_of_a_package_imports_its_neighbours(tmp_path: Path) -> None:
    source = "from .gates import Gate\nfrom repo_a.parts import gates\nassert gates.Gate is Gate\n"
    path = package(
        "my src", "repo_a", f"{source}class Net(Gate):\n    def __init__(self):\n        super().__init__(8)\n"
    )
    before = list(sys.path)
    assert build(str(path)).scale.out_channels == 8
    assert build(f"{tmp_path / path}:Net").scale.out_channels == 8
    assert sys.path == before
    path.write_text(path.read_text().replace("(8)", "(16)"))
    assert build(str(path)).scale.out_channels == 16


def test_a_file_imports_from_the_current_folder() -> None:
    package(".", "repo_b", "from .gates import Gate\ndef make():\n    return Gate(8)\n")
    write("from repo_b.parts.whole import make\n", "tools/run.py")
    assert build("tools/run.py").scale.out_channels == 8


def test_a_package_that_another_hides_is_refused() -> None:
    path = package(".", "timm", "from .gates import Gate\ndef make():\n    return Gate(8)\n")
    with pytest.raises(InputError, match=r"relative imports need the package timm in .*site-packages.*; rename the"):
        build(str(path))


def test_code_that_changes_the_folder(tmp_path: Path) -> None:
    write(NET + "\nimport os\nos.mkdir('other')\nos.chdir('other')\n")
    resolve("mynet.py", shapes=["2x3x8x8"]).build()
    os.chdir(tmp_path)


def test_a_checkpoint_is_found_from_the_folder_that_the_command_began_in(tmp_path: Path) -> None:
    write(NET)
    torch.save({key: value + 1 for key, value in build("mynet.py").state_dict().items()}, "weights.pt")
    write(NET + "\nimport os\nos.makedirs('other', exist_ok=True)\nos.chdir('other')\n", "moving.py")
    given = {"checkpoint": "weights.pt"}
    loaded = resolve("moving.py", shapes=["2x3x8x8"], **given).build()  # type: ignore[arg-type]
    os.chdir(tmp_path)
    expected = build("mynet.py", **given)  # type: ignore[arg-type]
    torch.testing.assert_close(loaded.state_dict(), expected.state_dict())


def test_a_block_in_a_backbone() -> None:
    write(GATE)
    assert build("resnet18+mynet.py:Gate:ratio=2@layer4").layer4.attn.ratio == 2
    assert build("resnet18+mynet.py:ratio=3@layer4").layer4.attn.ratio == 3
    assert build("resnet18+mynet.py@layer4").layer4.attn.ratio == 4


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("net.py", Part("net.py")),
        ("a/net.py:Net", Part("a/net.py:Net")),
        ("net.py:Net:k=3", Part("net.py:Net", {"k": "3"})),
        ("net.py:k=3", Part("net.py", {"k": "3"})),
    ],
)
def test_the_grammar(text: str, part: Part) -> None:
    assert parse(text).base == part
    assert part.is_user_code


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("net.py", "net"),
        ("a/net.py:Net", "a-net-Net"),
        ("../net.py", "net"),
        ("resnet18+net.py@layer4", "resnet18+net@layer4"),
        ("py:net:Net:" + "k=1," * 90, "py-net-Net-k=1,k=1,k=1,k=1,k=1,k=1,k=1,k-70892014"),
        ("py:net:Net:" + "k=1," * 89 + "k=2", "py-net-Net-k=1,k=1,k=1,k=1,k=1,k=1,k=1,k-1e4333db"),
    ],
)
def test_the_folder_of_its_bundle(target: str, name: str) -> None:
    assert file_name(target) == name


@pytest.mark.parametrize(
    ("source", "spec", "message"),
    [
        (NET, "mynt.py", "expected a Python file, found none in "),
        (NET, "mynt.py", "did you mean mynet.py?"),
        (NET, "nowhere/mynet.py", "correct the path, or run from the folder that holds it"),
        (NET, "mynet.py:Nt", "expected 'Nt' in mynet.py, found none; "),
        (NET, "py:mynet.py:Net", "expected a file without py:; write mynet.py:Net"),
        (NET, "mynet.py:Net:k=3:k=4", "expected file.py:name; write it as"),
        (NET, "mynet.py:", "expected file.py:name; write it as"),
        (NET, "mynet.py+cbam", "with blocks after a module of your own"),
        (
            "def make(width=3):\n    pass",
            "mynet.py:widht=3",
            "received option 'widht' for mynet.py; expected one of width; did you",
        ),
        (NET, "mynet.py:width=big", "got TypeError: "),
        (NET + "net = Net()", "mynet.py:net:width=3", "with options, a module that is made already; expected a fact"),
        ("x = 1", "mynet.py", "found no torch.nn.Module in it; add a function make()"),
        (GATE, "mynet.py", "found Gate(channels) alone; add a function make() that returns the model"),
        (NET + "class Other(Net):\n    pass\n", "mynet.py", "found mynet.py:Net and mynet.py:Other; name one of them"),
        ("make = 3", "mynet.py", "a int; expected a callable that returns a torch.nn.Module"),
        ("def make(width):\n    pass", "mynet.py", "needs width; expected a value for each; add :width=VALUE be"),
        ("def make():\n    return 3", "mynet.py", "received int from 'mynet.py'"),
        ("def f(:\n", "mynet.py", "got SyntaxError: "),
        ("import no_such_package.at_all", "mynet.py", "; install it, or name the folder that holds no_such_package in"),
        ("from . import gates", "mynet.py", "); put an __init__.py into its folder"),
        ("\n1 / 0", "mynet.py", "got ZeroDivisionError: division by zero ("),
        ("x = 1", "resnet18+mynet.py@layer4", "received block 'mynet.py'; expected one torch.nn.Module class"),
        (GATE + NET, "resnet18+mynet.py@layer4", "found mynet.py:Gate and mynet.py:Net; name one of them"),
    ],
)
def test_refuses(source: str, spec: str, message: str) -> None:
    write(source)
    with pytest.raises(InputError) as caught:
        build(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_no_file() -> None:
    Path("loop.py").symlink_to("loop.py")
    os.mkfifo("pipe.py")
    for name, why in (("loop.py", "which is not there"), ("pipe.py", "a device, FIFO or socket")):
        with pytest.raises(InputError, match=f"received {name}, {why}; expected a Python file"):
            build(name)


@pytest.mark.parametrize("spec", ["nets", "nets/", "nets.py"])
def test_refuses_a_folder(spec: str) -> None:
    Path(spec).mkdir()
    with pytest.raises(InputError, match=r"a folder; expected .*; name the (file|one) that holds the module, as "):
        build(spec)


def test_show_takes_a_file() -> None:
    write(NET)
    shown = run("show", "mynet.py", "--shape", "2x3x8x8")
    assert (shown.exit_code, "parameters  16" in shown.stdout) == (0, True)


def test_a_file_is_no_path_of_a_bundle() -> None:
    from attn2trt.workflows.benchmark import is_bundle
    from attn2trt.workflows.cost import check_target

    assert not is_bundle("nets/mynet.py")
    check_target("nets/mynet.py", [])


def test_a_file_that_has_changed_is_run_again() -> None:
    write(NET)
    build("mynet.py")
    write(NET.replace("width=4", "width=16"))
    assert build("mynet.py").stem.out_channels == 16


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("best.pt", "a file of weights; expected .*; name the module that they are for, and add --checkpoint best.pt"),
        ("best.pt", "a file of weights; .*; a whole network of Ultralytics is ultralytics:best.pt --trust"),
        ("net.engine", "a TensorRT plan; expected .*; judge it by attn2trt check model.onnx --plan net.engine --trust"),
        ("net.yaml", "a file of settings; expected .*; a network of Ultralytics is ultralytics:net.yaml"),
        ("notes.txt", "a file without .py, .pt2 or .onnx at its end; expected .*; name the file that holds the module"),
        ("nets", "a folder; expected .*; name the file that holds the module, as nets/net.py"),
    ],
)
def test_of_a_path_that_is_no_target_the_next_step_is_named(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"x") if "." in name else Path(name).mkdir()
    with pytest.raises(InputError, match=f"received target '{name}', {words}"):
        resolve(name)


def test_of_a_folder_of_transformers_the_target_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_detr").mkdir()
    Path("my_detr/config.json").touch()
    for name, fix in (("my_detr", "./my_detr"), (f"{tmp_path}/my_detr", f"{tmp_path}/my_detr")):
        with pytest.raises(InputError, match=f"with a config.json; .*; a model of transformers is transformers:{fix}$"):
            resolve(name)


@pytest.mark.parametrize("name", ["se_checked", "bundles/se+nothing"])
def test_a_bundle_is_no_target_and_told_from_other_folders(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    Path(name, "bundle.json").touch()
    with pytest.raises(InputError, match=r"a bundle; expected .*; name what it was deployed from, as resnet50"):
        resolve(name)
