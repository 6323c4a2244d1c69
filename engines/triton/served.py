"""The models that a server has of a bundle: found by what their configurations say of the files that they serve."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.bundle import Bundle
from ...core.precision import FP32, PRECISIONS
from ...core.tensor_spec import Axis, TensorSpec
from ...core.typed_json import parsed
from ...errors import InputError, typed_line
from ..tensorrt.profiles import Profile, is_held
from .client import NOT_OF_THE_PROTOCOL, Refused, TritonClient
from .config import ABOUT, model_name

TYPES = {"int64": "INT64", "int32": "INT32", "uint8": "UINT8", "bool": "BOOL"} | {"float32": "FP32", "float16": "FP16"}
READY = "READY"


@dataclass(frozen=True)
class ServedVersion:
    """A version of a model on a server.

    Attributes:
        model: Its name.
        version: Its number; empty for the one that the server chooses.
        precision: That of its graph; its floors are the ones that count.
        wrong: The reason if it cannot be the bundle's: other files, other tensors, or not ready.
        says_files: The configuration has the hashes of its files.
        largest: The largest batch that it takes; 0 if Triton adds no batch.
        profiles: The ranges that it takes, if it says so.
    """

    model: str
    version: str
    precision: str
    wrong: str = ""
    says_files: bool = False
    largest: int = 0
    profiles: tuple[Profile, ...] = ()

    def takes(self, sizes: Mapping[str, int], batch: int) -> bool:
        """Tell whether a request of these sizes, with ``batch`` rows, is inside of what it is served for."""
        if self.largest and batch > self.largest:
            return False
        return not self.profiles or is_held(self.profiles, sizes)


def find_served(
    client: TritonClient, bundle: Bundle, *, model: str, version: str, precision: str | None
) -> list[ServedVersion]:
    """Return the versions to judge: those of the ``model``, or all that serve this bundle.

    Raises InputError if the server has no such model or version, none of this bundle, or answers what is not of the
    protocol.
    """
    try:
        return _Search(client, bundle, version, precision).find(model)
    except NOT_OF_THE_PROTOCOL as error:
        reason = typed_line(error)
        raise InputError(
            f"received --server {client.address}, whose description of its models cannot be read ({reason}); expected "
            "a server of the KServe protocol, version 2"
        ) from error


class _Search:
    """A server that is asked for the versions of a bundle's models."""

    def __init__(self, client: TritonClient, bundle: Bundle, version: str, precision: str | None) -> None:
        self._client, self._bundle = client, bundle
        self._version, self._precision = version, precision
        self._index = client.index()

    def find(self, model: str) -> list[ServedVersion]:
        """Return the versions of the model, or of all that serve the bundle if it is not named."""
        if model:
            return self._named(model)
        client, bundle = self._client, self._bundle
        found: list[ServedVersion] = []
        for name in dict.fromkeys(entry["name"] for entry in self._index if entry.get("state") == READY):
            versions = {entry.get("version", "") for entry in self._index if entry["name"] == name}
            if (not self._version or self._version in versions) and _is_of(bundle, _about(client.config(name))):
                found += self._versions(name)
        names = {one.model for one in found}
        for entry in self._index:
            if entry.get("state") != READY and _is_likely(bundle, entry, names):
                why = f"{entry['name']} is {entry.get('state', 'not ready')}: {entry.get('reason', 'no reason given')}"
                precision = _likely_precision(bundle, entry)
                found.append(ServedVersion(entry["name"], entry.get("version", ""), precision, why))
        if not found:
            raise InputError(
                f"{client.address} serves no file of {bundle.path}; it has {_listed(self._index)}; name a model with "
                "--model, or write one with attn2trt triton"
            )
        return found

    def _named(self, model: str) -> list[ServedVersion]:
        states = {entry.get("state", "") for entry in self._index if entry["name"] == model}
        if self._index and not states:
            had = _listed(self._index)
            raise InputError(f"received model {model}; {self._client.address} has {had}; correct the name")
        try:
            self._client.metadata(model, self._version)
        except Refused as error:
            others = f"; it has {_listed(self._index)}" if self._index else ""
            which = f"version {self._version} of {model}" if self._version else model
            raise InputError(f"received {which}, which is not served: {error}{others}; correct the name") from None
        return list(self._versions(model))

    def _versions(self, model: str) -> Iterator[ServedVersion]:
        """Yield every version of a model that is ready, or the one that was asked for."""
        ready = [entry["version"] for entry in self._index if entry["name"] == model and entry.get("state") == READY]
        numbers = [self._version] if self._version else sorted({*ready} - {""}) or [""]
        config = self._client.config(model, self._version)
        about = _about(config)
        largest = int(config.get("max_batch_size", 0) or 0)
        for number in numbers:
            entry = about.get("versions", {}).get(number or "1")
            said = str(entry["precision"]) if entry is not None and entry.get("precision") in PRECISIONS else FP32
            if entry is not None and self._precision not in (None, said):
                raise InputError(
                    f"received --precision {self._precision}; {model} says that it serves {said}; leave the option out"
                )
            precision = self._precision or said
            wrong = _wrong_files(self._bundle, model, entry)
            wrong = wrong or _wrong_tensors(self._client, self._bundle, model, number, precision)
            profiles = _profiles(entry, self._bundle.axes) if not wrong else ()
            yield ServedVersion(model, number, precision, wrong, entry is not None, largest, profiles)


