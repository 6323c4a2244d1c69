"""The guards of a module at other sizes, found by running it on tensors that have sizes and no data.

That is what torch.export does first, at a small part of its cost: nothing of a program is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext, SymbolicContext

from ...core.tensor_spec import TensorSpec
from ...modules.copying import copy_module
from ...modules.seen_operators import uncompiled
from .guards import Guard
from .size_questions import SizeQuestions


def followed(
    module: nn.Module,
    specs: Sequence[TensorSpec],
    inputs: Sequence[torch.Tensor],
    sizes: Mapping[str, int],
    *,
    keep_numbers: bool,
) -> tuple[list[Guard], bool]:
    """Return the guards that ``module`` asks for at the ``sizes`` of ``inputs``, and True if it reaches its end.

    Else the guards are those before the error.
    """
    original, module = module, copy_module(module, shares_parameters=True)
    # equal sizes of two axes are no equation, and a size of 1 is no constant
    symbols = ShapeEnv(duck_shape=False, specialize_zero_one=False)
    mode = FakeTensorMode(shape_env=symbols, allow_non_fake_inputs=True)
    mode.cache_enabled = False  # as fewer_questions.py says
    pairs = zip(specs, inputs, strict=True)
    fakes = [mode.from_tensor(tensor, symbolic_context=_dynamic(spec)) for spec, tensor in pairs]
    questions, is_whole = SizeQuestions(module, specs), False
    # as torch.export does: some kernels take no symbols without their counterpart in Python
    modes = enable_python_dispatcher(), mode
    noted = questions.noted(*modes, keep_numbers=keep_numbers)
    with contextlib.suppress(Exception), torch.no_grad(), uncompiled(), noted:
        module(*fakes)
        is_whole = True
    return questions.asked(sizes, lambda: run_copy(original, inputs)), is_whole


def runs(module: nn.Module, inputs: Sequence[torch.Tensor]) -> bool:
    """Return True if ``module`` takes these inputs."""
    with contextlib.suppress(Exception):  # the user's forward may raise anything
        run_copy(module, inputs)
        return True
    return False


def run_copy(module: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
    """Run a copy of ``module``, which may keep something of the run."""
    with torch.no_grad(), uncompiled():
        copy_module(module, shares_parameters=True)(*inputs)


def _dynamic(spec: TensorSpec) -> SymbolicContext:
    kinds = [DimDynamic.DYNAMIC if isinstance(dim, str) else DimDynamic.STATIC for dim in spec.shape]
    return StatelessSymbolicContext(dynamic_sizes=kinds)
