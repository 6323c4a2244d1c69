"""Seeded weights that make a check worth something.

A fresh network hides errors: its normalisations have mean 0 and variance 1 whatever flows through them, zeroed
gammas switch whole branches off, and its gates all stand at 0.5. Here every weight is drawn from the seed and then
scaled by what reaches it in one forward pass (layer-sequential unit variance, Mishkin and Matas, ICLR 2016,
https://arxiv.org/abs/1511.06422), so that activations and logits stay of order 1 and gates spread over (0.1, 0.9):

- convolution, linear: root mean square of the output 1; the sign of each output channel chosen so that the means
  alternate, or that seven of eight are positive if no image changes the sign, as behind a squeeze (a ReLU would shut
  the others for all images); bias normal with deviation 0.3. One whose weight is read without a call, as of EVA's
  joint q, k and v, is scaled by the size of its kernel instead;
- batch normalisation, a frozen one as well: mean and variance of its input, each off by some percent; other
  normalisations and both:
  scale uniform in 0.6 to 1.4, shift normal with deviation 0.2. Behind a pooling two images make two numbers a channel.
  One whose two are close is then blown up by a third image, and the next layer does so again: a network that gives
  much more for other images is scaled by more of them;
- the last normalisation of a residual branch: scale uniform in 0.1 to 0.3, as in trained networks. At full scale a
  deep random network is chaotic: float32 itself then loses up to 1e-1, and a check against it says nothing. If a
  branch multiplies its input without a gate, even so the network overflows on a loud image or a black one: the
  scales are then divided by four until it does not;
- one whose output changes far more than an image that it was not scaled by is chaotic as well, as where attentions
  sharpen each other's softmaxes: more images scale it, and then the same scales are divided until it is not;
- what follows that normalisation in the branch, an attention block: its last layer is scaled down until the block gives
  no more than it gets. An attention that undoes the small scale makes the network chaotic all the same: each block
  sharpens the softmaxes of the next;
- a residual unit inside of what a residual block applies, which adds its last layer's output to what it gets: so scaled
  that it adds a fifth of that. With full units in every block the network is chaotic whatever the branches count for;
- in a deep network without such branches the shifts lie around 1, since each ReLU of a centred value multiplies a
  rounding error by 1.2 (Yang et al., ICLR 2019, https://arxiv.org/abs/1902.08129), which 30 layers make 200;
- a weight of a module's own that starts at zero, the scale of a gate: as a normalisation's;
- any other parameter that starts at or near a constant (layer scale, a class token): normal around it, deviation 0.2.

The pass runs in float64, or in float32 if the forward takes nothing else. What is taken from it is rounded to 12 bits,
so that every build gives the same bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

_SCALED = (_ConvNd, nn.Linear)
DEEP = 20  # normalisations, from which on a network without shortcuts is
# How much larger an output may be at LOUD times the example, or where the example is all zeros.
LOUD, GROWTH = 16.0, 1e5
SHRINKS = 4
ADDED = 0.2  # of what it gets, that a residual unit inside of a residual block adds: as much as a branch
# How much larger it may be for ordinary inputs that its normalisations took no statistics of. Most networks make less
# than 40 of it; those in which float32 loses its digits make 57 and more.
UNSEEN = 50.0
# How many times as much as its input, relative to their sizes, an output may change there. Most networks stay below 50,
# and up to 110 float32 lost 2e-4 of one; above 400 it lost up to 7e-2, where a graph may lose 1e-3. A step that float32
# does not see, so that a choice between scores seldom changes with it.
CHAOS, STEP = 200.0, 2.0**-30


def randomise(
    model: nn.Module,
    example: Sequence[Tensor],
    *,
    seed: int,
    only: Collection[nn.Module] | None = None,
    keep: Collection[nn.Module] = (),
    more: Sequence[Tensor] = (),
) -> None:
    """Fill a model with seeded weights in place; it comes back in eval mode and in float32.

    Args:
        model: The model.
        example: Inputs of its forward, by which the weights are scaled layer by layer.
        seed: Draws the weights.
        only: The sub-modules to fill; None fills all.
        keep: Sub-modules whose own weights stay as they are.
        more: The same inputs with more rows, which takes longer: the example instead, if it turns out to be too few for
            the batch normalisations.
    """
    generator = torch.Generator().manual_seed(seed)
    roots = [model] if only is None else list(only)
    parts = list(dict.fromkeys(part for root in roots for part in root.modules() if part not in keep))
    model.eval().double()
    branch_ends = set(_branch_ends(model))
    is_plain = not branch_ends and sum(map(_is_norm, model.modules())) > DEEP
    with torch.no_grad():
        for part in parts:
            _draw(part, generator, is_branch_end=part in branch_ends)
            if is_plain and isinstance(part, _BatchNorm) and part.affine:
                part.bias.add_(1.0)
        inputs, others = ([x.double() if x.is_floating_point() else x for x in given] for given in (example, more))
        try:
            usual = _calibrate_all(model, parts, branch_ends, inputs, generator)
        except Exception:  # a forward that makes float32 by itself, as a grid
            model.float()
            inputs, others = list(example), list(more)
            usual = _calibrate_all(model, parts, branch_ends, inputs, generator)
        if others and any(map(_has_statistics, parts)):
            as_many = [x[: len(few)] for x, few in zip(others, inputs, strict=True)]  # all of them take long
            if _largest(model(*as_many)) > UNSEEN * usual or not _is_steady(model, inputs):
                inputs = others
                usual = _calibrate_all(model, parts, branch_ends, inputs, generator)
        for _ in range(SHRINKS):
            ends = [part for part in parts if part in branch_ends]
            if not ends or (_is_tame(model, inputs, usual) and (inputs is not others or _is_steady(model, inputs))):
                break
            for part in ends:
                for parameter in part.parameters(recurse=False):
                    parameter.mul_(0.25)
            usual = _calibrate_all(model, parts, branch_ends, inputs, generator)
    model.float()


def _calibrate_all(
    model: nn.Module,
    parts: Collection[nn.Module],
    branch_ends: Collection[nn.Module],
    inputs: Sequence[Tensor],
    generator: torch.Generator,
) -> float:
    """Every part in turn, in one pass; returns the largest magnitude of the output."""
    calibrated: dict[nn.Module, float] = {}
    handles = [handle for part in parts for handle in _calibrate(part, calibrated, generator)]
    scaled = [part for part in parts if _is_scaled(part)]
    handles += _Units(scaled).hooks(model, branch_ends)
    handles += [handle for end in branch_ends for handle in _Tail(end, scaled).hooks(model)]
    try:
        return _largest(model(*inputs))
    finally:
        for handle in handles:
            handle.remove()


def _is_tame(model: nn.Module, inputs: Sequence[Tensor], usual: float) -> bool:
    """Return True if loud inputs, and inputs of zeros, leave the output within ``GROWTH`` times the ``usual``."""

    def at(factor: float) -> float:
        return _largest(model(*(x * factor if x.is_floating_point() else x for x in inputs)))

    return max(at(LOUD), at(0.0)) <= GROWTH * usual


def _is_steady(model: nn.Module, inputs: Sequence[Tensor]) -> bool:
    """Return True if no row of the outputs changes more than ``CHAOS`` times as much as the inputs.

    They are negated: the model was scaled by them as they are, and noise around zero is as ordinary negated.
    """

    def at(factor: float) -> list[Tensor]:
        outputs = model(*(x * factor if x.is_floating_point() else x for x in inputs))
        return [leaf.reshape(len(leaf), -1) if leaf.ndim else leaf.reshape(1, 1) for leaf in _floats(outputs)]

    pairs = zip(at(-1.0), at(-1.0 - STEP), strict=True)
    return all(bool(((y - x).norm(dim=1) <= CHAOS * STEP * x.norm(dim=1)).all()) for x, y in pairs)


def _largest(outputs: Any) -> float:
    """Return the largest magnitude of all tensors; infinite if one is not finite."""
    return max((float(leaf.abs().max().nan_to_num(nan=torch.inf)) for leaf in _floats(outputs)), default=0.0)


def _floats(outputs: Any) -> list[Tensor]:
    """Return the tensors of real numbers among the outputs, but for empty ones."""
    leaves = (leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor))
    return [leaf for leaf in leaves if leaf.is_floating_point() and leaf.numel()]


def _branch_ends(model: nn.Module) -> Iterable[nn.Module]:
    """The last normalisation of each residual branch: zeroed by its builder, or the last in a block that timm marks."""
    for part in model.modules():
        weight = getattr(part, "weight", None)
        if _is_norm(part) and isinstance(weight, Tensor) and not bool(weight.any()):
            yield part
        elif getattr(part, "has_skip", False):
            yield from [child for child in part.children() if _is_norm(child)][-1:]


class _Tail:
    """The modules that a residual block applies one after the other to its branch, behind the last normalisation.

    One that gives more than it gets is scaled down by its last layer, of those that are ``scaled``.
    """

    def __init__(self, end: nn.Module, scaled: Collection[nn.Module]) -> None:
        self._end, self._scaled = end, scaled
        self._branch: Any = None
        self._last: nn.Module | None = None

    def hooks(self, model: nn.Module) -> Iterable[Any]:
        """Register what follows the branch through its block; yields the handles."""
        block = next((part for part in model.modules() if self._end in part.children()), None)
        yield self._end.register_forward_hook(self._begin)
        for child in block.children() if block is not None else ():
            if child is self._end:
                continue
            for part in child.modules():
                if part in self._scaled:
                    yield part.register_forward_hook(self._note)
            yield child.register_forward_hook(self._follow)

    def _begin(self, _end: nn.Module, _args: Any, output: Any) -> None:
        self._branch, self._last = output, None

    def _note(self, part: nn.Module, _args: Any, _output: Any) -> None:
        self._last = part

    def _follow(self, child: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        last, self._last = self._last, None
        if self._branch is None or not args or args[0] is not self._branch or not isinstance(output, Tensor):
            return output
        growth = float((output.square().mean() / args[0].square().mean()).sqrt())
        if last is not None and growth > 1.0:
            for parameter in last.parameters(recurse=False):
                parameter.mul_(_round(torch.tensor(1.0 / growth, dtype=torch.float64)))
            output = child.forward(*args)
        self._branch = output
        return output


class _Units:
    """The residual units inside of what residual blocks apply, each shrunk by its last layer, of those ``scaled``."""

    def __init__(self, scaled: Sequence[nn.Module]) -> None:
        self._scaled = scaled
        self._last: nn.Module | None = None
        self._added: Any = None

    def hooks(self, model: nn.Module, branch_ends: Collection[nn.Module]) -> Iterable[Any]:
        """Register all of them; yields the handles."""
        blocks = [part for part in model.modules() if hasattr(part, "has_skip") or {*part.children()} & {*branch_ends}]
        children = dict.fromkeys(child for block in blocks for child in block.children())
        inside = dict.fromkeys(part for child in children for part in child.modules() if part not in children)
        units = [part for part in inside if any(True for _ in part.children())]
        for layer in self._scaled if units else ():
            yield layer.register_forward_hook(self._note)
        for unit in units:
            yield unit.register_forward_hook(self._shrink)

    def _note(self, layer: nn.Module, _args: Any, output: Tensor) -> None:
        self._last, self._added = layer, output

    def _shrink(self, _unit: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        layer, added = self._last, self._added
        if layer is None or not args or not all(isinstance(value, Tensor) for value in (args[0], output)):
            return output
        x = args[0]
        if not x.shape == output.shape == added.shape or not torch.equal(output, x + added):
            return output
        growth = float((added.square().mean() / x.square().mean()).sqrt())
        if growth > ADDED:
            factor = _round(torch.tensor(ADDED / growth, dtype=torch.float64))
            for parameter in layer.parameters(recurse=False):
                parameter.mul_(factor)
            output = x + added * factor
        return output


def _draw(part: nn.Module, generator: torch.Generator, *, is_branch_end: bool) -> None:
    # a frozen normalisation has its scale and shift as buffers
    own: dict[str, Any] = dict(part.named_buffers(recurse=False)) if _has_statistics(part) else {}
    own |= dict(part.named_parameters(recurse=False))
    if _is_scaled(part):
        _normal(own["weight"], 0.0, 1.0, generator)
        own["weight"].mul_(_of_kernel(own["weight"]))
        if "bias" in own:
            _normal(own["bias"], 0.0, 0.3, generator)
    elif _is_norm(part):
        if "weight" in own:
            low, high = (0.1, 0.3) if is_branch_end else (0.6, 1.4)
            _uniform(own["weight"], low, high, generator)
        if "bias" in own:
            _normal(own["bias"], 0.0, 0.2, generator)
    drawn = {"weight", "bias"} if _is_scaled(part) or _is_norm(part) else set()
    for name, parameter in part.named_parameters(recurse=False):
        if name in drawn:
            continue
        if name.endswith("weight") and not bool(parameter.any()):
            _uniform(parameter, 0.6, 1.4, generator)
        elif parameter.numel() and parameter.max() - parameter.min() < 1e-3:
            _normal(parameter, float(parameter.mean()), 0.2, generator)


def _of_kernel(weight: Tensor) -> float:
    """Return the power of two next to 1/sqrt(values that an output sums up), which changes no bit of what is scaled."""
    return 2.0 ** -round(math.log2(max(weight[:1].numel(), 1)) / 2)


def _calibrate(part: nn.Module, calibrated: dict[nn.Module, float], generator: torch.Generator) -> Iterable[Any]:
    if _is_scaled(part):
        yield part.register_forward_hook(functools.partial(_scale_output, calibrated))
    elif _has_statistics(part):
        yield part.register_forward_pre_hook(functools.partial(_take_statistics, calibrated, generator))


def _scale_output(calibrated: dict[nn.Module, float], part: Any, args: Any, output: Tensor) -> Tensor:
    """Scale the weight by its output. A module that is called again (a shared MLP) keeps the larger call at 1."""
    bias = part.bias.reshape(_channel_shape(part, output)) if part.bias is not None else 0.0
    raw = output - bias
    size = float(raw.square().mean().sqrt())
    if not size > 0.0 or (part in calibrated and size <= 1.0):  # of no numbers it is NaN
        return output
    scale = _round(torch.tensor(1.0 / size, dtype=torch.float64))
    if part not in calibrated and not isinstance(part, torch.nn.modules.conv._ConvTransposeNd):
        signs = _signs(raw.movedim(_channel(part, raw), 0).reshape(len(part.weight), -1)).to(raw.dtype)
        part.weight.mul_(signs.reshape(-1, *[1] * (part.weight.ndim - 1)))
        raw = raw * signs.reshape(_channel_shape(part, output))
    calibrated[part] = size
    part.weight.mul_(scale)
    if hasattr(part, "gain"):  # of a weight that is standardised, whose own scale is lost
        part.gain.mul_(scale)
        output = part.forward(*args)
    else:
        output = raw * scale + bias
    return output


def _signs(raw: Tensor) -> Tensor:
    """Return the sign, 1 or -1, by which each channel of ``raw``, (channels, values), is multiplied: (channels,).

    Every second mean becomes negative. Of channels that have one sign for all images only every eighth does, from the
    second on: a ReLU shuts it for all of them, which hides its weights but shows a ReLU that is left out.
    """
    means = raw.mean(1)
    wanted = torch.ones_like(means)
    wanted[1::2] = -1.0
    same_sign = (raw.amin(1) > 0) | (raw.amax(1) < 0)
    same_sign[1::8] = False
    wanted[same_sign] = 1.0
    return torch.where(means * wanted < 0, -1.0, 1.0)


def _take_statistics(
    calibrated: dict[nn.Module, float], generator: torch.Generator, part: Any, args: tuple[Tensor, ...]
) -> None:
    if part in calibrated:
        return
    calibrated[part] = 1.0
    x = args[0]
    dims = [dim for dim in range(x.ndim) if dim != 1]
    mean, variance = x.mean(dims), x.var(dims, unbiased=False)
    # few positions make a poor estimate of a channel's variance: the mean over the channels steadies it
    variance = 0.9 * variance + 0.1 * variance.mean() + 1e-3
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    part.running_mean.copy_(_round(mean + 0.1 * noise * variance.sqrt()))
    part.running_var.copy_(_round(variance * torch.exp(0.1 * noise.flip(0))))


def _has_statistics(part: nn.Module) -> bool:
    """Return True for a normalisation by statistics that it holds: a batch normalisation, also a frozen one."""
    buffers = dict(part.named_buffers(recurse=False))
    return all(isinstance(buffers.get(name), Tensor) for name in ("running_mean", "running_var"))


def _channel(part: Any, output: Tensor) -> int:
    """Return the dimension of a layer's channels; what a convolution takes may have no batch."""
    return output.ndim - 1 - (len(part.kernel_size) if isinstance(part, _ConvNd) else 0)


def _channel_shape(part: Any, output: Tensor) -> list[int]:
    return [-1, *[1] * (output.ndim - 1 - _channel(part, output))]


def _round(value: Tensor) -> Tensor:
    """12 bits of mantissa: the last bits of a sum depend on the machine."""
    mantissa, exponent = torch.frexp(value)
    return torch.ldexp((mantissa * 4096).round() / 4096, exponent)


def _is_scaled(part: nn.Module) -> bool:
    """Return True for a layer whose weight is a parameter: one that is computed, as by weight_norm, is left alone."""
    return isinstance(part, _SCALED) and part._parameters.get("weight") is not None


def _is_norm(part: nn.Module) -> bool:
    return isinstance(part, (_BatchNorm, nn.GroupNorm, nn.LayerNorm)) or "norm" in type(part).__name__.lower()


def _normal(parameter: Tensor, mean: float, deviation: float, generator: torch.Generator) -> None:
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation + mean)


def _uniform(parameter: Tensor, low: float, high: float, generator: torch.Generator) -> None:
    parameter.copy_(torch.rand(parameter.shape, generator=generator) * (high - low) + low)
