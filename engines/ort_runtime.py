"""ONNX Runtime, with the provider that was asked for or an error: never another one in silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import CheckFailed, InputError, MissingRequirement, one_line
from .node_times import NodeTimes, read_node_times
from .runtime import Arrays

CPU = "CPUExecutionProvider"
# With this in its environment a process computes float32 on a GPU as float32: cuBLAS, cuDNN and TensorRT otherwise
# round the factors of products to tf32.
FLOAT32_ALONE = {"NVIDIA_TF32_OVERRIDE": "0"}
OPTIMISED = "optimised.onnx"
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
_ERRORS_ONLY = 3
_OF_A_MISSING_KERNEL = (
    "compute it in float32, without .double(), if it is in float64; else deploy the PyTorch module, or export it with "
    "a lower opset"
)


def import_onnxruntime() -> Any:
    """Return the module ``onnxruntime``; raises MissingRequirement if it is not installed or does not load."""
    try:
        import onnxruntime
    except ImportError as error:
        reason = one_line(error)
        raise MissingRequirement(
            f"ONNX Runtime cannot be imported ({reason}); pip install onnxruntime, or ask attn2trt doctor"
        ) from error
    return onnxruntime


class OrtRuntime:
    """A model in ONNX Runtime.

    Args:
        model: The file, or its bytes.
        optimise: Run the graph as production does; else as it is written, node by node.
        provider: The execution provider.
        threads: The number inside one operator; None leaves it to ONNX Runtime.
        spinning: Have idle threads wait by spinning; else they sleep, which leaves the cores to others.
        packs_weights: Hold a second copy of large weights, in the order of the kernels, which saves time in every run.
        profile: A folder: every run notes there what each node took, for ``end_profile``, and the graph as ONNX Runtime
            optimised it is written.

    Raises:
        CheckFailed: ONNX Runtime refuses the model.
        MissingRequirement: It is not installed here, or does not get the provider.
    """

    def __init__(
        self,
        model: Path | str | bytes,
        *,
        optimise: bool = True,
        provider: str = CPU,
        threads: int | None = None,
        spinning: bool = True,
        packs_weights: bool = True,
        profile: Path | None = None,
    ) -> None:
        ort = import_onnxruntime()
        if provider not in ort.get_available_providers():
            raise MissingRequirement(
                f"received provider {provider}; this ONNX Runtime has {', '.join(ort.get_available_providers())}; "
                "run attn2trt doctor"
            )
        if provider != CPU and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA's libraries out of NVIDIA's wheels, which the loader does not find by itself
        options = _options(
            ort,
            provider,
            optimise=optimise,
            threads=threads,
            spinning=spinning,
            packs_weights=packs_weights,
            profile=profile,
        )
        self._session = _open(model, options, provider)
        got = self._session.get_providers()[0]
        if got != provider:
            raise MissingRequirement(
                f"asked ONNX Runtime for {provider} and received {got}: its libraries do not load here; "
                "run attn2trt doctor"
            )
        self.provider = provider
        self.name = f"ONNX Runtime {ort.__version__} ({provider.removesuffix('ExecutionProvider')})"
        self.inputs = tuple(self._session.get_inputs())
        self.output_names = tuple(output.name for output in self._session.get_outputs())

    def __enter__(self) -> OrtRuntime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name. Raises InputError if names, dtypes, ranks or sizes do not fit the graph's inputs."""
        if self._session is None:
            raise RuntimeError(f"{self.name} was closed; run it inside its with-statement")
        check_feeds(feeds, self.inputs)
        outputs = self._session.run(None, _in_order(feeds))
        return dict(zip(self.output_names, outputs, strict=True))

    def prepare(self, sets: Sequence[Arrays]) -> list[Callable[[], object]]:
        """One call for each of the ``sets`` of feeds, all of the same sizes: nothing but the model's own work.

        The feeds are already on the provider's device, and the outputs stay there, each call's in the place of the
        last one's. A call returns when its outputs are there. Raises what ``run`` raises.
        """
        if self._session is None:
            raise RuntimeError(f"{self.name} was closed; run it inside its with-statement")
        outputs: list[Any] = []
        calls: list[Callable[[], object]] = []
        for feeds in sets:
            check_feeds(feeds, self.inputs)
            binding = self._session.io_binding()
            # On the CPU a bound value is the array's own memory, which version 1.23 does not keep alive.
            held = _in_order(feeds)
            for name, value in held.items():
                binding.bind_ortvalue_input(name, self._placed(value))
            if outputs:
                for name, place in zip(self.output_names, outputs, strict=True):
                    binding.bind_ortvalue_output(name, place)
            else:
                for name in self.output_names:
                    binding.bind_output(name, self._device)
                self._session.run_with_iobinding(binding)
                outputs = binding.get_outputs()
            calls.append(self._call(binding, held))
        return calls

    def end_profile(self) -> Path:
        """The file with what every node of every run took until now; runs after it are not noted."""
        return Path(self._session.end_profiling())

    def node_times(self) -> NodeTimes:
        """The time of each node in every call until now; ends the profile."""
        return read_node_times(self.end_profile())

    @property
    def _device(self) -> str:
        return "cpu" if self.provider == CPU else "cuda"

    def _placed(self, value: Any) -> Any:
        import onnxruntime as ort

        return ort.OrtValue.ortvalue_from_numpy(value, self._device)

    def _call(self, binding: Any, held: Arrays) -> Callable[[], object]:
        session, provider = self._session, self.provider

        def call(_held: Arrays = held) -> None:
            session.run_with_iobinding(binding)
            if provider != CPU:
                binding.synchronize_outputs()

        return call


