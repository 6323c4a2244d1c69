"""The jobs of a file: their command lines, folders, order and needs."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from attn2trt.errors import InputError
from attn2trt.workflows.sweeps.file import parse
from attn2trt.workflows.sweeps.matrix import Job, jobs_of


def jobs(document: dict[str, Any], *words: str) -> list[Job]:
    return jobs_of(parse(document, "mine.toml"), defaultdict(lambda: [*words]))


def test_every_combination_is_a_chain_of_jobs_and_deploy_is_done_once_for_all_machines() -> None:
    machines = [{"name": "l4", "accelerator": "L4", "cpus": 4, "memory_gib": 8}, {"name": "cpu"}]
    found = jobs(
        {
            "verbs": ["deploy", "compile", "benchmark", "cost"],
            "targets": ["se", "resnet50+eca"],
            "precisions": ["fp32", "fp32,fp16"],
            "machines": machines,
        }
    )
    assert len(found) == 2 * (2 * (1 + 2 * 2) + 2)  # what a block costs has no precision
    assert len({job.name for job in found}) == len({job.folder for job in found}) == len(found)
    by_name = {job.name: job for job in found}
    timed = by_name["benchmark se.fp32+fp16@l4"]
    assert (timed.after, by_name[timed.after].after) == ("compile se.fp32+fp16@l4", "deploy se.fp32+fp16")
    assert (timed.needs.is_alone, timed.needs.accelerator, timed.needs.memory_bytes) == (True, "L4", 8 << 30)
    assert not by_name["compile se.fp32@l4"].needs.is_alone
    assert (by_name["cost se@cpu"].after, by_name["cost se@cpu"].precision) == ("", "")
    assert by_name["deploy se.fp32"].needs.gpus == 0


def test_long_names_are_those_of_folders_still() -> None:
    targets = ["se:" + "k=1," * 40 + end for end in ("k=1", "k=2", "k=1" * 80)]
    document = {"targets": targets, "options": [{"name": "o" * 90}], "machines": [{"name": "m"}]}
    folders = [job.folder.parent.name for job in jobs({**document, "verbs": ["deploy", "benchmark"]})]
    assert len(set(folders)) == len(folders)
    assert max(map(len, folders)) <= 255


def test_command_lines() -> None:
    document = {"verbs": ["deploy", "compile", "benchmark"], "targets": ["se"], "precisions": ["fp16"]}
    deploy, compiling, timed = jobs(document, "--seed=1")
    assert deploy.command("f") == [*("deploy", "se", "--precision", "fp16", "--seed=1", "-o", "f/bundle", "--json")]
    assert deploy.command("f", force=True)[-2:] == ["--force", "--json"]
    assert compiling.command("f") == ["compile", "f/bundle", "--precision", "fp16", "--seed=1", "--json"]
    assert timed.command("f") == ["benchmark", "f/bundle", "--seed=1", "-o", "f/benchmark.json", "--json"]


def test_an_option_of_some_precisions_goes_to_those_if_there_are_any() -> None:
    words = ("--calibrate=photographs", "--keep-fp32=head", "--seed=1")
    document = {"targets": ["se"], "precisions": ["fp32", "fp16", "fp32,int8"]}
    assert [job.arguments for job in jobs(document, *words)] == [words[2:], words[1:], words]
    assert [job.arguments for job in jobs({**document, "precisions": ["fp32"]}, *words)] == [words]  # it is refused


def test_a_bundle_that_is_there_is_copied_also_by_benchmark(tmp_path: Path, small: Path) -> None:
    (timed,) = jobs({"verbs": ["benchmark"], "targets": [str(small)]})
    assert (timed.takes_bundle, timed.command("f")[1]) == (True, "f/bundle")
    (timed,) = jobs({"verbs": ["benchmark"], "targets": ["se"]})
    assert (timed.takes_bundle, timed.command("f")[1]) == (False, "se")


@pytest.mark.parametrize(
    ("target", "is_described"),
    [
        ("se", True),
        ("resnet50+eca:k=3@stage3,stage4", True),
        ("tf_efficientnetv2_s.in1k+se", True),
        ("net.py", False),
        ("resnet18+net.py:Gate@layer4", False),
        ("py:package.module:make", False),
        ("models/x.onnx", False),
        ("scheme:name", False),
    ],
)
def test_what_a_name_alone_describes(target: str, is_described: bool) -> None:
    (job,) = jobs({"targets": [target]})
    assert job.is_described is is_described


@pytest.mark.parametrize("word", ["--server=http://localhost:8000", "--checkpoint=hf-hub:owner/name"])
def test_what_lies_elsewhere_is_described_by_no_name(word: str) -> None:
    document = {"verbs": ["validate"], "targets": ["made"]}
    assert [job.is_described for job in jobs(document, "--max-error=1")] == [True]
    assert [job.is_described for job in jobs(document, "--max-error=1", word)] == [False]


def test_jobs_of_one_folder_are_refused() -> None:
    document = {
        "verbs": ["validate"],
        "targets": ["a", "a.x"],
        "options": [{"name": "x.y"}, {"name": "y", "validate": {"max-error": 1}}],
    }
    words = (
        "received validate a.x with options y and validate a with options x.y in mine.toml; expected jobs with "
        "folders of their own, and both have a.x.y/validate; "
    )
    with pytest.raises(InputError, match=words):
        jobs(document)
