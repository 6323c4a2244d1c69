"""A runtime is a runner and an entry in the table: timed, judged and reported as every other."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cli_run import run
from deployed_once import PLAIN, deployed_once
from quick_method import QUICK

import attn2trt
from attn2trt.engines.timing import runtimes
from attn2trt.engines.timing.results import Row
from attn2trt.modules import packages
from attn2trt.workflows.benchmark import benchmark

NAME = "onnx-reference"
FILE = '''"""ONNX's reference evaluator as a runtime."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from onnx.reference import ReferenceEvaluator

from attn2trt.engines.timing.runners import Runner


class ReferenceRuntime:
    name = "ONNX's reference evaluator"

    def __init__(self, model, factor):
        self._session, self._factor = ReferenceEvaluator(str(model)), factor

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run(self, feeds):
        outputs = self._session.run(None, feeds)
        return {name: value * self._factor for name, value in zip(self._session.output_names, outputs)}

    def prepare(self, sets):
        return [partial(self._session.run, None, feeds) for feeds in sets]


@dataclass(frozen=True)
class ReferenceRunner(Runner):
    product = "ONNX's reference evaluator"
    model: Path
    factor: float = 1.0

    def open(self, threads):
        return ReferenceRuntime(self.model, self.factor)


@dataclass(frozen=True)
class WrongRunner(ReferenceRunner):
    factor: float = 1.01
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file of a runtime, on the path of this process and of the one that is timed."""
    (tmp_path / "reference_runtime.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delitem(sys.modules, "reference_runtime", raising=False)
    return importlib.import_module("reference_runtime")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> attn2trt.Bundle:
    return attn2trt.open_bundle(deployed_once(tmp_path_factory, "se", PLAIN))


def timed(bundle: attn2trt.Bundle, monkeypatch: pytest.MonkeyPatch, entry: runtimes.GraphRuntime) -> dict[str, Row]:
    monkeypatch.setitem(runtimes.RUNTIMES, NAME, entry)
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    found = benchmark(bundle, runtimes=[NAME, "ort-cpu"], threads=1, method=QUICK)
    return {row.runtime: row for row in found.rows}


def test_one_entry_is_all_that_a_runtime_needs(
    bundle: attn2trt.Bundle, added: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = timed(bundle, monkeypatch, runtimes.GraphRuntime("ONNX's reference evaluator", added.ReferenceRunner))
    assert [row.status for row in rows.values()] == ["measured", "measured"]
    measurement = rows[NAME].measurement
    assert measurement is not None
    assert (measurement.runtime, measurement.device, measurement.precision) == (
        *("ONNX's reference evaluator", "CPU", "float32"),
    )
    assert measurement.latency.iterations >= QUICK.iterations


def test_a_new_runtime_that_computes_something_else_is_wrong_and_not_timed(
    bundle: attn2trt.Bundle, added: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = timed(bundle, monkeypatch, runtimes.GraphRuntime("a wrong one", added.WrongRunner))
    assert (rows[NAME].status, rows[NAME].measurement) == ("wrong", None)
    assert rows["ort-cpu"].status == "measured"


def test_a_new_runtime_that_is_not_here_says_why(
    bundle: attn2trt.Bundle, added: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = runtimes.GraphRuntime("one of another machine", added.ReferenceRunner, why_not=lambda: "it needs a moon")
    row = timed(bundle, monkeypatch, entry)[NAME]
    assert (row.status, row.why) == ("not measured", "it needs a moon")


def test_the_command_takes_a_new_runtime_by_its_name(
    bundle: attn2trt.Bundle, added: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = runtimes.GraphRuntime("the evaluator of ONNX", added.ReferenceRunner, why_not=lambda: "it needs a moon")
    monkeypatch.setitem(runtimes.RUNTIMES, NAME, entry)
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    shown = run("benchmark", bundle, "--runtime", NAME, "--seconds", "0.001")
    assert shown.exit_code == 3
    assert f"not measured: {NAME}, the evaluator of ONNX: it needs a moon" in " ".join(shown.stdout.split())
    unknown = run("benchmark", bundle, "--runtime", "onnx-referense")
    assert f"did you mean {NAME}" in unknown.stderr
