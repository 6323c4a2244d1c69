"""The commands that a user runs from a bundle to a proven plan, the most wanted first."""

from __future__ import annotations

from collections.abc import Sequence

from .user_checks import Check, holds, judged, measured, predicted, provider_passed, usable
from .user_command import Command, Place, command_after, plan_commands
from .user_files import copied, images, without
from .user_plans import exports, first_plans, more_plans
from .user_refusals import broken_plans, foreign_plans

IMAGES = "images.npz"


def commands() -> list[Command]:
    """All of them, the most wanted first."""
    groups = (
        exports(),
        first_plans(),
        more_plans(),
        broken_plans(),
        foreign_plans(),
        _more(),
        _onnxruntime(),
        _timed(),
    )
    return [command for group in groups for command in group]


def _more() -> list[Command]:
    """Reports, data sets, the network measure, and options of the builder."""
    folder = "builds/resnet18-se-fp16"
    return [
        command_after(
            "dataset",
            "validate-resnet18-se-fp16",
            "predictions of a plan on a data set",
            *("validate", folder, "--dataset", IMAGES, "--json"),
            check=predicted("tensorrt", "fp16"),
            wave=6,
            prepare=(images(IMAGES, "image", 32),),
        ),
        command_after(
            "network",
            "compile-resnet18-se-fp16",
            "the network measure beside a plan",
            *("validate", folder, "--network", "--json"),
            check=judged("fp16"),
            wave=6,
            after=("dataset",),
        ),
        command_after(
            "report",
            "validate-se-fp16",
            "the page of a bundle with a plan",
            *("report", "builds/se-fp16", "builds/cbam-fp16", "-o", "pages/plans.html", "--force"),
            check=holds("pages/plans.html", "tensorrt fp16", "tensorrt fp16, layers"),
            wave=6,
            after=("validate-cbam-fp16",),
            prepare=(without("pages/plans.html"),),
        ),
        *plan_commands("se", "fp16", 6, "--hardware-compatible", name="se-hardware"),
        *plan_commands("se", "fp16", 6, "--workspace", "1024", level="0", name="se-level"),
        *plan_commands("se", "fp16", 6, level="", name="se-default"),
        *plan_commands("se", "fp16", 6, "--version-compatible", name="se-version"),
    ]


def _onnxruntime() -> list[Command]:
    def on_gpu(name: str, export: str, proves: str, *words: str, check: Check) -> Command:
        return Command(
            name,
            "build",
            7,
            needs=(f"export-{export}",) if export else (),
            proves=proves,
            place="onnxruntime-gpu",
            words=words,
            check=check,
            prepare=(copied(f"bundles/{export}", f"builds/cuda-{export}"),) if export else (),
        )

    return [
        on_gpu(
            "cuda-doctor",
            "",
            "ONNX Runtime's CUDA provider loads",
            "doctor",
            "--json",
            check=usable("ONNX Runtime CUDA"),
        ),
        *(
            on_gpu(
                f"cuda-{export}",
                export,
                f"ONNX Runtime's CUDA provider, {export}",
                *("validate", f"builds/cuda-{export}", "--json"),
                check=provider_passed(*precisions),
            )
            for export, precisions in (
                ("se", ("fp32", "tf32", "fp16")),
                ("cbam", ("fp32", "tf32", "fp16")),
                ("se-half", ("fp32", "fp16")),
                ("resnet18-se", ("fp32", "fp16", "int8", "int8-fp16")),
            )
        ),
    ]


def _timed() -> list[Command]:
    """Benchmarks run alone."""
    plans = ("tensorrt-fp16", "tensorrt-fp16-graph")

    def timed(name: str, after: str, folder: str, runtimes: Sequence[str], place: Place) -> Command:
        words = ("benchmark", folder, "--batch", "8", "--seconds", "1", "--json")
        return Command(
            name,
            "time",
            8,
            batch=8,
            needs=(after,),
            proves=f"benchmark of {', '.join(runtimes)}",
            place=place,
            words=(*words, *(word for runtime in runtimes for word in ("--runtime", runtime))),
            check=measured(*runtimes),
        )

    return [
        timed("benchmark", "compile-resnet18-se-fp16", "builds/resnet18-se-fp16", plans, "tensorrt"),
        timed("benchmark-cuda", "cuda-resnet18-se", "builds/cuda-resnet18-se", ("ort-cuda",), "onnxruntime-gpu"),
    ]
