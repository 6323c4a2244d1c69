"""The plans that a search keeps, leaves and refuses; plans are graphs in ONNX Runtime here, and their times ours."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import pytest
from cli_run import run as run_command
from deployed_once import HALF, deployed_once
from in_this_process import RuntimeHere

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.extend import changing, extend
from attn2trt.core.file_hashes import verify
from attn2trt.core.manifest import manifest_text
from attn2trt.engines.environment import Component, Driver
from attn2trt.engines.ort_runtime import CPU
from attn2trt.engines.tensorrt import here, plan_build
from attn2trt.engines.tensorrt.build import BuildOrder
from attn2trt.engines.tensorrt.flavours import TENSORRT
from attn2trt.engines.tensorrt.plans import Plan, is_measured, is_of_its_graph, kernels_name, plans_of
from attn2trt.engines.timing import timed_run
from attn2trt.engines.timing.rounds import Samples
from attn2trt.engines.timing.runners import OrtRunner
from attn2trt.errors import CheckFailed, InputError, Interrupted, MissingRequirement, StorageError
from attn2trt.report.tuned_section import tuned_rows
from attn2trt.validate.stages import of_bundle
from attn2trt.validate.stages import tensorrt as plan_stages
from attn2trt.workflows import compile as compiling
from attn2trt.workflows import plan_cache, plan_search, tune_plans, tuned_plan
from attn2trt.workflows.plan_search import WHOLE
from attn2trt.workflows.timed_comparison import AS_IT_IS
from attn2trt.workflows.tune_plans import TuneRequest
from attn2trt.workflows.validate import validate_bundle

USABLE = Component("TensorRT", "usable", "8.6.0")
DRIVER = Driver("CUDA 13.0", ("NVIDIA H200 (compute capability 9.0)",))
BUILT = {"flavour": "tensorrt", "tensorrt": "8.6.0", "gpu": "NVIDIA H200", "capabilities": ["9.0"]} | {
    "driver": "13.0",
    "seconds": 2.0,
    "device_bytes": 1024,
}
LAYERS: list[Any] = [{"Name": "Reformatting CopyNode", "LayerType": "Reformat", "Inputs": [], "Outputs": []}]
GRAPH, PLAN = "model.fp16.tensorrt.onnx", "plans/sm90-trt8.6.0-fp16-tuned.plan"


class Choice(NamedTuple):
    """A stand-in for a rewrite."""

    name: str
    kind: str
    count: int = 1


A, A2, B, C = Choice("pool", "mean"), Choice("product", "mean"), Choice("half", "precision"), Choice("merge", "gate")
WRONG, CANNOT, BREAKS = Choice("wrong", "sum"), Choice("cannot", "sum"), Choice("breaks", "sum")


@dataclass
class World:
    """The machine: choices, the milliseconds of a form, and what was built and timed."""

    choices: Sequence[Choice]
    ms: Mapping[str, float]
    orders: list[BuildOrder]
    looks: list[list[str]]
    pairs: Sequence[tuple[Choice, Choice]] = ()
    stop_after: int = 1000
    networks: Mapping[str, str] = field(default_factory=dict)

    def networks_of(self, orders: Sequence[BuildOrder], *, seconds: float) -> list[str]:
        names = [onnx.load(order.graph).doc_string for order in orders]
        return [self.networks.get(name, name) for name in names]

    def interleave(
        self, running: Mapping[str, Any], method: Any, cores: object
    ) -> tuple[dict[str, Samples], dict[str, str]]:
        self.looks.append(list(running))
        lengths = {name: 1e6 * self.ms.get(_short(name), 1.0) for name in running}
        if AS_IT_IS in running:
            lengths[AS_IT_IS] = 1e6 * self.ms.get(AS_IT_IS, 1.0)
        rounds = {name: [[int(length + turn)] for turn in range(method.rounds)] for name, length in lengths.items()}
        return {name: Samples(values) for name, values in rounds.items()}, {}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed_once(tmp_path_factory, "se", HALF)


@pytest.fixture
def bundle(deployed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(deployed, tmp_path / "se"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A machine with a GPU, on which all takes 1 ms that ``ms`` does not name."""
    found = World([A, B], {}, [], [])

    class Child(BuildChild):
        world = found

    class Graphs(ChosenGraphs):
        world = found

    for module in (tune_plans, here, plan_cache):
        monkeypatch.setattr(module, "ask_driver", lambda: DRIVER)
    for module in (here, compiling):
        monkeypatch.setattr(module, "probe_tensorrt", lambda: USABLE)
    monkeypatch.setattr(plan_build, "start_build", Child)
    monkeypatch.setattr(plan_cache, "networks_of", found.networks_of)
    monkeypatch.setattr(tune_plans, "BundleGraphs", Graphs)
    monkeypatch.setattr(plan_search, "PlanRunner", _runner)
    monkeypatch.setattr(timed_run, "interleave", found.interleave)
    monkeypatch.setattr(plan_stages, "IsolatedPlan", _as_graph)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


