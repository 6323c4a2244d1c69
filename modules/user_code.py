"""``py:package.module:name`` and ``file.py:name``: the user's own factory, module or block."""

from __future__ import annotations

import ast
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.nearest import nearest
from ..core.processes import leave_if_copy, note
from ..errors import Attn2trtError, InputError, ModuleRefused, one_line
from .block_index import one_of
from .grammar import is_file
from .traceable import accept_eval, check_traceable
from .user_file import find_file, folders_last, load_file, only_block, whole_model
from .user_line import line_of_error, return_line

if TYPE_CHECKING:
    from torch import nn


def load(name: str, *, block: bool = False) -> Any:
    """Return what the user's ``name`` stands for; InputError if it cannot be imported, with the line that failed.

    A file without a name behind it stands for its ``make`` or its only model, for its only class if it is a ``block``.
    """
    if is_file(name):
        file, _, attribute = name.partition(":")
        path = find_file(file)
        with folders_last(path), _one_line(f"import {file}", name):
            found: Any = load_file(path)
        if not attribute:
            return only_block(found, name) if block else whole_model(found, name)
        module_name = file
    else:
        _, module_name, attribute = name.split(":")
        found = _imported(module_name, name)
    return _attribute(found, attribute, module_name, name)


def _imported(module_name: str, name: str) -> Any:
    with _working_directory(), _one_line(f"import {module_name}", name):
        try:
            return import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise InputError(
                f"received {name!r}; expected module {module_name} in {Path.cwd()} or installed, found none; "
                "run from the folder that holds it, or name that in PYTHONPATH"
            ) from error


def _attribute(found: Any, attribute: str, module_name: str, name: str) -> Any:
    with _one_line(f"find {attribute} in {module_name}", name):
        for step in attribute.split("."):
            if not hasattr(found, step):
                public = [public for public in dir(found) if not public.startswith("_")]
                raise InputError(
                    f"received {name!r}; expected {step!r} in {module_name}, found none; "
                    f"{nearest(step, public, 'name a factory that is there')}"
                )
            found = getattr(found, step)
    return found


def make(name: str, options: Mapping[str, str]) -> nn.Module:
    """Return the user's module: what a factory returns, an instance of a class, or a copy of an instance.

    The options are the keyword arguments of the factory or class.
    """
    from torch import nn

    found = load(name)
    if isinstance(found, nn.Module):
        return _copy(found, name, options)
    if not callable(found):
        raise InputError(
            f"received {name!r}, a {type(found).__name__}; expected a callable that returns a torch.nn.Module; "
            "name a factory, a class or a module"
        )
    values = {key: _value(text) for key, text in options.items()}
    _check_options(name, found, options, positional=0)
    if needed := _unbound(found, **values):
        backbone = f", or put it into a backbone, as resnet18+{name}@layer4" if inspect.isclass(found) else ""
        raise InputError(
            f"received {name!r}, which needs {' and '.join(needed)}; expected a value for each; add "
            f"{_more(options, needed)} behind its name, or write a function make() that gives them{backbone}"
        )
    with _import_path(name), _one_line(f"call {name}()", name):
        made = found(**values)
        if isinstance(made, nn.Module):
            _check_made(made, found)
    return _module(made, name)


def _copy(found: nn.Module, name: str, options: Mapping[str, str]) -> nn.Module:
    from .copying import copy_module

    if options:
        raise InputError(
            f"received {name!r} with options, a module that is made already; expected a factory or a class for them; "
            "name one, or leave them out"
        )
    check_traceable(found)
    with _one_line(f"copy {name}", name):
        return accept_eval(copy_module(found))


def _check_made(made: nn.Module, factory: Callable[..., Any]) -> None:
    """Raise ModuleRefused, with the line at which ``factory`` returned, for a module that is no Python any more."""
    try:
        check_traceable(made)
    except ModuleRefused:
        check_traceable(made, return_line(factory))
        raise


