"""Commands on plans that must not pass, and on plans that something else built."""

from __future__ import annotations

from typing import Any

from .user_checks import Check, does, failed, held_to, judged, not_checked, prints, refused
from .user_command import Command, command_after
from .user_files import copied, cut, edited, flipped

SEALED = r"is not the file|sha256|hash|changed|damaged|differs"
REFUSED = refused(SEALED)


def broken_plans() -> list[Command]:
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
        command_after(
            "other-gpu",
            after,
            "a plan of another GPU is not run",
            *("validate", "builds/other-gpu", "--json"),
            check=not_checked("fp16", "built with TensorRT .* for sm86, here is"),
            wave=4,
            prepare=(edited(source, "builds/other-gpu", {"capabilities": ["8.6"]}),),
        ),
        command_after(
            "other-version",
            after,
            "a plan of another version is not run",
            *("validate", "builds/other-version", "--json"),
            check=not_checked("fp16", "built with TensorRT 10"),
            wave=4,
            prepare=(edited(source, "builds/other-version", {"tensorrt": "10.9.0"}),),
        ),
        command_after(
            "other-graph",
            after,
            "a plan of another graph fails",
            *("validate", "builds/other-graph", "--json"),
            check=failed("built from another graph"),
            wave=4,
            code=1,
            prepare=(edited(source, "builds/other-graph", {"graph": "0" * 64}),),
        ),
        command_after(
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


def foreign_plans() -> list[Command]:
    """Plans that something else built, by check."""
    model, other, plan = "foreign/model.onnx", "foreign/other.onnx", "foreign/model.plan"

    def check(name: str, proves: str, *words: str, check: Check, after: str = "foreign-plan", **more: Any) -> Command:
        return command_after(name, after, proves, "check", *words, check=check, wave=5, **more)

    def built(name: str, file: str, *words: str) -> Command:
        return command_after(
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
