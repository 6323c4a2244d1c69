"""Write a bundle into a model repository of Triton Inference Server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.file_hashes import require_unchanged
from ..core.precision import FP32
from ..core.progress import Progress, silent
from ..engines.triton.batching import Batching, choose_batching
from ..engines.triton.config import LONGEST_TITLE, PLATFORMS, Serving, make_config, model_name
from ..engines.triton.folder import write_model
from ..engines.triton.library import import_model_config
from ..engines.triton.repository import check_place, repository
from ..engines.triton.source import AUTO, BACKENDS, Source, choose_sources
from ..engines.triton.warmup import Request, requests
from ..errors import CheckFailed, InputError
from ..validate.verdict import Verdict

if TYPE_CHECKING:
    from typing import Any

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
Layout = Literal["names", "versions"]


@dataclass(frozen=True)
class ServedModel:
    """A model of the repository: its versions from 1 on, and how Triton may put requests together."""

    name: str
    sources: tuple[Source, ...]
    batching: Batching

    @property
    def platform(self) -> str:
        """Return Triton's platform or backend."""
        backend = self.sources[0].backend
        return PLATFORMS.get(backend, backend)

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        return {
            "name": self.name,
            "platform": self.platform,
            "versions": {str(number): source.precision for number, source in enumerate(self.sources, 1)},
            "max_batch_size": self.batching.largest,
            **({"not_batched": self.batching.why_not} if self.batching.why_not else {}),
        }


@dataclass(frozen=True)
class ServedBundle:
    """The written models, a line for everything that was left out, and if the bundle's verdict is a pass."""

    path: Path
    models: tuple[ServedModel, ...]
    left_out: tuple[str, ...]
    passed: bool

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the flags that tritonserver needs for these models beside the place of the repository."""
        portable = any(source.version_compatible for model in self.models for source in model.sources)
        return ("--backend-config=tensorrt,version-compatible=true",) if portable else ()

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        models = [model.to_json() for model in self.models]
        listed = {"left_out": [*self.left_out], "flags": [*self.flags], "passed": self.passed}
        return {"path": str(self.path), "models": models, **listed}


@checked
def write_triton_repository(
    bundle: Folder,
    out: Folder,
    *,
    name: str | None = None,
    precisions: Sequence[str] | None = None,
    backend: str = AUTO,
    tensorrt: str | None = None,
    layout: Layout = "names",
    batching: bool = True,
    warmup: bool = True,
    serving: Serving | None = None,
    add: bool = False,
    progress: Progress | None = None,
) -> ServedBundle:
    """Write the bundle's plans or graphs as models of a Triton repository.

    Args:
        bundle: The bundle, or its folder.
        out: The repository. Killed at any moment, each model in it is whole.
        name: The model's name; made from the target's if None.
        precisions: Those to serve; all of the bundle's if None.
        backend: ``auto``, ``tensorrt``, ``onnxruntime`` or ``python``.
        tensorrt: The version of TensorRT whose plans are taken, if the bundle holds plans of several.
        layout: ``names`` makes a model of each precision, ``versions`` one model with a version of each.
        batching: Let Triton put requests together if the bundle shows that it may.
        warmup: Have Triton run the recorded inputs before a model is ready.
        serving: Devices, instances, delay and labels.
        add: Put the models beside what the repository holds.
        progress: Called with a line for every step.

    Returns:
        The models, and what was left out.

    Raises:
        InputError: The folder is no bundle, nothing is left to serve, or something is in the way.
        CheckFailed: A file of the bundle has changed, or its verdict is a failure.
        MissingRequirement: Triton's client library is not installed.
    """
    report = progress or silent
    _require_known(layout, backend, precisions)
    opened, destination, chosen = open_bundle(bundle), Path(out), serving or Serving()
    report("checking hashes")
    require_unchanged(opened)
    _require_not_failed(opened)
    sources, left_out = choose_sources(opened, precisions=precisions, backend=backend, tensorrt=tensorrt)
    labels = dict(chosen.labels or {})
    _check_labels(opened, labels)
    grouped = _grouped(name or model_name(opened.name), sources, layout)
    models = [_model(opened, title, group, batching=batching) for title, group in grouped.items()]
    check_place(destination, list(grouped), add=add)
    import_model_config()  # last: what is wrong with the input is said first
    with repository(destination, list(grouped), add=add) as folder:
        for model in models:
            report(f"writing {model.name}")
            sent = _warmup(opened, model) if warmup else []
            config = make_config(model.name, opened, model.sources, model.batching, chosen, sent)
            write_model(folder / model.name, opened, model.sources, config, sent, labels)
    return ServedBundle(destination, tuple(models), tuple(left_out), opened.passed)


def _require_known(layout: str, backend: str, precisions: Sequence[str] | None) -> None:
    """Raise InputError for a choice that is none; a name that is not known would be taken for another one."""
    for name, value, known in (("layout", layout, get_args(Layout)), ("backend", backend, BACKENDS)):
        if value not in known:
            raise InputError(f"received {name}={value!r}; expected {', '.join(known)}; choose one")
    if precisions is not None and not precisions:
        raise InputError("received no precisions; expected one or more, or None for all of the bundle's; name them")


def _grouped(name: str, sources: Sequence[Source], layout: Layout) -> dict[str, list[Source]]:
    """Return the sources of each model by its name. Raises InputError for a name that is no folder's."""
    if not NAME.fullmatch(name) or len(name) > LONGEST_TITLE:
        raise InputError(
            f"received --name {name}; expected at most {LONGEST_TITLE} letters, digits, '_', '-' and '.', the first a "
            f"letter or a digit; choose one, as {model_name(name)}"
        )
    if layout == "versions":
        return {name: list(sources)}
    return {name if source.precision == FP32 else f"{name}_{source.precision}": [source] for source in sources}


def _model(bundle: Bundle, name: str, sources: Sequence[Source], *, batching: bool) -> ServedModel:
    chosen = choose_batching(bundle, sources[0].profiles) if batching else Batching(why_not="left out by --no-batching")
    return ServedModel(name, tuple(sources), chosen)


def _warmup(bundle: Bundle, model: ServedModel) -> list[Request]:
    return list(requests(bundle, model.batching, model.sources[0].profiles, bundle.io(model.sources[0].precision)))


def _require_not_failed(bundle: Bundle) -> None:
    """Raise CheckFailed if the bundle's own verdict failed: it is not to be served."""
    failed = Verdict.from_json(bundle.manifest["verdict"]).first_failure
    if failed is not None:
        raise CheckFailed(
            f"{bundle.path} did not pass: {failed.label}: {failed.why or failed.status}; what failed is not served; "
            "deploy the target again"
        )


def _check_labels(bundle: Bundle, labels: Mapping[str, str]) -> None:
    """Raise InputError unless the labels are of an output, one for each of its classes."""
    outputs = {spec.name: spec for spec in bundle.outputs}
    for name, text in labels.items():
        if name not in outputs:
            raise InputError(f"received labels for {name}; expected an output: {', '.join(outputs)}; correct the name")
        classes = outputs[name].shape[-1] if outputs[name].shape else 1
        if isinstance(classes, int) and len(text.splitlines()) != classes:
            raise InputError(
                f"received {len(text.splitlines())} labels for {outputs[name]}; expected {classes}, one a line; "
                "give the file of this model's classes"
            )
