"""Tracing: names, dimensions and opset as asked, the module map, and a refusal if an axis cannot stay dynamic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import sympy  # type: ignore[import-untyped]
import torch
from sized import check_right, exported
from torch import nn
from torch.fx.experimental.symbolic_shapes import DimConstraints

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import InputError, ModuleRefused
from attn2trt.export.trace.exporter import trace
from attn2trt.export.trace.guards import Guard
from attn2trt.export.trace.narrowing import Violation
from attn2trt.export.trace.tracing import _other_sizes
from attn2trt.modules.target import Target

AXES = {"batch": Axis(1, 2, 8), "height": Axis(4, 8, 16), "width": Axis(4, 8, 16)}
IMAGE = TensorSpec("image", ("batch", 3, "height", "width"))


class Small(nn.Module):
    """A convolution, a batch normalisation, a gate: three named children."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        return x * self.gate(x.amax((2, 3), keepdim=True)).sigmoid()


def target_of(module: nn.Module, *inputs: TensorSpec, axes: dict[str, Axis] | None = None, **options: object) -> Target:
    return Target(
        "mine",
        module.eval,
        inputs or (IMAGE,),
        AXES if axes is None else axes,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_opset_is_the_one_asked_for_and_names_are_kept(opset: int, tmp_path: Path) -> None:
    graph = trace(target_of(Small(), output_names=("gated",)), Small().eval(), tmp_path / "m.onnx", opset=opset)
    model = onnx.load(graph.path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert graph.inputs == (IMAGE,)
    assert [output.name for output in graph.outputs] == ["gated"]
    assert graph.outputs[0].shape[0] == "batch"
    assert "height" in str(graph.outputs[0].shape[2])
    if opset == 17:
        assert model.ir_version == 8


def test_every_computing_node_knows_its_module(tmp_path: Path) -> None:
    graph = trace(target_of(Small()), Small().eval(), tmp_path / "m.onnx", opset=17)
    paths = {graph.modules[node.name] for node in onnx.load(graph.path).graph.node if node.op_type == "Conv"}
    assert paths == {"stem.1", "gate"}  # the exporter folds the normalisation into the first convolution


class Applied(nn.Module):
    """A function in a module of its own."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Several(nn.Module):
    """A convolution, and functions of what it gives, each in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.parts = nn.ModuleDict({name: Applied(function) for name, (function, _) in PARTS.items()})

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(image)
        return [part(x * number) for number, part in enumerate(self.parts.values(), 2)]


def crosswise(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([part.relu() for part in reversed(parts)], 1)


# With an operator that the exporter writes in place of another.
PARTS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "chunk": (lambda x: crosswise(x.chunk(2, 1)), "Split"),
    "uneven": (lambda x: crosswise(x.chunk(3, 1)), "Split"),
    "sizes": (lambda x: crosswise(torch.split(x, [3, 5], 1)), "Split"),
    "twice": (lambda x: crosswise([half for part in x.chunk(2, 1) for half in part.chunk(2, 1)]), "Split"),
    "parts": (lambda x: crosswise(torch.tensor_split(x, 4, 1)), "Slice"),
    "unbind": (lambda x: torch.stack([part.relu() for part in x.unbind(1)], 1), "Concat"),
    "stack": (lambda x: torch.stack([x, x.relu()], 1).amax(1), "Unsqueeze"),
    "stacked": (lambda x: torch.stack(x.chunk(2, 1), 2).flatten(1, 2), "Concat"),
    "empty": (lambda x: torch.cat([x, x.relu(), x[:, :0]], 1), "Concat"),
}


@pytest.mark.parametrize("opset", [17, 18])
def test_what_the_exporter_writes_in_place_of_other_nodes_knows_its_module(opset: int, tmp_path: Path) -> None:
    target = target_of(Several(), TensorSpec("image", ("batch", 3, 8, 8)), axes={"batch": Axis(1, 2, 4)})
    graph = trace(target, target.build(), tmp_path / "m.onnx", opset=opset)
    nodes = [node for node in onnx.load(graph.path).graph.node if node.op_type != "Constant"]
    assert [node.name for node in nodes if node.name not in graph.modules] == []
    by_module: dict[str, set[str]] = {}
    for node in nodes:
        by_module.setdefault(graph.modules[node.name], set()).add(node.op_type)
    assert by_module.pop("stem") == {"Conv"}
    assert by_module.pop("") - {"Shape"} == {"Mul"}  # some versions take the batch from the image
    assert list(by_module) == [f"parts.{name}" for name in PARTS]
    assert [name for name, (_, operator) in PARTS.items() if operator not in by_module[f"parts.{name}"]] == []


class Shared(nn.Module):
    """A convolution with its batch normalisation, called for each of two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.norm.running_var.data.fill_(4.0)  # type: ignore[union-attr]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        rows, columns = (self.norm(self.conv(image.mean(axis, keepdim=True))) for axis in (2, 3))
        return torch.mul(rows, columns)


def test_a_convolution_that_is_called_twice_keeps_its_weights(tmp_path: Path) -> None:
    graph = trace(target_of(Shared()), module := Shared().eval(), tmp_path / "m.onnx", opset=17)
    x = torch.rand(2, 3, 8, 8)
    (found,) = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"]).run(
        None, {"image": x.numpy()}
    )
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_no_path_of_this_machine_stays_in_the_graph(tmp_path: Path) -> None:
    graph = trace(target_of(Small()), Small().eval(), tmp_path / "m.onnx", opset=17)
    assert str(Path(__file__).parent).encode() not in graph.path.read_bytes()
    assert b"site-packages" not in graph.path.read_bytes()


class FixesHeight(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.reshape(-1, 3, int(image.shape[2]), image.shape[3]) * torch.ones(int(image.shape[2]), 1)[:8]


class NeedsEvenHeight(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.unflatten(2, (-1, 2)).mean(3)


class NeedsItsHeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 3, 8, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[2] == 8:
            image = image + self.position
        return image


class TrainedPositions(nn.Module):
    """Has a table of positions for 8 x 8, taken as it is there and resized elsewhere; ``wrong`` adds to it there."""

    def __init__(self, wrong: float = 0.0) -> None:
        super().__init__()
        self.table, self.wrong = nn.Parameter(torch.randn(1, 3, 8, 8)), wrong

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[2:]
        if height * width == 64 and height == width:
            return image + (self.table + self.wrong)
        return image + nn.functional.interpolate(self.table, size=(height, width), mode="bicubic")


def test_a_size_that_a_module_treats_by_itself_may_be_the_traced_one(tmp_path: Path) -> None:
    module = TrainedPositions().eval()
    graph = trace(target_of(module), module, tmp_path / "m.onnx", opset=17)
    assert graph.axes == AXES
    session = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
    for sizes in ((8, 8), (16, 4), (5, 5)):
        image = torch.rand(2, 3, *sizes)
        found = session.run(None, {"image": image.numpy()})[0]
        np.testing.assert_allclose(found, module(image).detach().numpy(), rtol=1e-4, atol=1e-5)


class TrainedMask(nn.Module):
    """Pads to windows of 4, and takes a mask of 8 x 8 as it was made once, as SwinIR does; else makes one."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.mask = (8, 8), self.made(8, 8)

    @staticmethod
    def made(height: int, width: int) -> torch.Tensor:
        return torch.arange(height)[:, None] / height - torch.arange(width) / width

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[2:]
        image = nn.functional.pad(image, (0, -width % 4, 0, -height % 4))
        size = image.shape[2], image.shape[3]
        return (image + (self.mask if self.size == size else self.made(*size)))[..., :height, :width]


def test_sizes_that_are_padded_to_one_with_its_own_branch_may_be_traced(tmp_path: Path) -> None:
    module = TrainedMask().eval()
    graph = trace(target_of(module), module, tmp_path / "m.onnx", opset=17)
    assert graph.axes == AXES
    session = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
    for sizes in ((8, 8), (7, 5), (16, 6), (5, 13)):
        image = torch.rand(2, 3, *sizes)
        np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], module(image).numpy(), atol=1e-6)


