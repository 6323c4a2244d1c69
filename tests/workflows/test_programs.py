"""The C++ programs: written into a folder of the user's, and built and run on a recorded case."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import served_bundle
from manifest_edits import edit, list_as_it_is
from safetensors.numpy import load_file, save_file
from served_bundle import plan

from attn2trt.core.manifest import manifest_hash, manifest_text
from attn2trt.engines.environment import ask_driver
from attn2trt.errors import CheckFailed, InputError, StorageError
from attn2trt.export.deploy_files import AS_WRITTEN, PROGRAMS
from attn2trt.workflows.programs import Programs, write_programs

FILES = ("CMakeLists.txt", "infer_ort.cpp", "infer_trt.cpp", "recorded_case.h", "sha256.h")
# where the headers are, if they are nowhere that a compiler looks by itself
HEADERS = ("ONNXRUNTIME_INCLUDE_DIR", "TENSORRT_INCLUDE_DIR", "CUDA_INCLUDE_DIR")
LIBRARIES = ("TENSORRT_LIBRARY", "CUDART_LIBRARY")
PRETENDED = Path(__file__).parents[1] / "pretended_gpu" / "cpp"
Pretended = Callable[..., tuple[int, str, list[str]]]


def written(tmp_path: Path) -> Programs:
    served_bundle.write(tmp_path / "b", precisions=("fp32", "fp16"), plans=[plan()])
    return write_programs(tmp_path / "b", tmp_path / "cpp")


def difference(said: str) -> float:
    """The number that a program prints."""
    found = re.match(r"y \[2, 3, 4, 4\] largest difference from PyTorch: (\S+) \(.*\)", said)
    assert found is not None, said
    return float(found[1])


def test_the_files_and_the_commands(tmp_path: Path) -> None:
    found = written(tmp_path)
    assert found.files == FILES
    assert sorted(path.name for path in found.path.iterdir()) == list(FILES)
    for name in FILES:
        assert (found.path / name).read_bytes() == (PROGRAMS / name).read_bytes()
    build, bundle = tmp_path / "cpp/build", tmp_path / "b"
    assert found.run == (
        f"{build}/infer_ort {bundle} model.onnx",
        f"{build}/infer_ort {bundle} model.fp16.onnx",
        f"{build}/infer_trt {bundle} plans/sm86-trt10.9.0-fp32.plan",
    )


def test_what_onnx_runtime_gets_wrong_is_run_as_it_is_written() -> None:
    (names,) = re.findall(r"as_written\{(.*)\};", (PROGRAMS / "infer_ort.cpp").read_text())
    assert tuple(json.loads(f"[{names}]")) == AS_WRITTEN


def test_plans_of_the_bundles_graphs_are_run_and_no_others(tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b", plans=[plan(), plan("9.0", graph="0" * 64)])
    served_bundle.add_tuned(bundle, plan(tuned=True))
    runs = write_programs(tmp_path / "b", tmp_path / "cpp").run
    assert [run.partition("plans/")[2] for run in runs if "infer_trt" in run] == [
        *("sm86-trt10.9.0-fp32.plan", "sm86-trt10.9.0-fp32-tuned.plan"),
    ]


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx", "bundle.json"])
def test_no_programs_are_written_for_a_bundle_that_was_changed(tmp_path: Path, name: str) -> None:
    bundle = served_bundle.write(tmp_path / "b", precisions=("fp32", "fp16")).path
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content.replace(b'"name": "twice"', b'"name": "other"') + b" ")
    with pytest.raises(CheckFailed, match=rf"{name}: changed: .*; deploy the target again or restore the file"):
        write_programs(bundle, tmp_path / "cpp")
    assert not (tmp_path / "cpp").exists()


def test_an_empty_folder_is_taken_and_any_other_is_left(tmp_path: Path) -> None:
    (tmp_path / "cpp").mkdir()
    written(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for place in ("cpp", "b"):
        with pytest.raises(InputError, match="is not empty; expected a folder of its own"):
            write_programs(tmp_path / "b", tmp_path / place)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file is a file; what this command writes is a folder of its own"):
        write_programs(tmp_path / "b", tmp_path / "file")
    (tmp_path / "file").unlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served_bundle.write(tmp_path / "b")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StorageError, match="No space left"):
        write_programs(tmp_path / "b", tmp_path / "deep/er/cpp")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_bundle_without_a_case_has_nothing_to_run(tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b", sizes=())
    with pytest.raises(InputError, match="has no recorded case"):
        write_programs(tmp_path / "b", tmp_path / "cpp")


def header(name: str, variable: str, *places: str) -> Path:
    """The folder of a header, or a skip."""
    for place in filter(None, (os.environ.get(variable), *places)):
        if (Path(place) / name).is_file():
            return Path(place)
    pytest.skip(f"{name} is not installed; {variable} names its folder")


def compiled(source: str, folder: Path, *options: str) -> Path:
    out = folder / Path(source).stem
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", str(PROGRAMS / source), "-o", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def run(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def compiler() -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")


@pytest.fixture(scope="module")
def infer_ort(compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, by CMake, linked with the library that ONNX Runtime's own wheel holds."""
    headers = header(
        "onnxruntime_cxx_api.h",
        HEADERS[0],
        f"{sys.prefix}/include/onnxruntime",
        "/usr/include/onnxruntime",
        "/usr/local/include/onnxruntime",
        "/usr/include",
    )
    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not found or shutil.which("cmake") is None:
        pytest.skip("CMake is not installed, or this wheel of ONNX Runtime has no library of its own")
    folder = tmp_path_factory.mktemp("built")
    library = folder / "libonnxruntime.so.1"  # the name by which the program asks for it
    library.symlink_to(found[0])
    names = [f"-DONNXRUNTIME_INCLUDE_DIR={headers}", f"-DONNXRUNTIME_LIBRARY={library}"]
    for command in (["-S", PROGRAMS, "-B", folder / "build", *names], ["--build", folder / "build"]):
        code, said = run("cmake", *command)
        assert code == 0, said
    return folder / "build" / "infer_ort"


