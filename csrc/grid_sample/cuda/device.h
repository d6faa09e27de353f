// What the kernels of grid_sample's gradients share: elements, sums, where a pixel of the result reads, launches.
#pragma once

#include "grid_sample_backward.h"

#ifndef LIFT_CUDA_EMULATION
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define LIFT_LAUNCH(kernel, blocks, threads, stream, ...) kernel<<<blocks, threads, 0, stream>>>(__VA_ARGS__)
#endif

#include "../grid_sample.h"

namespace lift {

// Queue the kernels that add up the gradients of one order: grid_sample_pixels.cu, grid_sample_planes.cu.
void add_in_pixels(const GridSampleBackward& p, cudaStream_t stream);
void add_in_planes(const GridSampleBackward& p, cudaStream_t stream);

namespace {

constexpr int64_t few_channels = 8;  // fewer are too few for the lanes of a group, or for warps that share pixels
constexpr int block_threads = 256;
constexpr unsigned everyone = 0xffffffffu;

// Blocks of `each` that hold `work`.
__host__ __device__ __forceinline__ uint32_t blocks_for(int64_t work, int64_t each) {
  return static_cast<uint32_t>((work + each - 1) / each);
}

// -- elements --------------------------------------------------------------------------------------------------------------------------

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(Half x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ __forceinline__ float to_float(BFloat16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }

__device__ __forceinline__ void from_float(float& to, float x) { to = x; }
__device__ __forceinline__ void from_float(Half& to, float x) { to.bits = __half_as_ushort(__float2half_rn(x)); }
__device__ __forceinline__ void from_float(BFloat16& to, float x) {
  const uint32_t bits = __float_as_uint(x);  // to the nearest, halves to even; a NaN stays one
  to.bits = static_cast<uint16_t>(x == x ? (bits + 0x7fffu + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40u);
}

// V neighbouring channels, loaded at once.
template <typename I, int V>
struct alignas(sizeof(I) * V) Packed {
  I element[V];
};

template <int V>
struct Values {
  float at[V] = {};
};

template <int V, typename I>
__device__ __forceinline__ Values<V> load(const I* from) {
  const Packed<I, V> packed = *reinterpret_cast<const Packed<I, V>*>(from);
  Values<V> values;
#pragma unroll
  for (int v = 0; v < V; ++v) values.at[v] = to_float(packed.element[v]);
  return values;
}

template <int V>
__device__ __forceinline__ void add_scaled(Values<V>& to, const Values<V>& x, float share) {
#pragma unroll
  for (int v = 0; v < V; ++v) to.at[v] += x.at[v] * share;
}

template <int V>
__device__ __forceinline__ Values<V> scaled(const Values<V>& x, float share) {
  Values<V> y;
#pragma unroll
  for (int v = 0; v < V; ++v) y.at[v] = x.at[v] * share;
  return y;
}

// -- sums ------------------------------------------------------------------------------------------------------------------------------

#if !defined(LIFT_CUDA_EMULATION) && __CUDA_ARCH__ >= 900
__device__ __forceinline__ void add_four(float* to, float a, float b, float c, float d) {
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}
#endif

// In float32, added in whatever order.
struct Floating {
  using Cell = float;
#if __CUDA_ARCH__ >= 900
  static constexpr bool adds_four = true;  // 16 bytes by one instruction
#else
  static constexpr bool adds_four = false;
#endif

  __device__ explicit Floating(const GridSampleBackward&) {}
  __device__ static float* sums(const GridSampleBackward& p) { return static_cast<float*>(p.dinput); }
  __device__ __forceinline__ float cell(float x) const { return x; }
};

// In fixed point: whole numbers of 2^-shift.
struct Fixed {
  using Cell = unsigned long long;
  static constexpr bool adds_four = false;

  float half_scale, other_half;  // two, for their product may be no float

  // A place receives at most the whole of every gradient: h w times the largest; 2^61 holds that and the rounding.
  __device__ static int shift(const GridSampleBackward& p) {
    int exponent = static_cast<int>(*p.largest >> 23) - 126;  // |grad| < 2^exponent
    exponent += 64 - __clzll(p.h * p.w);
    return 61 - exponent;
  }
  __device__ static bool finite(const GridSampleBackward& p) { return *p.largest < 0x7f800000u; }

  __device__ explicit Fixed(const GridSampleBackward& p) : half_scale(0), other_half(0) {
    if (!finite(p)) return;
    half_scale = ldexpf(1.0f, shift(p) / 2);
    other_half = ldexpf(1.0f, shift(p) - shift(p) / 2);
  }
  __device__ static unsigned long long* sums(const GridSampleBackward& p) { return reinterpret_cast<unsigned long long*>(p.fixed); }
  __device__ __forceinline__ unsigned long long cell(float x) const {
    return static_cast<unsigned long long>(__float2ll_rn(x * half_scale * other_half));
  }
};

// -- where a pixel of the result reads --------------------------------------------------------------------------------------------------

constexpr int32_t nowhere = -2;  // the row of a pixel that reads nothing: neither it nor the next lies inside an input

struct Place {
  int32_t row = nowhere, column = 0;  // of the north-west corner
  float fx = 0, fy = 0, slope_x = 0, slope_y = 0;

  __device__ __forceinline__ bool reads() const { return row != nowhere; }
};

__device__ __forceinline__ Place place(const GridSampleBackward& p, int64_t pixel) {
  const Mode mode = static_cast<Mode>(p.mode);
  const Padding padding = static_cast<Padding>(p.padding);
  const int32_t H = static_cast<int32_t>(p.H), W = static_cast<int32_t>(p.W);
  const Packed<float, 2> number = *reinterpret_cast<const Packed<float, 2>*>(p.grid + 2 * pixel);
  const Reading<float> x = reading(number.element[0], W, mode, padding, p.align_corners != 0);
  const Reading<float> y = reading(number.element[1], H, mode, padding, p.align_corners != 0);
  const bool reads = x.low >= -1 && x.low < W && y.low >= -1 && y.low < H;
  Place at;
  at.row = reads ? y.low : nowhere;
  at.column = x.low;
  at.fx = x.fraction;
  at.fy = y.fraction;
  at.slope_x = reads ? x.slope : 0.0f;  // then its gradient is 0, whatever the slope
  at.slope_y = reads ? y.slope : 0.0f;
  return at;
}

__device__ __forceinline__ bool within(const GridSampleBackward& p, int32_t row, int32_t column) {
  return row >= 0 && row < p.H && column >= 0 && column < p.W;
}

// How the input changes to the east and to the south of a place, times the gradient.
template <int V>
__device__ __forceinline__ void add_change(float& east, float& south, const Values<V>& g, const Values<V>& nw, const Values<V>& ne,
                                           const Values<V>& sw, const Values<V>& se, float fx, float fy) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const float north = ne.at[v] - nw.at[v], both = (se.at[v] - sw.at[v]) - north;
    east += g.at[v] * (north + fy * both);
    south += g.at[v] * ((sw.at[v] - nw.at[v]) + fx * both);
  }
}

// -- launches --------------------------------------------------------------------------------------------------------------------------

// Calls `use.of<I>()` with the type of the elements.
template <typename Use>
void dispatch_elements(const GridSampleBackward& p, const Use& use) {
  switch (p.element) {
    case Element::float32: use.template of<float>(); break;
    case Element::float16: use.template of<Half>(); break;
    case Element::bfloat16: use.template of<BFloat16>(); break;
  }
}

// Calls `use.of<I, S, with_input, with_grid>()` as the arguments say: the elements, the sums, which gradients are asked for.
template <typename Use>
struct WithSums {
  const GridSampleBackward& p;
  const Use& use;

  template <typename I>
  void of() const {
    if (p.fixed && p.dgrid)
      use.template of<I, Fixed, true, true>();
    else if (p.fixed)
      use.template of<I, Fixed, true, false>();
    else if (p.dinput && p.dgrid)
      use.template of<I, Floating, true, true>();
    else if (p.dinput)
      use.template of<I, Floating, true, false>();
    else if (p.dgrid)
      use.template of<I, Floating, false, true>();
  }
};

template <typename Use>
void dispatch(const GridSampleBackward& p, const Use& use) {
  dispatch_elements(p, WithSums<Use>{p, use});
}

}  // namespace
}  // namespace lift