class BuildChild:
    """A stand-in for the process that builds a plan: the plan is the graph, with the profiles in it."""

    world: World

    def __init__(self, order: BuildOrder, *, seconds: float) -> None:
        self._order, self.seconds = order, seconds

    def __exit__(self, *_: object) -> None:
        return None

    def built(self) -> Mapping[str, Any]:
        order, orders = self._order, self.world.orders
        orders.append(order)
        if len(orders) > self.world.stop_after:
            raise KeyboardInterrupt
        model = onnx.load(order.graph)
        if model.doc_string == BREAKS.name:
            raise CheckFailed("TensorRT refuses node Mul")
        model.producer_name = ", ".join(map(str, order.profiles))  # a plan of other ranges is another file
        order.plan.write_bytes(model.SerializeToString())
        order.log.write_text("INFO: built")
        order.cache.write_text(f"kernels {len(orders)}")
        order.layers.write_text(json.dumps({"Layers": LAYERS}))
        return BUILT


class ChosenGraphs(tune_plans.BundleGraphs):
    """The bundle's graph, with the names of the choices as its text in place of what they rewrite."""

    world: World

    @property
    def choices(self) -> Sequence[Any]:
        return self.world.choices

    @property
    def pairs(self) -> Sequence[Any]:
        return self.world.pairs

    def write(self, chosen: Sequence[Any], path: Path) -> Mapping[str, str]:
        if CANNOT in chosen:
            raise InputError("'cannot' changes nothing beside what else is chosen")
        super().write((), path)
        model = onnx.load(path)
        model.doc_string = " + ".join(choice.name for choice in chosen)
        if WRONG in chosen:
            next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "Tanh"
        onnx.save(model, path)
        return {"sum": "sum_of_all"}


def _runner(plan: Path, about: str, *, graphed: bool, io: str) -> OrtRunner:
    assert graphed
    assert json.loads(about)["sha256"]
    return OrtRunner(plan, CPU)


def _short(form: str) -> str:
    """``pool (mean) + half (precision)`` as ``pool+half``."""
    return "+".join(part.partition(" (")[0] for part in form.split(" + "))


class _AsGraph(RuntimeHere):
    """A graph in ONNX Runtime in place of a plan in TensorRT."""

    def layers(self) -> str:
        return ""


def _as_graph(bundle: Bundle, plan: Plan) -> RuntimeHere:
    return _AsGraph(bundle.path / plan.file)


def tune(bundle: Path, **more: Any) -> Any:
    return tune_plans.tune_plans(bundle, TuneRequest(precision="fp16", **more))


def files(folder: Path) -> Iterator[str]:
    yield from sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def kept_in_cache(tmp_path: Path) -> list[Path]:
    return [*(tmp_path / "cache").rglob("*.plan")]


def test_the_fastest_of_a_kind_is_kept_and_becomes_part_of_the_bundle(
    bundle: Path, world: World, tmp_path: Path
) -> None:
    world.choices = [A, A2, B]
    world.ms = {"pool": 0.9, "product": 0.6, "half": 1.5, WHOLE: 0.6}
    found = tune(bundle)
    assert [(trial.form, trial.kept) for trial in found.tuning.trials] == [
        ("pool", False),
        ("product", True),
        ("half", False),
    ]
    assert found.tuning.chosen == ("product (mean)",)
    assert (found.tuning.before_ms, found.tuning.after_ms) == (pytest.approx(1, rel=1e-3), pytest.approx(0.6, rel=1e-3))
    assert found.verdict
    opened = open_bundle(bundle)
    entry = opened.tuned_graph("tensorrt", "fp16")
    assert entry is not None
    assert (entry["file"], onnx.load(bundle / GRAPH).doc_string) == (GRAPH, "product")
    (plan,) = plans_of(opened)
    assert (plan.file, plan.tuned, plan.graph) == (PLAN, True, opened.manifest["files"][GRAPH]["sha256"])
    assert all(finding.ok for finding in verify(bundle))
    judged = {stage.label: stage.status for stage in validate_bundle(bundle).stages}
    assert judged["fp16 tuned for tensorrt"] == judged["tensorrt fp16, tuned"] == "passed"
    assert "tensorrt fp16, tuned, layers" in judged
    assert not kept_in_cache(tmp_path)