@pytest.mark.slow
def test_infer_ort_runs_a_recorded_case(infer_ort: Path, tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b", precisions=("fp32", "fp16"))
    for graph in ((), ("model.fp16.onnx",)):
        code, said = run(infer_ort, tmp_path / "b", *graph)
        assert (code, difference(said) < 1e-6, "(limit " in said) == (0, True, True), said


@pytest.mark.slow
def test_infer_ort_names_the_truth_of_a_file(infer_ort: Path, tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b")
    edit(tmp_path / "b", lambda manifest: manifest["verdict"].update(source="the graph"))
    assert "largest difference from the graph in float64: " in run(infer_ort, tmp_path / "b")[1]


@pytest.mark.slow
def test_infer_ort_sees_a_wrong_graph_and_says_what_does_not_load(infer_ort: Path, tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b", factor=3.0)
    code, said = run(infer_ort, tmp_path / "b")
    assert (code, difference(said) > 0.5) == (1, True), said
    edit(tmp_path / "b", lambda manifest: manifest["cases"][0]["outputs"][0].pop("most"))
    code, said = run(infer_ort, tmp_path / "b")
    assert (code, "(not judged here: attn2trt validate is the verdict)" in said) == (0, True), said
    edit(tmp_path / "b", lambda manifest: manifest["cases"][0]["outputs"][0].update(most="all"))
    assert run(infer_ort, tmp_path / "b") == (1, "error: 'all' is no number\n")
    for words, says in (((tmp_path,), "cannot read"), ((tmp_path / "b", "nowhere.onnx"), "no entry 'nowhere.onnx'")):
        code, said = run(infer_ort, *words)
        assert (code, says in said) == (1, True), said
    assert run(infer_ort)[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "reference.safetensors"])
def test_infer_ort_runs_no_file_that_was_changed(infer_ort: Path, tmp_path: Path, name: str) -> None:
    served_bundle.write(tmp_path / "b")
    with (tmp_path / "b" / name).open("ab") as file:
        file.write(b" ")
    code, said = run(infer_ort, tmp_path / "b")
    assert (code, said.partition(" has sha256 ")[0]) == (1, f"error: {name}")


@pytest.mark.slow
def test_infer_ort_runs_nothing_of_a_manifest_that_was_changed(infer_ort: Path, tmp_path: Path) -> None:
    file = served_bundle.write(tmp_path / "b").path / "bundle.json"
    text = file.read_text(encoding="utf-8")
    most = re.search(r'"most": [^,\s]+', text)
    assert most is not None
    file.write_text(text.replace(most[0], '"most": 9.5'), encoding="utf-8")
    code, said = run(infer_ort, tmp_path / "b")
    assert (code, said) == (1, "error: bundle.json was changed since it was written: nothing is loaded; restore it\n")
    earlier = json.loads(text)
    del earlier["sha256"]  # as a version that did not hash it wrote it
    file.write_text(json.dumps(earlier), encoding="utf-8")
    assert run(infer_ort, tmp_path / "b")[0] == 0


CASE = """
#include "recorded_case.h"
int main(int, char** words) {
  try {
    const bundle::Tensors tensors(bundle::read_file(words[1]));
    std::cout << tensors.at("", "x").data.size();
  } catch (const std::exception& error) { std::cout << error.what(); }
}
"""


@pytest.mark.slow
def test_a_recorded_tensor_has_the_bytes_of_its_shape(compiler: None, tmp_path: Path) -> None:
    (tmp_path / "case.cpp").write_text(CASE)
    code, said = run(
        "g++", "-std=c++17", "-Wall", "-Werror", f"-I{PROGRAMS}", tmp_path / "case.cpp", "-o", tmp_path / "case"
    )
    assert code == 0, said
    said_of = {
        (2, 3): "24",
        (2, 1 << 20): "x has 24 bytes, not those of its shape",
        (2,): "x has 24 bytes, not those of its shape",
        (-2, -3): "x has a shape that is none",
        (1 << 40, 1 << 40): "x has a shape that is none",
    }
    for shape, expected in said_of.items():
        header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 24]}}).encode()
        (tmp_path / "tensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
        assert run(tmp_path / "case", tmp_path / "tensors") == (0, expected)


READER = """
#include "recorded_case.h"
#include "sha256.h"
int main(int, char** words) {
  const std::string text = bundle::read_file(words[1]);
  std::cout << bundle::sha256(text);
  try {
    const bundle::Json found = bundle::JsonReader(text).read();
    std::cout << " " << bundle::sha256(bundle::hashed_text(found)) << "\\n";
    for (const auto& member : found.members) std::cout << member.first << "=" << member.second.text << ";";
  } catch (const std::exception& error) { std::cout << "\\n" << error.what(); }
}
"""


@pytest.mark.slow
def test_the_reader_of_json_and_the_hash_are_right(compiler: None, tmp_path: Path) -> None:
    (tmp_path / "reader.cpp").write_text(READER)
    reader = tmp_path / "reader"
    code, said = run("g++", "-std=c++17", f"-I{PROGRAMS}", tmp_path / "reader.cpp", "-o", reader)
    assert code == 0, said
    escaped = '{"a": 1.5e-07, "b\\n\\u00e9\\u20ac\\ud83d\\ude00": "c\\"d", "e": [1, {"f": null}], "g": {}}'
    texts: dict[str, str | None] = {
        escaped: 'a=1.5e-07;b\né€😀=c"d;e=;g=;',
        " { } ": "",
        manifest_text(
            {"b": [True, None, -1.5e-07, [], {}], "a": {"sha256": "\x00\x1f\x7f\\/\b\f", "é€\uffff😀": {}}}
        ): None,
        '{"a" 1}': "this is no JSON",
        '{"a": "': "this is no JSON",
        "[" * 100: "JSON is nested too deeply",
        "": "this is no JSON",
    }
    for text, expected in texts.items():
        (tmp_path / "text").write_text(text, encoding="utf-8")
        digests, _, found = run(reader, tmp_path / "text")[1].partition("\n")
        digest, *of_content = digests.split()
        assert digest == hashlib.sha256(text.encode()).hexdigest()
        assert expected is None or found == expected
        is_read = found not in ("this is no JSON", "JSON is nested too deeply")
        assert of_content == ([manifest_hash(json.loads(text))] if is_read else [])
    for size in (55, 56, 63, 64, 119, 120, 1000):
        (tmp_path / "text").write_bytes(bytes(range(256)) * 4 + b"x" * size)
        digest = run(reader, tmp_path / "text")[1].split()[0]
        assert digest == hashlib.sha256((tmp_path / "text").read_bytes()).hexdigest()


HALVES = """
#include "recorded_case.h"
int main(int, char** words) {
  const std::string data = bundle::read_file(words[1]);
  bundle::Tensor given{"x", "F32", {static_cast<std::int64_t>(data.size() / 4)}, data};
  try {
    std::cout << bundle::as_typed(given, words[2]).data;
  } catch (const std::exception& error) { std::cout << error.what(); }
}
"""


@pytest.mark.slow
def test_recorded_inputs_become_float16_exactly_or_not_at_all(compiler: None, tmp_path: Path) -> None:
    (tmp_path / "halves.cpp").write_text(HALVES)
    program, numbers = tmp_path / "halves", tmp_path / "numbers"
    code, said = run("g++", "-std=c++17", "-Wall", "-Werror", f"-I{PROGRAMS}", tmp_path / "halves.cpp", "-o", program)
    assert code == 0, said

    def converted(values: np.ndarray[Any, Any], dtype: str = "F16") -> bytes:
        numbers.write_bytes(values.tobytes())
        return subprocess.run([program, numbers, dtype], capture_output=True, check=True).stdout

    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[~np.isnan(every)]
    assert converted(every.astype(np.float32)) == every.tobytes()
    assert np.isnan(np.frombuffer(converted(np.array([np.nan], np.float32)), np.float16)).all()
    for wrong in (0.1, 65520.0, 1e-8, 2049.0):
        assert b"a number that float16 does not have" in converted(np.array([wrong], np.float32))
    assert b"was recorded as F32, and what runs takes I32" in converted(np.array([1.0], np.float32), "I32")


def triton_headers() -> list[str]:
    """The folder of CUDA's headers that comes with PyTorch's compiler."""
    found = find_spec("triton")
    return [f"{place}/backends/nvidia/include" for place in (found.submodule_search_locations or ())] if found else []


@pytest.fixture(scope="module")
def infer_trt(compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with the libraries that the variables name, or with the stand-ins for both.

    TENSORRT_INCLUDE_DIR alone has TensorRT's own headers compile the program; what runs is linked with the stand-ins.
    """
    folder = tmp_path_factory.mktemp("built")
    cuda = ["-isystem", str(header("cuda_runtime_api.h", HEADERS[2], "/usr/local/cuda/include", *triton_headers()))]
    if real := os.environ.get(HEADERS[1]):
        compiled("infer_trt.cpp", folder, "-c", "-isystem", real, *cuda)
    libraries = [os.environ.get(name) for name in LIBRARIES]
    if real and all(libraries):
        paths = ":".join(str(Path(str(library)).parent) for library in libraries)
        return compiled("infer_trt.cpp", folder, "-isystem", real, *cuda, *map(str, libraries), f"-Wl,-rpath,{paths}")
    return compiled("infer_trt.cpp", folder, f"-I{PRETENDED}", *cuda, str(PRETENDED / "runtime.cpp"))


PLAN = "plans/sm86-trt10.9.0-fp32.plan"


@pytest.mark.slow
def test_infer_trt_says_that_there_is_no_gpu(infer_trt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if ask_driver().devices:
        pytest.skip("there is a GPU")
    monkeypatch.setenv("PRETENDED_GPUS", "0")
    for name, flags in (("without", {}), ("b", {"version_compatible": True})):
        served_bundle.write(tmp_path / name, plans=[plan(**flags)])
        code, said = run(infer_trt, tmp_path / name, PLAN)
        assert (code, said.startswith("error: CUDA"), len(said.splitlines())) == (1, True, 1), said
    (tmp_path / "b" / PLAN).write_text("another")
    code, said = run(infer_trt, tmp_path / "b", PLAN)
    assert (code, "has sha256" in said) == (1, True), said
    assert run(infer_trt)[0] == 2


@pytest.fixture
def pretended(infer_trt: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """Run the program with the stand-ins: its exit code, the last line of its output, and the calls that it made."""
    if all(os.environ.get(name) for name in (HEADERS[1], *LIBRARIES)):
        pytest.skip("the program is linked with the real libraries")

    def ran(bundle: Path, **settings: str) -> tuple[int, str, list[str]]:
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(f"PRETENDED_{name}", value)
            done = subprocess.run([infer_trt, bundle, PLAN], capture_output=True, text=True, check=False)
        *calls, last = [*done.stderr.splitlines(), *done.stdout.splitlines()]
        return done.returncode, last, calls

    return ran


@pytest.mark.slow
def test_infer_trt_runs_a_plan(pretended: Pretended, tmp_path: Path) -> None:
    """The calls, and what goes in and comes out; how TensorRT itself takes them is seen on a GPU alone."""
    served_bundle.write(tmp_path / "b", plans=[plan()], halves=True)
    code, last, calls = pretended(tmp_path / "b")
    assert (code, difference(last)) == (0, 0)
    begin = ["createInferRuntime", f"deserializeCudaEngine {PLAN}", "createExecutionContext"]
    assert calls == [*begin, "setInputShape", "setTensorAddress x", "setTensorAddress y", "enqueueV3"]
    code, last, _ = pretended(tmp_path / "b", TYPE="1")  # float16 at both ends
    assert (code, difference(last)) == (0, 0)
    code, last, _ = pretended(tmp_path / "b", FACTOR="3")
    assert (code, difference(last) > 0.5) == (1, True)
    assert pretended(tmp_path / "b", FACTOR="inf")[0] == 1


@pytest.mark.slow
def test_infer_trt_takes_the_profile_that_holds_the_case(pretended: Pretended, tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b", plans=[plan()])
    for batches, profile in (("1:8 4:8", None), ("4:8 1:2", 1), ("4:8 8:8 2:2", 2)):
        code, last, calls = pretended(tmp_path / "b", BATCHES=batches)
        assert (code, difference(last)) == (0, 0)
        chosen = [call for call in calls if call.startswith("setOptimizationProfile")]
        assert chosen == ([] if profile is None else [f"setOptimizationProfileAsync {profile}"])
    code, last, calls = pretended(tmp_path / "b", BATCHES="4:8 3:8")
    assert (code, last) == (1, "error: the recorded sizes lie outside of the plan's profiles")
    assert "enqueueV3" not in calls


@pytest.mark.slow
def test_infer_trt_allows_code_of_a_plan_that_brings_its_own_alone(pretended: Pretended, tmp_path: Path) -> None:
    for name, is_compatible in (("own", True), ("b", False)):
        served_bundle.write(tmp_path / name, plans=[plan(version_compatible=is_compatible)])
        assert ("allow host code" in pretended(tmp_path / name)[2]) is is_compatible
    # a plan that is not the manifest's never gets as far as TensorRT
    (tmp_path / "own" / PLAN).write_text("another")
    code, last, calls = pretended(tmp_path / "own")
    assert (code, "has sha256" in last, calls) == (1, True, [])


@pytest.mark.slow
def test_infer_trt_takes_no_more_axes_than_tensorrt_and_no_case_without_outputs(
    pretended: Pretended, tmp_path: Path
) -> None:
    served_bundle.write(tmp_path / "b", plans=[plan()])
    file = tmp_path / "b" / "reference.safetensors"
    arrays = load_file(file)
    arrays["case_0/input/x"] = arrays["case_0/input/x"].reshape(2, 3, 4, 4, *[1] * 60)
    save_file(arrays, file)
    list_as_it_is(tmp_path / "b", file.name)
    assert pretended(tmp_path / "b")[:2] == (1, "error: TensorRT refuses the shape of x")
    edit(tmp_path / "b", lambda manifest: manifest["cases"][0].update(outputs=[]))
    assert pretended(tmp_path / "b") == (1, "error: the recorded case has no output", [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("createInferRuntime", "to start"),
        ("deserializeCudaEngine", "the plan"),
        ("createExecutionContext", "to run the plan"),
        ("setInputShape", "the shape of x"),
        ("setTensorAddress", "the input x"),
        ("enqueueV3", "to run the plan"),
    ],
)
def test_infer_trt_says_what_tensorrt_refuses(pretended: Pretended, tmp_path: Path, call: str, words: str) -> None:
    served_bundle.write(tmp_path / "b", plans=[plan()])
    code, last, calls = pretended(tmp_path / "b", REFUSES=call)
    assert (code, last) == (1, f"error: TensorRT refuses {words}")
    assert calls[-1].startswith(call)
