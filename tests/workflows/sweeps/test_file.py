"""The file of a sweep: what it asks for, and one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attn2trt.errors import InputError
from attn2trt.workflows.sweeps.file import parse, read_file

GOOD = """
verbs = ["deploy", "compile", "benchmark"]
targets = ["se", "resnet50+eca:k=3@stage3,stage4"]
precisions = ["fp32", "fp32,fp16", "auto"]

[resources]
memory_gib = 4

[deploy]
opset = 18

[[options]]
name = "small"
deploy.shape = "2x64x28x28"

[[options]]
name = "large"
deploy.shape = ["2x64x56x56"]
benchmark.batch = "1,8"

[[machines]]
name = "l4"
accelerator = "L4"
cpus = 4

[[machines]]
name = "cpu"
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "sweep.toml"
    file.write_text(text)
    return file


def test_a_file_with_every_axis(tmp_path: Path) -> None:
    found = read_file(written(tmp_path, GOOD))
    assert [verb.name for verb in found.verbs] == ["deploy", "compile", "benchmark"]
    assert found.precisions == ("fp32", "fp32,fp16", "auto")
    assert [options.name for options in found.options] == ["small", "large"]
    assert found.options[1].values["benchmark"] == {"batch": "1,8"}
    assert found.common == {"deploy": {"opset": 18}}
    l4, cpu = found.machines
    assert (l4.needs.accelerator, l4.needs.gpus, l4.needs.cpus) == ("L4", 1, 4)
    assert (cpu.needs.gpus, cpu.needs.cpus) == (0, 1)
    assert found.resources.needs.memory_bytes == 4 << 30


def test_one_key_is_enough() -> None:
    found = parse({"targets": ["se"]}, "mine.toml")
    assert ([verb.name for verb in found.verbs], found.precisions) == (["deploy"], ("fp32",))


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({}, r"received no targets in mine.toml; expected a list of strings"),
    ({"targets": []}, r"an empty list of targets in mine.toml; expected one or more"),
    ({"targets": "se"}, r"targets = 'se' in mine.toml; expected a list of strings"),
    ({"targets": ["se", 3]}, r"targets = \['se', 3\]"),
    ({"targets": ["se", " "]}, r"strings that are not empty"),
    ({"targets": ["se", "se"]}, r"'se' twice in targets"),
    (
        {"targets": ["a b", "a-b"]},
        r"the targets 'a b' and 'a-b' in mine.toml; expected names that give different folders",
    ),
    ({1: 2}, r"the key 1 in mine.toml; expected one of"),  # type: ignore[dict-item]
    (
        {"target": ["se"]},
        r"the key 'target' in mine.toml; expected one of .*did you mean targets\?",
    ),
    ({"targets": ["se"], "verbs": []}, r"an empty list of verbs"),
    ({"targets": ["se"], "verbs": ["benchmrk"]}, r"the verb 'benchmrk' .* did you mean benchmark"),
    ({"targets": ["se"], "verbs": ["list"]}, r"the verb 'list'"),
    ({"targets": ["se"], "verbs": ["deploy", "deploy"]}, r"'deploy' twice in verbs"),
    ({"targets": ["se"], "verbs": ["deploy", "export"]}, r"the verbs deploy and export .*; expected one that makes"),
    ({"targets": ["se"], "verbs": ["benchmark", "deploy"]}, r"the verb deploy after benchmark .*; expected it first"),
    ({"targets": ["se"], "verbs": ["cost", "compile"]}, r"the verbs cost, which take targets, and compile, which take"),
    ({"targets": ["se"], "precisions": ["fp32", "fp61"]}, r"mine.toml, in precisions: .*fp61"),
    ({"targets": ["se"], "precisions": []}, r"an empty list of precisions"),
    ({"targets": ["se"], "precisions": ["fp32,fp16", "fp32, fp16"]}, r"'fp32\+fp16' twice in precisions"),
    ({"targets": ["se"], "verbs": ["cost"], "precisions": ["fp16"]}, r"precisions in mine.toml; expected a verb that"),
    ({"targets": ["se"], "deploy": 3}, r"\[deploy\] = 3 .*; expected a table"),
    ({"targets": ["se"], "deploy": {"precision": "fp16"}}, r"the key 'precision' under \[deploy\].*give precisions"),
    ({"targets": ["se"], "deploy": {"out": "x"}}, r"the key 'out' under \[deploy\] .*does not set itself"),
    ({"targets": ["se"], "deploy": {"shape": {}}}, r"shape = \{\} under \[deploy\]"),
    ({"targets": ["se"], "deploy": {"shape": []}}, r"shape = \[\] under \[deploy\]"),
    ({"targets": ["se"], "benchmark": {"seconds": 1}}, r"options of benchmark under \[benchmark\] .*those of deploy"),
    ({"targets": ["se"], "options": []}, r"an empty list of options"),
    ({"targets": ["se"], "options": {"name": "a"}}, r"expected a list of tables; write each as \[\[options\]\]"),
    ({"targets": ["se"], "options": [{}]}, r"name = None under \[\[options\]\]"),
    ({"targets": ["se"], "options": [{"name": "a/b"}]}, r"name = 'a/b' under \[\[options\]\].*which names folders"),
    ({"targets": ["se"], "options": [{"name": "a"}, {"name": "a"}]}, r"'a' twice \[\[options\]\] named"),
    ({"targets": ["se"], "options": [{"name": "a"}, {"name": "b"}]}, r"the same options under the names 'a' and 'b'"),
    ({"targets": ["se"], "options": [{"name": "a", "deplyo": {}}]}, r"the key 'deplyo' under .* did you mean deploy"),
    ({"targets": ["se"], "machines": [{"name": "a"}]}, r"machines in mine.toml; expected a verb that runs on each"),
    (
        {"targets": ["se"], "verbs": ["deploy", "validate"], "machines": [{"name": "a", "gpu": 1}]},
        r"the key 'gpu' under \[\[machines\]\] named 'a' .* did you mean gpus",
    ),
    (
        {"targets": ["se"], "verbs": ["deploy", "validate"], "machines": [{"name": "a", "cpus": True}]},
        r"cpus = True under \[\[machines\]\] named 'a' .*a number above 0",
    ),
    ({"targets": ["se"], "resources": {"memory_gib": 0}}, r"memory_gib = 0 under \[resources\]"),
    ({"targets": ["se"], "resources": {"cpus": float("nan")}}, r"cpus = nan"),
    ({"targets": ["se"], "resources": {"accelerator": 4}}, r"accelerator = 4 .*the name of a GPU, as L4"),
    ({"targets": [f"t{number}" for number in range(100_001)]}, r"100001 jobs in mine.toml; expected at most 100000"),
]


@pytest.mark.parametrize(("document", "words"), MISTAKES, ids=[words[:40] for _, words in MISTAKES])
def test_a_mistake_is_one_line_that_names_it(document: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        parse(document, "mine.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('targets = ["se"', "no TOML .*Unclosed array"),
        ("x = 1\ntargets = [se]\n", "no TOML .*line 2"),
        ("\0", "no TOML"),
    ],
)
def test_what_is_no_toml_says_where(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_file(written(tmp_path, text))


def test_what_is_no_file_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the TOML file of a sweep"):
        read_file(tmp_path)
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no TOML"):
        read_file(file)
