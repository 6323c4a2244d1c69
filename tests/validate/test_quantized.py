"""The floor of int8 is what its graph loses, product by product."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

import attn2trt
from attn2trt.core.precision import LOWER
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import InputError, ModuleRefused
from attn2trt.validate.cases import Case
from attn2trt.validate.eager import Eager
from attn2trt.validate.quantized import EightBit, products_run
from attn2trt.validate.recorded import recorded_cases
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.validate.verdict import Verdict
from attn2trt.workflows.validate import validate_bundle
from attn2trt.workflows.verify import verify_bundle

RESULTS = Path(__file__).parents[2] / "benchmarks/results"
CASE = Case.of("one", {"x": np.random.default_rng(0).standard_normal((2, 4, 8, 8), dtype=np.float32)})


class Twice(nn.Module):
    """One convolution at two places, batch normalisation behind it, then a linear layer on pixels without a bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.pixels = nn.Linear(4, 6, bias=False)
        self.norm.running_var.fill_(4)  # type: ignore[operator]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.norm(self.conv(x)))
        second = torch.relu(self.norm(self.conv(3 * first)))
        return torch.relu(self.pixels(second.permute(0, 2, 3, 1)))


def run(
    module: nn.Module, scales: dict[str, tuple[float | None, ...]], draw: int = 0, precision: str = "int8"
) -> np.ndarray:
    eager = Eager(module.eval(), (), 0, is_double=False)
    eager.follow_modules()
    return eager.run_lower(dict(CASE.feeds), CASE, EightBit(scales, precision=precision), draw)["output"]


def on_levels(x: torch.Tensor, scale: Any) -> torch.Tensor:
    return (x / scale).round().clamp(-128, 127) * scale


def test_both_operands_of_a_product_are_on_levels_and_others_are_not() -> None:
    conv = nn.Conv2d(4, 4, 1, bias=False).eval()
    with torch.no_grad():
        conv.weight[1] = 0
    weight = conv.weight.detach()
    scales = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    levels = on_levels(weight, torch.where(scales > 0, scales, 1.0))
    wanted = nn.functional.conv2d(on_levels(torch.from_numpy(CASE.feeds["x"]), 0.01), levels).numpy()
    np.testing.assert_allclose(run(conv, {"weight": (0.01,)}), wanted, rtol=0, atol=1e-5)
    exact = run(conv, {"weight": (None,)})
    assert np.abs(exact - wanted).max() > 0.01


