// What the kernels of grid_sample's gradients share: elements, sums, coordinates, launches.
#pragma once

#include "backward.h"

#ifndef LIFT_CUDA_EMULATION
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define LIFT_LAUNCH(kernel, blocks, threads, stream, ...) \
  kernel<<<blocks, threads, 0, stream>>>(__VA_ARGS__)
#endif

#include "../grid_sample.h"

namespace lift {

// Launch the kernels that sum the gradients: backward_nhwc.cu, backward_nchw.cu.
void launch_backward_nhwc(const GridSampleBackwardParams& p, cudaStream_t stream);
void launch_backward_nchw(const GridSampleBackwardParams& p, cudaStream_t stream);

namespace {

// With fewer channels a group of lanes has nothing to share, nor have the warps of a team.
constexpr int64_t min_lane_channels = 8;
constexpr int block_threads = 256;
constexpr unsigned full_warp = 0xffffffffu;

// The number of blocks of `size` that hold `work`.
__host__ __device__ __forceinline__ uint32_t blocks_for(int64_t work, int64_t size) {
  return static_cast<uint32_t>((work + size - 1) / size);
}

// -- elements -------------------------------------------------------------------------------------

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(Half x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ __forceinline__ float to_float(BFloat16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

__device__ __forceinline__ void from_float(float& to, float x) { to = x; }
__device__ __forceinline__ void from_float(Half& to, float x) {
  to.bits = __half_as_ushort(__float2half_rn(x));
}
// Round to nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ void from_float(BFloat16& to, float x) {
  const uint32_t bits = __float_as_uint(x);
  to.bits = static_cast<uint16_t>(x == x ? (bits + 0x7fffu + (bits >> 16 & 1)) >> 16
                                         : bits >> 16 | 0x40u);
}

// V neighbouring values in memory, loaded at once.
template <typename I, int V>
struct alignas(sizeof(I) * V) Packed {
  I element[V];
};

template <int V>
struct FloatVec {
  float value[V] = {};
};

template <int V, typename I>
__device__ __forceinline__ FloatVec<V> load(const I* from) {
  const Packed<I, V> packed = *reinterpret_cast<const Packed<I, V>*>(from);
  FloatVec<V> x;
#pragma unroll
  for (int v = 0; v < V; ++v) x.value[v] = to_float(packed.element[v]);
  return x;
}

template <int V>
__device__ __forceinline__ void add_scaled(FloatVec<V>& to, const FloatVec<V>& x, float weight) {
#pragma unroll
  for (int v = 0; v < V; ++v) to.value[v] += x.value[v] * weight;
}

// -- sums -----------------------------------------------------------------------------------------

#if !defined(LIFT_CUDA_EMULATION) && __CUDA_ARCH__ >= 900
__device__ __forceinline__ void atomic_add_v4(float* to, float a, float b, float c, float d) {
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(a), "f"(b), "f"(c),
               "f"(d)
               : "memory");
}
#endif

// Sums in float32, added in any order.
struct FloatSums {
  using Sum = float;
#if __CUDA_ARCH__ >= 900
  static constexpr bool has_add_v4 = true;  // 16 bytes by one instruction
#else
  static constexpr bool has_add_v4 = false;
#endif

  __device__ explicit FloatSums(const GridSampleBackwardParams&) {}
  __device__ static float* data(const GridSampleBackwardParams& p) {
    return static_cast<float*>(p.dinput);
  }
  __device__ __forceinline__ float to_sum(float x) const { return x; }
};

// Sums in fixed point: integer multiples of 2^-shift.
struct FixedPointSums {
  using Sum = unsigned long long;
  static constexpr bool has_add_v4 = false;

  float scale0, scale1;  // 2^shift as a product, because float may not hold it

  // A value receives at most the whole of every gradient: h w times the largest.
  // 2^61 holds that and the rounding.
  __device__ static int shift(const GridSampleBackwardParams& p) {
    int exponent = static_cast<int>(*p.grad_absmax >> 23) - 126;  // |grad| < 2^exponent
    exponent += 64 - __clzll(p.h * p.w);
    return 61 - exponent;
  }
  __device__ static bool is_finite(const GridSampleBackwardParams& p) {
    return *p.grad_absmax < 0x7f800000u;
  }

