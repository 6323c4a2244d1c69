"""Every refusal that the user's module causes names the line of his file and what to write instead; exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn2trt
from attn2trt.errors import InputError
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module

IMAGE = torch.randn(2, 4, 8, 8)
BATCH = "batch=1:2:4"


class Mixing(nn.Module):
    """A convolution, and a function of its input and its result."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x, self.mix(x))


class Recurrent(nn.Module):
    """A recurrent layer over the columns of an image."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer = layer(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.mean(2).transpose(1, 2))[0]
        return found


class ByKeyword(Mixing):
    def forward(self, x: Tensor, *, scale: Tensor) -> Any:  # type: ignore[override]
        return self.function(x, self.mix(x) * scale)


def under_autocast(x: Tensor, y: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return (x @ y).float()


def windows(x: Tensor, y: Tensor) -> Tensor:
    return x.as_strided((*x.shape[:2], x.shape[2] - 2, 3), x.stride()) + y[:, :, 2:, :3]


@torch.library.custom_op("attn2trt_tests::doubled", mutates_args=())
def doubled(x: Tensor) -> Tensor:
    """An operator of which torch.export does not know what it gives."""
    return x * 2


def first_positive(x: Tensor, y: Tensor) -> Tensor:
    return y if bool((x > 0).all()) else x


def export(module: nn.Module, dynamic: str, folder: Path) -> None:
    """Do with a module what deploy does before anything is judged."""
    target = from_module(module, IMAGE, dynamic=dynamic)
    trace(target, target.build(), folder / "model.onnx", opset=17)


class WritingItsWeight(nn.Module):
    """A convolution merged anew at each call, as that of SPAN, a network for super-resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.apart, self.merged = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.merged.weight.data = self.apart.weight.data.clone() * 2
        return self.merged(x)


