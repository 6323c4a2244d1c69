"""The inputs and outputs of a PyTorch module beside those of an ONNX file that claims to be it.

They are matched by name if both have the same names, as a runtime takes and gives them; else by their order.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.tensor_spec import TensorSpec
from ..errors import InputError
from ..validate.cases import Case

if TYPE_CHECKING:
    from torch import nn

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def require_inputs(module: nn.Module, names: Sequence[str], file: str) -> None:
    """Raise InputError unless ``forward`` takes as many inputs as the file has; the message has both by name."""
    if any(
        one.kind is inspect.Parameter.VAR_POSITIONAL for one in inspect.signature(module.forward).parameters.values()
    ):
        return
    taken = _taken(module)
    needed = [parameter for parameter in taken if parameter.default is inspect.Parameter.empty]
    if len(needed) <= len(names) <= len(taken):
        return
    raise InputError(
        f"received {file} with the inputs {', '.join(names)}, and {type(module).__name__}.forward takes "
        f"{', '.join(parameter.name for parameter in taken) or 'none'}; expected as many, in the same order; name "
        "another module with --against"
    )


def inputs_in_order(module: nn.Module, specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the inputs of a file in the order of ``forward``'s, by name if it calls them the same."""
    return _in_order(specs, [parameter.name for parameter in _taken(module)[: len(specs)]])


def outputs_in_order(module: nn.Module, specs: Sequence[TensorSpec], case: Case, seed: int) -> tuple[TensorSpec, ...]:
    """Return the outputs of a file in the order of those that ``module`` returns, by the keys that it gives them.

    Several outputs cost a run of the module in float32. Raises ModuleRefused if it cannot run the case.
    """
    if len(specs) < 2:
        return tuple(specs)
    from ..export.trace.outputs import names_of
    from ..validate.eager import Eager

    names: list[str] = []

    single = Eager(module, [], seed, is_double=False)
    single.module.register_forward_hook(lambda _module, _inputs, outputs: names.extend(names_of(outputs)))
    single.run(case.feeds, case)
    return _in_order(specs, names)


def _taken(module: nn.Module) -> list[inspect.Parameter]:
    return [one for one in inspect.signature(module.forward).parameters.values() if one.kind in _BY_PLACE]


def _in_order(specs: Sequence[TensorSpec], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    by_name = {spec.name: spec for spec in specs}
    is_same = {*names} == {*by_name} and len(names) == len(specs)
    return tuple(by_name[name] for name in names) if is_same else tuple(specs)
