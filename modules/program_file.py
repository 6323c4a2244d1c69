"""``net.pt2``: a program that ``torch.export.save`` wrote, whose Python may be lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.file_hashes import sha256
from ..core.input_path import require_readable
from ..errors import InputError
from .building import UserModule, checkpoint_words
from .libraries.library import failure_line
from .own_module import Forward
from .packages import PYTORCH, require
from .traceable import accept_eval

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class ProgramModule(UserModule):
    """The module of a saved program, whose float64 is the truth at the sizes that it was exported for."""

    trust: bool = False

    def make(self) -> nn.Module:
        """The module of the program; InputError if it is not trusted, or is none."""
        return accept_eval(self._program().module())

    def inputs(self) -> tuple[Forward, Sequence[torch.Tensor]]:
        """Return what its forward takes, and its example; none if some of that are no tensors or go by keyword."""
        import torch

        program = self._program()
        args, kwargs = program.example_inputs or ((), {})
        is_usable = not kwargs and all(isinstance(value, torch.Tensor) for value in args)
        return Forward.of(program.module()), args if is_usable else ()

    def weights(self, digest: str) -> str:
        """Return the origin of the weights, in words."""
        path = Path(self.name).expanduser()
        return checkpoint_words(self.checkpoint, digest) or f"as {path.name} holds them, sha256 {sha256(path)}"

    def _program(self) -> torch.export.ExportedProgram:
        path = require_readable(Path(self.name).expanduser(), "a program that torch.export.save wrote")
        if not self.trust:
            raise InputError(
                f"received {self.name} without --trust; expected it, since a program of torch.export may hold pickles, "
                "which run whatever code its author put into them; add --trust if you made it or trust its author"
            )
        require(PYTORCH)
        import torch

        # a program that torchao converted has operators that this defines
        import torch.ao.quantization.fx._decomposed

        try:
            return torch.export.load(path)
        except Exception as error:  # an archive of anybody's may be wrong in any way
            raise InputError(
                f"received {self.name}, which PyTorch {torch.__version__} cannot read: {failure_line(error)}; "
                "expected a program that torch.export.save wrote; save it again, with this version"
            ) from error