  __device__ explicit FixedPointSums(const GridSampleBackwardParams& p) : scale0(0), scale1(0) {
    if (!is_finite(p)) return;
    scale0 = ldexpf(1.0f, shift(p) / 2);
    scale1 = ldexpf(1.0f, shift(p) - shift(p) / 2);
  }
  __device__ static unsigned long long* data(const GridSampleBackwardParams& p) {
    return reinterpret_cast<unsigned long long*>(p.fixed_sums);
  }
  __device__ __forceinline__ unsigned long long to_sum(float x) const {
    return static_cast<unsigned long long>(__float2ll_rn(x * scale0 * scale1));
  }
};

// -- coordinates ----------------------------------------------------------------------------------

constexpr int32_t no_row = -2;  // neither it nor the next row is inside an input

// Where a pixel of the result samples the input: between rows y0 and y0 + 1 and columns x0 and
// x0 + 1, (fx, fy) from the first. The slopes are those of GridTap.
struct SampleCoords {
  int32_t y0 = no_row, x0 = 0;
  float fx = 0, fy = 0, slope_x = 0, slope_y = 0;

  // Whether it samples any pixel.
  __device__ __forceinline__ bool any_inside() const { return y0 != no_row; }
};

__device__ __forceinline__ SampleCoords sample_coords(const GridSampleBackwardParams& p,
                                                      int64_t pixel) {
  const Mode mode = static_cast<Mode>(p.mode);
  const Padding padding = static_cast<Padding>(p.padding);
  const int32_t H = static_cast<int32_t>(p.H), W = static_cast<int32_t>(p.W);
  const Packed<float, 2> grid = *reinterpret_cast<const Packed<float, 2>*>(p.grid + 2 * pixel);
  const GridTap<float> x = grid_tap(grid.element[0], W, mode, padding, p.align_corners != 0);
  const GridTap<float> y = grid_tap(grid.element[1], H, mode, padding, p.align_corners != 0);
  const bool any_inside = x.low >= -1 && x.low < W && y.low >= -1 && y.low < H;
  SampleCoords at;
  at.y0 = any_inside ? y.low : no_row;
  at.x0 = x.low;
  at.fx = x.fraction;
  at.fy = y.fraction;
  at.slope_x = any_inside ? x.slope : 0.0f;  // the gradient is then 0, whatever the slope
  at.slope_y = any_inside ? y.slope : 0.0f;
  return at;
}

__device__ __forceinline__ bool is_inside(const GridSampleBackwardParams& p, int32_t y, int32_t x) {
  return y >= 0 && y < p.H && x >= 0 && x < p.W;
}

// Add grad_out times the derivatives of V samples with respect to x and y.
template <int V>
__device__ __forceinline__ void add_coord_grads(float& dx, float& dy, const FloatVec<V>& grad_out,
                                                const Corners<FloatVec<V>>& pixel, float fx,
                                                float fy) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const Corners<float> channel{pixel.nw.value[v], pixel.ne.value[v], pixel.sw.value[v],
                                 pixel.se.value[v]};
    add_coord_grads(dx, dy, grad_out.value[v], channel, fx, fy);
  }
}

// -- launches -------------------------------------------------------------------------------------

// Call launch.run<I>() with the type of the elements.
template <typename Launch>
void dispatch_elements(const GridSampleBackwardParams& p, const Launch& launch) {
  switch (p.element) {
    case Element::float32: launch.template run<float>(); break;
    case Element::float16: launch.template run<Half>(); break;
    case Element::bfloat16: launch.template run<BFloat16>(); break;
  }
}

template <typename Launch>
struct DispatchSums {
  const GridSampleBackwardParams& p;
  const Launch& launch;

  template <typename I>
  void run() const {
    if (p.fixed_sums && p.dgrid)
      launch.template run<I, FixedPointSums, true, true>();
    else if (p.fixed_sums)
      launch.template run<I, FixedPointSums, true, false>();
    else if (p.dinput && p.dgrid)
      launch.template run<I, FloatSums, true, true>();
    else if (p.dinput)
      launch.template run<I, FloatSums, true, false>();
    else if (p.dgrid)
      launch.template run<I, FloatSums, false, true>();
  }
};

// Call launch.run<I, S, needs_input, needs_grid>():
// the type of the elements, the kind of sums, the gradients that are needed.
template <typename Launch>
void dispatch(const GridSampleBackwardParams& p, const Launch& launch) {
  dispatch_elements(p, DispatchSums<Launch>{p, launch});
}

}  // namespace
}  // namespace lift
