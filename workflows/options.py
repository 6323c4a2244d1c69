"""What a caller of a verb may ask for beyond the target and its sizes: one frozen object for each subject."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The source of a module's weights.

    Attributes:
        seed: Draws random weights, and the inputs that a verdict is made on.
        pretrained: Take the backbone's published weights.
        checkpoint: A file, ``FILE#entry`` for one of its sets of weights, or ``hf-hub:owner/name``.
    """

    seed: int = 0
    pretrained: bool = False
    checkpoint: Path | str | None = None
