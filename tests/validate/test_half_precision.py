"""The floor of a half precision, and the verdict that stands on it: what breaks a half-precision graph is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from deployed_once import EVERY_PRECISION, deployed_once
from scripts import load_script
from torch import nn
from torch.nn import functional as F
from wrong_weights import scale

import attn2trt
from attn2trt.core.precision import LOWER
from attn2trt.core.refused_types import REFUSED
from attn2trt.engines.float32_kernels import float32_kernels
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import CheckFailed, InputError, PrecisionRefused
from attn2trt.export.passes import float_policy
from attn2trt.export.precision import lower
from attn2trt.export.precision_options import PrecisionOptions
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.comparison import compare
from attn2trt.validate.half_precision import _TAG, NAMES_OF, Half, mark_inputs
from attn2trt.validate.metrics import Floor
from attn2trt.validate.recorded import recorded_cases
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.validate.verdict import StageResult, Verdict
from attn2trt.workflows.validate import validate_bundle
from attn2trt.workflows.verify import verify_bundle

RESULTS = Path(__file__).parents[2] / "benchmarks/results/half_limits.json"


class Above(nn.Module):
    def forward(self, x: Any) -> Any:
        return x[x > 1]


class SumOfSquares(nn.Module):
    """A gate by the root of a sum of squares: the sum passes 65504 although the output is near the input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.pow(2).sum((2, 3), keepdim=True)
        return x * (total / (total + 1))


class Overflow(nn.Module):
    """A module that no policy helps: a product beyond 65504 on the way to an ordinary output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 1) for _ in range(3))
        with torch.no_grad():
            self.first.weight.fill_(5e4)
            self.second.weight.fill_(1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(self.second(self.first(x).relu()))


def floors(module: nn.Module, half: Half, scale: float = 1.0) -> Floor:
    x = scale * np.random.default_rng(0).standard_normal((2, 4, 16, 16), dtype=np.float32)
    (reference,) = references(module.eval(), [Case.of("one", {"x": x})], lower=[half])
    return reference.lower[half.precision]["output"]


def test_the_floor_is_a_few_roundings_and_respects_the_policy() -> None:
    for name in ("fp16", "bf16"):
        allowed = LOWER[name]
        found = floors(SumOfSquares(), Half(name), scale=30)  # the sum of squares is 230 thousand
        assert 0.3 * allowed.unit_roundoff < found.l2 < 3 * allowed.unit_roundoff


class Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.gate = nn.Conv2d(4, 4, 1)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.gate(x))


def into_out(x: torch.Tensor) -> torch.Tensor:
    result = torch.full((2, 4, 16, 16), 7.0)
    torch.sub(x, x.sigmoid(), out=result)
    return result


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (lambda x: F.silu(x.relu_(), inplace=True).clamp_(0, 0.3), lambda x: F.silu(x.relu()).clamp(0, 0.3)),
        (into_out, lambda x: x - x.sigmoid()),
    ],
    ids=["in place", "out"],
)
def test_what_is_written_loses_as_much_as_any_result(
    function: Callable[[torch.Tensor], torch.Tensor], plain: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    found = []
    for one in (function, plain):
        torch.manual_seed(0)
        found.append(floors(Function(one), Half("fp16")).l2)
    assert found[0] == found[1]


WRITTEN_OUT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softplus": F.softplus,
    "softplus-beta": lambda x: F.softplus(x, beta=2),
    "expm1": torch.expm1,
    "log1p": lambda x: torch.log1p(x.abs()),
    "logsigmoid": F.logsigmoid,
    "logsumexp": lambda x: x.logsumexp(1),
    "nansum": lambda x: torch.nansum(x, 1),
    "normalize": F.normalize,
    "std_mean": lambda x: torch.std_mean(x, (2, 3))[0],
    "exp2": torch.exp2,
    "prod": lambda x: x.prod(1),
    "bins": lambda x: F.adaptive_avg_pool2d(x, 3),
    "rows": lambda x: F.adaptive_avg_pool2d(x, (None, 1)),
}


class Each(nn.Module):
    """Each of the functions, and arithmetic behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(function(self.gate(x)) * 3 for function in WRITTEN_OUT.values())


def test_an_operator_gives_the_type_that_the_graph_has_behind_it(tmp_path: Path) -> None:
    """What several operators of the graph compute is in its type, or the floor lacks roundings that the graph has."""
    x, module = torch.randn(2, 4, 8, 8), Each().eval()
    attn2trt.export_bundle(module, x, out=tmp_path / "each", dynamic="none", precision="fp32,fp16")
    graph = onnx.load(str(tmp_path / "each/model.fp16.onnx")).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    in_graph = ["low" if made_by[value.name] == "Cast" else "float32" for value in graph.output]
    mark_inputs([x])
    with torch.no_grad(), Half("fp16").mode(module, str, 0):
        in_pytorch = [getattr(output, _TAG) for output in module(x)]
    assert dict(zip(WRITTEN_OUT, in_pytorch, strict=True)) == dict(zip(WRITTEN_OUT, in_graph, strict=True))
    assert {*in_graph} == {"low", "float32"}


