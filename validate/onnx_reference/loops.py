"""ONNX's Loop, of which the reference evaluator stacks what each pass gives along the first axis that it has."""

from __future__ import annotations

from typing import Any

import numpy as np


def loop_operator() -> type:
    """Return the operator, to be used in place of the evaluator's own."""
    from onnx.reference.ops.op_loop import Loop as OwnLoop

    class Loop(OwnLoop):
        def _run(
            self,
            limit: Any,
            condition: Any,
            *states: Any,
            context: Any = None,
            attributes: Any = None,
            bindings: Any = None,
            body: Any = None,
        ) -> tuple[Any, ...]:
            own: Any = self
            scope = {"attributes": attributes} | ({} if bindings is None else {"bindings": bindings})  # of onnx 1.23 on
            number, going, *names = own.body.input_names
            values: list[Any] = list(states)
            passes: list[Any] = []
            goes_on = condition is None or bool(condition)  # without one it goes to its limit
            while goes_on and (limit is None or len(passes) < limit):
                known = {number: np.array(len(passes), np.int64), going: np.array(True)}
                inputs = {**(context or {}), **known, **dict(zip(names, values, strict=True))}
                goes_on, *found = own._run_body(inputs, **scope)
                values = found[: len(names)]
                passes.append(found[len(names) :])
            if own.K and not passes:
                raise NotImplementedError("no pass, which would give the shape of what each adds")
            return (*values, *(np.stack(one) for one in zip(*passes, strict=True)))

    return Loop
