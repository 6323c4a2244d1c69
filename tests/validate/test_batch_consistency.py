"""Runtimes that treat the rows of a batch unequally are caught without a truth to hold them against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from attn2trt.validate.batch_consistency import compare_rows
from attn2trt.validate.case_judgement import Run
from attn2trt.validate.cases import Case, Feeds
from attn2trt.validate.metrics import HEALTHY_RATIO, LIMIT, Floor, Reference
from attn2trt.validate.stages.stage import ROWS, Stage
from attn2trt.validate.verdict import StageResult

X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
TABLE = np.ones((4, 8), np.float32)


def pair(row_outputs: tuple[str, ...] = ("y",), row_inputs: tuple[str, ...] = ("x",)) -> tuple[Case, Reference]:
    case = Case("traced", "", "normal", {"batch": 4}, lambda: {"x": X, "table": TABLE}, row_inputs, rows_alone=True)
    floor = Floor(1e-7, 1e-7, np.full(8, 1e-7))
    truth = Reference({"y": X * 2.0}, {"y": X * 2}, {"y": floor}, 4.0, row_outputs)
    return case, truth


def healthy(feeds: Feeds) -> Feeds:
    return {"y": feeds["x"] * 2 * feeds["table"].mean()}


def mixed_rows(feeds: Feeds) -> Feeds:
    return {"y": healthy(feeds)["y"] + feeds["x"].mean(0)}


def wrong_last_row(feeds: Feeds) -> Feeds:
    out = healthy(feeds)["y"]
    out[-1] *= 1.5
    return {"y": out}


def baked_batch(feeds: Feeds) -> Feeds:
    return {"y": np.resize(healthy(feeds)["y"], (4, 8))}


def rows(run: Run, pairs: list[tuple[Case, Reference]]) -> StageResult:
    return compare_rows(run, pairs, Stage("ort", kind=ROWS))


def test_a_precision_whose_floors_were_not_measured_is_not_checked() -> None:
    found = compare_rows(healthy, [pair()], Stage("ort", "int8", kind=ROWS))
    assert (found.status, found.why) == ("not checked", "what PyTorch loses in int8 was not measured")


def leaky() -> Callable[[Feeds], Feeds]:
    state = np.zeros(1, np.float32)

    def run(feeds: Feeds) -> Feeds:
        state[0] += 1
        return {"y": healthy(feeds)["y"] + state}

    return run


def test_a_healthy_runtime_passes_all_four() -> None:
    found = rows(healthy, [pair()])
    assert (found.status, found.why) == ("passed", "")
    assert [name for name, _ in found.comparisons] == ["second run", "rows alone", "permuted rows", "identical rows"]


@pytest.mark.parametrize("fault", [mixed_rows, wrong_last_row, baked_batch, leaky()])
def test_a_broken_runtime_fails(fault: Callable[[Feeds], Feeds]) -> None:
    assert rows(fault, [pair()]).status == "failed"


def test_an_output_of_another_shape_than_the_truths_is_named() -> None:
    found = rows(lambda feeds: {"y": feeds["x"].reshape(1, -1, 4)}, [pair()])
    assert found.status == "failed"
    name, comparison = found.comparisons[0]
    assert (name, comparison.detail) == ("second run", "received shape (1, 8, 4), expected (4, 8)")


def test_rows_may_differ_by_the_limit_on_the_scale_of_the_whole_batch() -> None:
    """A quiet row, copied over the batch, is allowed what the batch is allowed, not what its own scale would give."""
    quiet = X.copy()
    quiet[0] *= np.float32(1e-3)
    case, reference = pair()
    truth = Reference({"y": quiet * 2.0}, {"y": quiet * 2}, reference.floors, 4.0, ("y",))
    case = Case("traced", "", "normal", {"batch": 4}, lambda: {"x": quiet, "table": TABLE}, ("x",))

    def run(feeds: Feeds, roundings: float) -> Feeds:
        out = healthy(feeds)["y"]
        loud = np.float32(np.abs(X).max() * 2 * 1e-7)
        return {"y": out + np.float32(roundings) * loud * (len(np.unique(feeds["x"][:, 0])) == 1 < len(out))}

    assert rows(lambda feeds: run(feeds, 0.9 * HEALTHY_RATIO), [(case, truth)]).status == "passed"
    assert rows(lambda feeds: run(feeds, 3 * LIMIT), [(case, truth)]).status == "failed"


def test_one_copy_that_differs_among_identical_rows_fails() -> None:
    def run(feeds: Feeds) -> Feeds:
        out = healthy(feeds)["y"]
        if len(np.unique(feeds["x"][:, 0])) == 1 < len(out):
            out[2, 5] *= np.float32(1.001)
        return {"y": out}

    found = rows(run, [pair()])
    assert found.status == "failed"
    assert "identical rows" in found.why


def test_a_runtime_that_raises_at_batch_one_fails() -> None:
    def run(feeds: Feeds) -> Feeds:
        if feeds["x"].shape[0] == 1:
            raise ValueError("profile starts at 2")
        return healthy(feeds)

    found = rows(run, [pair()])
    assert found.status == "failed"
    assert "profile starts at 2" in found.why


def test_a_run_without_a_finite_number_is_no_fault_of_pytorchs() -> None:
    result = rows(lambda feeds: {"y": np.full_like(healthy(feeds)["y"], np.inf)}, [pair()])
    assert result.status == "failed"
    assert "the first run gives no finite number: nothing could be compared" in result.why
    assert "PyTorch" not in result.why


def test_a_last_bit_that_changes_is_reported_not_failed() -> None:
    flips = iter(range(100))

    def run(feeds: Feeds) -> Feeds:
        return {"y": healthy(feeds)["y"] * np.float32(1 + 1.2e-7 * (next(flips) % 2))}

    found = rows(run, [pair()])
    assert found.status == "passed"
    assert "not deterministic" in found.why


def test_another_kernel_for_another_batch_is_deterministic() -> None:
    found = rows(lambda feeds: {"y": healthy(feeds)["y"] * np.float32(1 + 1.2e-7 * (len(feeds["x"]) == 1))}, [pair()])
    assert (found.status, found.why) == ("passed", "")
    assert max(one.error for _, one in found.comparisons) > 0


def test_where_rows_do_not_apply_a_run_is_only_repeated() -> None:
    found = rows(healthy, [pair(row_outputs=())])
    assert [name for name, _ in found.comparisons] == ["second run"]
    assert (found.status, found.why[:14]) == ("passed", "run twice only")
    assert "if they should not depend on each other, look for batch_norm(..., training=True)" in found.why
    assert rows(leaky(), [pair(row_outputs=())]).status == "failed"
    assert rows(healthy, []).status == "not checked"


def test_a_fixed_batch_of_one_is_no_fault_of_rows() -> None:
    case, reference = pair(row_outputs=())
    alone = replace(case, sizes={}, make=lambda: {"x": X[:1], "table": TABLE})
    single = replace(reference, outputs64={"y": healthy(alone.feeds)["y"].astype(np.float64)})
    assert rows(healthy, [(alone, single)]).why == "run twice only: every batch is one"


def test_where_no_row_runs_alone_the_batch_keeps_its_size() -> None:
    case, reference = pair()
    found = rows(healthy, [(replace(case, rows_alone=False), reference)])
    assert found.status == "passed"
    assert [name for name, _ in found.comparisons] == ["second run", "permuted rows", "identical rows"]


def test_an_output_whose_rows_pytorch_does_not_separate_is_named() -> None:
    case, truth = pair()
    truth = replace(truth, outputs64={**truth.outputs64, "z": X * 2.0}, floors={**truth.floors, "z": truth.floors["y"]})
    found = rows(lambda feeds: {"y": healthy(feeds)["y"], "z": X * 2}, [(case, truth)])
    assert found.status == "passed"
    assert found.why.startswith("PyTorch does not separate the rows of z; if they should not depend on each other")