def test_fp8_rounds_both_operands_with_one_scale_each() -> None:
    conv = nn.Conv2d(4, 4, 1, bias=False).eval()
    with torch.no_grad():
        conv.weight[1] *= 1e-3
    weight, x = conv.weight.detach(), torch.from_numpy(CASE.feeds["x"])

    def rounded(tensor: torch.Tensor, scale: Any) -> torch.Tensor:
        return (tensor / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale

    wanted = nn.functional.conv2d(rounded(x, 0.005), rounded(weight, weight.abs().max() / 448)).numpy()
    found = run(conv, {"weight": (0.005,)}, precision="fp8")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert np.abs(found - nn.functional.conv2d(x, weight).numpy()).max() > 0.01


def test_an_fp8_graph_is_as_near_as_pytorch_in_fp8(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dynamic": "batch=1:2:3", "precision": "fp8", "capabilities": "none"}
    made = attn2trt.deploy("gam", shapes=["2x32x12x12"], out=tmp_path / "gam", **options)
    entry = made.manifest["precisions"]["fp8"]
    assert (entry["file"], entry["opset"], entry["calibration"][-9:]) == ("model.fp8.onnx", 19, "by minmax")
    assert all(finding.ok for finding in verify_bundle(made.path))
    for verdict in (Verdict.from_json(made.manifest["verdict"]), validate_bundle(made.path)):
        stages = {stage.label: stage for stage in verdict.stages if stage.label.startswith("fp8")}
        assert [(name, stage.status) for name, stage in stages.items()] == [("fp8", "passed")]
        assert stages["fp8"].worst_error > 1e-3
        assert 0.5 < stages["fp8"].worst_ratio < LOWER["fp8"].limit


def test_each_call_of_a_weight_has_its_own_step() -> None:
    fine, coarse = (run(Twice(), {"conv.weight": (0.04, scale), "pixels.weight": (None,)}) for scale in (0.03, 3.0))
    exact = run(Twice(), {"conv.weight": (None, None), "pixels.weight": (None,)})
    assert np.abs(fine - exact).max() < np.abs(coarse - exact).max() / 10
    assert not np.array_equal(
        run(Twice(), {"conv.weight": (0.02, 0.02)}, draw=1), run(Twice(), {"conv.weight": (0.02,) * 2})
    )


def test_a_linear_layer_on_permuted_maps_is_found_by_its_weight() -> None:
    linear = nn.Linear(4, 6)

    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.linear(x.permute(0, 2, 3, 1))
            return found

    x = torch.from_numpy(CASE.feeds["x"]).permute(0, 2, 3, 1)
    weight = linear.weight.detach()
    levels = on_levels(weight, weight.abs().amax(1, keepdim=True) / 127)
    wanted = (on_levels(x, 0.02) @ levels.T + linear.bias.detach()).numpy()
    np.testing.assert_allclose(run(Pixels(), {"linear.weight": (0.02,)}), wanted, rtol=0, atol=1e-5)


def test_a_deformable_convolution_reads_the_pixels_that_it_gathers_on_levels() -> None:
    from torchvision.ops import deform_conv2d

    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 2, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nowhere = torch.zeros(len(x), 18, *x.shape[2:])
            found: torch.Tensor = deform_conv2d(
                x, nowhere, self.weight, padding=1, mask=x[:, :1].sigmoid().repeat(1, 9, 1, 1)
            )
            return found

    module, x = Deformed(), torch.from_numpy(CASE.feeds["x"])
    windows = F.unfold(x, 3, padding=1).reshape(2, 2, 18, 64) * x[:, :1].sigmoid().reshape(2, 1, 1, 64)
    weight = module.weight.detach()
    levels = on_levels(weight, weight.abs().amax((1, 2, 3), keepdim=True) / 127).reshape(2, 3, 18)
    wanted = torch.einsum("goi,ngip->ngop", levels, on_levels(windows, 0.02)).reshape(2, 6, 8, 8).numpy()
    np.testing.assert_allclose(run(module, {"weight": (0.02,)}), wanted, rtol=0, atol=1e-5)


def test_a_product_that_pytorch_does_not_run_as_often_is_refused() -> None:
    with pytest.raises(ModuleRefused, match=r"products of conv.weight run 3 times in the graph and 2 times in PyTorch"):
        run(Twice(), {"conv.weight": (0.1, 0.1, 0.1)})
    with pytest.raises(ModuleRefused, match=r"other.weight run 1 times .* move them into a module .* --keep-fp32$"):
        run(Twice(), {"other.weight": (0.1,)})
    lower = EightBit({"other.weight": (0.1,)}, {"other.weight": ("pixels",)})
    with (
        pytest.raises(ModuleRefused, match=r"keep them in float32 with --keep-fp32 pixels$"),
        lower.mode(Twice(), str, 0),
    ):
        pass


class Scaled(nn.Module):
    """A weight of the module's own, times a factor for each output channel, as in StyleGAN; ``turn`` gives another."""

    def __init__(self, turn: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.turn = nn.Parameter(torch.randn(6, 4, 1, 1)), turn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight * torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1) + self.turn)


def test_a_weight_that_is_scaled_is_that_of_the_graph() -> None:
    weight = Scaled().weight.detach() * torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1)
    levels = on_levels(weight, weight.abs().amax((1, 2, 3), keepdim=True) / 127)
    wanted = F.conv2d(on_levels(torch.from_numpy(CASE.feeds["x"]), 0.02), levels).numpy()
    np.testing.assert_allclose(run(Scaled(), {"weight": (0.02,)}), wanted, rtol=0, atol=1e-5)
    with pytest.raises(ModuleRefused, match=r"products of weight run 1 times in the graph and 0 times in PyTorch"):
        run(Scaled(0.1), {"weight": (0.02,)})


def test_copies_of_a_layer_have_the_steps_of_the_one_that_the_graph_names() -> None:
    first = nn.Conv2d(4, 4, 1)
    copies = nn.Sequential(first, nn.ReLU(), copy.deepcopy(first))
    found = run(copies, {"0.weight": (0.01, 0.5)})
    assert np.abs(found - run(copies, {"0.weight": (0.01, 0.01)})).max() > 0.05


def test_attention_runs_the_products_of_its_graph() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    case = Case.of("tokens", {"x": np.zeros((2, 5, 8), np.float32)})
    names = [name for name, _, _ in products_run(layer, case)]
    assert names == ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"]
    assert torch.backends.mha.get_fastpath_enabled()


