"""Programs of torch.export as targets: a saved one by its file, and the module of one from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_run import run
from torch import Tensor, nn

import attn2trt
from attn2trt.errors import InputError
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.checks import check_module
from attn2trt.modules.traceable import accept_eval
from attn2trt.workflows.batches import with_batches
from attn2trt.workflows.options import Weights

IMAGE = torch.randn(2, 3, 8, 12)
TRUSTED = Weights(trust=True)


class Gated(nn.Module):
    """A gate behind a convolution, whose programs hold its cast to float32."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image: Tensor, scale: Tensor | None = None) -> dict[str, Tensor]:
        found = self.norm(self.mix(image)).float()
        found = found * found.mean((2, 3), keepdim=True).sigmoid()
        return {"map": found if scale is None else found * scale, "pooled": found.amax((2, 3))}


def program(**options: object) -> torch.export.ExportedProgram:
    torch.manual_seed(0)
    return torch.export.export(Gated().eval(), (IMAGE,), **options)  # type: ignore[arg-type]


def saved(folder: Path, found: torch.export.ExportedProgram) -> str:
    torch.export.save(found, folder / "net.pt2")
    return str(folder / "net.pt2")


def any_batch() -> torch.export.ExportedProgram:
    return program(dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=16)},))


@pytest.mark.filterwarnings("ignore")
def test_a_saved_program_is_deployed_at_the_sizes_that_it_was_exported_for(tmp_path: Path) -> None:
    name = saved(tmp_path, any_batch())
    bundle = attn2trt.deploy(name, weights=TRUSTED, capabilities="none", out=tmp_path / "any")
    assert bundle.passed
    assert [(spec.name, spec.shape) for spec in bundle.inputs] == [("image", ("batch", 3, 8, 12))]
    assert [spec.name for spec in bundle.outputs] == ["map", "pooled"]
    assert "as net.pt2 holds them, sha256 " in bundle.manifest["target"]["weights"]
    fixed = attn2trt.deploy(saved(tmp_path, program()), weights=TRUSTED, capabilities="none", out=tmp_path / "fixed")
    assert fixed.passed
    assert fixed.inputs[0].shape == (2, 3, 8, 12)


@pytest.mark.filterwarnings("ignore")
def test_sizes_that_a_program_was_not_exported_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"batch=32.*Guard failed: image\.size\(\)\[0\] <= 16"):
        attn2trt.deploy(saved(tmp_path, any_batch()), weights=TRUSTED, dynamic="batch=1:2:32", out=tmp_path / "wide")
    with pytest.raises(InputError, match=r"image=2x3x16x12.*Guard failed: image\.size\(\)\[2\] == 8"):
        resolve(saved(tmp_path, program()), shapes=["2x3x16x12"], trust=True).build()


@pytest.mark.filterwarnings("ignore")
def test_the_shapes_of_a_program_come_from_its_example_or_are_asked_for(tmp_path: Path) -> None:
    two = torch.export.export(Gated().eval(), (IMAGE, torch.tensor([2.0])))
    assert [spec.shape for spec in resolve(saved(tmp_path, two), trust=True).inputs] == [(2, 3, 8, 12), (1,)]
    by_keyword = torch.export.export(Gated().eval(), (IMAGE,), {"scale": torch.tensor([2.0])})
    with pytest.raises(InputError, match=r"forward\(image, scale\); add --shape image="):
        resolve(saved(tmp_path, by_keyword), trust=True)


@pytest.mark.filterwarnings("ignore")
def test_a_program_of_one_batch_is_shown_and_timed_at_it(tmp_path: Path) -> None:
    name = saved(tmp_path, program())
    shown = run("show", name, "--trust")
    assert "for 2x3x8x12\n" in shown.stdout
    assert shown.stdout.startswith(f"{name}  module\n")
    assert with_batches(name, [], None, [2], trust=True)[0] == ["image=2x3x8x12@nchw"]
    with pytest.raises(InputError, match="without --trust"):
        with_batches(name, [], None, [2], trust=False)


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_goes_into_a_program(tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = Gated().eval()
    torch.save(other.state_dict(), tmp_path / "other.pt")
    found = build(saved(tmp_path, program()), checkpoint=tmp_path / "other.pt", trust=True)
    assert torch.equal(found(IMAGE)["map"], other(IMAGE)["map"])


@pytest.mark.filterwarnings("ignore")
def test_the_module_of_a_program_is_deployed_and_left_as_it_is(tmp_path: Path) -> None:
    module = any_batch().module()
    inside = nn.Sequential(nn.Conv2d(3, 3, 1), module)
    check_module(inside)
    accept_eval(any_batch().module()).eval()
    assert attn2trt.deploy(inside, IMAGE, capabilities="none", out=tmp_path / "bundle").passed
    with pytest.raises(NotImplementedError):
        module.eval()


@pytest.mark.filterwarnings("ignore")
def test_a_program_in_training_mode_is_refused(tmp_path: Path) -> None:
    training = torch.export.export(Gated().train(), (IMAGE,)).module()
    with pytest.raises(InputError, match="normalises by the statistics of its batch"):
        attn2trt.deploy(training, IMAGE, out=tmp_path / "bundle")
    dropping = torch.export.export(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout()).train(), (IMAGE,)).module()
    # no line of the program is anybody's, and that of whoever called the workflow says nothing
    with pytest.raises(InputError, match=r"it draws random numbers, torch's bernoulli_; make"):
        attn2trt.deploy(dropping, IMAGE, out=tmp_path / "bundle")


def test_what_is_no_trusted_program_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(b"PK\3\4 and nothing else")
    for arguments, words in (
        ([str(path)], "may hold pickles, which run whatever code its author put into them; add --trust"),
        ([str(path), "--trust"], "cannot read: BadZipFile"),
        ([f"{path}+cbam", "--trust"], "with blocks after a module of your own"),
        ([str(tmp_path / "absent.pt2"), "--trust"], "which is not there; expected a program that torch.export.save"),
    ):
        found = run("deploy", *arguments, "--shape", "2x3x8x12", "-o", str(tmp_path / "bundle"))
        assert found.exit_code == 2
        assert words in found.stderr
        assert found.stderr.count("\n") == 1
    assert not (tmp_path / "bundle").exists()