def test_winners_of_different_kinds_are_combined_and_what_was_left_is_tried_beside_them(
    bundle: Path, world: World
) -> None:
    world.choices = [A, B, C]
    together = "pool (mean) + half (precision)"
    world.ms = {"pool": 0.8, "half": 0.9, "merge": 1.0, "pool+half": 0.7, "pool+half+merge": 0.5, WHOLE: 0.5}
    world.ms = {**world.ms, AS_IT_IS: 1.0}
    found = tune(bundle)
    assert world.looks[1] == [AS_IT_IS, together]
    assert world.looks[2] == [AS_IT_IS, f"{together} + merge (gate)"]
    assert world.looks[-1] == [AS_IT_IS, WHOLE]
    assert [trial.kept for trial in found.tuning.trials] == [True, True, False, True, True]
    assert onnx.load(bundle / GRAPH).doc_string == "pool + half + merge"


def test_a_pair_that_is_faster_only_together_is_kept_and_found_again_after_an_interruption(
    bundle: Path, world: World, tmp_path: Path
) -> None:
    world.choices, world.pairs = [A, B, C], [(A, C), (A, B)]
    world.ms = {"pool": 1.2, "half": 1.1, "merge": 1.3, "pool+half": 0.5, WHOLE: 0.5}
    world.stop_after = 4  # the plan of the graph as it is, and of each choice
    before = [*files(bundle)]
    with pytest.raises(KeyboardInterrupt):
        tune(bundle, jobs=1)
    assert before == [*files(bundle)]
    world.stop_after = 1000
    found = tune(bundle, jobs=1)
    # the one that was interrupted, both pairs, and the other one beside the better
    assert len(world.orders) == 4 + 1 + 3
    assert found.tuning.chosen == ("pool (mean)", "half (precision)")
    assert found.verdict
    assert onnx.load(bundle / GRAPH).doc_string == "pool + half"
    assert not kept_in_cache(tmp_path)
    kept = {trial.form: trial.kept for trial in found.tuning.trials}
    assert [name for name, is_kept in kept.items() if is_kept] == ["pool (mean) + half (precision)"]


@pytest.mark.parametrize("ms", [1.0, 1.4])
def test_what_is_no_faster_leaves_the_bundle_as_it_was(bundle: Path, world: World, ms: float, tmp_path: Path) -> None:
    before = [*files(bundle)], (bundle / "bundle.json").read_bytes()
    world.ms = {"pool": ms, "half": ms}
    found = tune(bundle)
    assert (found.verdict, found.tuning.chosen) == (None, ())
    assert {trial.kept for trial in found.tuning.trials} == {False}
    assert before == ([*files(bundle)], (bundle / "bundle.json").read_bytes())
    assert not kept_in_cache(tmp_path)


def test_what_is_not_faster_as_a_whole_is_not_kept(bundle: Path, world: World) -> None:
    before = [*files(bundle)]
    world.ms = {"pool": 0.8, WHOLE: 1.0}
    found = tune(bundle)
    assert (found.verdict, found.tuning.chosen) == (None, ())
    assert before == [*files(bundle)]


def test_a_plan_that_computes_something_else_is_refused(bundle: Path, world: World) -> None:
    world.choices, world.ms = [A, WRONG], {"wrong": 0.1, "pool": 0.2, WHOLE: 0.2}
    before = [*files(bundle)]
    with pytest.raises(CheckFailed, match=r"the plan with 'wrong \(sum\)' computes something else"):
        tune_plans.tune_plans(bundle, TuneRequest(precision="fp32"))
    assert before == [*files(bundle)]
    # in half precision an honest candidate may round too much: it is noted, and the others go on
    found = tune(bundle)
    assert found.tuning.chosen == ("pool (mean)",)
    assert "computes something else" in found.tuning.not_tried["wrong (sum)"]


