"""The situations from the field: the table is whole, a result is judged strictly, and what is refused is refused."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from attn2trt.core.graph import OnnxGraph
from attn2trt.errors import InputError
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import build, resolve
from attn2trt.validate.cases import make_cases
from attn2trt.validate.reference import references

ROOT = Path(__file__).resolve().parents[1]
# refused by the reference, after the export
LATER = {"AlwaysDrops", "AlwaysTrains", "OverlappingCopy"}


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    """The benchmark, with benchmarks/ on the path, so that the situations are found by their import names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        spec = importlib.util.spec_from_file_location("field_benchmark", ROOT / "benchmarks/field.py")
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, found)
        spec.loader.exec_module(found)
        yield found
        for name in [name for name in sys.modules if name.partition(".")[0] == "situations"]:
            del sys.modules[name]


def test_every_situation_says_what_it_is_and_what_must_come_of_it(tool: ModuleType) -> None:
    assert len(tool.SITUATIONS) >= 39
    for situation in tool.SITUATIONS.values():
        assert situation.title
        assert situation.deploys
        assert all(link.startswith("https://") for link in situation.links)
        assert all(deploy.options.startswith("--shape ") for deploy in situation.deploys)
        assert all(deploy.now.words for deploy in situation.deploys if deploy.now.exit_code)


def options(deploy: Any) -> dict[str, Any]:
    """The arguments of ``resolve`` for what a deploy's options say of sizes; the opset beside them."""
    words = deploy.options.split()
    given: dict[str, list[str]] = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        given.setdefault(flag, []).append(value)
    assert set(given) <= {"--shape", "--dynamic", "--opset", "--for"}
    return {"shapes": given["--shape"], "dynamic": given.get("--dynamic", [None])[0]}


def export(situation: Any, deploy: Any, folder: Path) -> OnnxGraph:
    """Do what deploy does before anything is judged."""
    target = resolve(situation.target, **options(deploy))
    opset = int(deploy.options.partition("--opset ")[2].partition(" ")[0] or 17)
    return trace(target, target.build(), folder / "model.onnx", opset=opset)


