"""A command of attn2trt in this process, and the one line of its refusal."""

from __future__ import annotations

from click.testing import CliRunner, Result

from attn2trt.cli.main import group


def run(*words: object) -> Result:
    """Run ``attn2trt`` with these words."""
    return CliRunner().invoke(group, [str(word) for word in words])


def refused(result: Result, code: int = 2) -> str:
    """Return the line on stderr of a command that ended with this code, and printed nothing else."""
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()
