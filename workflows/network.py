"""``validate --network``: every graph of a bundle module by module beside the float32 graph."""

from __future__ import annotations

from functools import partial

from ..core.bundle import Folder, open_bundle
from ..core.file_hashes import require_unchanged
from ..core.progress import Progress, silent
from ..core.steady import steady
from ..validate.network import along_network
from ..validate.place import Boundary
from ..validate.recorded import recorded_cases


@steady
def measure_network(bundle: Folder, *, progress: Progress | None = None) -> dict[str, tuple[Boundary, ...]]:
    """Return the error at the output of each module, by the label of the stage that runs the graph.

    Args:
        bundle: The bundle, or its folder.
        progress: Called with a line for every step.

    Raises:
        InputError: The folder is no bundle.
        CheckFailed: A file is not the one that the manifest lists.
        MissingRequirement: ONNX Runtime is not installed.
    """
    opened = open_bundle(bundle)
    require_unchanged(opened)
    (progress or silent)("comparing every module with the float32 graph")
    pairs = along_network(opened, partial(recorded_cases, opened))
    return {stage.label: boundaries for stage, boundaries in pairs}
