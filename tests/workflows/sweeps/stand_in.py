"""Commands that take no time, for sweeps in tests: they pass, fail, die or hang, as the name of the target says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from attn2trt.core.processes import note, stage_seconds

# What the real command prints, as far as a sweep reads it.
VERDICT = {"passed": True, "source": "PyTorch", "stages": []}


def main() -> None:
    """Be the process that runs jobs, with commands of this file."""
    from attn2trt.cli import job_child, job_process
    from attn2trt.modules import packages

    job_process.KEPT_BYTES = int(os.environ.get("STAND_IN_KEPT", job_process.KEPT_BYTES))

    packages.load = lambda: None
    job_child.group = Group("attn2trt")  # type: ignore[assignment]
    job_child.main()


class Group(click.Group):
    """The stand-in of the group of commands."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return {"check": check, "deploy": deploy, "cost": cost}.get(cmd_name)

    def main(self, args: Any = None, **more: Any) -> NoReturn:  # type: ignore[override]
        code = super().main(list(args), standalone_mode=False, **more)
        sys.stdout.flush()
        sys.exit(code or 0)


def behave(target: str, folder: Path) -> int:
    """Do as the target's name says; ``folder`` outlives the process."""
    (folder / "ran").mkdir(exist_ok=True)
    number = len(list((folder / "ran").glob(f"{target}.*")))
    (folder / "ran" / f"{target}.{number}").write_text(str(os.getpid()))
    if "dies" in target and (number == 0 or "always" in target):
        os.kill(os.getpid(), signal.SIGKILL)
    if "worker" in target and number == 0:  # the process that runs all jobs: above the guard, and above its child
        os.kill(int(os.environ["STAND_IN"]), signal.SIGKILL)
    if "limited" in target:
        note(stage="waiting", seconds=0.2 if "late" in target else 30.0)
    if "late" in target:
        time.sleep(60)
    if "cleans" in target:
        try:
            (folder / "will-clean").write_text("now")
            time.sleep(600)
        finally:
            time.sleep(0.3)
            (folder / "cleaned").touch()
    if "hangs" in target:
        time.sleep(600)
    if "slow" in target:
        mark = folder / f"at-work-{os.getpid()}"
        mark.touch()
        time.sleep(0.3)
        mark.unlink()
    if "refused" in target:
        click.echo("error: received it; expected another; correct it", err=True)
        return 2
    return 1 if "fails" in target else 0


@click.command()
@click.argument("target")
@click.option("--precision")
@click.option("--seed", type=int)
@click.option("--json", is_flag=True)
def check(target: str, **_: Any) -> int:
    """Print a verdict, with the time limit that the command began with."""
    limit = stage_seconds()
    code = behave(target, Path.cwd())
    if code != 2:
        click.echo(json.dumps({"verdict": VERDICT, "target": target, "limit": limit}))
    return code


@click.command()
@click.argument("target")
@click.option("--precision")
@click.option("--shape", multiple=True)
@click.option("--pretrained", is_flag=True)
@click.option("-o", "--out", type=Path)
@click.option("--force", is_flag=True)
@click.option("--json", is_flag=True)
def deploy(target: str, out: Path, **_: Any) -> int:
    """Write the bundle that the test has made, anew."""
    from attn2trt.core.bundle import open_bundle
    from attn2trt.core.bundle_writer import BundleWriter

    code = behave(target, Path.cwd())
    if code != 2:
        made = open_bundle(os.environ["STAND_IN_BUNDLE"])
        roles = {name: entry["role"] for name, entry in made.manifest["files"].items()}
        with BundleWriter(out) as writer:
            for name in roles:
                shutil.copyfile(made.path / name, writer.path / name)
            (writer.path / "report.html").write_text(str(click.get_current_context().find_root().obj.shown(out)))
            writer.commit({**made.manifest, "made": time.time()}, {**roles, "report.html": "the page"})
        click.echo(json.dumps({"verdict": VERDICT}))
    return code


@click.command()
@click.argument("target")
@click.option("-o", "--out", type=Path)
@click.option("--json", is_flag=True)
def cost(target: str, out: Path, **_: Any) -> int:
    """Write a document that has how many others were at work, and the jobs whose process is still there."""
    time.sleep(0.1)
    others = len(list(Path.cwd().glob("at-work-*")))
    for _ in range(40):  # they are killed while this one starts
        left = [path.name for path in Path.cwd().glob("ran/*") if Path("/proc", path.read_text(), "exe").exists()]
        if left:
            time.sleep(0.05)
    document = {"model": {"timing": {"latency": {"median_ms": 1.5}}}, "others": others, "left": left}
    out.write_text(json.dumps(document))
    click.echo(json.dumps(document))
    return behave(target, Path.cwd())


if __name__ == "__main__":
    main()
