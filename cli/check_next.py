"""What a user of ``attn2trt check`` is likely to need now, with the options that were given."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import click

from ..core.command_line import quoted
from ..core.precision import FP32
from ..core.tensor_spec import optima
from .summary import listed_next

if TYPE_CHECKING:
    from ..workflows.check import CheckedModel

WEIGHTS = ("checkpoint", "pretrained", "trust", "seed")
# Options that say what the file is, and mean the same to deploy.
OF_THE_FILE = ("shapes", "layouts", "dynamic", *WEIGHTS, "inputs")
EXAMPLE = "mynet.py:Net"


def next_of_check(checked: CheckedModel, context: click.Context) -> list[str]:
    """Return the lines that name the next commands, for a file that passed and for one that did not."""
    file = " ".join([quoted(checked.file.path), *_given(context, OF_THE_FILE)])
    beside = f"attn2trt check {file} --against {EXAMPLE}"
    against = f" --against {shlex.quote(checked.against)}" if checked.against else ""
    wrong = checked.verdict.objections
    if checked.passed:
        lower = " --precision fp32,fp16" if checked.file.precision == FP32 else ""
        bundle = f"attn2trt deploy {file}{against}{lower}   a bundle of it: graphs, plans, a report"
        return listed_next([bundle] if against else [bundle, f"{beside}   is it the PyTorch module it was made of?"])
    if checked.file.precision == FP32 and wrong and all(stage.compared_in != FP32 for stage in wrong):
        return listed_next([f"attn2trt deploy {file}{against} --precision auto   keeps in float32 what loses too much"])
    if not against:
        return listed_next([f"{beside}   beside PyTorch: names the module that is off"])
    return listed_next(_if_it_is_another_module(checked, f"attn2trt check {file}{against}", _given(context, WEIGHTS)))


def _if_it_is_another_module(checked: CheckedModel, check: str, weights: Sequence[str]) -> list[str]:
    """Return the commands for a file that is not what its module computes: other weights, or a wrong export."""
    sizes = optima(checked.axes)
    shapes = ["x".join(map(str, spec.resolve(sizes))) for spec in checked.inputs]
    shape = ["--shape", *shapes] if len(shapes) == 1 and shapes[0] else []
    module = " ".join(["attn2trt deploy", shlex.quote(checked.against), *shape, *weights])
    failed = checked.verdict.first_failure
    if failed is not None and failed.loses_too_much:
        return [f"{module} --precision {failed.stage.precision}   names the modules that lose most in it"]
    lines = [f"{module}   the module exported anew, and judged"]
    if not {"--checkpoint", "--pretrained"} & {*weights} and _may_be_weights(checked):
        lines.insert(0, f"{check} --checkpoint weights.safetensors   with the weights that the file has")
    return lines


def _may_be_weights(checked: CheckedModel) -> bool:
    """Return False if other weights cannot mend it: the form is wrong, or the runtime leaves the graph at a node."""
    failed = checked.verdict.first_failure
    if failed is None or not checked.has_weights or (failed.place is not None and failed.place.node):
        return False
    return failed.has_wrong_numbers


def _given(context: click.Context, names: Collection[str]) -> list[str]:
    """Return those of the options that were given, as they were written."""
    line = context.find_root().obj
    words = list(line)[line.index(context.info_name) + 1 :]
    values, _, _ = context.command.make_parser(context).parse_args(words)
    found: list[str] = []
    for option in context.command.params:
        if option.name not in names or option.name not in values:
            continue
        given = values[option.name]
        for value in given if isinstance(given, list) else [given]:
            found += [option.opts[0]] if value is True else [option.opts[0], shlex.quote(str(value))]
    return found
