// Samples of planes between bilinear and bicubic ones: bilinear + s (bicubic - bilinear).
//
// As plane_samples.h: several pixels at a time, from pairs of neighbours. The 4 x 4 pixels around
// a sample are two pairs in each of two pairs of rows. On a border, where some of them are the
// nearest pixel inside, the pairs move inside and a pixel has the sum of their weights.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../common/plane_samples.h"

namespace lift {

// The pixels along one axis of the samples of a strip: at low, low + 1, high and high + 1.
template <typename A>
struct alignas(64) SharpTaps {
  A cubic[4][strip_length], linear[4][strip_length];
  int32_t low[strip_length], high[strip_length];
};

// The taps of samples that lie `fraction` from `first` to `first + 1`, which are inside.
//
// Cubic convolution with a slope of -0.75 one pixel away. Not inlined: GCC vectorises it alone.
template <typename A>
__attribute__((noinline)) void weigh_taps(const int32_t* __restrict first,
                                          const A* __restrict fraction, int n, int32_t size,
                                          SharpTaps<A>& taps) {
  const int32_t last_first = size - 2;
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const bool at_start = first[k] == 0, at_end = first[k] == last_first;
    const A t = fraction[k], u = A(1) - t, both = t * u;
    const A before = A(-0.75) * both * u, after = A(-0.75) * both * t;
    const A near = u + both * (A(1) - A(1.25) * t), far = t + both * (A(1) - A(1.25) * u);
    taps.cubic[0][k] = at_start ? before + near : before;
    taps.cubic[1][k] = at_start ? A(0) : near;
    taps.cubic[2][k] = at_end ? A(0) : far;
    taps.cubic[3][k] = at_end ? far + after : after;
    taps.linear[0][k] = at_start ? u : A(0);
    taps.linear[1][k] = at_start ? A(0) : u;
    taps.linear[2][k] = at_end ? A(0) : t;
    taps.linear[3][k] = at_end ? t : A(0);
    taps.low[k] = at_start ? 0 : first[k] - 1;
    taps.high[k] = at_end ? last_first : first[k] + 1;
  }
}

// Where a strip samples a plane, as PlaneSamples; `offset` is that of the first pixel of each pair
// in the upper one of each pair of rows.
template <typename A, typename I>
struct alignas(64) SharpSamples {
  SharpTaps<A> along, across;
  I offset[2][2][strip_length];  // rows, columns

  // n pixels from (x, y) on of an image (H, W), whose rows are `stride_y` apart, by flows of n
  // values; H and W are at least 2.
  SharpSamples(const A* dx, const A* dy, int64_t y, int64_t x, int n, int64_t H, int64_t W,
               int64_t stride_y) {
    alignas(64) int32_t first[strip_length];
    alignas(64) A fraction[strip_length];
    locate<true>(static_cast<int32_t>(x), dx, n, static_cast<int32_t>(W), first, fraction);
    weigh_taps(first, fraction, n, static_cast<int32_t>(W), along);
    locate<false>(static_cast<int32_t>(y), dy, n, static_cast<int32_t>(H), first, fraction);
    weigh_taps(first, fraction, n, static_cast<int32_t>(H), across);
    const I stride = static_cast<I>(stride_y);
    LIFT_SIMD
    for (int k = 0; k < n; ++k) {
      const I upper = static_cast<I>(across.low[k]) * stride;
      const I lower = static_cast<I>(across.high[k]) * stride;
      offset[0][0][k] = upper + static_cast<I>(along.low[k]);
      offset[0][1][k] = upper + static_cast<I>(along.high[k]);
      offset[1][0][k] = lower + static_cast<I>(along.low[k]);
      offset[1][1][k] = lower + static_cast<I>(along.high[k]);
    }
    for (int k = n; k % samples_at_once<A, I>; ++k) {
      for (SharpTaps<A>* const taps : {&along, &across})
        for (int i = 0; i < 4; ++i) taps->cubic[i][k] = taps->linear[i][k] = A(0);
      offset[0][0][k] = offset[0][1][k] = offset[1][0][k] = offset[1][1][k] = 0;
    }
  }
};

// n samples of a plane whose rows are `stride` apart. `to` and `sharpness` have space for a whole
// strip.
template <typename A, typename I>
__attribute__((noinline)) void sample_strip(const A* plane, int64_t stride,
                                            const SharpSamples<A, I>& at, const A* sharpness, int n,
                                            A* to) {
  constexpr int lanes_at_once = samples_at_once<A, I>;
  constexpr ActiveLanes<lanes_at_once, lanes_at_once> lanes;
  for (int k = 0; k < n; k += lanes_at_once) {
    Vec<A, lanes_at_once> cubic = {}, linear = {};
    for (int row = 0; row < 4; ++row) {
      const A* const from = plane + row % 2 * stride;
      const auto left = load_pairs(from, at.offset[row / 2][0] + k, lanes);
      const auto right = load_pairs(from, at.offset[row / 2][1] + k, lanes);
      const auto weighted = [&](const A(&weight)[4][strip_length]) {
        return load(weight[0] + k, lanes) * left.west + load(weight[1] + k, lanes) * left.east +
               load(weight[2] + k, lanes) * right.west + load(weight[3] + k, lanes) * right.east;
      };
      cubic += load(at.across.cubic[row] + k, lanes) * weighted(at.along.cubic);
      linear += load(at.across.linear[row] + k, lanes) * weighted(at.along.linear);
    }
    store<A>(to + k, linear + load(sharpness + k, lanes) * (cubic - linear), lanes);
  }
}

}  // namespace lift
