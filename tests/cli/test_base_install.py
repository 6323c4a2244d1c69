"""The commands for bundles on a machine with the base dependencies alone: no PyTorch, no TensorRT, no `export` extra.

Every test runs with all other packages hidden from this environment's Python; the slow ones in a new environment, in
which ``pip install .`` has put what it puts there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

import base_install
import numpy as np
import prediction_bundle
import pytest
from base_install import Run
from deployed_once import COLUMNS, EVERY_PRECISION, PLAIN, deployed_once
from foreign_files import convolution, saved
from manifest_edits import list_as_it_is
from packaging.utils import canonicalize_name
from wrong_weights import scale_largest

from attn2trt.core.bundle import open_bundle
from attn2trt.core.extend import extend
from attn2trt.export.rewrites.row_column_gates import OuterProduct
from attn2trt.modules.packages import INSTALL_EXPORT
from attn2trt.validate.stages.stage import EXPORTED, ORT_CPU, ORT_PLAIN, WRITTEN

PLANS: Mapping[str, Mapping[str, object]] = {
    "plans/sm90-trt8.6.0-fp16.plan": {
        "precision": "fp16",
        "tensorrt": "8.6.0",
        "gpu": "NVIDIA H200",
        "capability": "9.0",  # an entry from before there were flavours
        "driver": "13.0",
        "device_bytes": 1024,
    },
    "plans/sm86+sm120-rtx1.7.1-fp32.plan": {
        "precision": "fp32",
        "tensorrt": "1.7.1",
        "gpu": "",
        "capabilities": ["8.6", "12.0"],
        "driver": "",
        "device_bytes": 0,
        "flavour": "tensorrt-rtx",
    },
}
QUICK = ("--seconds", "0.001")
# what only the way from PyTorch to ONNX imports
FROM_PYTORCH = (
    *("attn2trt.modules.", "attn2trt.export.trace."),
    *("attn2trt.validate.selections", "attn2trt.validate.window_maxima"),
)


@pytest.fixture(scope="module", params=["hidden", pytest.param("installed", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run Python with the given arguments and nothing but the base dependencies to import."""
    folder = tmp_path_factory.mktemp(request.param)
    return base_install.hidden(folder) if request.param == "hidden" else base_install.installed(folder)


@pytest.fixture(scope="module")
def command(run: Run) -> Run:
    """Run a command of attn2trt there."""
    return lambda *arguments: run("-m", "attn2trt", *arguments)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with graphs in several precisions, and plans that another machine built."""
    made = deployed_once(tmp_path_factory, "cbam", EVERY_PRECISION)
    with_plans(made)
    return made


def with_plans(path: Path) -> None:
    """Add a file for each of PLANS to the bundle, with the entries that `compile` writes, an old one among them."""
    bundle = open_bundle(path)
    (path / "plans").mkdir(exist_ok=True)
    entries = []
    for file, entry in PLANS.items():
        (path / file).write_bytes(b"plan")
        precision = str(entry["precision"])
        graph = bundle.manifest["files"][bundle.graphs[precision]]["sha256"]
        profile = {name: [axis.min, axis.opt, axis.max] for name, axis in bundle.axes.items()}
        entries.append({**entry, "file": file, "graph": graph, "profiles": [profile], "flags": {}, "seconds": 2.0})
    extend(bundle, dict.fromkeys(PLANS, "plan"), {"plans": entries})


@pytest.fixture
def bundle(deployed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(deployed, tmp_path / "cbam"))


@pytest.fixture
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with one graph, which is quickly judged."""
    return deployed_once(tmp_path_factory, "se", PLAIN)


def statuses(done: CompletedProcess[str]) -> dict[str, str]:
    """The status of every stage in the verdict that a command printed with --json."""
    return {stage["stage"]: stage["status"] for stage in json.loads(done.stdout)["verdict"]["stages"]}


def test_what_is_no_base_dependency_is_hidden(run: Run) -> None:
    code = """
import json
from importlib.metadata import distributions
from importlib.util import find_spec
names = ("torch", "timm", "onnxscript", "onnxsim", "tensorrt", "tensorrt_rtx", "pytest", "attn2trt", "onnx", "json")
print(json.dumps([[name for name in names if find_spec(name)], [found.name for found in distributions()]]))
"""
    modules, installed = json.loads(run("-c", code).stdout)
    assert modules == ["attn2trt", "onnx", "json"]
    extra = {canonicalize_name(name) for name in installed} - base_install.base_distributions()
    assert extra <= {"pip", "setuptools"}  # a new environment has them by itself
    assert "No module named 'torch'" in run("-c", "import torch").stderr