class Bins(nn.Module):
    """Pooling to bins, which an export at any size writes as products."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool, self.body = nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(4), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(self.pool(self.stem(x).relu()))
        return found


def test_products_of_the_graph_alone_stay_in_float32(tmp_path: Path) -> None:
    x = torch.from_numpy(CASE.feeds["x"])
    options: dict[str, Any] = {"dynamic": "batch=1:2:3", "precision": "fp32,int8", "capabilities": "none"}
    bundle = attn2trt.deploy(Bins().eval(), x, out=tmp_path / "bins", **options)
    assert bundle.passed
    entry = bundle.manifest["precisions"]["int8"]
    assert entry["lowered"] == 2
    assert [*{one["module"] for one in entry["kept"].values()}] == ["pool"]
    assert "pool stays in float32: PyTorch computes it by other operators" in " ".join(entry["notes"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> attn2trt.Bundle:
    out = tmp_path_factory.mktemp("int8") / "twice"
    x = torch.from_numpy(CASE.feeds["x"])
    options: dict[str, Any] = {"dynamic": "batch=1:2:3", "precision": "fp32,int8", "capabilities": "none"}
    return attn2trt.deploy(Twice().eval(), x, out=out, **options)


def test_a_healthy_graph_is_as_near_as_pytorch_on_levels(bundle: attn2trt.Bundle) -> None:
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    stages = {stage.label: stage for stage in verdict.stages}
    assert verdict
    for name in ("int8", "int8 onnxruntime cpu"):
        assert stages[name].status == "passed"
        # the factor before the second convolution is not in its weight
        assert 0.5 < stages[name].worst_ratio <= LOWER["int8"].healthy
    entry = bundle.manifest["precisions"]["int8"]
    assert entry["lowered"] == 3
    assert entry["calibration"] == "3 random batches (--calibrate DIR), by minmax"
    assert "model.int8.onnx" in bundle.manifest["files"]


def test_validate_judges_it_without_pytorch(bundle: attn2trt.Bundle) -> None:
    stages = {stage.label: stage.status for stage in validate_bundle(bundle.path).stages}
    assert (stages["int8"], stages["int8 onnxruntime cpu"]) == ("passed", "passed")


def test_a_graph_with_a_wrong_channel_fails(bundle: attn2trt.Bundle, tmp_path: Path) -> None:
    model = onnx.load(str(bundle.path / "model.int8.onnx"))
    # twice in the graph: once for each normalisation that is folded into it
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    array = numpy_helper.to_array(weight).copy()
    array[0] = 0
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    onnx.save(model, str(tmp_path / "changed.onnx"))
    pairs = recorded_cases(bundle)
    with OrtRuntime(tmp_path / "changed.onnx", optimise=False) as runtime:
        stage = judge(Stage(WRITTEN, "int8"), runtime.run, pairs)
    assert stage.status == "failed"


def test_a_module_can_be_kept_out(tmp_path: Path) -> None:
    x = torch.from_numpy(CASE.feeds["x"])
    found = attn2trt.deploy(
        Twice().eval(),
        x,
        out=tmp_path / "kept",
        capabilities="none",
        precision=attn2trt.PrecisionRequest(precisions="int8", keep_fp32=["pixels"], calibration="entropy"),
    )
    entry = found.manifest["precisions"]["int8"]
    assert (entry["lowered"], entry["keep_fp32"]) == (2, ["pixels"])
    assert entry["calibration"].endswith("by entropy")
    assert Verdict.from_json(found.manifest["verdict"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"precisions": "fp16", "calibration": "entropy"},
            r"received --calibration entropy without int8 or int8-fp16; .* fp32,int",
        ),
        ({"precisions": "fp32", "calibrate": Path("here")}, r"received --calibrate here without int8"),
        ({"precisions": "int8", "calibration": "best"}, r"received --calibration 'best'; expected minmax, percentile"),
    ],
)
def test_options_of_int8_without_it_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        attn2trt.deploy("se", out=tmp_path / "se", precision=attn2trt.PrecisionRequest(**options))


def test_a_block_of_squeeze_layers_alone_has_nothing_to_quantise(tmp_path: Path) -> None:
    bundle = attn2trt.export_bundle("se", shapes=["2x16x8x8"], out=tmp_path / "se", precision="int8")
    (refused,) = attn2trt.Verdict.from_json(bundle.manifest["verdict"]).objections
    assert refused.status == "refused"
    assert refused.why.startswith("int8 leaves nothing to quantise")
    assert not bundle.passed
    assert "model.int8.onnx" not in bundle.manifest["files"]


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_the_limit_is_the_one_that_was_measured(precision: str) -> None:
    told = json.loads((RESULTS / f"{precision}_limit.json").read_text())
    assert told["alarms"] == []
    assert told["largest"] <= LOWER[precision].healthy < LOWER[precision].limit
    assert told["weights_off_told"] == told["weights_off"] > 20
