"""A bundle as models of a Triton repository: the configuration is read back through Triton's own protobuf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served_bundle
from manifest_edits import list_as_it_is
from served_bundle import plan

from attn2trt.core.bundle import open_bundle
from attn2trt.core.file_hashes import sha256
from attn2trt.core.manifest import REFERENCE
from attn2trt.engines.triton import folder, repository
from attn2trt.engines.triton.config import Serving
from attn2trt.errors import CheckFailed, InputError, MissingRequirement
from attn2trt.workflows.triton import ServedBundle, write_triton_repository

pytest.importorskip("tritonclient.grpc")


def config(model: Path) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse((model / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def enum(kind: str, number: int) -> str:
    from tritonclient.grpc import model_config_pb2

    holder = model_config_pb2.ModelInstanceGroup if kind == "Kind" else model_config_pb2
    return str(getattr(holder, kind).Name(number))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "models"


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def written(tmp_path: Path, bundle: dict[str, Any] | None = None, **options: Any) -> tuple[ServedBundle, Path]:
    served_bundle.write(tmp_path / "b", **(bundle or {}))
    return write_triton_repository(tmp_path / "b", tmp_path / "models", **options), tmp_path / "models"


def test_a_graph_becomes_a_model_of_onnx_runtime(tmp_path: Path) -> None:
    found, place = written(tmp_path)
    made = config(place / "twice")
    assert (made.name, made.platform, made.max_batch_size) == ("twice", "onnxruntime_onnx", 8)
    assert [(one.name, enum("DataType", one.data_type), [*one.dims]) for one in made.input] == [
        ("x", "TYPE_FP32", [3, -1, 4])
    ]
    assert [(one.name, [*one.dims]) for one in made.output] == [("y", [3, -1, 4])]
    assert made.HasField("dynamic_batching")
    (accelerator,) = made.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("cuda", {"use_tf32": "0"})
    assert (place / "twice/1/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()
    about = json.loads(made.parameters["attn2trt"].string_value)
    assert about["bundle"] == "twice"
    assert about["versions"]["1"]["files"] == {"model.onnx": sha256(tmp_path / "b/model.onnx")}
    assert found.to_json()["models"] == [
        {"name": "twice", "platform": "onnxruntime_onnx", "versions": {"1": "fp32"}, "max_batch_size": 8}
    ]


def test_onnx_runtimes_optimiser_is_off_for_what_it_gets_wrong(tmp_path: Path) -> None:
    _, place = written(tmp_path, {"precisions": ("fp32", "int8-fp16")})
    assert config(place / "twice_int8-fp16").optimization.graph.level == 2
    assert not config(place / "twice").optimization.HasField("graph")
    with pytest.raises(InputError, match="received --as versions; fp32 and int8-fp16 need different configurations"):
        write_triton_repository(tmp_path / "b", tmp_path / "versions", layout="versions")


def test_the_listing_has_the_hash_of_every_file(tmp_path: Path) -> None:
    _, place = written(tmp_path)
    listed = json.loads((place / "twice/attn2trt.json").read_text())["files"]
    there = {name: sha256(place / "twice" / name) for name in tree(place / "twice") if name != "attn2trt.json"}
    assert listed == there


def test_warm_up_runs_a_recorded_row_at_every_size(tmp_path: Path) -> None:
    _, place = written(tmp_path)
    made = config(place / "twice")
    assert [(one.batch_size, [*one.inputs["x"].dims]) for one in made.model_warmup] == [
        (2, [3, 4, 4]),
        (1, [3, 2, 4]),
        (8, [3, 6, 4]),
    ]
    case, _ = served_bundle.pair(0, served_bundle.SHAPE, served_bundle.SIZES[0], rows=True)
    file = made.model_warmup[0].inputs["x"].input_data_file
    sent = np.frombuffer((place / "twice/warmup" / file).read_bytes(), np.float32)
    assert np.array_equal(sent.reshape(3, 4, 4), case.feeds["x"][0])


def test_recorded_cases_that_are_no_file_of_arrays_are_bad_input(tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    bundle.reference_path.write_bytes(b"no arrays")
    list_as_it_is(bundle.path, REFERENCE)
    with pytest.raises(InputError, match=r"the recorded cases in .* cannot be read \(SafetensorError: .*run attn2trt"):
        write_triton_repository(bundle, tmp_path / "models")


def test_warm_up_batching_delay_and_instances_are_the_users_choice(tmp_path: Path) -> None:
    serving = Serving(device="cpu", instances=3, queue_delay=500)
    _, place = written(tmp_path, warmup=False, serving=serving)
    made = config(place / "twice")
    assert not made.model_warmup
    assert not (place / "twice/warmup").exists()
    assert made.dynamic_batching.max_queue_delay_microseconds == 500
    assert [(enum("Kind", one.kind), one.count) for one in made.instance_group] == [("KIND_CPU", 3)]
    assert not made.optimization.execution_accelerators.gpu_execution_accelerator


def test_without_batching_shapes_are_whole_and_so_is_the_warm_up(tmp_path: Path) -> None:
    found, place = written(tmp_path, batching=False)
    made = config(place / "twice")
    assert (made.max_batch_size, [*made.input[0].dims]) == (0, [-1, 3, -1, 4])
    assert not made.HasField("dynamic_batching")
    assert next((one.batch_size, [*one.inputs["x"].dims]) for one in made.model_warmup) == (1, [2, 3, 4, 4])
    assert found.models[0].batching.why_not == "left out by --no-batching"


def test_a_batch_that_does_not_vary_and_a_first_axis_that_is_none(tmp_path: Path) -> None:
    _, place = written(tmp_path, {"shape": (2, 3), "axes": {}, "sizes": ({},)})
    made = config(place / "twice")
    assert (made.max_batch_size, [*made.input[0].dims]) == (0, [2, 3])


SCALAR: dict[str, Any] = {"shape": (), "axes": {}, "sizes": ({},)}


def test_a_scalar_is_one_element_for_clients(tmp_path: Path) -> None:
    _, place = written(tmp_path, SCALAR, backend="python")
    made = config(place / "twice")
    assert ([*made.input[0].dims], [*made.output[0].dims]) == ([1], [1])
    with pytest.raises(InputError, match="has no dimension, and Triton passes no scalar to onnxruntime_onnx"):
        write_triton_repository(tmp_path / "b", tmp_path / "others")
    assert not (tmp_path / "others").exists()


def test_precisions_are_models_of_their_own(tmp_path: Path) -> None:
    _, place = written(tmp_path, {"precisions": ("fp32", "fp16")})
    assert names(place) == ["twice", "twice_fp16"]
    assert (place / "twice_fp16/1/model.onnx").read_bytes() == (tmp_path / "b/model.fp16.onnx").read_bytes()
    assert config(place / "twice_fp16").name == "twice_fp16"


def test_a_graph_with_float16_inputs_gets_them(tmp_path: Path) -> None:
    _, place = written(tmp_path, {"precisions": ("fp32", "fp16"), "io": "float16", "halves": True})
    made = config(place / "twice_fp16")
    assert [enum("DataType", one.data_type) for one in (*made.input, *made.output)] == ["TYPE_FP16", "TYPE_FP16"]
    sent = made.model_warmup[0].inputs["x"]
    assert enum("DataType", sent.data_type) == "TYPE_FP16"
    assert (place / "twice_fp16/warmup" / sent.input_data_file).stat().st_size == 3 * 4 * 4 * 2
    assert [enum("DataType", one.data_type) for one in config(place / "twice").input] == ["TYPE_FP32"]
    with pytest.raises(InputError, match="fp32 and fp16 need different configurations"):
        write_triton_repository(tmp_path / "b", tmp_path / "others", layout="versions")


def test_precisions_are_versions_of_one_model_if_asked(tmp_path: Path) -> None:
    _, place = written(tmp_path, {"precisions": ("fp32", "fp16")}, layout="versions", name="net")
    made = config(place / "net")
    assert made.version_policy.HasField("all")
    versions = json.loads(made.parameters["attn2trt"].string_value)["versions"]
    assert {number: entry["precision"] for number, entry in versions.items()} == {"1": "fp32", "2": "fp16"}
    assert (place / "net/2/model.onnx").read_bytes() == (tmp_path / "b/model.fp16.onnx").read_bytes()


def test_the_python_backend_gets_a_program_of_its_own(tmp_path: Path) -> None:
    _, place = written(tmp_path, backend="python")
    made = config(place / "twice")
    assert (made.backend, made.platform, made.default_model_filename) == ("python", "", "model.py")
    assert (place / "twice/1/model.py").read_bytes() == folder.MODEL_PROGRAM.read_bytes()
    assert [enum("Kind", one.kind) for one in made.instance_group] == ["KIND_CPU"]


def test_weights_beside_a_graph_travel_with_it(tmp_path: Path) -> None:
    _, place = written(tmp_path, {"external": True})
    assert (place / "twice/1/model.onnx.data").read_bytes() == (tmp_path / "b/model.onnx.data").read_bytes()
    files = json.loads(config(place / "twice").parameters["attn2trt"].string_value)["versions"]["1"]["files"]
    assert sorted(files) == ["model.onnx", "model.onnx.data"]


def test_a_plan_is_served_by_tensorrt_with_all_its_profiles(tmp_path: Path) -> None:
    made_plan = plan(batches=((1, 1, 1), (2, 4, 8)))
    _, place = written(tmp_path, {"plans": [made_plan]})
    made = config(place / "twice")
    assert (made.platform, made.max_batch_size, made.default_model_filename) == ("tensorrt_plan", 8, "model.plan")
    assert (place / "twice/1/model.plan").read_text() == made_plan["file"]
    assert [*made.dynamic_batching.preferred_batch_size] == [4]
    (group,) = made.instance_group
    assert (enum("Kind", group.kind), [*group.profile]) == ("KIND_GPU", ["0", "1"])
    assert not made.cc_model_filenames


def test_plans_for_several_gpus_are_chosen_by_their_capability(tmp_path: Path) -> None:
    plans = [plan("8.6"), plan("9.0", hardware_compatible=True), plan("8.9")]
    _, place = written(tmp_path, {"plans": plans})
    made = config(place / "twice")
    assert dict(made.cc_model_filenames) == {"8.6": "sm86.plan", "9.0": "model.plan", "8.9": "sm89.plan"}
    assert made.default_model_filename == "model.plan"
    assert {path.name: path.read_text() for path in (place / "twice/1").iterdir()} == {
        "sm86.plan": plans[0]["file"],
        "model.plan": plans[1]["file"],
        "sm89.plan": plans[2]["file"],
    }


def test_a_portable_plan_needs_a_flag_of_the_server(tmp_path: Path) -> None:
    found, _ = written(tmp_path, {"plans": [plan(version_compatible=True)]})
    assert found.flags == ("--backend-config=tensorrt,version-compatible=true",)


def test_plans_that_triton_cannot_load_are_left_out_with_the_reason(tmp_path: Path) -> None:
    plans = [plan("8.6", flavour="tensorrt-rtx", tensorrt="1.7.1"), plan("8.9", graph="0" * 64)]
    found, place = written(tmp_path, {"plans": plans})
    rtx, stale = found.left_out
    assert (
        "TensorRT for RTX are loaded by TensorRT for RTX of the same version alone: neither trtexec nor Triton" in rtx
    )
    assert stale.endswith(": built from another graph than the bundle's; compile again")
    assert config(place / "twice").platform == "onnxruntime_onnx"


def with_tuned(tmp_path: Path, made: dict[str, Any], **about: Any) -> tuple[ServedBundle, str]:
    """A bundle with a plan and a tuned one: what Triton gets, and the content of the plan that it serves."""
    bundle = served_bundle.write(tmp_path / "b", plans=[plan()])
    served_bundle.add_tuned(bundle, made, **about)
    found = write_triton_repository(tmp_path / "b", tmp_path / "models")
    return found, (tmp_path / "models/twice/1/model.plan").read_text()


def test_the_plan_that_was_measured_to_be_faster_is_served(tmp_path: Path) -> None:
    found, served = with_tuned(tmp_path, plan(tuned=True))
    assert served == "plans/sm86-trt10.9.0-fp32-tuned.plan"
    (left,) = found.left_out
    assert left.startswith("plans/sm86-trt10.9.0-fp32.plan: plans/sm86-trt10.9.0-fp32-tuned.plan, of the tuned graph")


@pytest.mark.parametrize(
    ("made", "about", "why"),
    [
        ({}, {"is_measured": False}, "nobody has measured whether it is faster than"),
        ({"batches": ((1, 1, 4),)}, {}, "it has other profiles than"),
        ({"version_compatible": True}, {}, "it was measured beside a plan of other settings than"),
        ({"graph": "0" * 64}, {}, "built from another graph than the bundle's; tune again"),
    ],
)
def test_a_tuned_plan_that_nobody_knows_to_be_faster_is_left_out(
    tmp_path: Path, made: dict[str, Any], about: dict[str, Any], why: str
) -> None:
    found, served = with_tuned(tmp_path, plan(tuned=True, **made), **about)
    assert served == "plans/sm86-trt10.9.0-fp32.plan"
    (left,) = found.left_out
    assert left.startswith("plans/sm86-trt10.9.0-fp32-tuned.plan: ")
    assert why in left


def test_a_tuned_plan_alone_is_served_and_one_for_another_gpu_beside_it(tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    served_bundle.add_tuned(bundle, plan(tuned=True), is_measured=False)
    found = write_triton_repository(tmp_path / "b", tmp_path / "models")
    assert (tmp_path / "models/twice/1/model.plan").read_text() == "plans/sm86-trt10.9.0-fp32-tuned.plan"
    assert not found.left_out


def test_a_precision_without_a_plan_or_a_graph_of_its_own_is_left_out(tmp_path: Path) -> None:
    bundle = {"precisions": ("fp32", "tf32"), "plans": [plan()]}
    found, place = written(tmp_path, bundle)
    assert names(place) == ["twice"]
    assert found.left_out == ("tf32: its graph is the float32 one, which only a plan computes in this precision",)


@pytest.mark.parametrize(
    ("bundle", "options", "message"),
    [
        (
            {},
            {"backend": "tensorrt"},
            "nothing of .* is left to serve: fp32: no plan of TensorRT to serve; attn2trt comp",
        ),
        ({}, {"precisions": ("fp16",)}, "received --precision fp16; expected one that the bundle holds: fp32"),
        ({}, {"name": "x" * 201}, "expected at most 200 letters, digits"),
        ({}, {"name": "../x"}, "received --name ../x; expected at most 200 letters, digits"),
        ({}, {"layout": "x"}, "received layout='x'; expected names, versions; choose one"),
        ({}, {"backend": "x"}, "received backend='x'; expected auto, tensorrt, onnxruntime, python; choose one"),
        ({}, {"precisions": []}, "received no precisions; expected one or more, or None"),
        ({"plans": [plan(), plan(tensorrt="8.6.0")]}, {}, "plans of TensorRT 10.9.0, 8.6.0, .* with --tensorrt"),
        ({"plans": [plan(), plan("8.9", batches=((1, 1, 4),))]}, {}, "have other profiles"),
        (
            {"precisions": ("fp32", "fp16"), "plans": [plan()]},
            {"layout": "versions"},
            "received --as versions; fp32 and fp16 need different configurations",
        ),
        ({}, {"serving": Serving(labels={"z": "a\n"})}, "received labels for z; expected an output: y"),
        ({}, {"serving": Serving(labels={"y": "a\nb\n"})}, "received 2 labels for y: .*; expected 4, one a line"),
    ],
)
def test_what_cannot_be_served_is_refused_and_nothing_is_written(
    tmp_path: Path, bundle: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        written(tmp_path, bundle, **options)
    assert not (tmp_path / "models").exists()


def test_one_tensorrt_of_several_is_named(tmp_path: Path) -> None:
    found, place = written(tmp_path, {"plans": [plan(), plan(tensorrt="8.6.0")]}, tensorrt="8.6.0")
    assert (place / "twice/1/model.plan").read_text() == "plans/sm86-trt8.6.0-fp32.plan"
    assert found.left_out == ("plans/sm86-trt10.9.0-fp32.plan: built by TensorRT 10.9.0, not 8.6.0",)


def test_labels_lie_beside_the_configuration(tmp_path: Path) -> None:
    _, place = written(tmp_path, serving=Serving(labels={"y": "a\nb\nc\nd\n"}))
    assert config(place / "twice").output[0].label_filename == "labels.txt"
    assert (place / "twice/labels.txt").read_text() == "a\nb\nc\nd\n"


def test_what_failed_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="did not pass: onnxruntime cpu: it is wrong; what failed is not served"):
        written(tmp_path, {"status": "failed"})


def test_a_changed_file_is_not_served(tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b")
    (tmp_path / "b/model.onnx").write_bytes(b"another")
    with pytest.raises(CheckFailed, match=r"model\.onnx: changed"):
        write_triton_repository(tmp_path / "b", tmp_path / "models")


def test_a_file_that_changes_while_it_is_copied_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served_bundle.write(tmp_path / "b")
    monkeypatch.setattr(folder.shutil, "copyfile", lambda _from, to: Path(to).write_bytes(b"half"))
    with pytest.raises(CheckFailed, match="changed while it was copied"):
        write_triton_repository(tmp_path / "b", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_repository_of_the_same_models_is_replaced(tmp_path: Path, place: Path) -> None:
    written(tmp_path)
    (place / "twice/1/__pycache__").mkdir()  # Triton's Python backend leaves it there
    (place / "twice/1/__pycache__/model.pyc").write_bytes(b"code")
    served_bundle.write(tmp_path / "c", factor=3.0)
    write_triton_repository(tmp_path / "c", place)
    assert (place / "twice/1/model.onnx").read_bytes() == (tmp_path / "c/model.onnx").read_bytes()
    assert names(place) == ["twice"]


def test_other_models_are_joined_only_if_asked(tmp_path: Path, place: Path) -> None:
    written(tmp_path)
    before = tree(place)
    served_bundle.write(tmp_path / "c", name="other")
    with pytest.raises(InputError, match="holds 'twice' beside what this command writes; --add puts other beside"):
        write_triton_repository(tmp_path / "c", place)
    assert tree(place) == before
    write_triton_repository(tmp_path / "c", place, add=True)
    assert names(place) == ["other", "twice"]
    assert {name: content for name, content in tree(place).items() if name.startswith("twice")} == before


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("twice/config.pbtxt", "name: 'edited'", "holds 'config.pbtxt', which was changed since"),
        ("twice/notes.txt", "mine", "holds 'notes.txt', which attn2trt triton did not write"),
        ("twice/attn2trt.json", "{}", "was not written by attn2trt triton"),
    ],
)
def test_a_model_that_is_not_as_it_was_written_is_never_touched(
    tmp_path: Path, place: Path, add: bool, file: str, content: str, message: str
) -> None:
    written(tmp_path)
    (place / file).write_text(content)
    before = tree(place)
    with pytest.raises(InputError, match=message):
        write_triton_repository(tmp_path / "b", place, add=add)
    assert tree(place) == before


def test_somebody_elses_model_of_that_name_is_never_touched(tmp_path: Path, place: Path) -> None:
    served_bundle.write(tmp_path / "b")
    (place / "twice/1").mkdir(parents=True)
    (place / "twice/1/model.onnx").write_bytes(b"theirs")
    with pytest.raises(InputError, match="was not written by attn2trt triton"):
        write_triton_repository(tmp_path / "b", place, add=True)
    assert tree(place) == {"twice/1/model.onnx": b"theirs"}


def test_a_file_in_the_place_of_the_repository(tmp_path: Path, place: Path) -> None:
    place.write_text("mine")
    with pytest.raises(InputError, match="is no folder; a model repository is one"):
        written(tmp_path)
    assert place.read_text() == "mine"


def test_an_interrupt_leaves_nothing(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "_write_listing", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path)
    assert not place.exists()


@pytest.mark.parametrize("inside", [False, True])
def test_what_a_killed_command_left_goes(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    place.mkdir()
    left = (place if inside else tmp_path) / ".attn2trt.partial-models-.999999999-00000000"
    (left / "twice").mkdir(parents=True)
    if inside:  # the folder above is another file system, or not writable
        monkeypatch.setattr(repository, "_staging_place", lambda destination: destination)
    written(tmp_path)
    assert names(place) == ["twice"]
    assert names(tmp_path) == ["b", "models"]


def test_nothing_but_models_is_ever_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = folder._write_listing

    def look(*arguments: Any) -> None:
        seen.append(names(tmp_path / "models"))
        real(*arguments)

    monkeypatch.setattr(folder, "_write_listing", look)
    written(tmp_path, {"precisions": ("fp32", "fp16")})
    assert seen == [[], []]


def test_a_repository_behind_a_link_is_joined(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "real")
    written(tmp_path)
    assert names(tmp_path / "real") == ["twice"]
    assert names(tmp_path) == ["b", "models", "real"]


def test_without_tritons_client_the_command_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    served_bundle.write(tmp_path / "b")
    monkeypatch.setitem(sys.modules, "tritonclient.grpc.model_config_pb2", None)
    with pytest.raises(MissingRequirement, match=r"pip install 'tritonclient\[grpc,http\]'"):
        write_triton_repository(tmp_path / "b", tmp_path / "models")


def test_the_bundle_itself_is_not_changed(tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b")
    before = tree(tmp_path / "b")
    write_triton_repository(open_bundle(tmp_path / "b"), tmp_path / "models")
    assert tree(tmp_path / "b") == before


def test_a_precision_that_is_named_twice_is_one_version(tmp_path: Path) -> None:
    found, _ = written(tmp_path, precisions=["fp32", "fp32"], layout="versions")
    assert [one.to_json()["versions"] for one in found.models] == [{"1": "fp32"}]


def test_a_long_name_is_shortened(tmp_path: Path) -> None:
    found, place = written(tmp_path, {"name": "se:" + "k=1," * 90, "precisions": ("fp32", "fp16")})
    (tmp_path / ("r" * 250)).mkdir()
    write_triton_repository(tmp_path / "b", tmp_path / ("r" * 250))
    assert [model.name for model in found.models] == names(place) == names(tmp_path / ("r" * 250))
    assert [len(name) for name in names(place)] == [49, 54]
