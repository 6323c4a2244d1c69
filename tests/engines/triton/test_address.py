"""Addresses of servers, as people write them."""

from __future__ import annotations

import pytest

from attn2trt.engines.triton.address import Address, parse_address
from attn2trt.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grpc://localhost:8001", Address("grpc", "localhost:8001")),
        ("grpc://localhost", Address("grpc", "localhost:8001")),
        ("http://10.0.0.7/", Address("http", "10.0.0.7:8000")),
        ("http://h:1/m", Address("http", "h:1", "m")),
        ("grpc://h:1/m/3", Address("grpc", "h:1", "m", "3")),
        ("grpc://[::1]:9001/a%20b", Address("grpc", "[::1]:9001", "a b")),
        ("http://h:1/v2", Address("http", "h:1")),
        ("http://h:1/v2/models/m", Address("http", "h:1", "m")),
        ("http://h:1/v2/models/m/versions/2", Address("http", "h:1", "m", "2")),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("localhost:8001", "https://h:1", "grpc://", "grpc://h:port", "grpc://h:99999", ""),
        *("http://h:1/m/x", "http://h:1/m/1/2", "http://user@h:1", "http://h:1/?x=1"),
    ],
)
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"received --server .*expected grpc://host:port or http://host:port"):
        parse_address(text)
