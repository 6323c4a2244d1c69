"""The C++ programs: written into a folder of the user's, and built and run on a recorded case."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import served_bundle
from served_bundle import plan

from attn2trt.engines.environment import ask_driver
from attn2trt.errors import InputError
from attn2trt.export.deploy_files import PROGRAMS
from attn2trt.workflows.programs import Programs, write_programs

FILES = ("CMakeLists.txt", "infer_ort.cpp", "infer_trt.cpp", "recorded_case.h", "sha256.h")
# where the headers are, if they are nowhere that a compiler looks by itself
HEADERS = ("ONNXRUNTIME_INCLUDE_DIR", "TENSORRT_INCLUDE_DIR", "CUDA_INCLUDE_DIR")


def written(tmp_path: Path) -> Programs:
    served_bundle.write(tmp_path / "b", precisions=("fp32", "fp16"), plans=[plan()])
    return write_programs(tmp_path / "b", tmp_path / "cpp")


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


def test_an_empty_folder_is_taken_and_any_other_is_left(tmp_path: Path) -> None:
    (tmp_path / "cpp").mkdir()
    written(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for place in ("cpp", "b"):
        with pytest.raises(InputError, match="is not empty; expected a folder of its own"):
            write_programs(tmp_path / "b", tmp_path / place)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file is not empty"):
        write_programs(tmp_path / "b", tmp_path / "file")
    (tmp_path / "file").unlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served_bundle.write(tmp_path / "b")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
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
        assert (code, said.rpartition(" ")[0]) == (0, "y [2, 3, 4, 4] largest difference from PyTorch:")
        assert float(said.split()[-1]) < 1e-6


@pytest.mark.slow
def test_infer_ort_sees_a_wrong_graph_and_says_what_does_not_load(infer_ort: Path, tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b", factor=3.0)
    assert float(run(infer_ort, tmp_path / "b")[1].split()[-1]) > 0.5
    for words, says in (((tmp_path,), "cannot read"), ((tmp_path / "b", "nowhere.onnx"), "error: ")):
        code, said = run(infer_ort, *words)
        assert (code, says in said) == (1, True), said
    assert run(infer_ort)[0] == 2


READER = """
#include "recorded_case.h"
#include "sha256.h"
int main(int, char** words) {
  const std::string text = bundle::read_file(words[1]);
  std::cout << bundle::sha256(text) << "\\n";
  try {
    const bundle::Json found = bundle::JsonReader(text).read();
    for (const auto& member : found.members) std::cout << member.first << "=" << member.second.text << ";";
  } catch (const std::exception& error) { std::cout << error.what(); }
}
"""


@pytest.mark.slow
def test_the_reader_of_json_and_the_hash_are_right(compiler: None, tmp_path: Path) -> None:
    (tmp_path / "reader.cpp").write_text(READER)
    reader = tmp_path / "reader"
    code, said = run("g++", "-std=c++17", f"-I{PROGRAMS}", tmp_path / "reader.cpp", "-o", reader)
    assert code == 0, said
    escaped = '{"a": 1.5e-7, "b\\n\\u00e9\\u20ac\\ud83d\\ude00": "c\\"d", "e": [1, {"f": null}], "g": {}}'
    texts = {
        escaped: 'a=1.5e-7;b\né€😀=c"d;e=;g=;',
        " { } ": "",
        '{"a" 1}': "this is no JSON",
        '{"a": "': "this is no JSON",
        "[" * 100: "JSON is nested too deeply",
        "": "this is no JSON",
    }
    for text, expected in texts.items():
        (tmp_path / "text").write_text(text, encoding="utf-8")
        digest, _, found = run(reader, tmp_path / "text")[1].partition("\n")
        assert (digest, found) == (hashlib.sha256(text.encode()).hexdigest(), expected)
    for size in (55, 56, 63, 64, 119, 120, 1000):
        (tmp_path / "text").write_bytes(bytes(range(256)) * 4 + b"x" * size)
        digest = run(reader, tmp_path / "text")[1].partition("\n")[0]
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


@pytest.mark.slow
def test_infer_trt_links_and_says_that_there_is_no_gpu(compiler: None, tmp_path: Path) -> None:
    library, cudart = (os.environ.get(name) for name in ("TENSORRT_LIBRARY", "CUDART_LIBRARY"))
    if library is None or cudart is None or ask_driver().devices:
        pytest.skip("TENSORRT_LIBRARY and CUDART_LIBRARY name no libraries, or there is a GPU")
    includes = [header("NvInfer.h", HEADERS[1]), header("cuda_runtime_api.h", HEADERS[2], "/usr/local/cuda/include")]
    words = [word for place in includes for word in ("-isystem", str(place))]
    paths = f"-Wl,-rpath,{Path(library).parent}:{Path(cudart).parent}"
    program = compiled("infer_trt.cpp", tmp_path, *words, library, cudart, paths)
    for name, flags in (("without", {}), ("b", {"version_compatible": True})):
        served_bundle.write(tmp_path / name, plans=[plan(**flags)])
        code, said = run(program, tmp_path / name, "plans/sm86-trt10.9.0-fp32.plan")
        assert (code, said.startswith("error: CUDA"), len(said.splitlines())) == (1, True, 1), said
    (tmp_path / "b/plans/sm86-trt10.9.0-fp32.plan").write_text("another")
    code, said = run(program, tmp_path / "b", "plans/sm86-trt10.9.0-fp32.plan")
    assert (code, "has sha256" in said) == (1, True), said


@pytest.mark.slow
def test_infer_trt_compiles(compiler: None, tmp_path: Path) -> None:
    places = [
        header("NvInfer.h", HEADERS[1], "/usr/include/x86_64-linux-gnu"),
        header("cuda_runtime_api.h", HEADERS[2], "/usr/local/cuda/include"),
    ]
    compiled("infer_trt.cpp", tmp_path, "-c", *(word for place in places for word in ("-isystem", str(place))))
