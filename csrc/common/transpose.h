// From planes to pixels: channels of a strip, each a plane, written side by side.
#pragma once

#include <algorithm>
#include <cstdint>

#include "bfloat16.h"
#include "simd.h"
#include "strip.h"

namespace lift {

// A plane of a strip.
template <typename A>
using Strip = A[strip_length];

template <typename A>
LIFT_HD void transpose(Vec<A, 4>& a, Vec<A, 4>& b, Vec<A, 4>& c, Vec<A, 4>& d) {
  const Vec<A, 4> ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Vec<A, 4> ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Vec<A, 4> cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Vec<A, 4> cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  c = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

// Write n pixels of `count` channels, which are planes, to pixels that are C values apart. There
// are planes up to a multiple of four.
template <typename T, typename A = Wide<T>>
void write_transposed(const Strip<A>* planes, int count, int n, int64_t C, T* to) {
  for (int c = 0; c < count; c += 4)
    for (int k = 0; k < n; k += 4) {
      Vec<A, 4> pixel[4];
      for (int i = 0; i < 4; ++i) pixel[i] = load(planes[c + i] + k, ActiveLanes<4, 4>());
      transpose<A>(pixel[0], pixel[1], pixel[2], pixel[3]);
      const int pixels = std::min(4, n - k), channels = std::min(4, count - c);
      for (int i = 0; i < pixels; ++i)
        for_channels<A, false>(channels, [&](auto lanes, int64_t) {
          store_narrow<T>(to + (k + i) * C + c, pixel[i], lanes);
        });
    }
}

}  // namespace lift