def make_block(name: str, channels: int, options: Mapping[str, str]) -> nn.Module:
    """Return the user's block for ``channels``; its options are the keyword arguments of its class."""
    found = load(name, block=True)
    if not callable(found):
        raise InputError(f"received block {name!r}, a {type(found).__name__}; expected a class; name the block's class")
    values = {key: _value(text) for key, text in options.items()}
    _check_options(name, found, options, positional=1)
    if needed := _unbound(found, channels, **values):
        raise InputError(
            f"received block {name!r}, which needs {' and '.join(needed)} beside the number of channels; expected a "
            f"value for each; add {_more(options, needed)} behind its name"
        )
    with _import_path(name), _one_line(f"call {name}({channels})", name):
        made = found(channels, **values)
    return _module(made, name)


def _module(made: Any, name: str) -> nn.Module:
    from torch import nn

    if not isinstance(made, nn.Module):
        raise InputError(
            f"received {type(made).__name__} from {name!r}; expected a torch.nn.Module; return the module itself"
        )
    return accept_eval(made)


def _unbound(found: Callable[..., Any], *values: Any, **options: Any) -> list[str]:
    """Return the parameters that ``found`` needs and does not get; none if its signature cannot be read."""
    try:
        signature = inspect.signature(found)
        given = signature.bind_partial(*values, **options).arguments
    except (TypeError, ValueError):
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in variable and parameter.name not in given
    ]


def _more(options: Mapping[str, str], needed: Sequence[str]) -> str:
    return ("," if options else ":") + ",".join(f"{key}=VALUE" for key in needed)


def _check_options(name: str, found: Callable[..., Any], options: Mapping[str, str], *, positional: int) -> None:
    """Raise InputError for an option that ``found`` does not take, whose first parameters are ``positional``."""
    if not options:
        return
    parameters = list(inspect.signature(found).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters[positional:]]
    for option in options:
        if option not in known:
            raise InputError(
                f"received option {option!r} for {name}; expected {one_of(known, 'no option')}; "
                f"{nearest(option, known, 'leave it out')}"
            )


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


@contextmanager
def _import_path(name: str) -> Iterator[None]:
    """Put the places on the import path that were there when ``name`` was imported."""
    with folders_last(find_file(name.partition(":")[0])) if is_file(name) else _working_directory():
        yield


@contextmanager
def _working_directory() -> Iterator[None]:
    """The current directory first on the import path, as ``python -m`` has it."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install it, or name the folder that holds {str(error.name).partition('.')[0]} in PYTHONPATH"
    if "no known parent package" in str(error):
        return "put an __init__.py into its folder"
    return "correct that line"


def _arguments() -> list[str]:
    """Return the arguments that the user's code sees: none of attn2trt's own, which a parser there would refuse."""
    program = Path(sys.argv[0]) if sys.argv else Path()
    is_ours = program.stem == "attn2trt" or (program.name == "__main__.py" and program.parent.name == "attn2trt")
    return sys.argv[:1] if is_ours else sys.argv


@contextmanager
def _one_line(doing: str, name: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line with the exception and where it came from.

    The guard hears what is called, for code that raises nothing and ends the process.
    """
    note(calling=f"received {name!r}; expected to {doing}")
    arguments, sys.argv = sys.argv, _arguments()
    try:
        yield
    except (Attn2trtError, KeyboardInterrupt):
        raise
    except BaseException as error:
        leave_if_copy()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename}:{frame.lineno}"
        if isinstance(error, SystemExit):  # the line is that of a library, as of argparse
            where = line_of_error(error) or where
        if isinstance(error, SyntaxError):
            where = f"{error.filename}:{error.lineno}"
        place = f" ({where}); {_remedy(error)}"
        if frame.filename == __file__:  # the call itself: no line of the user's is wrong
            place = "; correct its parameters"
        reason = one_line(error, 300)
        raise InputError(
            f"received {name!r}; expected to {doing}, got {type(error).__name__}: {reason}{place}"
        ) from error
    finally:
        sys.argv = arguments
        note(calling="")
