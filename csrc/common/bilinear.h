// Arithmetic of the backward warp and of the visibility blend: coordinates, clamping, bilinear weights. Shared by host and device.
//
// Everything here is the definition in kernels/warp_blend/reference.py, a pixel at a time. A is the type of flow and of all arithmetic:
// float, or double for double images.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define LIFT_HD __host__ __device__ __forceinline__
#else
#define LIFT_HD inline __attribute__((always_inline))
#endif

namespace lift {

// Sides up to here have whole-number coordinates that float holds exactly, so that a clamped one is a valid index.
constexpr int64_t longest_side = int64_t(1) << 24;

// A coordinate into [0, last]; NaN to 0.
template <typename A>
LIFT_HD A clamp(A coordinate, A last) {
  return coordinate > A(0) ? (coordinate < last ? coordinate : last) : A(0);
}

// Whether a coordinate has a gradient: not clamped, not on the border, not NaN.
template <typename A>
LIFT_HD bool inside(A coordinate, A last) {
  return (coordinate > A(0)) & (coordinate < last);  // no branch, so that a loop over pixels vectorises
}

// Where one axis is read: between `low` and `low + step`, `fraction` of the way; step is 0 on the far border.
template <typename A>
struct Tap {
  int32_t low;
  int32_t step;
  A fraction;
  bool inside;
};

template <typename A>
LIFT_HD Tap<A> tap(int32_t position, A flow, int32_t size) {
  const A last = A(size - 1);
  const A coordinate = A(position) + flow;
  const A clamped = clamp(coordinate, last);
  const int32_t low = static_cast<int32_t>(clamped);  // floor: never negative
  return {low, low < size - 1 ? 1 : 0, clamped - A(low), inside(coordinate, last)};
}

// exp(x) for x <= 0, within 2e-7 of it; NaN stays NaN. Plain arithmetic, so that a loop over pixels vectorises.
LIFT_HD float decay(float x) {
#if defined(__CUDA_ARCH__)
  return expf(x);
#else
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, which then stands in the low bits
  const float shifted = x * 1.44269504f + shift;
  const float whole = shifted - shift;
  const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;  // ln 2 in two parts, the first exact in products
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return x < -87.0f ? 0.0f : series * power;
#endif
}

LIFT_HD double decay(double x) { return std::exp(x); }

// The weights of two images by their visibility logits, softmax(logsigmoid(occ0), logsigmoid(occ1)), and how they change:
// d weight0 / d occ0 = slope0 = - d weight1 / d occ0, and the same with 0 and 1 exchanged.
template <typename A>
struct Blend {
  A weight[2];
  A slope[2];
};

// With v = 1 / (1 + e^-occ) the first weight is (1 + e^-occ1) / (2 + e^-occ0 + e^-occ1), here divided through by the largest term:
// no logarithm, and no logit is too large.
template <typename A>
LIFT_HD Blend<A> blend(A occ0, A occ1) {
  const A bound = A(1e30);
  const A n0 = occ0 < -bound ? bound : (occ0 > bound ? -bound : -occ0);
  const A n1 = occ1 < -bound ? bound : (occ1 > bound ? -bound : -occ1);
  A most = n0 > A(0) ? n0 : A(0);
  most = n1 > most ? n1 : most;
  const A one = decay(-most), hidden0 = decay(n0 - most), hidden1 = decay(n1 - most);
  const A share = A(1) / (one + one + hidden0 + hidden1);
  Blend<A> result;
  result.weight[0] = (one + hidden1) * share;
  result.weight[1] = (one + hidden0) * share;
  result.slope[0] = result.weight[0] * hidden0 * share;
  result.slope[1] = result.weight[1] * hidden1 * share;
  return result;
}

}  // namespace lift
