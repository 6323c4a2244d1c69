"""The precision that a kernel computes in, as its name spells it.

NVIDIA's libraries put types into the names of kernels in these ways:

| name | types |
| --- | --- |
| ``sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n`` | pairs: what is read and written, then what is multiplied and summed up |
| ``depthwiseConv_fp32fp32``, ``pooling_fw_4d_FP16FP32NHWC`` | the same in other words |
| ``ampere_h16816gemm``, ``ampere_fp16_s16816gemm_fp16`` | a type, or a type's letter, before the product |
| ``pooling_nd_NCDHW_kAVERAGE_..._kFLOAT_0`` | TensorRT's own word for a type |

Kernels that TensorRT generates (``__myl_...``) name no type.
"""

from __future__ import annotations

import re

from ...core.precision import FP16, FP32, INT8, PRECISIONS, TF32

_TYPES = {word: row.name for row in PRECISIONS.values() for word in row.kernel_words}
_LONGEST_FIRST = sorted(_TYPES, key=len, reverse=True)
_NAMES, _OWN = ("|".join(word for word in _LONGEST_FIRST if word.startswith("k") == own) for own in (False, True))
_PAIR = re.compile(rf"(?<![a-z0-9])({_NAMES})(?:{_NAMES}|f64|i32)(?!\d)")
_PRODUCT = re.compile(rf"(?<![a-z0-9])(?:({_NAMES})_)?([shi])(\d*)(tf32)?(?:gemm|cudnn|fprop)")
_WORD = re.compile(rf"(?<![a-z0-9])({_OWN})(?![a-z0-9])")


def kernel_precision(name: str) -> str:
    """Return the name of the precision; "" if the kernel's name does not spell it.

    It is the type of the factors: a kernel that reads float32 and multiplies in tf32 computes in tf32.
    """
    text = name.lower()
    pairs = [_TYPES[found] for found in _PAIR.findall(text)]
    if pairs:
        return TF32 if TF32 in pairs else pairs[0]
    if product := _PRODUCT.search(text):
        return _of_product(*product.groups(default=""))
    word = _WORD.search(text)
    return _TYPES[word[1]] if word else ""


def _of_product(kind: str, letter: str, shape: str, tf32: str) -> str:
    """Return the precision of a product: ``letter`` is the sum's type, ``shape`` the tensor core's instruction.

    A float32 sum on a tensor core (``s16816gemm``) does not tell of what, unless a type stands before it. The type
    before a sum of integers (``fp32_icudnn_int8x4``) is that of the output.
    """
    if letter == "i":
        return INT8
    if tf32 or kind:
        return _TYPES[tf32 or kind]
    return FP16 if letter == "h" else "" if shape else FP32