def test_base_dependencies_are_those_of_the_project_and_theirs() -> None:
    assert {"attn2trt", "click", "numpy", "onnx", "protobuf"} <= base_install.base_distributions()
    assert not {"torch", "timm", "onnxscript", "onnxsim", "pytest", "tensorrt"} & base_install.base_distributions()
    assert {"attn2trt", "google", "onnxruntime"} <= base_install.modules_of(base_install.base_distributions())


def test_only_the_way_from_pytorch_imports_more(run: Run) -> None:
    code = """
import json, pkgutil, attn2trt
from importlib import import_module
found = {}
for module in pkgutil.walk_packages(attn2trt.__path__, "attn2trt."):
    if module.name.split(".")[1] in ("tests", "benchmarks", "docs", "examples", "__main__"):
        continue
    try:
        import_module(module.name)
    except ModuleNotFoundError as error:
        found[module.name] = error.name
print(json.dumps(found))
"""
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: lacks for name, lacks in found.items() if not name.startswith(FROM_PYTORCH)} == {}
    assert found["attn2trt.export.trace.exporter"] == "torch"


def test_validate_judges_every_graph_and_no_plan(command: Run, bundle: Path) -> None:
    done = command("validate", str(bundle), "--json")
    assert done.returncode == 0, done.stderr
    found = statuses(done)
    not_checked = {EXPORTED, "bf16 onnxruntime cpu", "tensorrt fp16", "tensorrt-rtx fp32"}
    assert {name for name, status in found.items() if status != "passed"} == not_checked
    assert {found[name] for name in not_checked} == {"not checked"}
    assert {name.split()[0] for name in found} >= {"tf32", "fp16", "bf16", "int8"}
    assert "TensorRT is not installed here" in done.stdout
    assert "TensorRT for RTX is not installed here" in done.stdout


def test_validate_compares_predictions_on_tensors_and_names_what_images_lack(command: Run, tmp_path: Path) -> None:
    bundle = prediction_bundle.write(tmp_path / "mine", fp16=prediction_bundle.graph()).path
    np.savez(tmp_path / "samples.npz", image=np.eye(3, dtype=np.float32).repeat(64, 1).reshape(3, 3, 8, 8))
    done = command("validate", str(bundle), "--dataset", str(tmp_path / "samples.npz"), "--json")
    found = json.loads(done.stdout)["predictions"]
    assert [(runtime["outcome"], runtime["images"]) for runtime in found["runtimes"]] == [("compared", 3)] * 2
    done = command("validate", str(bundle), "--dataset", str(prediction_bundle.write_images(tmp_path / "images", 1)))
    assert (done.returncode, "images are read with Pillow, which is missing" in done.stderr) == (3, True), done.stderr


def test_validate_writes_the_report_anew_where_its_template_engine_is(
    command: Run, plain: Path, tmp_path: Path
) -> None:
    without = base_install.hidden(tmp_path, without=["jinja2", "markupsafe"])
    before = (plain / "report.html").read_text()
    done = without("-m", "attn2trt", "validate", str(plain))
    assert done.returncode == 0, done.stderr
    note = "note: report.html was not written anew: it needs jinja2, which is not installed; pip install jinja2"
    assert done.stderr.splitlines() == [note]
    assert (plain / "report.html").read_text() == before
    assert "Judged by attn2trt validate" not in before
    done = command("validate", str(plain))
    assert done.stderr == ""
    assert "Judged by attn2trt validate" in (plain / "report.html").read_text()
    assert command("verify", str(plain)).returncode == 0


def test_validate_finds_the_wrong_graph_and_where(command: Run, plain: Path) -> None:
    scale_largest(plain / "model.onnx", 1.01)
    list_as_it_is(plain, "model.onnx")
    done = command("validate", str(plain), "--json")
    assert done.returncode == 1, done.stderr
    assert statuses(done)[ORT_CPU] == "failed"


def test_verify_checks_hashes_and_loads_every_graph(command: Run, bundle: Path) -> None:
    done = command("verify", str(bundle), "--json")
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert len([finding for finding in findings if "loads in ONNX Runtime" in finding["detail"]]) == 4
    assert PLANS.keys() <= {finding["file"] for finding in findings}


@pytest.mark.parametrize(
    ("options", "said"),
    [((), "pip install tensorrt"), (("--for", "sm86"), "pip install 'tensorrt-rtx")],
    ids=["", "for"],
)
def test_compile_names_the_missing_runtime(command: Run, bundle: Path, options: tuple[str, ...], said: str) -> None:
    done = command("compile", str(bundle), *options)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: TensorRT ")
    assert said in done.stderr.splitlines()[-1]


