"""The commands that export bundles, build plans of them in every precision, and run these."""

from __future__ import annotations

from dataclasses import replace

from .user_checks import does, holds, is_near, refused, usable, whole
from .user_command import Command, command_after, deploy_command, plan_commands
from .user_files import without

BLOCK, IMAGE = "1x64x28x28", "1x3x64x64"
# What a plan may differ from PyTorch's float64 on the first recorded case; validate has the verdict.
NEAR = {"fp32": 1e-4, "tf32": 2e-2, "fp16": 2e-2}
PLAN = r"running +plans/\S+"
# TensorRT 8.6 reads no float16 scales.
FIRST_MIXED = "10.0"


def exports() -> list[Command]:
    """The bundles, and files that something else writes."""
    foreign = [
        Command(
            f"export-foreign-{name}",
            "export",
            1,
            proves="a foreign ONNX file",
            place="pytorch",
            program="foreign",
            words=("model", f"foreign/{name}.onnx", "--seed", seed),
        )
        for name, seed in (("model", "0"), ("other", "1"))
    ]
    return [
        deploy_command("se", "se", BLOCK, "fp32", "tf32", "fp16"),
        deploy_command("cbam", "cbam", BLOCK, "fp32", "tf32", "fp16"),
        deploy_command("resnet18-se", "resnet18+se", IMAGE, "fp32", "fp16", "int8", "int8-fp16"),
        deploy_command("se-half", "se", BLOCK, "fp32", "fp16", more=("--io", "fp16")),
        *foreign,
    ]


def first_plans() -> list[Command]:
    """The float16 plans of blocks, and what runs one of them without attn2trt."""
    doctor = ("doctor", "--require", "tensorrt", "--json")
    folder, cpp = "builds/se-fp16", "cpp"
    compiled_se, near = "compile-se-fp16", NEAR["fp16"]
    return [
        Command("doctor", "build", 2, proves="doctor finds the GPU", words=doctor, check=usable("CUDA", "TensorRT")),
        *plan_commands("se", "fp16", 2),
        *plan_commands("cbam", "fp16", 2),
        *plan_commands("resnet18-se", "fp16", 2),
        command_after(
            "infer-py",
            compiled_se,
            "infer.py runs the plan",
            f"{folder}/infer.py",
            check=is_near(near, PLAN),
            program="python",
        ),
        command_after(
            "programs",
            compiled_se,
            "programs writes C++",
            *("programs", folder, "-o", cpp, "--json"),
            check=holds(f"{cpp}/infer_trt.cpp", "NvInfer.h"),
            prepare=(without(cpp),),
        ),
        command_after("build-infer-trt", "programs", "infer_trt is built and linked", cpp, check=does, program="build"),
        command_after(
            "infer-trt",
            "build-infer-trt",
            "infer_trt runs the plan",
            *(folder, "{plan:builds/se-fp16}"),
            check=is_near(near),
            program="program",
        ),
        command_after("verify", compiled_se, "verify after compile", "verify", folder, "--json", check=whole),
    ]


def more_plans() -> list[Command]:
    """The other precisions, and float16 at the border."""
    near = NEAR["fp16"]
    return [
        *plan_commands("se-half", "fp16", 3),
        *plan_commands("resnet18-se", "int8", 3),
        *(replace(one, first=FIRST_MIXED) for one in plan_commands("resnet18-se", "int8-fp16", 3)),
        command_after(
            "int8-fp16-refused",
            "export-resnet18-se",
            "a graph that this TensorRT does not read is refused",
            *("compile", "bundles/resnet18-se", "--precision", "int8-fp16"),
            check=refused("reads from 10"),
            wave=3,
            code=2,
            before=FIRST_MIXED,
        ),
        *plan_commands("se", "fp32", 3),
        *plan_commands("se", "tf32", 3),
        *plan_commands("cbam", "tf32", 3),
        *plan_commands("cbam", "fp32", 3),
        *plan_commands("se", "fp16", 3, "--profile", "batch=1", "--profile", "batch=2:8:8", name="se-two-profiles"),
        *_both("se-half", "float16 inputs and outputs", near),
        *_both("se-two-profiles", "the second of two profiles", near, build="se-two-profiles"),
        *_both("se", "float32", NEAR["fp32"], build="se-fp32"),
    ]


def _both(name: str, what: str, near: float, *, build: str = "se-half-fp16") -> list[Command]:
    """Run a plan by infer.py and by infer_trt."""
    folder = f"builds/{build}"
    return [
        command_after(
            f"infer-py-{name}",
            f"compile-{build}",
            f"infer.py, {what}",
            f"{folder}/infer.py",
            check=is_near(near, PLAN),
            wave=3,
            program="python",
        ),
        Command(
            f"infer-trt-{name}",
            "build",
            3,
            needs=(f"compile-{build}", "build-infer-trt"),
            proves=f"infer_trt, {what}",
            program="program",
            words=(folder, f"{{plan:{folder}}}"),
            check=is_near(near),
        ),
    ]
