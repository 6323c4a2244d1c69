"""The example's file."""

from __future__ import annotations

from pathlib import Path

from attn2trt.cli.job_child import option_words
from attn2trt.workflows.sweeps.file import read_file
from attn2trt.workflows.sweeps.matrix import jobs_of

FILE = Path(__file__).resolve().parents[3] / "examples/sweep/sweep.toml"


def test_the_example_is_a_sweep_whose_commands_take_its_options() -> None:
    found = read_file(FILE)
    arguments = {
        (verb.name, options.name): option_words(
            verb.name, {**found.common.get(verb.name, {}), **options.values.get(verb.name, {})}
        )
        for verb in found.verbs
        for options in found.options
    }
    jobs = jobs_of(found, arguments)
    assert len(jobs) == 3 * 2 * 2 * 3
    assert "--shape=2x64x56x56" in next(job for job in jobs if job.name == "deploy se.fp32.large").arguments
