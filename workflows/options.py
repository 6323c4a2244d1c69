"""The options of the verbs beyond the target and its sizes: one frozen object for each topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.arguments import checked, require_seed
from ..core.graph_io import IO
from ..core.precision import (
    BF16,
    CAST,
    FP32,
    INTEGERS,
    PRECISIONS,
    QUANTISED,
    TRIED,
    on_levels_of,
    parse_precisions,
    require_budget,
)
from ..engines.calibration import METHODS, MINMAX
from ..errors import InputError
from ..export.modelopt_placement import MODELOPT, RULES, require_modelopt

AUTO = "auto"
# Who places pairs between products.
PLACEMENTS = (RULES, MODELOPT)
# The precisions that have a use for an option.
ONLY_FOR = {
    "calibrate": frozenset(QUANTISED),
    "calibration": frozenset(INTEGERS),
    "keep-fp32": frozenset({*CAST, *QUANTISED}),
    "placement": frozenset(name for name, row in PRECISIONS.items() if row.is_placed),
}


@checked
@dataclass(frozen=True, kw_only=True)
class Weights:
    """The source of a module's weights.

    Attributes:
        seed: Draws random weights, and the inputs that a verdict is made on.
        pretrained: Take the backbone's published weights.
        checkpoint: A file, ``FILE#entry`` for one of its sets of weights, or ``hf-hub:owner/name``.
        random: Draw the weights of the caller's own module, or own block in a backbone, from the seed, scaled layer by
            layer, in place of those that it was made with. What needs no gradient in it stays.
        trust: Read a target that is a pickle, as ``ultralytics:best.pt``, or may hold one, as ``net.pt2``: whatever
            code its author put into it runs.
    """

    seed: int = 0
    pretrained: bool = False
    checkpoint: Path | str | None = None
    random: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        require_seed(self.seed)

    def require_of_module(self) -> None:
        """Raise InputError for a source of weights other than the caller's own module, which holds its weights."""
        for name, value in (("checkpoint", self.checkpoint), ("pretrained", self.pretrained or None)):
            if value is not None:
                raise InputError(
                    f"received Weights({name}={value!r}) with a module; expected it with a TARGET by name; load them "
                    "into the module, by its load_state_dict"
                )


@checked
@dataclass(frozen=True, kw_only=True)
class Judging:
    """The way in which ``deploy`` comes to its verdict.

    Attributes:
        verdict: False leaves the numbers unjudged and builds no plan, as ``export_bundle`` does.
        max_error: Replaces the relative L2 error that outputs may have: 1e-5, tf32 and fp16 1e-2, bf16 5e-2, int8 and
            fp8 1e-1.
        inputs: A folder of photographs to judge on as well.
        allow_float32_truth: Take a comparison with PyTorch's float32 for a pass if float64 cannot run the module.
    """

    verdict: bool = True
    max_error: float | None = None
    inputs: Path | str | None = None
    allow_float32_truth: bool = False

    def __post_init__(self) -> None:
        require_budget(self.max_error)

    @property
    def photographs(self) -> Path | None:
        """The folder of photographs to judge on as well."""
        return None if self.inputs is None else Path(self.inputs)


