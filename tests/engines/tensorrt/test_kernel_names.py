"""Names of real kernels, from engines of TensorRT 8.6 on an H200 and from NVIDIA's own documentation and samples."""

from __future__ import annotations

import pytest

from attn2trt.engines.tensorrt.kernel_names import kernel_precision


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize32x32x8_stage3_warpsize1x2x1_ffma_aligna4_alignc4", "fp32"),
        ("sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize64x32x64_stage5_warpsize2x2x1_tensor16x8x8", "tf32"),
        ("sm90_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x64x64_cgasize4x1x1", "fp16"),
        ("sm80_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x32", "bf16"),
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8f32_i8i32_f32_nchw_vect_c_32kcrs", "int8"),
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32", "int8"),
        ("sm89_xmma_gemm_e4m3bf16_e4m3f32_f32_tn_n_tilesize256x64x64_stage4_tensor16x8x32", "fp8"),
        ("sm80_xmma_gemm_f16f32_f16f32_f32_tn_n", "fp16"),
        ("sm50_xmma_cublas_gemvx_f32f32_f32_f32_nn_n_int32_unit_m_launch_param8x32x32_strided_unit_stride", "fp32"),
        ("sm50_xmma_fprop_conv1d_c1_k1_f32f32_f32_f32_nchwkcrs_nchw_tilesize1x128x3", "fp32"),
        ("sm70_xmma_convolution_depthwiseConv_fp32fp32_trt_kernel_fp32_TR_TS", "fp32"),
        ("sm70_xmma_convolution_depthwiseConv_fp16fp16_trt_kernel_fp16_TR_TS", "fp16"),
        ("sm50_xmma_pooling_fw_4d_FP16FP32NHWC_Average_FastDiv_CAlign4", "fp16"),
        ("sm50_xmma_pooling_fw_4d_FP32FP32NCHW_Average_FastDiv", "fp32"),
        ("sm50_xmma_pooling_nd_NCDHW_kAVERAGE_kGENERIC_3D_POOLING_MODE_kFLOAT_0", "fp32"),
        ("sm50_xmma_pooling_nd_NCDHW_kAVERAGE_kGENERIC_3D_POOLING_MODE_kHALF_0", "fp16"),
        ("ampere_h16816gemm_256x128_ldg8_nn_v1", "fp16"),
        ("trt_turing_h1688cudnn_256x64_ldg8_relu_exp_small_nhwc_tn_v1", "fp16"),
        ("volta_h884cudnn_256x128_ldg8_relu_exp_small_nhwc_tn_v1", "fp16"),
        ("ampere_fp16_s16816gemm_fp16_128x64_ldg8_f2f_stages_64x4_tn", "fp16"),
        ("cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x64_64x6_tn_align8", "bf16"),
        ("cutlass_tensorop_bf16_s16816fprop_optimized_bf16_256x64_32x4_nhwc_align8", "bf16"),
        ("cutlass_80_tensorop_s1688tf32gemm_128x128_16x5_nn_align4", "tf32"),
        ("volta_sgemm_128x32_relu_nn_v1", "fp32"),
        ("maxwell_scudnn_128x64_relu_small_nn", "fp32"),
        ("trt_volta_fp32_icudnn_int8x4_128x64_relu_small_nn_v1", "int8"),
        # nothing of these spells what is read
        ("ampere_s16816gemm_128x64", ""),
        ("__myl_CastCastAddMaxCast_fused", ""),
        ("sm80_xmma_fprop", ""),
        ("generatedNativePointwise", ""),
        ("", ""),
    ],
)
def test_a_kernels_precision_is_read_from_its_name(name: str, expected: str) -> None:
    assert kernel_precision(name) == expected
