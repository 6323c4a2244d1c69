"""Check that a bundle's files are the ones that were written, and that its graphs load here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..core.arguments import checked
from ..core.bundle import Folder, open_bundle
from ..core.file_hashes import Finding, verify
from ..core.precision import FP32, PRECISIONS
from ..core.steady import steady
from ..engines.isolated import IsolatedRuntime
from ..errors import CheckFailed, MissingRequirement


@dataclass(frozen=True)
class Verification:
    """A finding for each file of a bundle and each graph; true if nothing is wrong with any."""

    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return bool(self.findings) and all(finding.ok for finding in self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)


@checked
@steady
def verify_bundle(bundle: Folder) -> Verification:
    """Compare every file of a bundle with its hash and, if all are the right ones, load each graph.

    Args:
        bundle: The bundle, or its folder.

    Returns:
        A finding for each file and graph, false if one is wrong.

    Raises:
        InputError: The folder is no bundle.
        MissingRequirement: The files are right, and there is no ONNX Runtime to load the graphs.
        StorageError: The bundle was replaced again and again while it was read.
    """
    findings = verify(bundle)
    if all(finding.ok for finding in findings):
        opened = open_bundle(bundle)
        for name in opened.graph_files:
            row = PRECISIONS[next((one for one, graph in opened.graphs.items() if graph == name), FP32)]
            kernels = "own" if row.has_cpu_kernels else row.kernels
            try:
                with IsolatedRuntime(opened.path / name, optimise=row.is_optimised, kernels=kernels) as runtime:
                    said = ", with float32 kernels" * (not row.has_cpu_kernels)
                    said += ", without its optimisations" * (not row.is_optimised)
                    loaded = f"loads in {runtime.name}{said}"
                    findings.append(Finding(name, True, loaded))
            except CheckFailed as error:
                findings.append(Finding(name, False, str(error)))
            except MissingRequirement as error:
                raise MissingRequirement(
                    f"every file is the one that the manifest lists, and no graph was loaded: {error}"
                ) from error
    return Verification(tuple(findings))
