"""A CUDA device through the driver's own C interface: memory, copies, streams. No CUDA toolkit, no PyTorch.

The driver is asked before TensorRT is touched: without a device TensorRT ends the process. The device's primary context
is the one that TensorRT uses as well.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CheckFailed, MissingRequirement

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NAME, _MAJOR, _MINOR = 128, 75, 76  # bytes; CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_OUT_OF_MEMORY = 2
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile is not captured, nor refused
NO_DEVICE = "run on a machine with an NVIDIA GPU and its driver"


class Device:
    """The first device, made current in this thread; its memory is freed when the ``with`` statement ends.

    Raises MissingRequirement if there is no driver or no device.
    """

    def __init__(self) -> None:
        try:
            self._cuda: Any = ctypes.CDLL(LIBRARY)
        except OSError:
            raise MissingRequirement(f"there is no NVIDIA driver ({LIBRARY}); {NO_DEVICE}") from None
        if code := self._cuda.cuInit(0):
            raise MissingRequirement(f"the NVIDIA driver does not start (cuInit error {code}); {NO_DEVICE}")
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if not count.value:
            raise MissingRequirement(f"the NVIDIA driver finds no device; {NO_DEVICE}")
        self._handle = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._handle), 0)
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._handle)
        self._call("cuCtxSetCurrent", self._context)
        self._releases: list[Callable[[], object]] = []

    @property
    def name(self) -> str:
        """Return the name that the driver has for the GPU."""
        said = ctypes.create_string_buffer(_NAME)
        self._call("cuDeviceGetName", said, _NAME, self._handle)
        return said.value.decode(errors="replace")

    @property
    def capability(self) -> str:
        """The compute capability, as ``9.0``."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, self._handle)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, self._handle)
        return f"{major.value}.{minor.value}"

    @property
    def driver(self) -> str:
        """The newest CUDA that the driver knows, as ``13.0``."""
        number = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._releases:
            self._releases.pop()()
        self._cuda.cuDevicePrimaryCtxRelease_v2(self._handle)

    def stream(self) -> Stream:
        """A new stream."""
        handle = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(handle), 1)  # CU_STREAM_NON_BLOCKING
        self._releases.append(lambda: self._cuda.cuStreamDestroy_v2(handle))
        return Stream(self, int(handle.value or 0))

    def event(self) -> Event:
        """A new point in time of a stream."""
        handle = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(handle), 0)
        self._releases.append(lambda: self._cuda.cuEventDestroy_v2(handle))
        return Event(self, int(handle.value or 0))

    def graph(self, stream: Stream, enqueue: Callable[[], object]) -> Graph:
        """Capture what ``enqueue`` puts into the stream as a CUDA graph; nothing of it is run."""
        captured, ready = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream.handle), _THREAD_LOCAL)
        try:
            enqueue()
        finally:
            # a stream that is left capturing refuses everything else
            self._call("cuStreamEndCapture", ctypes.c_void_p(stream.handle), ctypes.byref(captured))
        self._releases.append(lambda: self._cuda.cuGraphDestroy(captured))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(ready), captured, ctypes.c_ulonglong(0))
        self._releases.append(lambda: self._cuda.cuGraphExecDestroy(ready))
        return Graph(self, int(ready.value or 0))

    def buffer(self, size: int) -> Buffer:
        """``size`` bytes on the device, and as many pinned ones on the host to copy through."""
        device, host = self.memory(size), ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(host), ctypes.c_size_t(size), 0)
        self._releases.append(lambda: self._cuda.cuMemFreeHost(host))
        pinned = (ctypes.c_ubyte * size).from_address(int(host.value or 0))
        return Buffer(device, np.ctypeslib.as_array(pinned))

    def memory(self, size: int) -> int:
        """Return the address of ``size`` bytes on the device alone."""
        found = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(found), ctypes.c_size_t(size))
        self._releases.append(lambda: self._cuda.cuMemFree_v2(found))
        return int(found.value)

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._cuda, function)(*arguments)
        if code:
            said = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(said))
            reason = (said.value or b"unknown").decode(errors="replace")
            fix = "; free memory of the GPU or use smaller shapes" if code == _OUT_OF_MEMORY else ""
            raise CheckFailed(f"the CUDA driver's {function} failed: {reason} (error {code}){fix}")


class Buffer:
    """Memory on the device at ``address``, with a pinned copy of it on the host."""

    def __init__(self, address: int, pinned: npt.NDArray[np.uint8]) -> None:
        self.address = address
        self.pinned = pinned

    @property
    def size(self) -> int:
        """Bytes."""
        return self.pinned.size

    def host(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The beginning of the pinned memory as an array."""
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        return self.pinned[:count].view(dtype).reshape(shape)


class Stream:
    """A queue of copies and kernels; nothing is known to be done before ``synchronize`` returns."""

    def __init__(self, device: Device, handle: int) -> None:
        self._device = device
        self.handle = handle

    def to_device(self, buffer: Buffer, size: int) -> None:
        """Copy the first ``size`` bytes of the pinned memory."""
        address, pinned = ctypes.c_uint64(buffer.address), ctypes.c_void_p(buffer.pinned.ctypes.data)
        self._device._call("cuMemcpyHtoDAsync_v2", address, pinned, ctypes.c_size_t(size), ctypes.c_void_p(self.handle))

    def to_host(self, buffer: Buffer, size: int) -> None:
        """Copy the first ``size`` bytes back."""
        address, pinned = ctypes.c_uint64(buffer.address), ctypes.c_void_p(buffer.pinned.ctypes.data)
        self._device._call("cuMemcpyDtoHAsync_v2", pinned, address, ctypes.c_size_t(size), ctypes.c_void_p(self.handle))

    def copy(self, given: int, to: int, size: int) -> None:
        """Copy ``size`` bytes from one address on the device to another."""
        addresses = ctypes.c_uint64(to), ctypes.c_uint64(given)
        self._device._call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(size), ctypes.c_void_p(self.handle))

    def synchronize(self) -> None:
        """Wait for everything; an error of a kernel shows here."""
        self._device._call("cuStreamSynchronize", ctypes.c_void_p(self.handle))


class Event:
    """A point in time of a stream, by the device's own clock."""

    def __init__(self, device: Device, handle: int) -> None:
        self._device = device
        self._handle = handle

    def record(self, stream: Stream) -> None:
        """The time when the stream comes here."""
        self._device._call("cuEventRecord", ctypes.c_void_p(self._handle), ctypes.c_void_p(stream.handle))

    def nanoseconds_since(self, earlier: Event) -> int:
        """Between two that the stream has passed; the clock counts half microseconds."""
        found = ctypes.c_float()
        handles = ctypes.c_void_p(earlier._handle), ctypes.c_void_p(self._handle)
        self._device._call("cuEventElapsedTime", ctypes.byref(found), *handles)
        return round(found.value * 1e6)


class Graph:
    """Kernels that are put into a stream all at once."""

    def __init__(self, device: Device, handle: int) -> None:
        self._device = device
        self._handle = handle

    def launch(self, stream: Stream) -> None:
        """Put them there."""
        self._device._call("cuGraphLaunch", ctypes.c_void_p(self._handle), ctypes.c_void_p(stream.handle))
