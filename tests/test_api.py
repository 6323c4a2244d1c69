"""Every verb, option object and error comes from the package itself, also after every room was imported."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from deployed_once import PLAIN, deployed_once
from test_imports import ROOMS, ROOT, sources

import attn2trt
from attn2trt import errors
from attn2trt.engines.environment import ask_driver, probe_tensorrt

VERBS = {
    *("build", "deploy", "export_bundle", "open_bundle", "compile_bundle", "validate_bundle", "verify_bundle"),
    *("benchmark", "cost", "cost_plan", "tune_bundle", "report_bundle", "check_model", "check_plan"),
}
SE = {"shapes": ["2x16x4x4"]}


@pytest.fixture(scope="module", autouse=True)
def every_room() -> None:
    """Import each file, so that a name of the package that a room took would be found wrong."""
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        importlib.import_module(".".join(("attn2trt", *parts)).removesuffix(".__init__"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> attn2trt.Bundle:
    return attn2trt.open_bundle(deployed_once(tmp_path_factory, "se", PLAIN))


def test_no_public_name_is_a_rooms() -> None:
    assert not {*attn2trt.__all__} & {*ROOMS, "errors", "tests", "docs", "benchmarks", "examples"}
    assert VERBS <= {*attn2trt.__all__} <= {*dir(attn2trt)}


def test_what_is_typed_is_what_is_loaded() -> None:
    """The imports for type checkers, the table of homes and ``__all__`` name the same objects."""
    typed = {name: f".{module}" for module, name in imports_for_types()}
    assert typed == attn2trt._HOME
    assert sorted([*typed, *error_names(), "__version__"]) == sorted(attn2trt.__all__)
    for name in attn2trt.__all__:
        assert getattr(attn2trt, name) is not None
    with pytest.raises(AttributeError, match="'attn2trt' has no attribute 'deplyo'"):
        attn2trt.deplyo  # noqa: B018


def imports_for_types() -> Iterator[tuple[str, str]]:
    (block,) = (node for node in ast.parse((ROOT / "__init__.py").read_text()).body if isinstance(node, ast.If))
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        yield from ((str(node.module), alias.name) for alias in node.names)


def error_names() -> list[str]:
    return [name for name, found in vars(errors).items() if inspect.isclass(found) and issubclass(found, Exception)]


def test_every_error_is_the_packages_own() -> None:
    for name in error_names():
        assert getattr(attn2trt, name) is getattr(errors, name)
        assert issubclass(getattr(attn2trt, name), attn2trt.Attn2trtError)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_takes_what_it_works_on_first_and_options_by_keyword(verb: str) -> None:
    first, *others = inspect.signature(getattr(attn2trt, verb)).parameters.values()
    assert first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
    needed = {one.name for one in others if one.default is one.empty} | {"example_inputs"}
    assert all(one.kind is one.KEYWORD_ONLY for one in others if one.name not in needed)


def test_build_gives_the_module() -> None:
    module = attn2trt.build("se")
    assert isinstance(module, torch.nn.Module)
    assert not module.training


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> attn2trt.Bundle:
    folder = tmp_path_factory.mktemp("exported") / "se"
    return attn2trt.export_bundle("se", out=folder, weights=attn2trt.Weights(seed=3), **SE)


def test_deploy_and_export_say_if_the_bundle_passed(bundle: attn2trt.Bundle, exported: attn2trt.Bundle) -> None:
    assert bundle.passed
    assert not exported.passed
    assert exported.manifest["build"]["seed"] == 3
    assert {stage["status"] for stage in exported.manifest["verdict"]["stages"]} == {"not checked"}


def test_the_verbs_of_bundles_take_a_bundle_its_path_or_text(bundle: attn2trt.Bundle) -> None:
    for given in (bundle, bundle.path, str(bundle)):
        assert attn2trt.open_bundle(given).manifest == bundle.manifest
    verdict = attn2trt.validate_bundle(bundle)
    assert isinstance(verdict, attn2trt.Verdict)
    assert verdict
    found = attn2trt.verify_bundle(bundle)
    assert found
    assert {"model.onnx", "bundle.json"} <= {finding.file for finding in found}


def test_a_changed_file_makes_verify_false(exported: attn2trt.Bundle, tmp_path: Path) -> None:
    changed = shutil.copytree(exported, tmp_path / "se")
    (changed / "infer.py").write_text("print('other')")
    found = attn2trt.verify_bundle(changed)
    assert not found
    assert [finding.file for finding in found if not finding.ok] == ["infer.py"]
    with pytest.raises(attn2trt.CheckFailed, match=r"infer\.py: changed"):
        attn2trt.validate_bundle(changed)


@pytest.mark.skipif(bool(ask_driver().devices) and probe_tensorrt().status == "usable", reason="there is a GPU")
def test_compile_says_what_is_missing(bundle: attn2trt.Bundle) -> None:
    with pytest.raises(attn2trt.MissingRequirement, match="builds on the machine that runs the plan"):
        attn2trt.compile_bundle(bundle)


def test_report_writes_the_page_into_the_bundle(bundle: attn2trt.Bundle) -> None:
    reported = attn2trt.report_bundle(bundle)
    assert reported.path == bundle.path
    assert "report.html" in {finding.file for finding in attn2trt.verify_bundle(reported)}
    assert "<html" in (reported.path / "report.html").read_text(encoding="utf-8")


TYPED = """import attn2trt
import torch

bundle = attn2trt.deploy(torch.nn.Identity(), torch.zeros(1), dynamic={"x.height": (1, 2, 3)}, opset=18)
passed: bool = bundle.passed
verdict: attn2trt.Verdict = attn2trt.validate_bundle(bundle)
flavour: str = attn2trt.compile_bundle(bundle.path, precision="fp16").plan.flavour
attn2trt.deploy("se", weights=attn2trt.Weights(sede=1))
attn2trt.deploy("se", sede=1)
attn2trt.benchmark("se", threads="two")
"""


@pytest.mark.slow
def test_a_type_checker_sees_arguments_and_results(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text(TYPED)
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", "--follow-imports=silent"]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "caller.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / ".typing")},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^caller\.py:(\d+): error: .* \[(.*)\]$", ran.stdout, re.MULTILINE)
    assert found == [("8", "call-arg"), ("9", "call-arg"), ("10", "arg-type")], ran.stdout
