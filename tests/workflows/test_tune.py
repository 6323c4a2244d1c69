"""The graphs that tune keeps, leaves and refuses; the times are ours, everything else is real."""

from __future__ import annotations

import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from cli_run import run as run_command
from deployed_once import COLUMNS, PLAIN, deployed_once
from foreign_files import convolution, saved
from manifest_edits import edit

import attn2trt
from attn2trt.core import graph
from attn2trt.core.bundle import TUNED, Bundle, open_bundle
from attn2trt.core.file_hashes import verify
from attn2trt.core.manifest import MODEL
from attn2trt.engines.timing import timed_run
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.paired import Pair
from attn2trt.engines.timing.rounds import Samples
from attn2trt.engines.timing.trials import Tuning
from attn2trt.errors import CheckFailed, InputError
from attn2trt.export.rewrites import one_image, pooled_mean, row_column_gates
from attn2trt.export.rewrites.rewrite import Writer
from attn2trt.validate.stages.stage import Stage
from attn2trt.validate.verdict import not_checked
from attn2trt.workflows import benchmark as benchmarking
from attn2trt.workflows import tune as tuning
from attn2trt.workflows import tune_search as tuner
from attn2trt.workflows.timed_comparison import AS_IT_IS, TimedComparison
from attn2trt.workflows.validate import validate_bundle
from attn2trt.workflows.verify import verify_bundle

QUICK = Method(seconds=0.01, iterations=1, rounds=2, warm_up_seconds=0.0, settle_seconds=0.0, pause_seconds=0.0)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"dynamic": "batch=1:2:4,height=4:8:9", "capabilities": "none"}
    folder = tmp_path_factory.mktemp("deployed") / "coord_att"
    return attn2trt.deploy("coord_att", out=folder, shapes=["2x16x8x6"], **options).path


@pytest.fixture(scope="module")
def without_a_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graph no rewrite applies to."""
    return deployed_once(tmp_path_factory, "se", PLAIN)


@pytest.fixture(autouse=True, scope="module")
def one_rewrite() -> Iterator[None]:
    """Keep the rewrite that these tests are about; the others have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner, "REWRITES", (row_column_gates.OuterProduct(),))
        patch.setattr(tuner, "BATCH_REWRITES", ())
        yield


@pytest.fixture
def bundle(deployed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(deployed, tmp_path / "coord_att"))


@pytest.fixture(scope="module")
def deployed_fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed_once(tmp_path_factory, "coord_att", COLUMNS)