def _options(
    ort: Any,
    provider: str,
    *,
    optimise: bool,
    threads: int | None,
    spinning: bool,
    packs_weights: bool,
    profile: Path | None,
) -> Any:
    """Return the options of a session, which ``OrtRuntime`` describes."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    if threads is not None:
        options.intra_op_num_threads = threads
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not packs_weights:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile / "profile")
        options.optimized_model_filepath = str(profile / OPTIMISED)
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _open(model: Path | str | bytes, options: Any, provider: str) -> Any:
    import onnxruntime as ort

    try:
        return ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=[provider], enable_fallback=0
        )
    except Exception as error:  # its exceptions share no base but Exception
        where = "the model" if isinstance(model, bytes) else f"'{model}'"
        reason = one_line(error, 300)
        if provider != CPU:
            raise MissingRequirement(f"ONNX Runtime cannot run {where} on {provider} alone: {reason}") from error
        advice = _OF_A_MISSING_KERNEL if "NOT_IMPLEMENTED" in reason else "export it again"
        raise CheckFailed(f"ONNX Runtime cannot load {where}: {reason}; {advice}") from error


def _in_order(feeds: Arrays) -> Arrays:
    # not ascontiguousarray, which would make a scalar one-dimensional
    return {name: np.asarray(value, order="C") for name, value in feeds.items()}


def check_feeds(feeds: Arrays, inputs: Any) -> None:
    """Raise InputError for the first feed that is missing, unknown, or of another dtype, rank or size."""
    names = [spec.name for spec in inputs]
    if sorted(feeds) != sorted(names):
        raise InputError(f"received inputs {', '.join(sorted(feeds)) or 'none'}; expected {', '.join(names)}")
    sizes: dict[str, int] = {}
    for spec in inputs:
        value = feeds[spec.name]
        dtype = _DTYPES.get(spec.type, spec.type)
        if str(value.dtype) != dtype:
            raise InputError(f"received input {spec.name} as {value.dtype}; expected {dtype}; convert it with astype")
        expected = "x".join("?" if dim is None else str(dim) for dim in spec.shape)
        fits = len(value.shape) == len(spec.shape) and all(
            _fits(dim, size, sizes) for dim, size in zip(spec.shape, value.shape, strict=True)
        )
        if not fits:
            raise InputError(
                f"received input {spec.name} of shape {'x'.join(map(str, value.shape))}; expected {expected}"
            )


def _fits(dim: int | str | None, size: int, sizes: dict[str, int]) -> bool:
    """A name stands for one size across all inputs; None, and a name of signs alone as ``?``, for any."""
    if isinstance(dim, int):
        return dim == size
    return dim is None or not any(map(str.isalnum, dim)) or sizes.setdefault(dim, size) == size