@checked
@dataclass(frozen=True, kw_only=True)
class PrecisionRequest:
    """The precisions below float32 to write graphs in, and how they are written. There is always a float32 graph.

    Attributes:
        precisions: Names of fp32, tf32, fp16, bf16, int8, int8-fp16 and fp8, as text (``"fp32,fp16"``) or a sequence.
            ``"auto"`` chooses the fewest bits whose verdict passes.
        keep_fp32: Globs over the paths of modules that stay in float32, with everything inside.
        calibrate: A folder of photographs or a file of tensors that int8 and fp8 find their ranges on. By default they
            find them on the cases with ordinary inputs.
        calibration: The method by which int8 finds its ranges: minmax (the default), percentile or entropy.
        io: The type of float inputs and outputs: ``"fp32"`` in every graph, or ``"fp16"`` in those of fp16 and
            int8-fp16; the cases then have rounded inputs.
        placement: What places the pairs of int8-fp16: ``"rules"``, those of docs/int8.md, or ``"modelopt"``.

    Raises:
        InputError: A precision or method is unknown, or an option is for a precision that is not there.
    """

    precisions: str | Sequence[str] = FP32
    keep_fp32: Sequence[str] = ()
    calibrate: Path | str | None = None
    calibration: str | None = None
    io: str = FP32
    placement: str = RULES

    def __post_init__(self) -> None:
        self._check_io()
        self._check_placement()
        if self.chooses and not {*self._names} <= {AUTO, FP32}:
            raise InputError(
                f"received precision {','.join(self._names)}; expected {AUTO} alone, which chooses one; leave the "
                "others out"
            )
        lower = {*self.lower}
        if self.keep_fp32 and not lower & ONLY_FOR["keep-fp32"]:
            raise InputError(
                f"received --keep-fp32 {self.keep_fp32[0]!r} with {next(iter(lower), 'float32')} alone; expected a "
                "lower precision to keep it out of; add --precision fp32,fp16"
            )
        for option, value in (("calibrate", self.calibrate), ("calibration", self.calibration)):
            if value is not None and not ONLY_FOR[option] & lower:
                able = [name for name in PRECISIONS if name in ONLY_FOR[option]]
                raise InputError(
                    f"received --{option} {value} without {' or '.join(able)}; expected a precision whose ranges it is "
                    "for; add --precision fp32,int8"
                )
        if self.calibration is not None and self.calibration not in METHODS:
            raise InputError(f"received --calibration {self.calibration!r}; expected {', '.join(METHODS)}; choose one")

    def _check_io(self) -> None:
        if self.io not in IO:
            only = "; NumPy and ONNX Runtime's CPU provider have no bfloat16 to feed a graph with" * (self.io == BF16)
            raise InputError(f"received --io {self.io}; expected {' or '.join(IO)}{only}")
        if self.io != FP32 and self.chooses:
            raise InputError(
                f"received --io {self.io} with precision {AUTO}, which may choose another graph, whose inputs are "
                f"float32; name the precision: --precision fp32,{self.io}"
            )
        able = [name for name, row in PRECISIONS.items() if self.io in (name, row.rest)]
        if self.io != FP32 and not {*able} & {*self.lower}:
            have = ", ".join([FP32, *self.lower])
            raise InputError(
                f"received --io {self.io} with precision {have}; expected a graph in {' or '.join(able)}: every other "
                f"one keeps float32 inputs; add --precision fp32,{self.io}"
            )

    def _check_placement(self) -> None:
        if self.placement not in PLACEMENTS:
            raise InputError(f"received --placement {self.placement}; expected {' or '.join(PLACEMENTS)}")
        able = ONLY_FOR["placement"]
        if self.placement != RULES and not able & {*self.lower}:
            have = ", ".join([FP32, *self.lower])
            raise InputError(
                f"received --placement {self.placement} with precision {have}; expected {' or '.join(able)}, the only "
                f"one with pairs between products; add --precision fp32,{min(able)}"
            )
        if self.placement == MODELOPT:
            require_modelopt()

    def io_of(self, precision: str) -> str:
        """Return the type of the float inputs and outputs of the graph of this precision."""
        return PRECISIONS[self.io if self.io in (precision, PRECISIONS[precision].rest) else FP32].dtype

    @property
    def fed_in(self) -> str:
        """The type whose numbers the judged inputs are."""
        return PRECISIONS[self.io].dtype

    @classmethod
    def of(cls, precision: str | Sequence[str] | PrecisionRequest) -> PrecisionRequest:
        """Return the request that a ``precision`` keyword stands for."""
        return precision if isinstance(precision, cls) else cls(precisions=precision)  # type: ignore[arg-type]

    def beside(self, own: str, name: str) -> PrecisionRequest:
        """Return what is left to write of a module that computes in the precision ``own`` itself: the same levels with
        another precision between them.

        Raises InputError if more was asked for; ``name`` is the target's.
        """
        if own == FP32:
            return self
        rests = on_levels_of(own)
        left = [] if self.chooses else [one for one in self.lower if one in rests]
        asked = [*self._names] if self.chooses else [one for one in self.lower if one not in (own, *rests)]
        options = {"--calibrate": self.calibrate, "--calibration": self.calibration}
        given = [option for option, value in options.items() if value is not None]
        given += ["--placement"] * (self.placement != RULES)
        given += ["--keep-fp32"] * (bool(self.keep_fp32) and not left)
        if asked or given:
            what = f"--precision {','.join(asked)}" if asked else given[0]
            raise InputError(
                f"received {what} with {name}, which quantises itself: its graph computes in {PRECISIONS[own].words}, "
                f"on levels of its own; expected no precision beside it but {' or '.join(rests)}; "
                f"leave {what.split()[-1]} out"
            )
        return replace(self, precisions=left) if left else PrecisionRequest()

    def require_verdict(self, there_is_one: bool) -> None:
        """Raise InputError if one of the precisions is to be chosen without a verdict."""
        if self.chooses and not there_is_one:
            raise InputError(
                "received precision auto without a verdict, which is what chooses; expected attn2trt deploy; name a "
                "precision, as --precision fp32,fp16"
            )

    @property
    def chooses(self) -> bool:
        """True if one of the ``lower`` precisions is to be chosen, or none."""
        return AUTO in self._names

    @property
    def lower(self) -> tuple[str, ...]:
        """The precisions below float32: those asked for, or those to try, in this order."""
        return TRIED if self.chooses else parse_precisions(self._names)

    @property
    def method(self) -> str:
        """The method by which int8 finds its ranges."""
        return self.calibration or MINMAX

    @property
    def key(self) -> list[Any]:
        """The part of a bundle's key that is about precisions; empty if float32 is alone."""
        if not self.lower:
            return []
        method = [self.method] if {*INTEGERS} & {*self.lower} else []
        io = [f"io {self.io}"] if self.io != FP32 else []
        io += [f"placement {self.placement}"] if self.placement != RULES else []
        return [[*self.lower], [*self.keep_fp32], *method, *([AUTO] if self.chooses else []), *io]

    @property
    def _names(self) -> list[str]:
        asked = self.precisions.split(",") if isinstance(self.precisions, str) else self.precisions
        return [name.strip().lower() for name in asked]
