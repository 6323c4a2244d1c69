"""The limit that a machine sets: rates from measured seconds, and times from counted bytes and operations."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from attn2trt.core.traffic import Operator, Traffic
from attn2trt.engines.roofline import Limit, Rates, probes, rates_of

# 100 B/s in the cache, 10 B/s beyond
RATES = Rates(((10, 100.0), (1000, 10.0)), operations_per_s=50.0, call_seconds=0.1)


def test_bandwidth_is_a_line_between_what_was_measured() -> None:
    assert RATES.bytes_per_s(1) == RATES.bytes_per_s(10) == 100
    assert RATES.bytes_per_s(1000) == RATES.bytes_per_s(10**6) == 10
    assert RATES.bytes_per_s(100) == pytest.approx(1000**0.5)


def test_rates_come_back_from_their_document() -> None:
    assert Rates.from_json(RATES.to_json()) == RATES


def test_the_slower_of_bytes_and_operations_decides() -> None:
    assert RATES.seconds(10, 1) == pytest.approx(0.1)
    assert RATES.seconds(10, 100) == pytest.approx(2)
    assert RATES.seconds(0, 100) == pytest.approx(2)
    assert RATES.seconds(0, 0) == 0


def test_a_graphs_limits_are_of_its_operators_and_of_what_must_move() -> None:
    counted = Traffic((Operator("a", "Conv", 10, 100), Operator("b", "Mul", 1000, 1)), least_bytes=10)
    found = Limit.of(counted, RATES)
    assert (found.bytes, found.least_bytes, found.operations) == (1010, 10, 101)
    assert found.operators_ms == pytest.approx(1000 * (2 + 100))
    assert found.least_ms == pytest.approx(1000 * 101 / 50)


def test_small_operators_that_stay_in_the_cache_are_no_slower_than_all_at_once() -> None:
    counted = Traffic(tuple(Operator(name, "Mul", 10, 0) for name in "abcdefghij"), least_bytes=100)
    found = Limit.of(counted, RATES)
    assert RATES.seconds(100, 0) > 10 * RATES.seconds(10, 0)
    assert found.least_ms == found.operators_ms == pytest.approx(1000)


def test_probes_are_graphs_whose_work_is_counted_as_any_others(tmp_path: Path) -> None:
    found = {probe.name: probe for probe in probes(tmp_path, cache_bytes=1 << 20)}
    for probe in found.values():
        onnx.checker.check_model(str(probe.path), full_check=True)
    additions = [probe for name, probe in found.items() if name.startswith("add-")]
    assert max(probe.counted.bytes for probe in additions) == pytest.approx(128 << 20, rel=1e-6)
    assert found["matmul"].counted.operations == 2 * 1024**3
    assert found["conv"].counted.operations == 2 * 9 * 256 * 256 * 28 * 28


def test_the_largest_addition_does_not_fit_into_the_cache(tmp_path: Path) -> None:
    def most(cache: int) -> int:
        (tmp_path / str(cache)).mkdir()
        return max(probe.counted.bytes for probe in probes(tmp_path / str(cache), cache))

    assert most(64 << 20) == pytest.approx(256 << 20, rel=1e-6)
    assert most(1 << 30) == pytest.approx(1 << 30, rel=1e-6)  # there is an end to the memory that is taken


def test_rates_leave_out_what_any_call_takes(tmp_path: Path) -> None:
    found = probes(tmp_path, cache_bytes=1 << 20)
    seconds = {probe.name: 3.0 for probe in found} | {"call": 1.0, "conv": 2.0}
    rates = rates_of(found, seconds)
    assert rates.call_seconds == 1
    assert rates.operations_per_s == pytest.approx(max(2 * 1024**3 / 2, 2 * 9 * 256 * 256 * 28 * 28 / 1))
    assert rates.bandwidth[-1] == (found[4].counted.bytes, found[4].counted.bytes / 2)
    assert [size for size, _ in rates.bandwidth] == sorted(size for size, _ in rates.bandwidth)
    stumbled = rates_of(found, {**seconds, "call": 3.5})
    assert all(rate > 0 for _, rate in stumbled.bandwidth)