def test_modules_kept_in_float32_lose_nothing() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    lost, half_kept, kept = (floors(module, Half("fp16", within)).l2 for within in ((), ("0",), ("0", "1")))
    assert kept < 1e-6 < half_kept < lost


@pytest.mark.parametrize("refused", [nn.Hardswish(), nn.Mish(), nn.ConvTranspose2d(4, 4, 3), nn.Fold((16, 16), 2)])
def test_what_tensorrt_refuses_in_bfloat16_loses_only_what_it_reads(refused: nn.Module) -> None:
    torch.manual_seed(0)
    shape = (2, 16, 225) if isinstance(refused, nn.Fold) else (2, 4, 16, 16)
    cases = [Case.of("one", {"x": np.random.default_rng(0).standard_normal(shape, dtype=np.float32)})]
    (reference,) = references(refused.eval(), cases, lower=[Half("fp16"), Half("bf16")])
    assert reference.lower["bf16"]["output"].l2 < 1e-6 < reference.lower["fp16"]["output"].l2


def test_every_refused_operator_has_its_names_in_pytorch() -> None:
    assert {name for operators in REFUSED.values() for name in operators} <= {*NAMES_OF}


def test_an_overflow_of_pytorch_itself_is_no_floor() -> None:
    assert not floors(Overflow(), Half("fp16")).is_finite
    assert floors(Overflow(), Half("fp16", ("first", "second"))).is_finite
    assert floors(Overflow(), Half("bf16")).is_finite


def test_a_floor_below_the_unit_roundoff_counts_as_one_and_zero_is_what_float32_calls_zero() -> None:
    truth, none = np.full((2, 3, 4, 4), 1e-3), Floor(0.0, 0.0, np.zeros(11))
    off = truth * (1 + 1.5 * LOWER["fp16"].limit * LOWER["fp16"].unit_roundoff)
    exact = compare("y", truth.astype(np.float32), truth, none, largest=1e6, precision=LOWER["fp16"])
    assert exact.passed
    # beside the largest value met on the way, float16 could not tell this output from zero; it is judged all the same
    wrong = compare("y", off.astype(np.float32), truth, none, largest=1e3, precision=LOWER["fp16"])
    assert not wrong.passed


def stages(bundle: attn2trt.Bundle) -> dict[str, StageResult]:
    return {stage.label: stage for stage in Verdict.from_json(bundle.manifest["verdict"]).stages}


