"""The address of a server, as a user writes it: ``grpc://host:8001/model``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ...errors import InputError

SECONDS = 60.0  # that a request may take
# Triton's own ports
PORTS = {"grpc": 8001, "http": 8000}
EXPECTED = (
    "expected grpc://host:port or http://host:port, with /model or /model/version behind it; write it as "
    "grpc://localhost:8001"
)
# the path that the protocol itself has for a model, which people copy
_KSERVE = re.compile(r"v2(?:/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?)?")


@dataclass(frozen=True)
class Address:
    """A server; ``model`` and ``version`` are empty if the address names none."""

    protocol: str
    place: str
    model: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.protocol}://{self.place}"


def parse_address(text: str) -> Address:
    """Read an address. Raises InputError if it is none."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"received --server {text} ({error}); {EXPECTED}") from None
    if parts.scheme not in PORTS or not host or parts.query or parts.fragment or parts.username is not None:
        raise InputError(f"received --server {text}; {EXPECTED}")
    names = parts.path.strip("/")
    known = _KSERVE.fullmatch(names)
    model, _, version = ("", "", "") if not names else names.partition("/")
    if known is not None:
        model, version = known["model"] or "", known["version"] or ""
    if "/" in version or (version and not version.isdecimal()):
        raise InputError(f"received --server {text}; expected a model and the number of a version; {EXPECTED}")
    place = f"[{host}]" if ":" in host else host
    return Address(parts.scheme, f"{place}:{port or PORTS[parts.scheme]}", unquote(model), version)