def _about(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration says of its files; empty if it says nothing that can be read."""
    try:
        found = parsed(config["parameters"][ABOUT]["string_value"])
        versions = {
            str(number): {**entry, "files": dict(entry.get("files", {}))} for number, entry in found["versions"].items()
        }
        return {**found, "versions": versions}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _is_of(bundle: Bundle, about: Mapping[str, Any]) -> bool:
    """Tell whether a model says that it is of this bundle, by its name or by a file."""
    listed = {entry["sha256"] for entry in bundle.manifest["files"].values()}
    versions = about.get("versions", {}).values()
    hashes = {value for entry in versions for value in dict(entry.get("files", {})).values()}
    return about.get("bundle") == bundle.name or bool(hashes & listed)


def _is_likely(bundle: Bundle, entry: Mapping[str, str], found: set[str]) -> bool:
    """Tell whether a model that is not ready would be of this bundle; one that somebody unloaded is not meant."""
    names = {model_name(bundle.name), *(model_name(bundle.name, name) for name in bundle.graphs)}
    return entry.get("reason") != "unloaded" and entry["name"] in names | found


def _likely_precision(bundle: Bundle, entry: Mapping[str, str]) -> str:
    return next((name for name in bundle.graphs if entry["name"] == model_name(bundle.name, name)), FP32)


def _listed(index: list[dict[str, str]]) -> str:
    """Write the models of a server, with the reason of each that is not ready."""
    words = [
        entry["name"] + ("" if entry.get("state") == READY else f" ({entry.get('reason') or entry.get('state')})")
        for entry in index
    ]
    return ", ".join(dict.fromkeys(" ".join(word.split())[:120] for word in words)) or "no model that it lists"


def _wrong_files(bundle: Bundle, model: str, entry: Mapping[str, Any] | None) -> str:
    """Return how the files that a version serves differ from the bundle's; empty if they do not, or it is not said."""
    if entry is None:
        return ""
    listed = {known["sha256"] for known in bundle.manifest["files"].values()}
    for name, found in dict(entry.get("files", {})).items():
        if found not in listed:
            return (
                f"{model} serves another {name}, with sha256 {str(found)[:12]}…, which is none of the bundle's files; "
                "write the repository again and let the server load it"
            )
    return ""


def _wrong_tensors(client: TritonClient, bundle: Bundle, model: str, version: str, precision: str) -> str:
    """Return how the tensors of a version differ from the bundle's; empty if they do not."""
    found = client.metadata(model, version)
    for kind, specs in (("inputs", bundle.inputs_of(precision)), ("outputs", bundle.outputs_of(precision))):
        there = {str(entry["name"]): entry for entry in found.get(kind, [])}
        names = {spec.name for spec in specs}
        if not names <= there.keys() or (kind == "inputs" and names != there.keys()):
            return f"{model} has the {kind} {', '.join(there) or 'none'}; expected {', '.join(sorted(names))}"
        for spec in specs:
            if not _fits(spec, there[spec.name]):
                entry = there[spec.name]
                shape = ", ".join(map(str, entry.get("shape", [])))
                return f"{model} has {spec.name}: {entry.get('datatype')}[{shape}]; expected {spec}"
    return ""


def _fits(spec: TensorSpec, entry: Mapping[str, Any]) -> bool:
    """Tell whether a server's tensor is one of the bundle's; -1 stands for any size."""
    kinds = {TYPES[spec.dtype], *(["INT32"] if spec.dtype == "int64" else [])}  # TensorRT before 10 has no INT64
    shape = [int(size) for size in entry.get("shape", [])]
    expected = spec.shape or (1,)
    return (
        entry.get("datatype") in kinds
        and len(shape) == len(expected)
        and all(size in (-1, dim) or isinstance(dim, str) for size, dim in zip(shape, expected, strict=True))
    )


def _profiles(entry: Mapping[str, Any] | None, axes: Collection[str]) -> tuple[Profile, ...]:
    """Return the ranges that a version says it takes, for every one of ``axes``; none if it does not, so that every
    case is sent to it."""
    try:
        return tuple(
            Profile({name: Axis(*map(int, profile[name])) for name in axes})
            for profile in (entry or {}).get("profiles", [])
        )
    except (*NOT_OF_THE_PROTOCOL, InputError):
        return ()
