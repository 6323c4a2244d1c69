"""The commands that a user runs from a bundle to a proven plan, the most wanted first, and what each has to do.

A command needs the Python with PyTorch, the one with TensorRT, or the one with ONNX Runtime for GPUs.
``{plan:FOLDER}`` in a word is the path of the only plan of the bundle there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .user_checks import (
    Check,
    compiled,
    deployed,
    does,
    failed,
    held_to,
    holds,
    is_near,
    judged,
    measured,
    not_checked,
    predicted,
    prints,
    provider_passed,
    refused,
    usable,
    whole,
)
from .user_files import Prepare, copied, cut, edited, flipped, images, without
from .work import Pool, Step

Place = Literal["pytorch", "tensorrt", "onnxruntime-gpu"]
Program = Literal["attn2trt", "python", "foreign", "build", "program"]
BLOCK, IMAGE = "1x64x28x28", f"1x3x{64}x{64}"
# What a plan may differ from PyTorch's float64 on the first recorded case; validate has the verdict.
NEAR = {"fp32": 1e-4, "tf32": 2e-2, "fp16": 2e-2}
PLAN = r"running +plans/\S+"
SEALED = r"is not the file|sha256|hash|changed|damaged|differs"
IMAGES = "images.npz"
# TensorRT 8.6 reads no float16 scales.
FIRST_MIXED = "10.0"
REFUSED = refused(SEALED)
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


def commands() -> list[Command]:
    """All of them, the most wanted first."""
    groups = (_exports(), _first(), _plans(), _broken(), _foreign(), _more(), _onnxruntime(), _timed())
    return [command for group in groups for command in group]


def _deploy(name: str, target: str, shape: str, *precisions: str, more: Sequence[str] = ()) -> Command:
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


def _exports() -> list[Command]:
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
        _deploy("se", "se", BLOCK, "fp32", "tf32", "fp16"),
        _deploy("cbam", "cbam", BLOCK, "fp32", "tf32", "fp16"),
        _deploy("resnet18-se", "resnet18+se", IMAGE, "fp32", "fp16", "int8", "int8-fp16"),
        _deploy("se-half", "se", BLOCK, "fp32", "fp16", more=("--io", "fp16")),
        *foreign,
    ]


def _plan(bundle: str, precision: str, wave: int, *options: str, level: str = QUICK, name: str = "") -> list[Command]:
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


def _then(name: str, needs: str, proves: str, *words: str, check: Check, wave: int = 2, **more: Any) -> Command:
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


def _first() -> list[Command]:
    """The float16 plans of blocks, and what runs one of them without attn2trt."""
    doctor = ("doctor", "--require", "tensorrt", "--json")
    folder, cpp = "builds/se-fp16", "cpp"
    compiled_se, near = "compile-se-fp16", NEAR["fp16"]
    return [
        Command("doctor", "build", 2, proves="doctor finds the GPU", words=doctor, check=usable("CUDA", "TensorRT")),
        *_plan("se", "fp16", 2),
        *_plan("cbam", "fp16", 2),
        *_plan("resnet18-se", "fp16", 2),
        _then(
            "infer-py",
            compiled_se,
            "infer.py runs the plan",
            f"{folder}/infer.py",
            check=is_near(near, PLAN),
            program="python",
        ),
        _then(
            "programs",
            compiled_se,
            "programs writes C++",
            *("programs", folder, "-o", cpp, "--json"),
            check=holds(f"{cpp}/infer_trt.cpp", "NvInfer.h"),
            prepare=(without(cpp),),
        ),
        _then("build-infer-trt", "programs", "infer_trt is built and linked", cpp, check=does, program="build"),
        _then(
            "infer-trt",
            "build-infer-trt",
            "infer_trt runs the plan",
            *(folder, "{plan:builds/se-fp16}"),
            check=is_near(near),
            program="program",
        ),
        _then("verify", compiled_se, "verify after compile", "verify", folder, "--json", check=whole),
    ]


def _plans() -> list[Command]:
    """The other precisions, and float16 at the border."""
    near = NEAR["fp16"]
    return [
        *_plan("se-half", "fp16", 3),
        *_plan("resnet18-se", "int8", 3),
        *(replace(one, first=FIRST_MIXED) for one in _plan("resnet18-se", "int8-fp16", 3)),
        _then(
            "int8-fp16-refused",
            "export-resnet18-se",
            "a graph that this TensorRT does not read is refused",
            *("compile", "bundles/resnet18-se", "--precision", "int8-fp16"),
            check=refused("reads from 10"),
            wave=3,
            code=2,
            before=FIRST_MIXED,
        ),
        *_plan("se", "fp32", 3),
        *_plan("se", "tf32", 3),
        *_plan("cbam", "tf32", 3),
        *_plan("cbam", "fp32", 3),
        *_plan("se", "fp16", 3, "--profile", "batch=1", "--profile", "batch=2:8:8", name="se-two-profiles"),
        *_both("se-half", "float16 inputs and outputs", near),
        *_both("se-two-profiles", "the second of two profiles", near, build="se-two-profiles"),
        *_both("se", "float32", NEAR["fp32"], build="se-fp32"),
    ]


def _both(name: str, what: str, near: float, *, build: str = "se-half-fp16") -> list[Command]:
    """Run a plan by infer.py and by infer_trt."""
    folder = f"builds/{build}"
    return [
        _then(
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


def _broken() -> list[Command]:
    """Plans that must not pass: damaged, of another GPU, of another graph."""
    source, bad, after = "builds/se-fp16", "builds/flipped", "validate-se-fp16"
    damaged = (flipped(source, bad),)

    def bad_plan(name: str, proves: str, *words: str, check: Check = REFUSED, **more: Any) -> Command:
        first = () if more.get("prepare") else ("flipped-validate",)
        needs = ("compile-se-fp16", *(("build-infer-trt",) if more.get("program") == "program" else ()))
        after = ("validate-se-fp16", *first)
        return Command(
            name, "build", 4, needs=needs, after=after, proves=proves, words=words, check=check, code=1, **more
        )

    return [
        bad_plan("flipped-validate", "validate refuses a damaged plan", "validate", bad, prepare=damaged),
        bad_plan("flipped-verify", "verify finds it", "verify", bad, check=prints("FAILED")),
        bad_plan("flipped-infer-py", "infer.py refuses it", f"{bad}/infer.py", program="python"),
        bad_plan("flipped-infer-trt", "infer_trt refuses it", bad, f"{{plan:{bad}}}", program="program"),
        bad_plan("flipped-benchmark", "benchmark refuses it", "benchmark", bad, "--runtime", "tensorrt-fp16"),
        _then(
            "other-gpu",
            after,
            "a plan of another GPU is not run",
            *("validate", "builds/other-gpu", "--json"),
            check=not_checked("fp16", "built with TensorRT .* for sm86, here is"),
            wave=4,
            prepare=(edited(source, "builds/other-gpu", {"capabilities": ["8.6"]}),),
        ),
        _then(
            "other-version",
            after,
            "a plan of another version is not run",
            *("validate", "builds/other-version", "--json"),
            check=not_checked("fp16", "built with TensorRT 10"),
            wave=4,
            prepare=(edited(source, "builds/other-version", {"tensorrt": "10.9.0"}),),
        ),
        _then(
            "other-graph",
            after,
            "a plan of another graph fails",
            *("validate", "builds/other-graph", "--json"),
            check=failed("built from another graph"),
            wave=4,
            code=1,
            prepare=(edited(source, "builds/other-graph", {"graph": "0" * 64}),),
        ),
        _then(
            "elsewhere",
            after,
            "a machine without TensorRT says so",
            *("validate", "builds/elsewhere", "--json"),
            check=not_checked("fp16", "TensorRT is not installed"),
            wave=4,
            place="pytorch",
            prepare=(copied(source, "builds/elsewhere"),),
        ),
    ]


def _foreign() -> list[Command]:
    """Plans that something else built, by check."""
    model, other, plan = "foreign/model.onnx", "foreign/other.onnx", "foreign/model.plan"

    def check(name: str, proves: str, *words: str, check: Check, after: str = "foreign-plan", **more: Any) -> Command:
        return _then(name, after, proves, "check", *words, check=check, wave=5, **more)

    def built(name: str, file: str, *words: str) -> Command:
        return _then(
            name,
            "export-foreign-model",
            "a plan by TensorRT's own API",
            *("plan", model, file, *words),
            check=does,
            wave=5,
            program="foreign",
        )

    own = "{plan:builds/se-fp16}"
    trusted = ("--trust", "--json")
    return [
        built("foreign-plan", plan),
        check("foreign", "a foreign plan passes", model, "--plan", plan, *trusted, check=held_to("fp32")),
        check(
            "foreign-other",
            "a foreign plan of another model fails",
            *(other, "--plan", plan, *trusted),
            check=failed("times PyTorch|rounding"),
            code=1,
        ),
        check(
            "foreign-wrong-precision",
            "a float32 plan that is called fp16 fails",
            *(model, "--plan", plan, "--precision", "fp16", *trusted),
            check=failed("fp32|float32"),
            code=1,
        ),
        check(
            "foreign-untrusted",
            "a plan without --trust is not opened",
            *(model, "--plan", plan),
            check=refused("--trust"),
            code=2,
        ),
        check(
            "foreign-cut",
            "half of a plan is refused",
            *(model, "--plan", "foreign/cut.plan", "--trust"),
            check=refused("cut.plan"),
            code=1,
            prepare=(cut(plan, "foreign/cut.plan"),),
        ),
        check(
            "foreign-interface",
            "a plan with another interface is refused",
            *("bundles/se", "--plan", plan, "--trust"),
            check=refused("another model"),
            code=1,
        ),
        built("foreign-plan-fp16", "foreign/half.plan", "--fp16"),
        check(
            "foreign-fp16",
            "a foreign plan by TensorRT's own choice of float16",
            *(model, "--plan", "foreign/half.plan", *trusted),
            check=held_to(),
            after="foreign-plan-fp16",
        ),
        check(
            "own-as-foreign",
            "our plan, as a foreign one beside its bundle",
            *("builds/se-fp16", "--plan", own, "--precision", "fp16", *trusted),
            check=judged("fp16"),
            after="validate-se-fp16",
        ),
        check(
            "own-of-another",
            "our plan beside the bundle of another model fails",
            *("bundles/cbam", "--plan", own, "--precision", "fp16", *trusted),
            check=failed("times PyTorch|rounding"),
            after="validate-se-fp16",
            code=1,
        ),
    ]


def _more() -> list[Command]:
    """Reports, data sets, the network measure, and options of the builder."""
    folder = "builds/resnet18-se-fp16"
    return [
        _then(
            "dataset",
            "validate-resnet18-se-fp16",
            "predictions of a plan on a data set",
            *("validate", folder, "--dataset", IMAGES, "--json"),
            check=predicted("tensorrt", "fp16"),
            wave=6,
            prepare=(images(IMAGES, "image", 32),),
        ),
        _then(
            "network",
            "compile-resnet18-se-fp16",
            "the network measure beside a plan",
            *("validate", folder, "--network", "--json"),
            check=judged("fp16"),
            wave=6,
            after=("dataset",),
        ),
        _then(
            "report",
            "validate-se-fp16",
            "the page of a bundle with a plan",
            *("report", "builds/se-fp16", "builds/cbam-fp16", "-o", "pages/plans.html", "--force"),
            check=holds("pages/plans.html", "tensorrt fp16", "tensorrt fp16, layers"),
            wave=6,
            after=("validate-cbam-fp16",),
            prepare=(without("pages/plans.html"),),
        ),
        *_plan("se", "fp16", 6, "--hardware-compatible", name="se-hardware"),
        *_plan("se", "fp16", 6, "--workspace", "1024", level="0", name="se-level"),
        *_plan("se", "fp16", 6, level="", name="se-default"),
        *_plan("se", "fp16", 6, "--version-compatible", name="se-version"),
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
