"""A command that a user runs, with what it has to do, and the commands that most groups of them are made of.

A command needs the Python with PyTorch, the one with TensorRT, or the one with ONNX Runtime for GPUs.
``{plan:FOLDER}`` in a word is the path of the only plan of the bundle there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .user_checks import Check, compiled, deployed, does, judged
from .user_files import Prepare, copied
from .work import Pool, Step

Place = Literal["pytorch", "tensorrt", "onnxruntime-gpu"]
Program = Literal["attn2trt", "python", "foreign", "build", "program"]
# Of the builder: its own choice of kernels takes a minute for a block.
QUICK = "1"


@dataclass(frozen=True)
class Command(Step):
    """A command with what it has to do.

    Attributes:
        proves: Names what is proven, for the page.
        place: The Python that it runs in.
        program: attn2trt, the Python itself, benchmarks/foreign_plan.py, the build of the C++ program, or that program.
        words: Its arguments.
        code: The exit code that it has to end with.
        check: Judges what it printed.
        prepare: Makes what it works on.
        with_tactics: It takes --without-tactics.
        first: The oldest TensorRT that it is for; empty for every one.
        before: The oldest TensorRT that it is not for any more; empty if it is for the newest.
    """

    proves: str = ""
    place: Place = "tensorrt"
    program: Program = "attn2trt"
    words: tuple[str, ...] = ()
    code: int = 0
    check: Check = does
    prepare: Sequence[Prepare] = field(default=())
    with_tactics: bool = False
    first: str = ""
    before: str = ""

    @property
    def pool(self) -> Pool:
        """Return the commands that it runs beside: one that builds no plan does not wait for those that do."""
        return "light" if self.kind == "build" and not self.builds else super().pool

    @property
    def builds(self) -> bool:
        """Return True if TensorRT builds a plan."""
        return self.with_tactics or (self.program == "foreign" and self.kind == "build")

    @property
    def needs_gpu(self) -> bool:
        """Return False for an export."""
        return self.kind != "export"


def deploy_command(name: str, target: str, shape: str, *precisions: str, more: Sequence[str] = ()) -> Command:
    """Deploy a target into ``bundles/``."""
    words = ("deploy", target, "--shape", shape, "--precision", ",".join(precisions), "--for", "none", *more)
    return Command(
        f"export-{name}",
        "export",
        1,
        proves=f"export of `{target}`",
        place="pytorch",
        words=(*words, "-o", f"bundles/{name}", "--json"),
        check=deployed(*precisions),
    )


def plan_commands(
    bundle: str, precision: str, wave: int, *options: str, level: str = QUICK, name: str = ""
) -> list[Command]:
    """Build a plan in a copy of the bundle, and judge it."""
    options = (*options, *(("--level", level) if level else ()))
    name = name or f"{bundle}-{precision}"
    folder, about = f"builds/{name}", f"{bundle} {precision}{''.join(f' {word}' for word in options)}"
    return [
        Command(
            f"compile-{name}",
            "build",
            wave,
            bundle,
            precision,
            needs=(f"export-{bundle}",),
            proves=f"compile, {about}",
            words=("compile", folder, "--precision", precision, *options, "--json"),
            check=compiled(precision),
            prepare=(copied(f"bundles/{bundle}", folder),),
            with_tactics=True,
        ),
        Command(
            f"validate-{name}",
            "build",
            wave,
            bundle,
            precision,
            needs=(f"compile-{name}",),
            proves=f"verdict and layers, {about}",
            words=("validate", folder, "--require", "tensorrt", "--json"),
            check=judged(precision),
        ),
    ]


def command_after(name: str, needs: str, proves: str, *words: str, check: Check, wave: int = 2, **more: Any) -> Command:
    """A command of the Python with TensorRT after another one; what works on a judged bundle waits for the verdict."""
    if needs.startswith("validate-"):  # its end is enough, whatever the verdict
        more["after"] = (needs, *more.get("after", ()))
        needs = needs.replace("validate-", "compile-")
    return Command(
        name,
        "build",
        wave,
        needs=(needs,),
        proves=proves,
        words=tuple(words),
        check=check,
        **more,
    )
