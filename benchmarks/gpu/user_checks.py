"""Judge what a command printed: the essence in a few words, or Unexpected with what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from attn2trt.engines.tensorrt.flavours import TENSORRT
from attn2trt.validate.stages.stage import LAYERS, ORT_CUDA, ROWS, VALUES


class Unexpected(Exception):
    """A command that did not do what it has to do."""


@dataclass(frozen=True)
class Said:
    """The output of a command that ran in ``folder`` and ended with this exit code."""

    code: int
    out: str
    err: str
    folder: Path

    @cached_property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        try:
            return dict(json.loads(self.out))
        except ValueError:
            raise Unexpected(f"printed no JSON document: {_last(self.out)}") from None


Check = Callable[[Said], str]
DIFFERENCE = r"largest difference from PyTorch: ([\w.+-]+)"


def deployed(*precisions: str) -> Check:
    """A deploy that passed, with these graphs."""

    def check(said: Said) -> str:
        stages = said.document["verdict"]["stages"]
        missing = {*precisions} - {stage["precision"] for stage in stages if stage["status"] == "passed"}
        if missing or not said.document["passed"]:
            raise Unexpected(f"not passed: {', '.join(sorted(missing)) or 'the verdict'}")
        return f"passed in {', '.join(precisions)}"

    return check


def compiled(*precisions: str) -> Check:
    """Plans of these precisions, built on a GPU and measured there."""

    def check(said: Said) -> str:
        plans = said.document["plans"]
        if [plan["precision"] for plan in plans] != [*precisions] or not all(plan["gpu"] for plan in plans):
            raise Unexpected(f"built {[(plan['precision'], plan['gpu']) for plan in plans]}")
        if not all((said.folder / said.document["path"] / plan["file"]).is_file() for plan in plans):
            raise Unexpected("a plan of the manifest is not there")
        return ", ".join(f"{plan['file'].rpartition('/')[2]} in {plan['seconds']:.0f} s" for plan in plans)

    return check


def judged(precision: str, *, rows: bool = True) -> Check:
    """A verdict that passed, with the plan of this precision: its numbers, the rows of a batch and its layers."""

    def check(said: Said) -> str:
        found = {stage["kind"]: stage for stage in _stages(said, TENSORRT.name, precision)}
        for kind in (VALUES, *([ROWS] if rows else []), LAYERS):
            _require_passed(found.get(kind), f"tensorrt {precision}, {kind}")
        if not said.document["passed"]:
            raise Unexpected(f"the verdict did not pass: {_failed(said)}")
        if "was not written" in said.err:
            raise Unexpected(_last(said.err))
        return f"{_ratio(found[VALUES])}; layers: {found[LAYERS]['why']}"

    return check


def held_to(precision: str = "") -> Check:
    """A foreign plan that passed, held to this precision, or to the one that its layers tell."""

    def check(said: Said) -> str:
        held = said.document["precision"]
        if not said.document["passed"] or precision not in ("", held):
            raise Unexpected(f"passed: {said.document['passed']}, held to {held}: {_failed(said)}")
        return f"held to {held}; layers {', '.join(f'{name} {n}' for name, n in said.document['layers'].items() if n)}"

    return check


def not_checked(precision: str, pattern: str) -> Check:
    """A verdict in which the plan of this precision was not checked, for a reason that the pattern matches."""

    def check(said: Said) -> str:
        stages = _stages(said, TENSORRT.name, precision)
        whys = [f"{stage['status']}: {stage['why']}" for stage in stages]
        if not whys or not all(why.startswith("not checked") and re.search(pattern, why) for why in whys):
            raise Unexpected(f"expected not checked, /{pattern}/; found {whys}")
        return whys[0]

    return check


def failed(pattern: str) -> Check:
    """A verdict that failed in a stage whose reason or first wrong comparison the pattern matches."""

    def check(said: Said) -> str:
        if said.document["passed"]:
            raise Unexpected("the verdict passed")
        reasons = [_reason(stage) for stage in said.document["verdict"]["stages"] if stage["status"] == "failed"]
        hits = [reason for reason in reasons if re.search(pattern, reason)]
        if not hits:
            raise Unexpected(f"expected a stage that failed for /{pattern}/; found {reasons}")
        return hits[0][:200]

    return check


def refused(pattern: str) -> Check:
    """One line of error that the pattern matches, and no traceback."""

    def check(said: Said) -> str:
        line = _last(said.err)
        if "Traceback" in said.err + said.out:
            raise Unexpected(f"ended with a traceback: {line}")
        if not re.search(pattern, line):
            raise Unexpected(f"expected /{pattern}/; found {line or 'nothing on stderr'}")
        return line[:200]

    return check


def prints(*patterns: str) -> Check:
    """Output that each pattern matches."""

    def check(said: Said) -> str:
        text = f"{said.err}\n{said.out}"
        found = [re.search(pattern, text) for pattern in patterns]
        if None in found:
            raise Unexpected(f"expected /{patterns[found.index(None)]}/; found {_last(text)}")
        return "; ".join(" ".join(one[0].split()) for one in found if one)[:200]

    return check


def is_near(most: float, *patterns: str) -> Check:
    """The largest difference from PyTorch that a bundle's own programs print, and other output."""

    def check(said: Said) -> str:
        found = [float(one) for one in re.findall(DIFFERENCE, said.out)]
        words = prints(DIFFERENCE, *patterns)(said)
        if not max(found) <= most:
            raise Unexpected(f"{words}; expected at most {most:g}")
        return words

    return check


