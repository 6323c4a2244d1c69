"""What a job found, from what its command printed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.workflows.sweeps.finding import finding_of

ROW = {"model": "target", "batch": 2, "status": "measured"}


def row(runtime: str, ms: float) -> dict[str, Any]:
    return {**ROW, "runtime": runtime, "measurement": {"latency": {"median_ms": ms}}}


VERDICT = {"passed": True, "source": "PyTorch", "stages": []}
CHANGED = {**Stage(WRITTEN, "fp16").to_json(), "images": 8, "changed": 2, "share": 0.25}


@pytest.mark.parametrize(
    ("verb", "document", "words"),
    [
        ("deploy", {"verdict": VERDICT}, "NOT CHECKED: no stage"),
        (
            "validate",
            {"verdict": VERDICT, "predictions": {"passed": False, "runtimes": [CHANGED, {**CHANGED, "share": 0.1}]}},
            "NOT CHECKED: no stage .*; PREDICTIONS FAILED: 2 of 8 predictions changed in fp16",
        ),
        ("export", {"opset": 17}, "exported, numbers not checked; opset 17"),
        ("compile", {"plans": [{"file": "plans/a.plan"}]}, "built, not checked: plans/a.plan"),
        ("tune", {"graph": None}, "no rewrite is faster"),
        ("benchmark", {"rows": [row("ort-cpu", 2.0), row("pytorch-eager", 1.0)]}, "fastest: ort-cpu, 2 ms at batch 2"),
        (
            "benchmark",
            {"rows": [{**ROW, "runtime": "ort-cpu", "status": "wrong"}]},
            "no runtime .*; not right: ort-cpu",
        ),
        ("cost", {"added": {"difference": {"ms": 1, "low_ms": 0.5, "high_ms": 2}}}, r"add 1 ms \(0.5 to 2\)"),
    ],
)
def test_a_sentence_for_each_command(verb: str, document: dict[str, Any], words: str) -> None:
    import re

    assert re.search(words, finding_of(verb, json.dumps(document), "", 0).sentence)


@pytest.mark.parametrize(
    ("output", "errors", "words"),
    [
        ("", "note: x\nerror: received x; expected y\n", "received x; expected y"),
        ("{", "internal error: it broke\nmore\n", "internal error: it broke"),
        ("[]", "something else\n", "something else"),
        ("", "", "the command ended with exit code 4"),
        ('{"verdict": 3}', "", "the command ended"),
    ],
)
def test_without_a_document_it_is_the_line_of_error(output: str, errors: str, words: str) -> None:
    assert words in finding_of("deploy", output, errors, 4).sentence