def test_a_result_that_fails_its_verdict_is_not_kept(
    bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.choices, world.ms = [WRONG], {"wrong": 0.5, WHOLE: 0.5}
    monkeypatch.setattr(plan_search.PlanSearch, "_check", lambda *_: None)
    before = [*files(bundle)]
    with pytest.raises(CheckFailed, match="failed its verdict and was not kept"):
        tune(bundle)
    assert before == [*files(bundle)]


def test_a_build_that_fails_is_noted_and_the_others_go_on(bundle: Path, world: World) -> None:
    world.choices, world.ms = [BREAKS, CANNOT, A], {"pool": 0.5, WHOLE: 0.5}
    found = tune(bundle)
    assert found.tuning.not_tried == {
        "breaks (sum)": "TensorRT refuses node Mul",
        "cannot (sum)": "'cannot' changes nothing beside what else is chosen",
    }
    assert found.tuning.chosen == ("pool (mean)",)
    assert {build["form"]: build.get("why") for build in found.tuning.builds}["breaks (sum)"]


def test_a_graph_that_cannot_be_built_as_it_is_ends_it(
    bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise Interrupted("TensorRT's process was killed")

    monkeypatch.setattr(plan_build.PlanBuild, "result", refuse)
    with pytest.raises(
        CheckFailed, match="the plan of the graph as it is was not built: TensorRT's process was killed"
    ):
        tune(bundle)


def test_an_interrupted_search_finds_its_plans_again(bundle: Path, world: World, tmp_path: Path) -> None:
    world.choices, world.ms, world.stop_after = [A, B], {"pool": 0.5, WHOLE: 0.5}, 2
    before = [*files(bundle)]
    with pytest.raises(KeyboardInterrupt):
        tune(bundle, jobs=1)
    assert before == [*files(bundle)]
    assert len(kept_in_cache(tmp_path)) == 2
    # a file that is not the one that was built is built again
    kept_in_cache(tmp_path)[0].write_bytes(b"other")
    world.stop_after = 1000
    assert tune(bundle, jobs=1).verdict
    assert len(world.orders) == 3 + 3


def test_builds_know_the_kernels_that_were_timed_before(bundle: Path, world: World) -> None:
    tune(bundle, jobs=1)
    assert [len(order.more_caches) for order in world.orders] == [0, 1, 2, 3]


def test_graphs_of_one_network_are_built_and_timed_once(
    bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.choices, world.ms = [A, A2, B, C], {"pool": 0.5, "pool+half": 0.4, WHOLE: 0.4}
    world.networks = {"product": "pool", "merge": ""}
    found = tune(bundle, jobs=1)
    assert found.tuning.not_tried == {"product (mean)": "TensorRT reads the same network as for pool (mean)"}
    assert len(world.orders) == 1 + 3 + 3

    # a parser that cannot tell has every graph built
    def dies(*_: object, **__: object) -> Any:
        raise Interrupted("TensorRT's process was killed")

    monkeypatch.setattr(plan_cache, "networks_of", dies)
    world.orders.clear()
    assert tune(bundle, jobs=1).tuning.not_tried == {}


def test_without_time_only_the_graph_as_it_is_is_built_and_the_rest_is_listed(bundle: Path, world: World) -> None:
    found = tune(bundle, minutes=1e-9)
    assert [build["form"] for build in found.tuning.builds] == ["graph as it is"]
    assert {*found.tuning.not_tried.values()} == {"no time was left"}
    assert found.verdict is None


def test_a_cache_of_ones_own_is_kept_and_used_by_one_at_a_time(bundle: Path, world: World, tmp_path: Path) -> None:
    tune(bundle, cache=tmp_path / "mine")
    assert len([*(tmp_path / "mine").rglob("*.plan")]) == 4
    tune(bundle, cache=tmp_path / "mine")
    assert len(world.orders) == 4


def test_what_is_damaged_in_a_cache_is_built_again(bundle: Path, world: World, tmp_path: Path) -> None:
    def damages(folder: Path, place: int) -> None:
        if place == 0:
            (folder / plan_cache.MODULES).write_text("[" * 100_000)
        elif place == 1:
            next(folder.glob("*.onnx")).unlink()
        elif place == 2:
            next(folder.glob("*.onnx")).write_bytes(b"another graph")
        else:
            about = json.loads((folder / plan_cache.ABOUT).read_text())
            (folder / plan_cache.ABOUT).write_text(json.dumps({**about, "files": {"../x": "y"}}))
        (folder / plan_cache.NETWORK).write_bytes(b"\xff")

    world.choices = [A, B, C]
    tune(bundle, cache=tmp_path / "mine")
    built = len(world.orders)
    folders = sorted((tmp_path / "mine").glob("*/*/"))
    for place, folder in enumerate(folders[:4]):
        damages(folder, place)
    found = tune(bundle, cache=tmp_path / "mine")
    assert found.tuning.not_tried == {}
    assert len(world.orders) == built + 1  # graphs are written again, so that the plans of three of them are whole


def test_the_ranges_of_the_plan_and_the_sizes_to_be_fast_at(bundle: Path, world: World) -> None:
    found = tune(bundle, at="batch=4", profile="batch=1:1:4")
    assert (found.tuning.sizes, found.tuning.profiles) == ({"batch": 4}, ("batch=1:4:4",))
    assert [str(world.orders[0].profiles[0])] == ["batch=1:4:4"]
    with pytest.raises(InputError, match="received --at batch=9"):
        tune(bundle, at="batch=9")
    opened = open_bundle(bundle)
    recipe = tune_plans.recipe_of(opened, TuneRequest(precision="fp16"), TENSORRT)
    with pytest.raises(InputError, match="received the ranges batch=1:2:4, in which no case was recorded"):
        tune_plans.covered_case(replace(recipe, bundle=opened.with_entries({"cases": []})))


def test_tuned_again_the_earlier_graph_and_plan_go(bundle: Path, world: World) -> None:
    world.ms = {"pool": 0.5, WHOLE: 0.5}
    tune(bundle)
    tune(bundle)
    listed = [name for name in open_bundle(bundle).manifest["files"] if "tensorrt" in name or "tuned" in name]
    assert sorted(listed) == [
        "model.fp16.tensorrt.2.onnx",
        "plans/sm90-trt8.6.0-fp16-tuned.2.layers.json",
        "plans/sm90-trt8.6.0-fp16-tuned.2.plan",
    ]
    assert not (bundle / PLAN).exists()
    assert all(finding.ok for finding in verify(bundle))


def test_a_tuned_graph_of_another_graph_has_failed(bundle: Path, world: World) -> None:
    world.ms = {"pool": 0.5, WHOLE: 0.5}
    tune(bundle)
    opened = open_bundle(bundle)
    entry = {**opened.tuned_graphs[0], "graph": "0" * 64}
    stages = plan_stages_of(opened.with_entries({"tuned_graphs": [entry]}))
    assert stages == [("fp16 tuned for tensorrt", f"{GRAPH} was made from another graph; tune again")]


def plan_stages_of(bundle: Bundle) -> list[tuple[str, str]]:
    from attn2trt.validate.stages.onnxruntime import judge_graphs_for_plans

    return [(stage.label, stage.why) for stage in judge_graphs_for_plans(bundle, lambda: iter(()))]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "ask_driver", lambda: Driver("", (), "no NVIDIA driver (libcuda.so.1 is not there)"))
    monkeypatch.setattr(here, "probe_tensorrt", lambda: USABLE)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_one_line_says_so_and_nothing_is_written(bundle: Path) -> None:
    before = [*files(bundle)]
    said = run(str(bundle), "--runtime", "tensorrt", "--precision", "fp16")
    assert said.exit_code == MissingRequirement.exit_code
    assert said.stderr.strip().splitlines()[-1] == (
        "error: tuning for TensorRT needs a GPU that runs it here: no NVIDIA driver (libcuda.so.1 is not there); "
        "run on a machine with an NVIDIA GPU and its driver"
    )
    assert before == [*files(bundle)]


run = functools.partial(run_command, "tune")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--minutes", "3"), "received --minutes; expected it with --runtime tensorrt"),
        (("--runtime", "tensorrt", "--threads", "3"), "received --threads; expected it with --runtime ort-cpu"),
        (("--runtime", "tensorrt", "--precision", "bf16"), "received --precision bf16; expected one that the bundle"),
        (("--runtime", "tensorrt", "--jobs", "0"), "0 is not in the range"),
    ],
)
def test_wrong_options_are_exit_code_2(bundle: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run(str(bundle), *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_the_command_prints_what_was_tried_and_the_verdict(bundle: Path, world: World) -> None:
    world.choices, world.ms = [A, BREAKS], {"pool": 0.5, WHOLE: 0.5}
    command = (str(bundle), "--runtime", "tensorrt", "--precision", "fp16")
    said = run(*command)
    assert said.exit_code == 0, said.stderr
    for words in ("TensorRT 8.6.0 in fp16", "NVIDIA H200", "not tried: breaks", "2.00 times as fast", "PASSED", PLAN):
        assert words in said.stdout
    again = json.loads(run(*command, "--json").stdout)
    assert again["graph"] == str(bundle / "model.fp16.tensorrt.2.onnx")
    assert again["tuning"]["chosen"] == ["pool (mean)"]
    assert again["tuning"]["not_tried"] == {"breaks (sum)": "TensorRT refuses node Mul"}


def test_a_graph_without_candidates_says_so(bundle: Path, world: World) -> None:
    world.choices = []
    said = run(str(bundle), "--runtime", "tensorrt", "--precision", "fp16")
    assert (said.exit_code, "No rewrite applies to any place" in said.stdout) == (0, True)


FASTER = {"pool": 0.5, WHOLE: 0.5}


def unlisted(bundle: Path) -> list[str]:
    """Files of graphs and plans that the manifest does not list."""
    listed = open_bundle(bundle).manifest["files"]
    return [name for name in files(bundle) if name not in listed and name.endswith((".onnx", ".plan", ".layers.json"))]


@pytest.mark.parametrize(
    ("at", "stops"), [("_copy", KeyboardInterrupt), ("judged_plan", MemoryError), ("_added", CheckFailed)]
)
def test_what_ends_it_while_the_result_is_judged_leaves_the_bundle_as_it_was(
    bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch, stops: type[BaseException], at: str
) -> None:
    real, before = getattr(tuned_plan, at), [*files(bundle)]

    def ends(*given: Any) -> Any:
        if at == "_copy":
            real(*given)
        raise stops("now")

    world.choices, world.ms = [A], FASTER
    monkeypatch.setattr(tuned_plan, at, ends)
    with pytest.raises(stops):
        tune(bundle)
    assert before == [*files(bundle)]


def test_a_plan_that_was_not_judged_is_not_kept(bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.choices, world.ms, before = [A], FASTER, [*files(bundle)]
    monkeypatch.setattr(of_bundle, "why_not_runnable", lambda _: "another GPU is here now")
    with pytest.raises(CheckFailed, match="was not judged and was not kept: another GPU is here now"):
        tune(bundle)
    assert before == [*files(bundle)]


def test_a_bundle_that_changes_meanwhile_is_left_as_it_then_is(bundle: Path, world: World) -> None:
    world.choices, world.ms, changed = [A], FASTER, (bundle / "bundle.json")

    class Changes(list[BuildOrder]):
        def append(self, order: BuildOrder) -> None:
            manifest = json.loads(changed.read_text())
            changed.write_text(manifest_text({**manifest, "notes": ["somebody was here"]}))
            super().append(order)

    world.orders = Changes()
    with pytest.raises(StorageError, match="was changed by another command meanwhile; run this one again"):
        tune(bundle)
    assert open_bundle(bundle).manifest["notes"] == ["somebody was here"]
    assert not unlisted(bundle)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_built(
    bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_plans.os, "access", lambda path, _: Path(path) != bundle)
    said = run(str(bundle), "--runtime", "tensorrt", "--precision", "fp16")
    assert (said.exit_code, world.orders) == (StorageError.exit_code, [])
    assert str(bundle) in said.stderr.splitlines()[-1]


def test_one_tunes_a_bundle_or_uses_a_cache_at_a_time(bundle: Path, world: World, tmp_path: Path) -> None:
    command = (str(bundle), "--runtime", "tensorrt", "--precision", "fp16", "--cache", str(tmp_path / "mine"))
    with changing(bundle) as opened:
        said = run(*command)
        recipe = tune_plans.recipe_of(opened, TuneRequest(precision="fp16"), TENSORRT)
    assert (said.exit_code, "is being changed by another command" in said.stderr) == (StorageError.exit_code, True)
    with plan_cache.PlanCache(tmp_path / "mine", recipe) as held:
        said = run(*command)
        assert "is in use by another command that tunes; wait for it, or give --cache" in said.stderr
    assert (said.exit_code, world.orders) == (StorageError.exit_code, [])
    (folder,) = (tmp_path / "mine").iterdir()
    folder.chmod(0o777)
    with pytest.raises(StorageError, match="can be written by others, who could put a plan there"), held:
        pass


def test_a_builder_that_is_killed_takes_its_candidate_alone(
    bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = plan_build.PlanBuild.result

    def killed(build: plan_build.PlanBuild, *given: Any, **named: Any) -> Any:
        found = result(build, *given, **named)
        if len(world.orders) == 2:
            raise Interrupted("TensorRT's process was killed (signal 9)")
        return found

    world.choices, world.ms = [B, A], FASTER
    monkeypatch.setattr(plan_build.PlanBuild, "result", killed)
    found = tune(bundle, jobs=1)
    assert found.tuning.not_tried == {"half (precision)": "TensorRT's process was killed (signal 9)"}
    assert found.tuning.chosen == ("pool (mean)",)


def test_wrong_bundles_end_with_one_line(bundle: Path, world: World, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    lower = opened.manifest["precisions"]
    placed = {**lower["fp16"], "placement": "modelopt"}
    extend(opened, {}, {"precisions": {**lower, "int8-fp16": placed}})
    (tmp_path / "none").mkdir()
    expected = {
        (tmp_path / "nowhere", "fp16"): (2, "nowhere"),
        (tmp_path / "none", "fp16"): (2, "none"),
        (bundle, "int8-fp16"): (2, "received int8-fp16, whose pairs modelopt has placed in"),
        (bundle, "int8"): (2, "expected one that the bundle holds"),
    }
    for (path, precision), (code, words) in expected.items():
        said = run(str(path), "--runtime", "tensorrt", "--precision", precision)
        assert (said.exit_code, words in said.stderr.splitlines()[-1]) == (code, True), said.stderr
    said = run(str(bundle), "--runtime", "trt")
    assert (said.exit_code, "'trt' is not one of" in said.stderr) == (2, True)
    with pytest.raises(InputError, match="received --runtime trt; expected tensorrt or tensorrt-rtx"):
        tune_plans.tune_plans(bundle, TuneRequest(runtime="trt"))
    (bundle / "model.fp16.onnx").unlink()
    said = run(str(bundle), "--runtime", "tensorrt", "--precision", "fp16")
    assert (said.exit_code, "model.fp16.onnx" in said.stderr.splitlines()[-1]) == (1, True)
    assert world.orders == []


def test_two_precisions_are_tuned_beside_each_other_and_compiled_again(bundle: Path, world: World) -> None:
    world.choices, world.ms = [A], FASTER
    tune(bundle)
    tune_plans.tune_plans(bundle, TuneRequest(precision="fp32"))
    opened = open_bundle(bundle)
    assert [(one["precision"], one["file"]) for one in opened.tuned_graphs] == [
        ("fp16", GRAPH),
        ("fp32", "model.fp32.tensorrt.onnx"),
    ]
    assert all(is_measured(opened, plan) for plan in plans_of(opened))
    judged = {stage.label: stage.status for stage in validate_bundle(bundle).stages}
    assert {judged[f"tensorrt {name}, tuned"] for name in ("fp16", "fp32")} == {"passed"}
    # another plan of the tuned graph was neither timed nor judged, whatever its graph was
    (compiled, plan) = compiling.compile_bundle(bundle, precision="fp16", profiles=["batch=1"], tuned=True)
    assert not is_measured(compiled, plan)
    rows = {row.file: row for row in tuned_rows(compiled)}
    assert (rows[plan.file].passed, len(rows)) == (None, 2)
    assert "not the plan that was timed and judged" in rows[plan.file].found
    (plain,) = (one for one in plans_of(compiling.compile_bundle(bundle, precision="fp16").bundle) if not one.tuned)
    assert is_of_its_graph(open_bundle(bundle), plain)
    assert len(plans_of(open_bundle(bundle))) == 3
    assert all(finding.ok for finding in verify(bundle))


def test_tuned_again_on_another_gpu_nothing_of_the_earlier_plan_stays(
    bundle: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.choices, world.ms = [A], FASTER
    (plan,) = plans_of(tune(bundle).bundle)
    (bundle / kernels_name(plan.file)).write_bytes(b"kernels")
    extend(open_bundle(bundle), {kernels_name(plan.file): "kernels"}, {})
    monkeypatch.setitem(BUILT, "capabilities", ["8.6"])
    monkeypatch.setattr(here, "why_not_runnable", lambda _: "")
    monkeypatch.setattr(of_bundle, "why_not_runnable", lambda _: "")
    tune(bundle)
    left = [name for name in open_bundle(bundle).manifest["files"] if "sm90" in name]
    assert left == []
    assert not unlisted(bundle)