# refused before anything is traced
AT_ONCE = ("NeckAlone", "OneImage", "ScaledToOriginal", "scripted", "InputByKeyword")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", AT_ONCE)
def test_what_must_be_refused_is_in_one_line(tool: ModuleType, name: str, tmp_path: Path) -> None:
    check_refused(tool.SITUATIONS[name], tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_that_must_be_refused_is_in_one_line(tool: ModuleType, tmp_path: Path) -> None:
    for situation in tool.SITUATIONS.values():
        if situation.name not in LATER:
            check_refused(situation, tmp_path)


def check_refused(situation: Any, folder: Path) -> None:
    """Export what must be refused."""
    for deploy in situation.deploys:
        if deploy.now.exit_code == 2:
            with pytest.raises(InputError) as caught:
                export(situation, deploy, folder)
            assert deploy.now.holds(caught.value.exit_code, str(caught.value)), f"{situation.name}: {caught.value}"
            assert "\n" not in str(caught.value)
            assert "; " in str(caught.value)


# kinds that no other test has: the length of a tensor, and an input that is returned
SAMPLE = ("BatchByLength", "PassesThrough")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAMPLE)
def test_what_must_pass_is_right_at_sizes_that_were_not_traced(tool: ModuleType, name: str, tmp_path: Path) -> None:
    check_right(tool.SITUATIONS[name], tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_that_must_pass_is_right_at_sizes_that_were_not_traced(tool: ModuleType, tmp_path: Path) -> None:
    for situation in tool.SITUATIONS.values():
        check_right(situation, tmp_path)


def check_right(situation: Any, folder: Path) -> None:
    """Export what must pass in float32, and compare it with eager PyTorch."""
    from outcomes import compare

    for deploy in situation.deploys:
        if deploy.now.exit_code == 0 and "--precision" not in deploy.options and "--layout" not in deploy.options:
            graph = export(situation, deploy, folder)
            found = compare(graph.path, build(situation.target), graph.inputs, graph.axes, is_claimed=True)
            assert found.result == "right", f"{situation.name} {deploy.options}: {found}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(LATER))
def test_what_gives_something_else_on_a_second_call_is_refused_by_the_reference(tool: ModuleType, name: str) -> None:
    situation = tool.SITUATIONS[name]
    (deploy,) = situation.deploys
    target = resolve(situation.target, **options(deploy))
    with pytest.raises(InputError) as caught:
        next(references(target.build(), make_cases(target.inputs, target.axes, seed=0)))
    assert deploy.now.holds(caught.value.exit_code, str(caught.value))


def test_a_result_is_expected_only_if_code_words_and_graph_are(tool: ModuleType) -> None:
    from outcomes import Outcome

    passes = tool.SITUATIONS["DetectorNeck"].deploys[0]
    refused = tool.SITUATIONS["TextLine"].deploys[0]
    right, wrong = Outcome("right", sizes=3), Outcome("silently wrong", "off by 1")
    line = "error: it fixes 'width'; PyTorch traces nn.LSTM for one size alone: leave it out"
    assert tool.Result(0, "PASSED", "PASSED", right).is_expected(passes)
    assert not tool.Result(0, "PASSED", "PASSED", wrong).is_expected(passes)
    assert not tool.Result(1, "FAILED", "FAILED").is_expected(passes)
    assert tool.Result(2, line, line).is_expected(refused)
    assert not tool.Result(2, "error: other words", "error: other words").is_expected(refused)
    assert not tool.Result(70, line, line).is_expected(refused)


def test_the_line_is_the_error_or_the_verdict(tool: ModuleType) -> None:
    assert tool._line("table\nPASSED: 4 stages; not checked: tensorrt\nbundle b\n", "") == "PASSED: 4 stages"
    assert tool._line("", "noise\nerror: received x; expected y\n") == "error: received x; expected y"
    assert tool._line("", "") == "nothing was printed"


def row(tool: ModuleType, name: str, *found: dict[str, Any]) -> dict[str, Any]:
    options = [deploy.options for deploy in tool.SITUATIONS[name].deploys]
    deploys = [{"options": text, **one} for text, one in zip(options, found, strict=True)]
    return {"situation": name, "deploys": deploys, "seconds": 1.0}


def test_the_page_tells_what_is_wrong_and_what_to_do_instead(tool: ModuleType) -> None:
    right = {"exit_code": 0, "line": "PASSED: 4", "as_expected": True, "compared": {"result": "right", "sizes": 4}}
    wrong = right | {"as_expected": False, "compared": {"result": "silently wrong", "why": "off by 1"}}
    refused = {"exit_code": 2, "line": "error: Net loops at net.py:3; write it without a loop", "as_expected": True}
    rows = [row(tool, "DetectorNeck", right, wrong), row(tool, "LoopOverRows", refused, right)]
    document = {"date": "2026-01-01", "machine": "m", "versions": {"torch": "2"}, "rows": rows}
    page = tool.page(document)
    assert "- deploys: 4, as they must be: 3" in page
    assert "- passed: 3, of these right at every size compared: 2" in page
    assert "| 0, right; sizes: 4 |" in page
    assert "**not as it must be** 0: PASSED: 4. **silently wrong**: off by 1." in page
    assert "| A Python loop over the rows of an image | Net loops at net.py:3 | write it without a loop |" in page
    assert "[yolov5#7268](https://github.com/ultralytics/yolov5/issues/7268)" in page
    assert [tool.is_kept(one) for one in rows] == [False, True]
    assert not tool.is_kept({**rows[1], "situation": "gone"})
    moved = replace(tool.SITUATIONS["LoopOverRows"].deploys[0], options="--shape 2x4x9x9")
    assert not tool.is_kept(row(tool, "LoopOverRows", refused | {"options": moved.options}, right))