def test_a_size_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    module = TrainedPositions(wrong=0.1).eval()
    with pytest.raises(ModuleRefused, match=r"fixes the axis|holds only"):
        trace(target_of(module), module, tmp_path / "m.onnx", opset=17)


class BranchesOnValue(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image if image.sum() > 0 else -image


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (FixesHeight(), r"fixes the axis 'height' at 8 at .*test_trace.py:\d+ `return image.reshape"),
        (NeedsItsHeight(), r"fixes the axis 'height' at 8 at .*test_trace.py:\d+ `if image.shape\[2\] == 8:`"),
        (BranchesOnValue(), r"cannot be traced.* at .*test_trace.py:\d+ `return image if image.sum\(\) > 0"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_module_that_cannot_stay_dynamic_is_refused_in_one_line(
    module: nn.Module, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModuleRefused, match=message) as caught:
        trace(target_of(module), module.eval(), tmp_path / "m.onnx", opset=17)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.onnx").exists()


def test_a_shape_that_the_model_cannot_take_names_shape_and_reason(tmp_path: Path) -> None:
    spec = TensorSpec("image", (2, 5, 8, 8))
    with pytest.raises(InputError, match=r"cannot take image \(2, 5, 8, 8\).*--shape") as caught:
        trace(target_of(Small(), spec, axes={}), Small().eval(), tmp_path / "m.onnx", opset=17)
    assert "\n" not in str(caught.value)


def test_several_inputs_and_outputs_with_integers(tmp_path: Path) -> None:
    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.table(ids)
            return found * scale, found.argmax(-1)

    specs = (TensorSpec("ids", ("batch", 6), "int64", 0, 9), TensorSpec("scale", ("batch", 1, 4)))
    target = target_of(Lookup(), *specs, axes={"batch": Axis(1, 2, 4)})
    graph = trace(target, Lookup().eval(), tmp_path / "m.onnx", opset=17)
    assert [(spec.name, spec.dtype) for spec in graph.inputs] == [("ids", "int64"), ("scale", "float32")]
    assert [(spec.name, spec.dtype) for spec in graph.outputs] == [("output_0", "float32"), ("output_1", "int64")]


class WithOthers(nn.Module):
    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return torch.stack([x * 2, *others]).sum(0)


@pytest.mark.parametrize("others", [0, 1, 2])
def test_a_forward_takes_further_tensors_behind_a_named_one(others: int, tmp_path: Path) -> None:
    target, graph = exported(WithOthers(), tmp_path, "batch=1:2:4", *[(2, 3)] * (1 + others))
    check_right(target, graph, {"batch": 4})


def test_an_operator_without_an_opset_17_form_is_an_error_not_another_opset(tmp_path: Path) -> None:
    class Bits(nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return ids & 3

    target = target_of(Bits(), TensorSpec("ids", (2, 6), "int64", 0, 9), axes={})
    with pytest.raises(ModuleRefused, match=r"BitwiseAnd.*--opset 18"):
        trace(target, Bits().eval(), tmp_path / "m.onnx", opset=17)
    assert trace(target, Bits().eval(), tmp_path / "m.onnx", opset=18).opset == 18


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.LSTM(3, 4, proj_size=2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read: torch.Tensor = self.reader(x)[0]
        return read


@pytest.mark.filterwarnings("ignore")
def test_a_projection_that_onnx_lacks_is_refused_at_its_line(tmp_path: Path) -> None:
    target = target_of(Projected(), TensorSpec("x", (2, 5, 3)), axes={})
    with pytest.raises(ModuleRefused, match=r"nn\.LSTM with proj_size=2 at .*test_trace\.py:\d+ `read: torch"):
        trace(target, Projected().eval(), tmp_path / "model.onnx", opset=17)


@pytest.mark.parametrize("opset", [16, 99])
def test_an_unsupported_opset_is_refused(opset: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"received opset {opset}; expected 17 to 23; leave it out for 17"):
        trace(target_of(Small()), Small().eval(), tmp_path / "m.onnx", opset=opset)


def test_a_guard_of_evenness_becomes_a_constraint(tmp_path: Path) -> None:
    axes = AXES | {"height": Axis(5, 8, 15)}
    graph = trace(target_of(NeedsEvenHeight(), axes=axes), NeedsEvenHeight().eval(), tmp_path / "m.onnx", opset=17)
    assert graph.axes == axes | {"height": Axis(6, 8, 14, multiple=2)}


def test_a_branch_whose_other_side_is_the_same_function_is_no_restriction(tmp_path: Path) -> None:
    class PoolsToSeven(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if image.shape[2] != 7:
                image = nn.functional.adaptive_avg_pool2d(image, (7, 1))
            return image.mean(3)

    graph = trace(target_of(PoolsToSeven()), PoolsToSeven().eval(), tmp_path / "m.onnx", opset=17)
    assert graph.axes == AXES


class OfOneSize(Small):
    """Stands for a transformer whose position embeddings are those of one size of image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[2] != 8:
            raise ValueError("images of height 8")
        return super().forward(image)


def test_what_makes_the_module_for_any_size_comes_first(tmp_path: Path) -> None:
    target = target_of(OfOneSize(), advice_on_sizes=lambda: "give it the option any_size=true, or ")
    with pytest.raises(
        ModuleRefused, match=r"height.*; give it the option any_size=true, or .*'height' out of --dynamic"
    ):
        trace(target, OfOneSize().eval(), tmp_path / "m.onnx", opset=17)


def hold_at_every_size(module: nn.Module, folder: Path) -> None:
    """Trace a module of one image, and compare its graph with it at sizes that were not traced."""
    graph = trace(target_of(module), module.eval(), folder / "m.onnx", opset=17)
    assert graph.axes == AXES
    session = onnxruntime.InferenceSession(graph.path)
    for shape in ((1, 3, 4, 5), (5, 3, 9, 4)):
        image = torch.randn(shape)
        (found,) = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(found, module(image).numpy(), rtol=1e-5, atol=1e-5)


class Clip(nn.Module):
    """Stands for a transformer of clips, with a table of frames and one of positions that were made for one size."""

    def __init__(self) -> None:
        super().__init__()
        self.frames, self.positions = (nn.Parameter(torch.randn(1, 3, count)) for count in (4, 64))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        tokens = clip.flatten(3)  # (n, t, 3, h w)
        positions, frames = self.positions, self.frames
        if tokens.shape[3] != positions.shape[2]:
            positions = nn.functional.interpolate(positions[..., None], (tokens.shape[3], 1)).squeeze(3)
        if tokens.shape[1] != frames.shape[2]:
            frames = nn.functional.interpolate(frames, clip.shape[1])
        return tokens + positions[:, None] + frames.transpose(1, 2)[..., None]


def test_tables_of_one_size_on_several_axes(tmp_path: Path) -> None:
    dynamic = "batch=1:2:4,dim1=2:4:8,dim3=4:8:12,dim4=4:8:12"
    target, graph = exported(Clip(), tmp_path, dynamic, (2, 4, 3, 8, 8))
    assert graph.axes == target.axes
    for frames, height, width in ((4, 8, 8), (4, 5, 9), (7, 8, 8), (2, 12, 4), (4, 4, 12)):
        check_right(target, graph, {"batch": 3, "dim1": frames, "dim3": height, "dim4": width})


class ResizedTable(nn.Module):
    """Stands for a DPT on a DINOv2: a table that was made for one size, and maps that may differ by one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 3, 7, 7))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        table = self.table
        if image.shape[2:] != table.shape[2:]:
            table = nn.functional.interpolate(table, image.shape[2:], mode="bilinear")
        image = image + table
        again = nn.functional.interpolate(image[:, :, ::2, ::2], scale_factor=2)
        if again.shape != image.shape:
            again = nn.functional.interpolate(again, image.shape[2:], mode="bilinear")
        return again + image


def test_a_table_of_one_size_beside_a_branch_on_odd_sizes(tmp_path: Path) -> None:
    target, graph = exported(ResizedTable(), tmp_path, "batch=1:2:4,height=4:7:12,width=4:7:12", (2, 3, 7, 7))
    assert graph.axes == target.axes
    for height, width in ((4, 8), (7, 7), (7, 5), (12, 12), (9, 6), (6, 11)):
        check_right(target, graph, {"batch": 3, "height": height, "width": width})


class OfSquares(nn.Module):
    """Stands for a network that finds the side of an image from the number of its tokens."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = image.flatten(2)
        side = int(tokens.shape[2] ** 0.5)
        return tokens.view(image.shape[0], 3, side, side)


def test_a_module_of_square_images_is_refused_with_the_tie_that_it_takes(tmp_path: Path) -> None:
    ranges = "batch=1:2:4,height=4:8:12,width=4:8:12"
    with pytest.raises(ModuleRefused, match=r"tie the axes, with width=height in --dynamic, or leave 'height' and 'wi"):
        exported(OfSquares(), tmp_path, ranges, (2, 3, 8, 8))
    target, graph = exported(OfSquares(), tmp_path, "batch=1:2:4,height=4:8:12,width=height", (2, 3, 8, 8))
    assert graph.axes == target.axes
    check_right(target, graph, {"batch": 3, "height": 5})


class SplitByBatch(nn.Module):
    """Stands for a head that takes the levels of its batch apart, which a backbone gave as one."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = torch.cat([image, 2 * image, image.relu()])
        first, second, third = levels.split(split_size=image.shape[0], dim=0)
        left, right = torch.split(third, [3, image.shape[3] - 3], 3)
        return first + second.mean((2, 3), keepdim=True) * left.sum() - right.amax() * right.amin((), keepdim=True)


def test_a_split_by_a_size_holds_at_every_size(tmp_path: Path) -> None:
    hold_at_every_size(SplitByBatch(), tmp_path)


class NormalisedBySizes(nn.Module):
    """Stands for a decoder that holds the shapes of its levels in a tensor, beside numbers of its own."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        sizes = [image.shape[2:], image[:, :, ::2, ::2].shape[2:], (3, image.shape[1])]
        shapes = torch.as_tensor(sizes, dtype=torch.long)
        starts = torch.cat((shapes.new_zeros((1,)), shapes.prod(1).cumsum(0)[:-1]))
        scale = torch.tensor([image.shape[0] / 2, 1.0]) + image.new_tensor([image.shape[2], 2])
        return image * shapes[1, 0] / scale[0] + starts[2] - scale[1]


def test_a_tensor_of_sizes_holds_at_every_size(tmp_path: Path) -> None:
    hold_at_every_size(NormalisedBySizes(), tmp_path)


def test_what_torch_cannot_solve_for_a_size_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsolvable(_: DimConstraints) -> None:  # as sympy is at the sizes of YOLOv9t
        raise NotImplementedError("The inequality, Eq(x/16 - 2*(((x/4)//8)), 0), cannot be solved")

    monkeypatch.setattr(DimConstraints, "solve", unsolvable)
    assert trace(target_of(Small()), Small().eval(), tmp_path / "m.onnx", opset=17).axes == target_of(Small()).axes
    assert DimConstraints.solve is unsolvable


@pytest.mark.parametrize("dim", [1, -2, (1, 2)], ids=str)
def test_a_squeeze_leaves_what_is_not_one(dim: int | tuple[int, ...], tmp_path: Path) -> None:
    class Squeezes(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.squeeze(dim) * 2

    trace(target_of(Squeezes()), Squeezes(), tmp_path / "m.onnx", opset=17)
    assert [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node] == ["Mul"]


@pytest.mark.parametrize(("is_branch", "sizes"), [(False, {"batch": 8, "height": 16, "width": 16}), (True, None)])
def test_what_an_operator_asks_of_small_maps_is_traced_at_the_largest_sizes(
    is_branch: bool, sizes: dict[str, int] | None
) -> None:
    height = sympy.Symbol("height", integer=True, positive=True)
    guard = Guard(sympy.Lt(height, 16), "net.py:3 `x = self.stages(x)`", is_branch=is_branch)
    assert _other_sizes(target_of(Small()), Violation(guard, "height", (4, 8))) == sizes