@pytest.fixture
def fixed(deployed_fixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a bundle of fixed sizes, on which two rewrites are tried."""
    monkeypatch.setattr(tuner, "REWRITES", (pooled_mean.PooledMean(), row_column_gates.OuterProduct()))
    return Path(shutil.copytree(deployed_fixed, tmp_path / "fixed"))


def take_times(patch: pytest.MonkeyPatch, times: Callable[[Sequence[str], Method], Mapping[str, Samples]]) -> None:
    """Take the ``times`` of the names that are compared."""
    patch.setattr(timed_run, "interleave", lambda running, method, cores: (times(list(running), method), {}))


def take_factor(patch: pytest.MonkeyPatch, factor: float) -> list[list[str]]:
    """Have every graph but the original take so many times as long; returns the names that are compared each time."""
    compared: list[list[str]] = []

    def times(names: Sequence[str], method: Method) -> dict[str, Samples]:
        compared.append([*names])
        lengths = {name: 1e6 * (1 if name == AS_IT_IS else factor) for name in names}
        rounds = range(method.rounds)
        return {name: Samples([[int(length + turn)] for turn in rounds]) for name, length in lengths.items()}

    take_times(patch, times)
    return compared


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[list[str]]]:
    """Return ``take_factor`` for this test."""
    return functools.partial(take_factor, monkeypatch)


@pytest.fixture(scope="module")
def deployed_tuned(deployed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(deployed, tmp_path_factory.mktemp("tuned") / "coord_att"))
    with pytest.MonkeyPatch.context() as patch:
        take_factor(patch, 0.5)
        tuning.tune_bundle(folder, threads=1)
    return folder


@pytest.fixture
def tuned(deployed_tuned: Path, tmp_path: Path) -> Path:
    """Copy a bundle whose graph was tuned."""
    return Path(shutil.copytree(deployed_tuned, tmp_path / "tuned"))


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Have the candidates of each comparison take so many times as long as the graph before, by name or all alike.

    The last factor is that of all comparisons after it. Nothing runs. Returns the names that are compared each time.
    """

    def use(*factors: float | Mapping[str, float]) -> list[list[str]]:
        compared: list[list[str]] = []

        def compare(
            self: TimedComparison[Path], before: Path, after: Mapping[str, Path], *, checked: bool = False
        ) -> dict[str, Pair]:
            factor = factors[min(len(compared), len(factors) - 1)]
            compared.append(list(after))
            times = {name: factor if isinstance(factor, float) else factor[name] for name in after}
            rounds = self.method.rounds
            return {
                name: Pair(Samples([[1_000_000]] * rounds), Samples([[int(1e6 * times[name])]] * rounds))
                for name in after
            }

        monkeypatch.setattr(TimedComparison, "compared", compare)
        return compared

    return use


def searched(bundle: Path, folder: Path) -> tuple[onnx.GraphProto | None, Tuning]:
    """The graph that is the fastest of a bundle, None for its own, and the trials; it is not judged."""
    opened = open_bundle(bundle)
    sizes = {name: axis.opt for name, axis in opened.axes.items()}
    search = tuner.Tuner(opened, folder, opened.model_path, sizes, 1, tuning.METHOD, lambda _: None)
    best, tried = search.tune()
    return None if best is None else onnx.load(best).graph, tried


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_faster_rewrite_becomes_part_of_the_bundle_and_is_judged(
    bundle: Path, timed: Callable[[float], list[list[str]]]
) -> None:
    compared = timed(0.5)
    found, tried, verdict = tuning.tune_bundle(bundle, threads=1)
    assert compared == [[AS_IT_IS, row_column_gates.OuterProduct.name], [AS_IT_IS, TUNED]]
    assert [trial.kept for trial in tried.trials] == [True]
    assert (tried.before_ms, tried.after_ms) == (pytest.approx(1, rel=1e-3), pytest.approx(0.5, rel=1e-3))
    assert verdict
    assert found.tuned is not None
    assert found.tuned["sizes"] == {"batch": 2, "height": 8}
    written = onnx.load(bundle / TUNED)
    assert "MatMul" in [node.op_type for node in written.graph.node]
    assert not [name for name in files(bundle) if name.startswith(".")]
    judged = {stage.label: stage.status for stage in validate_bundle(bundle).stages}
    assert judged["onnxruntime cpu, tuned"] == judged["onnxruntime cpu, tuned, rows"] == "passed"
    assert all(finding.ok for finding in verify(bundle))
    assert "loads" in next(one.detail for one in verify_bundle(bundle) if one.file == TUNED and "loads" in one.detail)


def test_a_loop_over_the_images_is_judged_like_any_other(
    bundle: Path, timed: Callable[[float], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(0.5)
    monkeypatch.setattr(tuner, "REWRITES", ())
    monkeypatch.setattr(tuner, "BATCH_REWRITES", (one_image.OneImage(own_weights=False),))
    assert tuning.tune_bundle(bundle, at="batch=1", threads=1)[1].trials == ()
    _, tried, verdict = tuning.tune_bundle(bundle, threads=1)
    assert [trial.kept for trial in tried.trials] == [True]
    assert verdict
    assert [node.op_type for node in onnx.load(bundle / TUNED).graph.node] == ["Scan"]
    assert validate_bundle(bundle)


def test_weights_beside_the_graph_are_found_under_its_name(
    bundle: Path, timed: Callable[[float], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(0.5)
    monkeypatch.setattr(graph, "EXTERNAL_DATA_BYTES", 8)
    (bundle / f"{tuning.WORK}{2**22 + 1}").mkdir()  # above any process's number
    found, _, _ = tuning.tune_bundle(bundle, threads=1)
    assert {TUNED, f"{TUNED}.data"} <= set(found.manifest["files"])
    assert validate_bundle(bundle)
    assert not [name for name in files(bundle) if name.startswith(".")]


def test_so_are_the_weights_of_a_loop(
    bundle: Path, timed: Callable[[float], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(0.5)
    monkeypatch.setattr(graph, "EXTERNAL_DATA_BYTES", 8)
    monkeypatch.setattr(tuner, "REWRITES", ())
    monkeypatch.setattr(tuner, "BATCH_REWRITES", (one_image.OneImage(own_weights=True),))
    found, _, _ = tuning.tune_bundle(bundle, threads=1)
    assert {TUNED, f"{TUNED}.data"} <= set(found.manifest["files"])
    assert (bundle / f"{TUNED}.data").stat().st_size > 8
    assert validate_bundle(bundle)
    (scan,) = onnx.load(bundle / TUNED).graph.node
    (inner,) = (entry.g for entry in scan.attribute if entry.name == "body")
    assert inner.initializer


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_what_is_not_faster_leaves_the_bundle_as_it_was(
    bundle: Path, timed: Callable[[float], list[list[str]]], factor: float
) -> None:
    before = files(bundle), (bundle / "bundle.json").read_bytes()
    timed(factor)
    found, tried, verdict = tuning.tune_bundle(bundle, at="batch=4", threads=1)
    assert (found.tuned, verdict, tried.before_ms) == (None, None, None)
    assert tried.sizes == {"batch": 4, "height": 8}
    assert [trial.kept for trial in tried.trials] == [False]
    assert before == (files(bundle), (bundle / "bundle.json").read_bytes())


def test_what_looks_faster_by_chance_is_timed_once_more(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[list[str]] = []

    def times(names: Sequence[str], method: Method) -> dict[str, Samples]:
        looks.append([*names])
        slow = (3, 3, 0, 0)[len(looks) - 1]  # of twelve rounds in each look
        before, after = names
        return {
            before: Samples([[1_000_000]] * method.rounds),
            after: Samples([[1_200_000]] * slow + [[800_000]] * (method.rounds - slow)),
        }

    take_times(monkeypatch, times)
    _, tried, verdict = tuning.tune_bundle(bundle, threads=1)
    rewrite = [AS_IT_IS, row_column_gates.OuterProduct.name]
    assert looks == [rewrite, rewrite, [AS_IT_IS, TUNED]]
    (trial,) = tried.trials
    assert (trial.kept, trial.difference.rounds, trial.difference.ms) == (True, 24, pytest.approx(-0.2))
    assert verdict


@pytest.mark.parametrize(
    ("slow", "kept"),
    [((), ["pooled", "gates"]), (("pooled",), ["gates"]), (("pooled", "gates"), [])],
)
def test_what_is_slower_while_the_cores_are_distant_is_tried_again_at_both_distances(
    fixed: Path, monkeypatch: pytest.MonkeyPatch, slow: tuple[str, ...], kept: list[str]
) -> None:
    forms = {"pooled": pooled_mean.PooledMean.name, "gates": row_column_gates.OuterProduct.name}
    asked: list[int] = []

    def times(names: Sequence[str], method: Method) -> dict[str, Samples]:
        asked.append(method.distant_rounds)
        is_first_whole = TUNED in names and not any(asked[:-1])  # it holds every rewrite
        slower = {forms[one] for one in slow} | ({TUNED} if is_first_whole and slow else set())
        samples = {}
        for name in names:
            near, distant = (1, 1) if name == AS_IT_IS else (0.8, 1.2 if name in slower else 0.9)
            rounds = [[int(1e6 * distant)]] * 6 if method.distant_rounds else []
            samples[name] = Samples([[int(1e6 * near)]] * method.rounds, distant=rounds)
        return samples

    take_times(monkeypatch, times)
    found, tried, _ = tuning.tune_bundle(fixed, threads=1)
    assert {trial.form for trial in tried.trials if trial.kept} == {forms[one] for one in kept}
    assert bool(found.tuned) is bool(kept)
    # the last comparison of the first search, and all of the second
    assert asked.index(tuning.METHOD.rounds // 2) == asked.count(0)


def test_what_was_left_is_tried_again_beside_what_was_kept_later(fixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def times(names: Sequence[str], method: Method) -> dict[str, Samples]:
        looks.append(names[1])
        # the pooling pays off once the gates are multiplied first
        slower = len(looks) == 1
        lengths = [1_000_000, 1_100_000 if slower else 500_000]
        lengths += [2_000_000] * len(names[2:])
        return {name: Samples([[one]] * method.rounds) for name, one in zip(names, lengths, strict=True)}

    take_times(monkeypatch, times)
    _, tried, _ = tuning.tune_bundle(fixed, threads=1)
    pooled, gates = pooled_mean.PooledMean.name, row_column_gates.OuterProduct.name
    assert [(trial.form, trial.kept) for trial in tried.trials] == [
        (pooled, False),
        (pooled, True),
        (gates, True),
        (pooled, True),
    ]
    assert tried.trials[0].kind == tried.trials[3].kind
    assert all(trial.count for trial in tried.trials)
    assert looks[-1] == TUNED


POOLED, MAP_BY_MAP = pooled_mean.PooledMean.name, pooled_mean.PooledMapByMap.name
GATES = row_column_gates.OuterProduct.name


def outcomes(tried: Tuning) -> list[tuple[str, str, bool]]:
    """The rewrite and the kind of every trial, and if it was kept."""
    return [(trial.form, trial.kind, trial.kept) for trial in tried.trials]


def windows(graph: onnx.GraphProto) -> list[list[int]]:
    """The windows of all poolings."""
    nodes = [node for node in graph.node if node.op_type == "AveragePool"]
    return [list(entry.ints) for node in nodes for entry in node.attribute if entry.name == "kernel_shape"]


def test_what_is_faster_only_together_is_kept(
    fixed: Path, in_turn: Callable[..., list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "BATCH_REWRITES", (one_image.OneImage(own_weights=False),))
    compared = in_turn(1.1, 1.1, 1.1, 0.5)
    found, tried, verdict = tuning.tune_bundle(fixed, threads=1)
    rows, columns, gates = (trial.kind for trial in tried.trials[:3])
    assert outcomes(tried) == [
        (POOLED, rows, False),
        (POOLED, columns, False),
        (GATES, gates, False),
        (POOLED, tuner.ALL_KINDS, True),
        (GATES, gates, True),  # once more, beside what was kept since
        (one_image.OneImage(own_weights=False).name, "whole graph, batch images", True),
    ]
    assert compared[-1] == [TUNED]
    assert verdict
    (scan,) = onnx.load(fixed / TUNED).graph.node
    (body,) = (entry.g for entry in scan.attribute if entry.name == "body")
    assert sorted(windows(body)) == [[1, 6], [8, 1]]
    assert found.tuned is not None
    listed = found.tuned["trials"][3]
    assert [listed[name] for name in ("form", "kind", "count", "kept")] == [POOLED, tuner.ALL_KINDS, 2, True]


def test_what_is_slower_together_is_left(fixed: Path, in_turn: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    compared = in_turn(1.1)
    best, tried = searched(fixed, tmp_path)
    # every kind once, and all of the one rewrite that has two
    assert compared == [[POOLED], [POOLED], [GATES], [POOLED]]
    kinds = [trial.kind for trial in tried.trials]
    assert kinds == [*dict.fromkeys(kinds[:3]), tuner.ALL_KINDS]
    assert (best, any(trial.kept for trial in tried.trials)) == (None, False)


def test_one_kind_that_was_left_is_not_tried_as_all(
    fixed: Path, in_turn: Callable[..., list[list[str]]], tmp_path: Path
) -> None:
    compared = in_turn(0.5, 1.1, 1.1, 0.5)
    _, tried = searched(fixed, tmp_path)
    assert [trial.kept for trial in tried.trials] == [True, False, False]
    assert compared == [[POOLED], [POOLED], [GATES], [TUNED]]


@pytest.mark.parametrize("together", [0.5, 1.1])
def test_what_was_kept_for_one_kind_is_not_in_the_way_of_all(
    fixed: Path,
    in_turn: Callable[..., list[list[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    together: float,
) -> None:
    monkeypatch.setattr(tuner, "REWRITES", (*pooled_mean.REWRITES, row_column_gates.OuterProduct()))
    compared = in_turn(1.1, {POOLED: 1.1, MAP_BY_MAP: 0.5}, 0.5, together, {POOLED: 1.1, TUNED: 0.5})
    best, tried = searched(fixed, tmp_path)
    assert compared[:4] == [[POOLED], [POOLED, MAP_BY_MAP], [GATES], [POOLED]]
    columns, rows, _, gates = (trial.kind for trial in tried.trials[:4])
    is_kept = together < 1
    assert outcomes(tried)[:5] == [
        (POOLED, columns, False),
        (POOLED, rows, False),
        (MAP_BY_MAP, rows, not is_kept),  # what all of them replaced is no longer there
        (GATES, gates, True),
        (POOLED, tuner.ALL_KINDS, is_kept),
    ]
    assert best is not None
    assert sorted(windows(best)) == ([[1, 6], [8, 1]] if is_kept else [[1, 8, 1]])
    assert "MatMul" in [node.op_type for node in best.node]  # the gates' is kept in both


class Copied:
    """An operator that a copy follows; means are of the kinds that they are for others, each other place of its own."""

    def __init__(self, operator: str) -> None:
        self.name, self._operator = f"{operator} and a copy", operator

    def kind(self, node: ir.Node) -> str:
        own = f"{self._operator} {node.name}" if node.op_type == self._operator else ""
        return own and (pooled_mean.PooledMean().kind(node) or own)

    def apply(self, node: ir.Node) -> None:
        write = Writer(node)
        result = write.node(node.op_type, node.inputs, "result", **node.attributes)
        write.put(write.node("Identity", [result], "copy"))


def test_every_rewrite_is_tried_on_all_kinds_beside_what_was_kept_before(
    fixed: Path, in_turn: Callable[..., list[list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates, means, other_means = Copied("Sigmoid"), pooled_mean.PooledMean(), Copied("ReduceMean")
    monkeypatch.setattr(tuner, "REWRITES", (gates, means, other_means))
    both = [means.name, other_means.name]
    compared = in_turn(1.1, 1.1, dict.fromkeys(both, 1.1), dict.fromkeys(both, 1.1), 0.5)
    best, tried = searched(fixed, tmp_path)
    assert compared == [[gates.name]] * 2 + [both] * 2 + [[gates.name], [means.name], [other_means.name], [TUNED]]
    assert [(trial.form, trial.kind, trial.count, trial.kept) for trial in tried.trials[-3:]] == [
        (gates.name, tuner.ALL_KINDS, 2, True),
        (means.name, tuner.ALL_KINDS, 2, False),  # the next one took its place
        (other_means.name, tuner.ALL_KINDS, 2, True),
    ]
    assert best is not None
    written = Counter(node.op_type for node in best.node)
    assert (written["Identity"], written["ReduceMean"], written["AveragePool"]) == (4, 2, 0)


def test_the_graph_is_loaded_once(
    fixed: Path, in_turn: Callable[..., list[list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = ir.load

    def counted(path: str) -> ir.Model:
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(tuner.ir, "load", counted)
    in_turn(0.5)
    best, tried = searched(fixed, tmp_path)
    assert loaded == [str(fixed / MODEL)]
    assert best is not None
    assert len(tried.trials) == len([*tmp_path.glob("candidate-*.onnx")]) > 2


def test_a_graph_without_any_place_is_not_timed(
    without_a_place: Path, timed: Callable[[float], list[list[str]]]
) -> None:
    compared = timed(0.5)
    _, tried, _ = tuning.tune_bundle(without_a_place, threads=1)
    assert (compared, tried.trials) == ([], ())


def test_real_times_are_taken(bundle: Path) -> None:
    _, tried, _ = tuning.tune_bundle(bundle, threads=1, method=QUICK)
    (trial,) = tried.trials
    assert trial.before_ms > 0
    assert trial.difference.rounds in (2, 4)
    # so few rounds leave doubt about any difference
    assert not trial.kept


def _wrong(node: Any) -> None:
    node.op_type = "Add"


def test_a_rewrite_that_computes_something_else_is_refused(
    bundle: Path, timed: Callable[[float], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(0.5)
    monkeypatch.setattr(row_column_gates.OuterProduct, "apply", lambda _self, node: _wrong(node))
    before = files(bundle)
    with pytest.raises(CheckFailed, match="multiply row and column gates first' computes something else"):
        tuning.tune_bundle(bundle, threads=1)
    assert files(bundle) == before


def test_no_rewrite_is_blamed_for_a_graph_that_is_wrong_as_it_is(
    bundle: Path, timed: Callable[[float], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(0.5)
    monkeypatch.setattr(tuner, "wrong_output", lambda *_, **__: "1e7 times PyTorch's own rounding")
    with pytest.raises(CheckFailed, match=r"the graph as it is computes something else.*run attn2trt validate"):
        tuning.tune_bundle(bundle, threads=1)


def test_a_graph_that_could_not_be_judged_is_not_kept(
    bundle: Path, timed: Callable[[float], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(0.5)
    monkeypatch.setattr(tuning, "_judged", lambda *_: [not_checked(Stage("onnxruntime cpu"), "no case was recorded")])
    before = files(bundle)
    with pytest.raises(CheckFailed, match="the tuned graph was not judged and was not kept: no case was recorded; "):
        tuning.tune_bundle(bundle, threads=1)
    assert files(bundle) == before


def test_a_graph_that_fails_at_other_sizes_is_not_kept(
    bundle: Path, timed: Callable[[float], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(0.5)
    monkeypatch.setattr(row_column_gates.OuterProduct, "apply", lambda _self, node: _wrong(node))
    monkeypatch.setattr(tuner.Tuner, "_check", lambda *_: None)
    before = files(bundle)
    with pytest.raises(CheckFailed, match="failed its verdict and was not kept"):
        tuning.tune_bundle(bundle, threads=1)
    assert files(bundle) == before


def test_a_tuned_graph_of_another_graph_has_failed(tuned: Path) -> None:
    edit(tuned, lambda manifest: manifest["tuned"].update(graph="0" * 64))
    verdict = validate_bundle(tuned)
    assert verdict.first_failure is not None
    assert "made from another graph; tune again" in verdict.first_failure.why


def test_a_changed_tuned_graph_is_not_run(tuned: Path) -> None:
    with (tuned / TUNED).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(CheckFailed, match=TUNED):
        validate_bundle(tuned)


@pytest.mark.parametrize("entry", [[], {"file": "elsewhere.onnx"}, {}])
def test_a_manifest_that_lists_no_such_file_is_refused(bundle: Path, entry: Any) -> None:
    document = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**document, "tuned": entry}))
    with pytest.raises(InputError, match="deploy the target again"):
        open_bundle(bundle)


def test_a_benchmark_times_the_tuned_graph_of_a_bundle(bundle: Path, tuned: Path) -> None:
    runtimes = ["ort-cpu", "ort-cpu-tuned"]
    before = benchmarking.benchmark(str(bundle), runtimes=runtimes, threads=1, method=QUICK)
    assert [(row.runtime, row.status) for row in before.rows] == [
        ("ort-cpu", "measured"),
        ("ort-cpu-tuned", "not measured"),
    ]
    assert "attn2trt tune" in before.rows[1].why
    after = benchmarking.benchmark(str(tuned), runtimes=runtimes, threads=1, method=QUICK)
    assert [row.status for row in after.rows] == ["measured", "measured"]


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("batch=9", "received --at batch=9; the bundle was checked for batch 1:2:4"),
        ("width=6", "correct the name 'width'"),
        ("batch=two", "expected batch=min:opt:max or batch=size"),
    ],
)
def test_wrong_sizes_are_reported(bundle: Path, at: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        tuning.tune_bundle(bundle, at=at)


def test_wrong_threads_are_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match="received 0 threads"):
        tuning.tune_bundle(bundle, threads=0)


run = functools.partial(run_command, "tune")


def test_the_command_prints_what_was_tried_and_the_verdict(
    bundle: Path, timed: Callable[[float], list[list[str]]]
) -> None:
    timed(0.5)
    said = run(str(bundle), "--threads", "1")
    assert said.exit_code == 0
    for words in ("multiply row and column gates first", "kept", "2.00 times as fast", "PASSED", str(bundle / TUNED)):
        assert words in said.stdout
    told = json.loads(run(str(bundle), "--threads", "1", "--json").stdout)
    # under a name of its own, until the manifest lists it and the earlier one goes
    assert told["graph"] == str(bundle / "model.ort-cpu.2.onnx")
    assert not (bundle / TUNED).exists()
    assert told["tuning"]["trials"][0]["kept"] is True
    assert told["verdict"]["passed"] is True


def test_the_command_says_that_nothing_was_faster(
    bundle: Path, without_a_place: Path, timed: Callable[[float], list[list[str]]]
) -> None:
    timed(1.0)
    said = run(str(bundle), "--threads", "1", "--seconds", "30")
    assert "No rewrite is faster here beyond doubt; the bundle is as it was." in said.stdout
    assert "No rewrite applies to any place" in run(str(without_a_place), "--threads", "1").stdout
    assert json.loads(run(str(without_a_place), "--json").stdout)["graph"] is None


def test_the_command_tells_wrong_input_in_one_line(tmp_path: Path, bundle: Path) -> None:
    arguments: Sequence[tuple[str, ...]] = [(str(tmp_path / "none"),), (str(bundle), "--at", "height=99")]
    for words in arguments:
        said = run(*words)
        assert said.exit_code == 2
        assert len(said.stderr.strip().splitlines()) == 1


def test_the_original_is_left_beside_it(bundle: Path, tuned: Path, timed: Callable[[float], list[list[str]]]) -> None:
    timed(0.5)
    again, tried, _ = tuning.tune_bundle(tuned, threads=1)
    assert (tuned / MODEL).read_bytes() == (bundle / MODEL).read_bytes()
    assert np.isclose(tried.before_ms or 0, 1, rtol=1e-3)
    assert again.tuned is not None


def test_a_graph_of_an_older_opset_is_raised_to_that_of_the_rewrites(tmp_path: Path) -> None:
    manifest: Any = {
        "opset": 9,
        "inputs": [{"name": "x", "shape": [2, 3, 8, 8], "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": [2, 4, 8, 8], "dtype": "float32"}],
    }
    saved(convolution(opset=9, dims=(2, 3, 8, 8), out=(2, 4, 8, 8)), tmp_path / MODEL)
    raised = tuning._start(Bundle(tmp_path, manifest), tmp_path)
    assert onnx.load(str(raised)).opset_import[0].version == 17
    assert tuning._start(Bundle(tmp_path, {**manifest, "opset": 17}), tmp_path) == tmp_path / MODEL
