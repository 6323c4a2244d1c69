"""Commands on plans that must not pass, and on plans that something else built."""

from __future__ import annotations

from typing import Any

from .user_checks import Check, does, failed, held_to, judged, not_checked, prints, refused
from .user_command import Command, command_after
from .user_files import copied, cut, edited, flipped

SEALED = r"is not the file|sha256|hash|changed|damaged|differs"
REFUSED = refused(SEALED)


SOURCE, BAD, AFTER = "builds/se-fp16", "builds/flipped", "validate-se-fp16"
MODEL, PLAN, TRUSTED = "foreign/model.onnx", "foreign/model.plan", ("--trust", "--json")
ROUNDING = failed("times PyTorch|rounding")


def broken_plans() -> list[Command]:
    """Plans that must not pass: damaged, of another GPU, of another graph."""
    return [*_damaged(), *_of_others()]


def foreign_plans() -> list[Command]:
    """Plans that something else built, by check."""
    return [*_foreign(), *_refused(), *_foreign_half(), *_own_as_foreign()]


def _damaged() -> list[Command]:
    """A plan with a byte turned, in every command that would run it."""

    def bad_plan(name: str, proves: str, *words: str, check: Check = REFUSED, **more: Any) -> Command:
        first = () if more.get("prepare") else ("flipped-validate",)
        needs = ("compile-se-fp16", *(("build-infer-trt",) if more.get("program") == "program" else ()))
        after = (AFTER, *first)
        return Command(
            name, "build", 4, needs=needs, after=after, proves=proves, words=words, check=check, code=1, **more
        )

    damaged = (flipped(SOURCE, BAD),)
    return [
        bad_plan("flipped-validate", "validate refuses a damaged plan", "validate", BAD, prepare=damaged),
        bad_plan("flipped-verify", "verify finds it", "verify", BAD, check=prints("FAILED")),
        bad_plan("flipped-infer-py", "infer.py refuses it", f"{BAD}/infer.py", program="python"),
        bad_plan("flipped-infer-trt", "infer_trt refuses it", BAD, f"{{plan:{BAD}}}", program="program"),
        bad_plan("flipped-benchmark", "benchmark refuses it", "benchmark", BAD, "--runtime", "tensorrt-fp16"),
    ]


def _of_others() -> list[Command]:
    """A plan that the manifest calls another GPU's, version's or graph's, and one without TensorRT."""

    def other(name: str, proves: str, check: Check, entry: dict[str, Any], **more: Any) -> Command:
        folder = f"builds/{name}"
        made = edited(SOURCE, folder, entry) if entry else copied(SOURCE, folder)
        words = ("validate", folder, "--json")
        return command_after(name, AFTER, proves, *words, check=check, wave=4, prepare=(made,), **more)

    gpu, version = (not_checked("fp16", f"built with TensorRT {of}") for of in (".* for sm86, here is", "10"))
    graph, missing = failed("built from another graph"), not_checked("fp16", "TensorRT is not installed")
    return [
        other("other-gpu", "a plan of another GPU is not run", gpu, {"capabilities": ["8.6"]}),
        other("other-version", "a plan of another version is not run", version, {"tensorrt": "10.9.0"}),
        other("other-graph", "a plan of another graph fails", graph, {"graph": "0" * 64}, code=1),
        other("elsewhere", "a machine without TensorRT says so", missing, {}, place="pytorch"),
    ]


def _built(name: str, file: str, *words: str) -> Command:
    """Return the command that builds a plan without this tool."""
    words, proves = ("plan", MODEL, file, *words), "a plan by TensorRT's own API"
    return command_after(name, "export-foreign-model", proves, *words, check=does, wave=5, program="foreign")


def _check(name: str, proves: str, *words: str, check: Check, after: str = "foreign-plan", **more: Any) -> Command:
    return command_after(name, after, proves, "check", *words, check=check, wave=5, **more)


def _foreign() -> list[Command]:
    """A plan beside its model, beside another one, and by another precision's name."""
    plan, half = ("--plan", PLAN, *TRUSTED), (MODEL, "--plan", PLAN, "--precision", "fp16", *TRUSTED)
    wrong = "a float32 plan that is called fp16 fails"
    return [
        _built("foreign-plan", PLAN),
        _check("foreign", "a foreign plan passes", MODEL, *plan, check=held_to("fp32")),
        _check(
            "foreign-other",
            "a foreign plan of another model fails",
            *("foreign/other.onnx", *plan),
            check=ROUNDING,
            code=1,
        ),
        _check("foreign-wrong-precision", wrong, *half, check=failed("fp32|float32"), code=1),
    ]


def _refused() -> list[Command]:
    """A plan that is not trusted, half of one, and one of another interface."""
    untrusted, half = (MODEL, "--plan", PLAN), (MODEL, "--plan", "foreign/cut.plan", "--trust")
    other, prepare = ("bundles/se", "--plan", PLAN, "--trust"), (cut(PLAN, "foreign/cut.plan"),)
    return [
        _check(
            "foreign-untrusted", "a plan without --trust is not opened", *untrusted, check=refused("--trust"), code=2
        ),
        _check("foreign-cut", "half of a plan is refused", *half, check=refused("cut.plan"), code=1, prepare=prepare),
        _check(
            "foreign-interface",
            "a plan with another interface is refused",
            *other,
            check=refused("another model"),
            code=1,
        ),
    ]


def _foreign_half() -> list[Command]:
    plan, after = "foreign/half.plan", "foreign-plan-fp16"
    proves, words = "a foreign plan by TensorRT's own choice of float16", (MODEL, "--plan", plan, *TRUSTED)
    return [_built(after, plan, "--fp16"), _check("foreign-fp16", proves, *words, check=held_to(), after=after)]


def _own_as_foreign() -> list[Command]:
    """A plan of a bundle, beside that bundle and beside another."""
    plan = ("--plan", f"{{plan:{SOURCE}}}", "--precision", "fp16", *TRUSTED)
    own, other = "our plan, as a foreign one beside its bundle", "our plan beside the bundle of another model fails"
    return [
        _check("own-as-foreign", own, SOURCE, *plan, check=judged("fp16"), after=AFTER),
        _check("own-of-another", other, "bundles/cbam", *plan, check=ROUNDING, after=AFTER, code=1),
    ]