def usable(*names: str) -> Check:
    """The doctor's list with these components usable."""

    def check(said: Said) -> str:
        found = {part["name"]: part for part in said.document["components"]}
        _require_status(found, names, "usable", "detail")
        return ", ".join(f"{name} {found[name]['version']}" for name in names)

    return check


def _require_status(found: Mapping[str, Any], names: Sequence[str], status: str, reason: str) -> None:
    """Raise Unexpected with the reason of each name that is not there or has another status."""
    entries = {name: found.get(name, {"status": "not there"}) for name in names}
    wrong = [
        f"{name}: {entry['status']} ({entry.get(reason, '')})"
        for name, entry in entries.items()
        if entry["status"] != status
    ]
    if wrong:
        raise Unexpected("; ".join(wrong))


def provider_passed(*precisions: str) -> Check:
    """A verdict in which ONNX Runtime's CUDA provider passed with the graph of each precision."""

    def check(said: Said) -> str:
        ratios = []
        for precision in precisions:
            found = {stage["kind"]: stage for stage in _stages(said, ORT_CUDA, precision)}
            _require_passed(found.get(VALUES), f"{ORT_CUDA} {precision}")
            ratios.append(f"{precision} {_ratio(found[VALUES])}")
        return "; ".join(ratios)

    return check


def predicted(runtime: str, precision: str) -> Check:
    """Predictions of a runtime on a data set, compared with the reference's."""

    def check(said: Said) -> str:
        runtimes = said.document["predictions"]["runtimes"]
        found = [row for row in runtimes if (row["runtime"], row["precision"]) == (runtime, precision)]
        if not found or not found[0]["images"]:
            raise Unexpected(f"no predictions of {runtime} {precision}: {[row.get('why') for row in found]}")
        return f"{found[0]['changed']} of {found[0]['images']} predictions changed"

    return check


def measured(*runtimes: str) -> Check:
    """A benchmark with a time of each of these runtimes."""

    def check(said: Said) -> str:
        _require_status({row["runtime"]: row for row in said.document["rows"]}, runtimes, "measured", "why")
        return ", ".join(f"{name} measured" for name in runtimes)

    return check


def whole(said: Said) -> str:
    """Every file as the manifest lists it, and every graph loads."""
    if not said.document["passed"]:
        raise Unexpected(str([entry for entry in said.document["findings"] if not entry["ok"]]))
    return f"{len(said.document['findings'])} files and graphs"


def holds(file: str, *words: str) -> Check:
    """A file that was written, with these words in it."""

    def check(said: Said) -> str:
        text = (said.folder / file).read_text(encoding="utf-8", errors="replace")
        if missing := [word for word in words if word not in text]:
            raise Unexpected(f"{file} has no {', '.join(missing)}")
        return f"{len(text) >> 10} KiB with {', '.join(words)}"

    return check


def does(_: Said) -> str:
    """The exit code says everything."""
    return ""


def judge(check: Check, expected: int, said: Said) -> tuple[str, str]:
    """Return the essence of what was said, and why it is not what was expected, one of them empty."""
    try:
        if said.code != expected:
            line = _last(said.err) or _last(said.out)
            raise Unexpected(f"ended with exit code {said.code}, expected {expected}: {line}{_verdict(said)}")
        return check(said), ""
    except Unexpected as error:
        return "", str(error)
    except (IndexError, KeyError, TypeError, ValueError, OSError) as error:
        return "", f"printed something else than was expected: {error!r}"


def _verdict(said: Said) -> str:
    """Return the stages that failed, if the output is a verdict."""
    try:
        return f"; {found}" if (found := _failed(said)) else ""
    except (Unexpected, KeyError, TypeError):
        return ""


def _failed(said: Said) -> str:
    stages = said.document["verdict"]["stages"]
    return "; ".join(f"{stage['stage']}: {_reason(stage)}" for stage in stages if stage["status"] == "failed")[:600]


def _stages(said: Said, runtime: str, precision: str) -> list[Mapping[str, Any]]:
    stages = said.document["verdict"]["stages"]
    return [stage for stage in stages if (stage["runtime"], stage["precision"]) == (runtime, precision)]


def _require_passed(stage: Mapping[str, Any] | None, name: str) -> None:
    if stage is None:
        raise Unexpected(f"there is no stage {name}")
    if stage["status"] != "passed":
        raise Unexpected(f"{name}: {stage['status']}: {_reason(stage)}"[:600])


def _reason(stage: Mapping[str, Any]) -> str:
    """Return why a stage failed: its own words, or its first wrong comparison."""
    wrong: Sequence[Mapping[str, Any]] = [one for one in stage["comparisons"] if not one["passed"]]
    details = f"case {wrong[0]['case']}: {wrong[0]['detail']}" if wrong else ""
    return "; ".join(filter(None, (stage["why"], details)))


def _ratio(stage: Mapping[str, Any]) -> str:
    ratios = [one["ratio"] for one in stage["comparisons"]]
    return f"{len(ratios)} comparisons, at most {max(map(float, ratios)):.2g} times PyTorch's rounding"


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
