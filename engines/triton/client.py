"""A client of a server that speaks the KServe protocol, version 2, as Triton does: over gRPC or HTTP, same errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import numpy as np

from ...errors import Attn2trtError, CheckFailed, InputError, Interrupted, MissingRequirement, one_line
from ..runtime import Arrays
from .address import SECONDS, Address
from .library import import_client

# of gRPC: nobody listens there, or whoever did is gone
_GONE, _LATE, _UNKNOWN = "StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNIMPLEMENTED"

# What reading an answer raises that is no JSON, or has other entries than the protocol's
NOT_OF_THE_PROTOCOL = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


class Refused(CheckFailed):
    """The server answered with an error of its own."""


class TritonClient:
    """A connection to a server; each call raises Interrupted if it takes longer than ``seconds``.

    Raises MissingRequirement without Triton's client library, and if nobody listens at the address.
    """

    def __init__(self, address: Address, *, seconds: float = SECONDS) -> None:
        self.address, self.seconds = address, seconds
        self._library = import_client(address.protocol)
        self._errors = _connection_errors(address.protocol)
        self._is_grpc = address.protocol == "grpc"
        self._answered = False
        limits = {} if self._is_grpc else {"connection_timeout": seconds, "network_timeout": seconds}
        self._client = self._library.InferenceServerClient(address.place, **limits)

    def __enter__(self) -> TritonClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(*self._errors):
            self._client.close()

    def server(self) -> str:
        """Return the name and version of the server. Raises InputError if it speaks another protocol."""
        try:
            answer = self._ask("get_server_metadata")
            return one_line(f"{answer['name']} {answer['version']}", 100)
        except (Refused, KeyError, TypeError) as error:
            raise InputError(
                f"received --server {self.address}, which answers, but not as a server of the KServe protocol "
                f"({' '.join(str(error).split())[:200]}); expected Triton's port for {self.address.protocol}"
            ) from None

    def index(self) -> list[dict[str, str]]:
        """Return name, version, state and reason of every model; empty if the server has no index."""
        try:
            answer = self._ask("get_model_repository_index")
        except Refused:
            return []
        found = answer.get("models", []) if isinstance(answer, Mapping) else answer
        return [{str(key): str(value) for key, value in entry.items()} for entry in found]

    def metadata(self, model: str, version: str = "") -> dict[str, Any]:
        """Return names, types and shapes of a model's tensors, and its versions. Raises Refused if there is none."""
        found: dict[str, Any] = self._ask("get_model_metadata", model, version)
        return found

    def config(self, model: str, version: str = "") -> dict[str, Any]:
        """Return a model's configuration; empty if the server shows none."""
        try:
            found = self._ask("get_model_config", model, version)
        except Refused:
            return {}
        config: dict[str, Any] = found.get("config", found)
        return config

    def infer(self, model: str, version: str, feeds: Arrays, outputs: Sequence[str]) -> Arrays:
        """Return the outputs by name. Raises Refused if the server answers with an error."""
        inputs = []
        for name, array in feeds.items():
            kind = import_client("utils").np_to_triton_dtype(array.dtype)
            value = self._library.InferInput(name, list(array.shape), kind)
            value.set_data_from_numpy(np.array(array, order="C"))
            inputs.append(value)
        asked = [self._library.InferRequestedOutput(name) for name in outputs]
        limit = {"client_timeout": self.seconds} if self._is_grpc else {}
        with self._calls(f"running {model}"):
            answer = self._client.infer(model, inputs, model_version=version, outputs=asked, **limit)
            self._require_answer_of(model, version, answer.get_response())
            found = {name: answer.as_numpy(name) for name in outputs}
            self._require_shapes(answer, found)
        if missing := [name for name, array in found.items() if array is None]:
            raise Refused(f"{self.address} gave no output {missing[0]}; expected {', '.join(outputs)}")
        return found

    def _require_answer_of(self, model: str, version: str, answer: Any) -> None:
        """Raise Refused if an answer says that another model or version has given it: that one was not asked for."""
        for kind, asked in (("model", model), ("version", version)):
            key = "model_name" if kind == "model" else "model_version"
            said = str((answer.get(key) if self.address.protocol == "http" else getattr(answer, key)) or "")
            if asked and said and said != asked:
                raise Refused(
                    f"{self.address} answered by {kind} {one_line(said, 100)}; expected {asked}, which was asked for; "
                    "see what stands between this machine and the model"
                )

    def _require_shapes(self, answer: Any, found: Mapping[str, Any]) -> None:
        """Raise Refused for an output whose shape leaves a size open, as -1: the client library fills it in."""
        for name, array in found.items():
            if array is None:
                continue
            output = answer.get_output(name)
            shape = [*(output.shape if self._is_grpc else output["shape"])]
            if shape != [*array.shape]:
                raise Refused(
                    f"{self.address} answered {name} of the shape {one_line(str(shape), 100)}, which is no array's; "
                    "expected the size of every axis; see what made the answer"
                )

    def _ask(self, call: str, *arguments: str) -> Any:
        limit = {"client_timeout": self.seconds, "as_json": True} if self._is_grpc else {}
        with self._calls("being asked for its models"):
            return getattr(self._client, call)(*arguments, **limit)

    @contextlib.contextmanager
    def _calls(self, doing: str) -> Iterator[None]:
        """Turn whatever a call raises into one of this package's errors."""
        try:
            with self._time_limit():
                yield
        except Attn2trtError:
            raise
        except self._errors as error:
            raise self._explained(error, doing) from None
        else:
            self._answered = True

    def _time_limit(self) -> AbstractContextManager[Any]:
        """Return what raises TimeoutError once the whole call is late: the limits of HTTP are of each packet alone."""
        if self._is_grpc:
            return contextlib.nullcontext()
        from gevent import Timeout

        limit: AbstractContextManager[Any] = Timeout(self.seconds, TimeoutError())
        return limit

    def _explained(self, error: Exception, doing: str) -> Attn2trtError:
        status = str(error.status() or "") if hasattr(error, "status") else ""
        said = error.message() if hasattr(error, "message") else f"{type(error).__name__}: {error}"
        reason = one_line(said, 300)
        if status == _LATE or isinstance(error, TimeoutError):
            return Interrupted(
                f"{self.address} did not answer within {self.seconds:g} s while {doing}; "
                "ask for more time with --server-timeout"
            )
        if status and status != _GONE:
            return Refused(f"{self.address} answered: {reason}")
        if isinstance(error, NOT_OF_THE_PROTOCOL) and not status:
            return Refused(f"{self.address} answered what is not of the protocol: {reason}")
        if self._answered:
            return Interrupted(f"{self.address} closed the connection while {doing} ({reason}); see the server's log")
        return MissingRequirement(
            f"no server answers at {self.address} ({reason}); start it, or correct the address; Triton listens on "
            "8001 for grpc and on 8000 for http"
        )


def _connection_errors(protocol: str) -> tuple[type[Exception], ...]:
    """Return every kind of error that the client library raises for a call that did not work."""
    found: tuple[type[Exception], ...] = (
        OSError,
        *NOT_OF_THE_PROTOCOL,
        import_client("utils").InferenceServerException,
    )
    if protocol == "http":
        from geventhttpclient.response import HTTPParseError

        found = (*found, HTTPParseError)
    return found
