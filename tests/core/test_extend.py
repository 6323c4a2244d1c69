"""Killed at any moment, a command that changes a bundle leaves the one before or the one after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_bundle import write

from attn2trt.core.bundle import TUNED, Bundle, open_bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.destination import check_destination
from attn2trt.core.extend import changing, extend, first_name, free_name
from attn2trt.core.file_hashes import verify
from attn2trt.core.manifest import MANIFEST, MODEL
from attn2trt.errors import StorageError

PLAN = "plans/sm90-trt8.6.0-fp32.plan"

PRELUDE = f"""
import os, shutil, sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from killing import kill_at_each
from small_bundle import write
from attn2trt.core.bundle import TUNED, open_bundle
from attn2trt.core.file_hashes import verify
from attn2trt.core.destination import check_destination
from attn2trt.core.extend import changing
place = Path(sys.argv[1]) / "mine"
"""

COMMANDS = {
    "tune": """
from attn2trt.workflows import tune as tuning
from attn2trt.validate.verdict import Verdict
def change(text):
    with changing(place) as bundle:
        work = place / f"{tuning.WORK}{os.getpid()}-01234567"
        work.mkdir()
        named = tuning.free_name(TUNED, bundle.manifest["files"])
        files = [work / named, work / f"{named}.data"]
        for file in files:
            file.write_bytes((place / "model.onnx").read_bytes() + b"\\x0a\\x00" if file.suffix == ".onnx" else b"data")
        tuning._added(bundle, files, SimpleNamespace(to_json=lambda: {"text": text}), Verdict(()), lambda _text: None)
        shutil.rmtree(work)
def text():
    entry = open_bundle(place).tuned
    return None if entry is None else entry["text"]
""",
    "compile": """
from attn2trt.workflows import compile as compiling
from attn2trt.engines.environment import Component
from attn2trt.engines.tensorrt import plan_build
BUILT = {"flavour": "tensorrt", "tensorrt": "8.6.0", "gpu": "H200", "capabilities": ["9.0"], "driver": "13.0",
         "device_bytes": 1}
compiling.probe_tensorrt = lambda: Component("TensorRT", "usable", "8.6.0")
class Child:
    def __init__(self, order, seconds):
        self.order = order
    def __exit__(self, *_):
        return None
    def built(self):
        self.order.plan.write_text(wanted)
        self.order.layers.write_text(wanted)
        self.order.log.write_text(wanted)
        return {**BUILT, "seconds": float(len(wanted))}
plan_build.start_build = Child
def change(text):
    global wanted
    wanted = text
    compiling.compile_bundle(place)
def text():
    plans = open_bundle(place).manifest.get("plans", ())
    assert len(plans) <= 1
    found = {(place / plan["file"]).read_text() for plan in plans}
    assert all(len(text) == plans[0]["seconds"] for text in found)
    return next(iter(found), None)
""",
    "report": """
from attn2trt.workflows.report import record
def change(text):
    notes = []
    record(open_bundle(place), {"verdict": {"stages": []}, "tool": text}, notes.append)
    assert not notes, notes
def text():
    bundle = open_bundle(place)
    found = bundle.manifest.get("tool")
    page = (place / "report.html").read_text() if "report.html" in bundle.manifest["files"] else found or ""
    assert (found or "") in page
    return found
""",
    "keep kernels": """
from attn2trt.engines.tensorrt import isolated
plan = SimpleNamespace(file="plans/sm90-rtx1.7.1-fp32.plan", built_by="TensorRT")
KERNELS = "plans/sm90-rtx1.7.1-fp32.kernels"
def change(text):
    (place / "plans").mkdir(exist_ok=True)
    isolated.keep_kernels(open_bundle(place), plan, text.encode())
def text():
    return (place / KERNELS).read_text() if KERNELS in open_bundle(place).manifest["files"] else None
""",
}

KILLS = """
once = sys.argv[2] == "once"
def before():
    shutil.rmtree(place, ignore_errors=True)
    write(place)
    if once:
        change("old")
moments = 0
for moment, done in kill_at_each(lambda: change("the new one"), before):
    moments += 1
    assert all(finding.ok for finding in verify(place)), (moment, verify(place))
    allowed = {"the new one"} if done else {"old" if once else None, "the new one", *([None] if may_lose else [])}
    assert text() in allowed, (moment, text())
    check_destination(place)
    change("next")
    assert text() == "next", moment
    assert all(finding.ok for finding in verify(place))
    left = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert left - {"bundle.json", "plans/fp32.log"} == set(open_bundle(place).manifest["files"]), moment