def test_benchmark_times_onnx_runtime_and_says_what_is_not_here(command: Run, bundle: Path) -> None:
    done = command("benchmark", str(bundle), *QUICK, "--iterations", "1", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["runtime"]: row for row in json.loads(done.stdout)["rows"]}
    assert {name for name, row in rows.items() if row["status"] == "measured"} == {"ort-cpu"}
    assert {row["status"] for row in rows.values()} == {"measured", "not measured"}
    assert rows["tensorrt-fp16"]["why"] == "TensorRT is not installed here"


def test_tune_writes_and_times_graphs(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = deployed_once(tmp_path_factory, "coord_att", COLUMNS)
    # one rewrite, and no pauses between rounds: all of them take half a minute
    code = """
from attn2trt.workflows import tune_search as tuner, tune as tuning
from attn2trt.export.rewrites.row_column_gates import OuterProduct
from attn2trt.cli.main import main
from attn2trt.engines.timing.method import Method
tuning.METHOD = Method(seconds=0.001, iterations=1, rounds=2, warm_up_seconds=0, settle_seconds=0, pause_seconds=0)
tuner.REWRITES, tuner.BATCH_REWRITES = (OuterProduct(),), ()
main()
"""
    done = run("-c", code, "tune", str(bundle), *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert [trial["form"] for trial in json.loads(done.stdout)["tuning"]["trials"]] == [OuterProduct.name]


def test_doctor_names_what_is_missing_and_list_what_there_is(command: Run) -> None:
    doctor = command("doctor", "--json")
    assert doctor.returncode == 0, doctor.stderr
    found = {part["name"]: part for part in json.loads(doctor.stdout)["components"]}
    assert {found[name]["status"] for name in ("PyTorch", "timm", "onnxscript", "onnxsim", "TensorRT")} == {"missing"}
    assert {found[name]["status"] for name in ("ONNX", "ONNX Runtime CPU")} == {"usable"}
    assert found["PyTorch"]["fix"] == INSTALL_EXPORT
    listed = command("list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "coord_att" in {entry["name"] for entry in json.loads(listed.stdout)}


def test_the_example_script_runs(run: Run, bundle: Path) -> None:
    done = run(str(bundle / "infer.py"))
    assert done.returncode == 0, done.stderr
    assert "largest difference from PyTorch" in done.stdout
    wrong = run(str(bundle / "infer.py"), "modle.onnx")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("received modle.onnx; expected one of model.onnx, model.fp16.onnx")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "se"),
        ("deploy", "resnet50+cbam"),
        ("export", "resnet50+cbam"),
        ("cost", "resnet50+cbam"),
        ("cost", "se", "--shape", "1x64x8x8"),
        ("benchmark", "resnet50+cbam"),
        ("deploy", "se", "cbam"),
        ("deploy", "py:nets:make", "--shape", "1x3x8x8"),
        ("show", "py:nets:make", "--shape", "1x3x8x8"),
    ],
    ids=" ".join,
)
def test_what_needs_pytorch_ends_with_exit_code_3_and_the_install_command(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert done.returncode == 3, done.stderr
    assert INSTALL_EXPORT in done.stderr
    assert "internal error" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_runtime_nothing_is_checked_and_nothing_has_failed(tmp_path: Path, bundle: Path) -> None:
    run = base_install.hidden(tmp_path, without=["onnxruntime", "onnxruntime-gpu"])
    done = run("-m", "attn2trt", "validate", str(bundle), "--json")
    assert done.returncode == 3, done.stderr
    assert set(statuses(done).values()) == {"not checked"}
    assert {WRITTEN, ORT_CPU, "int8 onnxruntime cpu"} <= statuses(done).keys()
    assert "pip install onnxruntime" in done.stdout
    benchmark = run("-m", "attn2trt", "benchmark", str(bundle), "--json")
    assert benchmark.returncode == 3, benchmark.stderr
    assert {row["status"] for row in json.loads(benchmark.stdout)["rows"]} == {"not measured"}
    for name in ("verify", "tune"):
        ended = run("-m", "attn2trt", name, str(bundle))
        assert ended.returncode == 3, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith("error: ")
        assert "pip install onnxruntime" in ended.stderr.splitlines()[-1]


def test_check_judges_a_file_by_itself(command: Run, tmp_path: Path) -> None:
    path = saved(convolution(), tmp_path / "model.onnx")
    ran = command("check", str(path), "--precision", "fp32,fp16", "--json")
    assert ran.returncode == 0, ran.stderr
    found = {stage["stage"]: stage["status"] for stage in json.loads(ran.stdout)["verdict"]["stages"]}
    assert {found[name] for name in (ORT_PLAIN, ORT_CPU, "fp16")} == {"passed"}
    assert found["tensorrt-rtx"] == "not checked"
    refused = command("check", str(path), "--against", "se")
    assert refused.returncode == 3, refused.stderr
    assert INSTALL_EXPORT in refused.stderr