HEIGHT = "height=4:8:16"
REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "an operator of a later opset": (
        lambda: Mixing(lambda x, y: y * (x.int() & 3)),
        BATCH,
        "BitwiseAnd at .* first appeared in opset 18.*export with --opset 18",
    ),
    "an operator of ONNX in a later opset": (
        lambda: Mixing(lambda x, y: torch.onnx.ops.symbolic("Gelu", (y,), dtype=y.dtype, shape=y.shape, version=20)),
        BATCH,
        "Gelu at .*opset 17 lacks; --opset 20 has it",
    ),
    "a device": (
        lambda: Mixing(lambda x, y: y + torch.arange(8, device="cuda")),
        BATCH,
        r"a device is written into that line; take it from an input, as device=x\.device",
    ),
    "autocast": (lambda: Mixing(under_autocast), BATCH, "computes under torch.autocast.*remove the block"),
    "bfloat16": (lambda: Mixing(lambda x, y: (y.bfloat16() * 2).float()), BATCH, "computes in bfloat16.*remove"),
    "an LSTM's length": (
        lambda: Recurrent(nn.LSTM),
        "width=4:8:16",
        "axis 'width' at 8 .*nn.LSTM for one size alone",
    ),
    "a GRU's length": (lambda: Recurrent(nn.GRU), "width=4:8:16", "axis 'width' at 8 .*nn.GRU for one size alone"),
    "strides": (lambda: Mixing(windows), HEIGHT, r"aten\.sym_stride.*take windows with x\.unfold"),
    "an inverse of a dynamic side": (
        lambda: Mixing(lambda x, y: torch.linalg.inv(y @ y.mT)),
        HEIGHT,
        r"aten\.linalg_inv_ex.*linear algebra.*are written out up to 16 x 16",
    ),
    "singular values": (lambda: Mixing(lambda x, y: torch.linalg.svdvals(y)), BATCH, "linear algebra"),
    "complex outputs": (lambda: Mixing(lambda x, y: {"fft": torch.fft.rfft2(y)}), BATCH, "'fft'.*view_as_real"),
    "no outputs": (lambda: Mixing(lambda x, y: None), BATCH, "returns no tensor; return one or more"),
    "a branch on values": (
        lambda: Mixing(first_positive),
        BATCH,
        r"compute both sides of a branch and pick by torch\.where",
    ),
    "NumPy": (lambda: Mixing(lambda x, y: y + torch.from_numpy(x.numpy())), BATCH, "torch in place of NumPy"),
    "an operator that cannot be traced": (
        lambda: Mixing(lambda x, y: doubled(y)),
        BATCH,
        "write it with operators that torch.export knows",
    ),
    "an error of its own": (lambda: Mixing(lambda x, y: y.view(7)), BATCH, "change --shape or --dynamic"),
    "an antialiased resize": (
        lambda: Mixing(lambda x, y: F.interpolate(y, size=4, mode="bilinear", antialias=True, align_corners=True)),
        BATCH,
        "export with --opset 18",
    ),
    "an input by keyword": (lambda: ByKeyword(lambda x, y: y), BATCH, "'scale' by keyword.*wrap it in a module"),
    "a loop over a size": (
        lambda: Mixing(lambda x, y: torch.stack([row.sum() for row in y.unbind(2)])),
        HEIGHT,
        "without a Python loop",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_the_users_line_and_what_to_change(kind: str, tmp_path: Path) -> None:
    build, dynamic, message = REFUSED[kind]
    with pytest.raises(InputError, match=message) as caught:
        export(build(), dynamic, tmp_path)
    assert caught.value.exit_code == 2
    assert "tests/test_refusals.py:" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")
def test_a_weight_that_forward_writes_is_refused_with_its_remedy(tmp_path: Path) -> None:
    wanted = "forward puts a tensor into a weight, a buffer or an attribute, as .*once, in __init__"
    with pytest.raises(InputError, match=wanted):
        export(WritingItsWeight(), BATCH, tmp_path)


def scripted() -> nn.Module:
    return torch.jit.script(Recurrent(nn.GRU))  # type: ignore[no-any-return]


def traced() -> nn.Module:
    return torch.jit.trace(nn.Conv2d(4, 4, 1), IMAGE)  # type: ignore[no-any-return, no-untyped-call]


def scripted_inside() -> nn.Module:
    return nn.Sequential(nn.ReLU(), torch.jit.script(nn.Conv2d(4, 4, 1)))


def for_inference() -> nn.Module:
    with torch.inference_mode():
        module = nn.Conv2d(4, 4, 1)
    return module.eval()


def never_called() -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.LazyConv2d(4, 1))


FACTORIES = {
    scripted: "TorchScript module at .*made of Recurrent.*give the nn.Module Recurrent itself",
    traced: "TorchScript module at .*made of Conv2d.*give the nn.Module Conv2d itself",
    scripted_inside: "TorchScript module in 1 at .*give the nn.Module Conv2d itself",
    for_inference: r"received weight, which was made in torch.inference_mode\(\) at .*outside of that block",
    never_called: r"received 1\.weight of a LazyConv2d at .*return the module after a call on an example",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
def test_a_module_that_cannot_be_traced_is_refused_with_the_line_that_returned_it(
    factory: Callable[[], nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(InputError, match=FACTORIES[factory]) as caught:
        attn2trt.deploy(f"py:test_refusals:{factory.__name__}", shapes=["2x4x8x8"], out=tmp_path / "refused")
    assert "tests/test_refusals.py:" in str(caught.value)
    module = factory()
    with pytest.raises(InputError, match=r"expected (Python|weights that (can be traced|have one))"):
        attn2trt.deploy(module, IMAGE, out=tmp_path / "refused")
    assert list(tmp_path.iterdir()) == []


def test_autocast_that_changes_nothing_is_let_through() -> None:
    from attn2trt.export.trace.autocast import RefusedAutocast

    with RefusedAutocast("mine"), torch.autocast("cpu", enabled=False):
        assert (IMAGE + 1).dtype == torch.float32
