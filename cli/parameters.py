"""Kinds of values that options take: what can be read, weights, photographs, and how a photograph becomes an input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.input_path import Kind, require_readable, require_utf8
from ..core.typed_json import parsed
from ..errors import InputError

if TYPE_CHECKING:
    from ..core.preprocessing import Preprocessing

LARGEST_BYTES = 1 << 20  # of a file with the preprocessing


def refuse_empty(context: click.Context, words: Sequence[str]) -> None:
    """Raise InputError for the first argument or option of a command line that is an empty text.

    Python takes an empty path for the current folder, and a shell makes an empty text of a variable without a value.
    """
    try:
        values, _, _ = context.command.make_parser(context).parse_args([*words])
    except click.UsageError:
        return  # told when the command itself reads the line
    for parameter in context.command.params:
        value = values.get(parameter.name or "")
        if "" in (value if isinstance(value, list | tuple) else [value]):
            is_option = isinstance(parameter, click.Option)
            name = parameter.opts[0] if is_option else parameter.human_readable_name
            leave = f", or leave {name} out" if is_option and not parameter.required else ""
            raise InputError(
                f"received {name} '', an empty text, as a shell makes of a variable without a value; expected "
                f"{parameter.make_metavar(context)}; write it{leave}"
            )


def refuse_missing_value(context: click.Context, words: Sequence[str]) -> None:
    """Raise UsageError for an option that takes a value and is followed by another option in its place.

    click would take the option's name for the value, and what follows that for something else.
    """
    options = [option for option in context.command.get_params(context) if isinstance(option, click.Option)]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    takes = {name: option for option in options if not option.is_flag and not option.count for name in option.opts}
    for word, value in pairwise(words):
        if word == "--":
            return
        if word in takes and value in known:
            message = f"received {word} without a value, before {value}; expected one; write it"
            raise click.BadOptionUsage(word, message, context)


def refuse_repeated(context: click.Context, words: Sequence[str]) -> None:
    """Raise UsageError for an option with one value that is given several times: all but the last would be lost."""
    try:
        _, _, order = context.command.make_parser(context).parse_args([*words])
    except click.UsageError:
        return  # told when the command itself reads the line
    single = [option for option in order if isinstance(option, click.Option) and not option.multiple]
    for option in single:
        if not (option.is_flag or option.count) and (count := single.count(option)) > 1:
            name = option.opts[-1]
            message = f"received {name} {count} times; expected it once; write everything behind one {name}"
            raise click.BadOptionUsage(name, message, context)


def refuse_not_utf8(words: Sequence[str]) -> None:
    """Raise InputError for the first argument of a command line that is not UTF-8, as a name of an old archive."""
    for word in words:
        require_utf8(word, "")


def in_home(text: str) -> Path:
    """Return a path, in the home folder if it begins with ~/, as shells leave it in ``--out=~/bundles``."""
    return Path(text).expanduser() if text.startswith("~/") else Path(text)


class AnyPath(click.Path):
    """A path that may lead nowhere."""

    def __init__(self, *, file_okay: bool = True) -> None:
        # what cannot be read is an error of reading, not of usage
        super().__init__(file_okay=file_okay, readable=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        return super().convert(in_home(value), param, ctx)


PATH = AnyPath()


class Readable(click.Path):
    """A path to be read, refused in the words of every other error if it cannot be.

    Args:
        expected: What it should lead to, in words.
        kind: A file, a folder, or either of them.
    """

    def __init__(self, expected: str, kind: Kind = "file") -> None:
        super().__init__(readable=False, path_type=Path)
        self._expected, self._kind = expected, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        option = "" if param is None or param.param_type_name != "option" else param.opts[0]
        return require_readable(in_home(value), self._expected, option=option, kind=self._kind)


class Checkpoint(Readable):
    """A file, or a name on the Hugging Face hub, which only fetching it can check."""

    def __init__(self) -> None:
        super().__init__("a file of weights")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a path, with its entry behind #, or the text as it stands if it begins with ``hf-hub:``."""
        if isinstance(value, str) and value.startswith("hf-hub:"):
            return value
        if isinstance(value, str) and "#" in value and not Path(value).exists():
            file, _, _ = value.rpartition("#")
            super().convert(file, param, ctx)
            return Path(value)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A finite number above 0, or from 0 on with ``zero``: every comparison with NaN is false, as without a limit."""

    def __init__(self, *, zero: bool = False) -> None:
        super().__init__(min=0, min_open=not zero)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"received {value!r}; expected a finite number; leave it out for the default.", param, ctx)
        return number


IMAGES = Readable("a folder of photographs", "folder")
CALIBRATION = Readable("a folder of photographs, or a file ending in .npz or .safetensors", "either")


def read_preprocessing(_context: click.Context, _option: click.Parameter, text: str | None) -> Preprocessing | None:
    """Read the entry of a manifest, or a file with one. Raises InputError for anything else."""
    from ..core.preprocessing import Preprocessing

    if text is None:
        return None
    expected = """expected JSON as '{"resize": "crop", "crop": 0.875, "mean": [0.5], "std": [0.5]}', or a file of it"""
    source = text
    if not text.lstrip().startswith("{"):
        file = Path(text)
        require_readable(file, expected.removeprefix("expected "), option="--preprocessing")
        if file.stat().st_size > LARGEST_BYTES:
            raise InputError(f"received --preprocessing {text}, which is larger than {LARGEST_BYTES} bytes; {expected}")
        source = file.read_text(encoding="utf-8", errors="replace")
    try:
        entry = parsed(source)
    except ValueError as error:
        raise InputError(
            f"received --preprocessing {text[:80]}, which is no JSON ({error}); {expected}; correct it"
        ) from None
    if not isinstance(entry, dict):
        raise InputError(f"received --preprocessing {text[:80]}; {expected}; correct it")
    return Preprocessing.from_json(entry) or Preprocessing()