print(moments)
"""


@pytest.mark.parametrize("once", ["first", "once"])
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_any_moment_the_bundle_is_whole(command: str, once: str, tmp_path: Path) -> None:
    # kernels can be compiled again: between two of them there may be none
    code = f"may_lose = {command == 'keep kernels'}\n" + PRELUDE + COMMANDS[command] + KILLS
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path), once], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 8


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write(tmp_path / "mine")


def test_names_take_turns() -> None:
    assert free_name(TUNED, {MODEL}) == TUNED
    assert free_name(TUNED, {TUNED}) == "model.ort-cpu.2.onnx"
    assert free_name(TUNED, {"model.ort-cpu.2.onnx"}) == TUNED
    assert free_name(PLAN, {PLAN}) == "plans/sm90-trt8.6.0-fp32.2.plan"
    assert first_name("plans/sm90-trt8.6.0-fp32.2.plan") == first_name(PLAN) == PLAN
    assert first_name("model.fp16.onnx") == "model.fp16.onnx"


def test_an_earlier_turn_goes_with_all_its_files_and_no_other(bundle: Bundle) -> None:
    (bundle.path / "plans").mkdir()
    first = [PLAN, PLAN.replace(".plan", ".layers.json"), PLAN.replace(".plan", ".kernels")]
    others = [PLAN.replace("fp32", "fp16"), TUNED]
    for name in [*first, *others]:
        (bundle.path / name).write_text(name)
    bundle = extend(bundle, dict.fromkeys([*first, *others], "role"), {})
    second = free_name(PLAN, bundle.manifest["files"])
    (bundle.path / second).write_text("second")
    bundle = extend(bundle, {second: "role"}, {"plans": []})
    assert {*others, second} <= set(bundle.manifest["files"])
    assert not set(first) & set(bundle.manifest["files"])
    assert not any((bundle.path / name).exists() for name in first)
    assert all((bundle.path / name).exists() for name in others)


def test_two_commands_do_not_change_a_bundle_at_once(bundle: Bundle) -> None:
    busy = pytest.raises(StorageError, match="being changed by another command")
    with changing(bundle.path), busy, changing(bundle.path):
        raise AssertionError
    with changing(bundle.path):
        pass


def test_a_bundle_that_was_replaced_meanwhile_stays_as_it_is(bundle: Bundle) -> None:
    def tune() -> None:
        with changing(bundle.path) as opened:
            work = opened.path / ".tuning.partial-1"
            work.mkdir()
            (work / TUNED).write_bytes(b"tuned")
            with BundleWriter(opened.path) as writer:
                for name in ("model.onnx", "reference.safetensors"):
                    (writer.path / name).write_text("another")
                content = {key: value for key, value in opened.manifest.items() if key not in ("format", "files")}
                writer.commit(content, {"model.onnx": "graph", "reference.safetensors": "cases"})
            (work / TUNED).replace(opened.path / TUNED)

    with pytest.raises(StorageError, match="was replaced by another command meanwhile"):
        tune()
    assert sorted(path.name for path in bundle.path.iterdir()) == [MANIFEST, MODEL, "reference.safetensors"]


def test_a_manifest_that_was_changed_meanwhile_is_not_overwritten(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    (bundle.path / MANIFEST).write_text(json.dumps({**manifest, "more": 1}))
    with pytest.raises(StorageError, match="was changed by another command meanwhile"):
        extend(bundle, {}, {"plans": []})
    assert open_bundle(bundle.path).manifest["more"] == 1
    assert not list(bundle.path.glob(".*"))


def test_what_the_user_put_into_a_bundle_is_not_swept(bundle: Bundle) -> None:
    mine = ("notes.txt", "plans/mine.plan", "model.ort-cpu.txt", ".tuning.partial-1", "plans/sm90.log")
    (bundle.path / "plans").mkdir()
    for name in mine:
        (bundle.path / name).write_text("mine")
    for name in (TUNED, "model.ort-cpu.2.onnx.data", PLAN, f".{MANIFEST}.partial-1"):
        (bundle.path / name).write_text("left by a killed command")
    with changing(bundle.path):
        pass
    left = {path.relative_to(bundle.path).as_posix() for path in bundle.path.rglob("*") if path.is_file()}
    assert left == {*bundle.manifest["files"], MANIFEST, *mine}


def test_what_a_killed_command_leaves_does_not_keep_the_bundle_from_being_replaced(bundle: Bundle) -> None:
    (bundle.path / "plans").mkdir()
    for name in (TUNED, PLAN, "plans/sm90-rtx1.7.1-fp16.2.kernels", "plans/.timing.cache.partial"):
        (bundle.path / name).write_text("left by a killed command")
    check_destination(bundle.path)
    assert all(finding.ok for finding in verify(bundle.path))
