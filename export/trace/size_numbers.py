"""Let the user's Python compute with sizes as numbers while a module is traced, without fixing them.

``int(h)``, ``float(h * w)``, ``len(x)``, ``round(h / 2)``, ``math.sqrt(n)``, ``max(h, w)`` and ``isinstance(h, int)``
ask for a number. A traced size answers with the number of the trace, which fixes the axis (pytorch/pytorch#148886).
While active, these names in the files of the user's modules stand for the functions of ``size_functions``.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import nn

from ...modules.called_functions import namespaces
from .size_functions import BUILTINS, VALUES, comparisons_count, quotients_are_noted


@contextlib.contextmanager
def sizes_stay_numbers(module: nn.Module) -> Iterator[None]:
    """While active, the files of ``module`` and of what they call compute with traced sizes without fixing them."""
    stand_ins = {id(original): stand_in for original, stand_in in VALUES}
    with contextlib.ExitStack() as stack:
        for namespace in list(namespaces(module)):
            changes = {name: stand_ins[id(value)] for name, value in namespace.items() if id(value) in stand_ins}
            for name, (original, stand_in) in BUILTINS.items():
                if namespace.get(name, getattr(builtins, name)) is original:
                    changes[name] = stand_in
            before = {name: namespace[name] for name in changes if name in namespace}
            stack.callback(_restore, namespace, changes, before)
            namespace.update(changes)
        stack.enter_context(comparisons_count())
        stack.enter_context(quotients_are_noted())
        yield


def _restore(namespace: dict[str, Any], changed: Iterable[str], before: Mapping[str, Any]) -> None:
    for name in changed:
        if name in before:
            namespace[name] = before[name]
        else:
            del namespace[name]