HALF = ("fp16", "bf16")
SMALL: dict[str, Any] = {"shapes": ["2x16x8x8"], "dynamic": "batch=1:2:3"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> attn2trt.Bundle:
    return attn2trt.open_bundle(deployed_once(tmp_path_factory, "cbam", EVERY_PRECISION))


def test_every_stage_is_judged_or_says_why_not(bundle: attn2trt.Bundle) -> None:
    found = stages(bundle)
    assert found["fp16"].status == found["fp16 onnxruntime cpu"].status == found["bf16"].status == "passed"
    missing = found["bf16 onnxruntime cpu"]
    assert (missing.status, "has no bfloat16" in missing.why) == ("not checked", True)
    assert found["fp16"].worst_error > 1e-5
    assert {"model.fp16.onnx", "model.bf16.onnx"} <= set(bundle.manifest["files"])
    entry = bundle.manifest["precisions"]["fp16"]
    assert (entry["opset"], entry["inputs_and_outputs"], entry["oldest_tensorrt"]) == (17, "float32", "8.6")


def test_validate_and_verify_know_every_graph(bundle: attn2trt.Bundle) -> None:
    verdict = validate_bundle(bundle.path)
    passed = [stage.label for stage in verdict.stages if stage.status == "passed" and stage.stage.precision in HALF]
    assert passed == ["fp16", "fp16 onnxruntime cpu", "bf16"]
    loaded = [finding for finding in verify_bundle(bundle.path) if "loads in" in finding.detail]
    graphs = ["model.onnx", "model.fp16.onnx", "model.bf16.onnx", "model.int8.onnx"]
    assert [finding.file for finding in loaded] == graphs
    assert all(finding.ok for finding in loaded)
    assert validate_bundle(bundle.path, max_error=1e-6).first_failure is not None


def test_a_changed_or_unlisted_half_precision_graph_is_refused(bundle: attn2trt.Bundle, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    graph = copy / "model.fp16.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(CheckFailed, match=r"model\.fp16\.onnx: changed"):
        validate_bundle(copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["precisions"]["fp16"]["file"] = "model.elsewhere.onnx"
    (copy / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"does not list model\.elsewhere\.onnx"):
        validate_bundle(copy)


def judged(bundle: attn2trt.Bundle, change: Callable[[onnx.ModelProto], None], folder: Path) -> StageResult:
    """The float16 stage of a graph that was changed on disk."""
    model = onnx.load(str(bundle.path / "model.fp16.onnx"))
    change(model)
    onnx.save(model, str(folder / "changed.onnx"))
    pairs = recorded_cases(bundle)
    with OrtRuntime(float32_kernels(folder / "changed.onnx"), optimise=False) as runtime:
        return judge(Stage(WRITTEN, "fp16"), runtime.run, pairs)


def test_every_weight_off_by_two_percent_fails_the_stage(bundle: attn2trt.Bundle, tmp_path: Path) -> None:
    graph = onnx.load(str(bundle.path / "model.fp16.onnx")).graph
    weights = [tensor.name for tensor in graph.initializer if tensor.data_type == 10 and len(tensor.dims) > 1]
    assert len(weights) == 3
    for name in weights:

        def larger(model: onnx.ModelProto, name: str = name) -> None:
            weight = next(tensor for tensor in model.graph.initializer if tensor.name == name)
            scale(weight, 1.02)

        assert judged(bundle, larger, tmp_path).status == "failed", name
    assert judged(bundle, lambda _: None, tmp_path).status == "passed"


def half_stage(module: nn.Module, folder: Path, keep: tuple[str, ...] = ()) -> StageResult:
    """The float16 stage of a module, as deploy judges it, without its processes."""
    target = from_module(module, torch.randn(2, 4, 16, 16))
    graph = trace(target, module, folder / "model.onnx", opset=17)
    low = lower(graph, "fp16", folder, PrecisionOptions(keep))
    cases = make_cases(target.inputs, target.axes)
    names = [spec.name for spec in graph.outputs]
    pairs = zip(cases, references(module, cases, names, lower=[Half("fp16", low.kept_within)]), strict=True)
    with OrtRuntime(float32_kernels(low.graph.path), optimise=False) as runtime:
        return judge(Stage(WRITTEN, "fp16"), runtime.run, pairs)


def test_without_the_float32_policy_the_stage_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert half_stage(SumOfSquares().eval(), tmp_path).status == "passed"
    lowered = {"Pow", "ReduceSum", "Div"}
    monkeypatch.setattr(float_policy, "FLOAT32_OPERATORS", float_policy.FLOAT32_OPERATORS - lowered)
    monkeypatch.setattr(float_policy, "ARITHMETIC", float_policy.ARITHMETIC | lowered)
    monkeypatch.setattr(float_policy._Planner, "_by_policy", lambda *_: "")
    assert half_stage(SumOfSquares().eval(), tmp_path).status == "failed"


def test_a_precision_that_overflows_is_refused_and_passes_with_its_modules_kept(tmp_path: Path) -> None:
    found = half_stage(Overflow().eval(), tmp_path)
    assert found.status == "failed"
    assert "this precision is refused" in found.why
    assert half_stage(Overflow().eval(), tmp_path, ("first", "second")).status == "passed"


def test_a_lowered_graph_that_is_not_the_float32_one_is_not_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attn2trt.export.passes import lower_precision

    monkeypatch.setattr(lower_precision, "rounded_to", lambda values, low: (1.02 * values).astype(low.dtype))
    with pytest.raises(CheckFailed, match=r"differs from the float32 graph in more than its precision: constant"):
        attn2trt.export_bundle("se", out=tmp_path / "se", precision="fp16", **SMALL)
    assert not (tmp_path / "se").exists()


def test_the_limits_are_those_that_were_measured() -> None:
    told = json.loads(RESULTS.read_text())
    assert told["alarms"] == []
    for name, found in told["precisions"].items():
        assert found["largest"] <= LOWER[name].healthy < LOWER[name].limit
        assert found["weights_off_told"] == found["weights_off"] > 20
    rows = [row for name, found in told["rows"].items() if "+" not in name for row in found]
    failed = [mutant["failed"] for row in rows for mutant in row["precisions"]["fp16"]["mutants"]]
    assert sum(failed) > 0.75 * len(failed)


def test_the_page_is_written_from_the_measurements() -> None:
    page = load_script("half_precision_page").page(json.loads(RESULTS.read_text()))
    assert (RESULTS.parents[2] / "docs/precision.md").read_text() == page


def test_an_output_whose_size_hangs_on_rounding_is_refused() -> None:
    found = Case.of("near", {"x": np.array([[0.5, 1.0001, 2.0]], np.float32)})
    said = "output y is 2 in float64 and 1 where values are rounded"
    message = rf"in float16: {said}.*by topk.*or leave fp16 out of --precision"
    with pytest.raises(PrecisionRefused, match=message) as refused:
        next(references(Above(), [found], ["y"], lower=[Half("fp16")]))
    assert refused.value.precision == "fp16"
