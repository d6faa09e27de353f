// Bilinear upsampling by 2, strip by strip, so that no map at full resolution reaches memory.
//
// As F.interpolate(scale_factor=2, mode="bilinear", align_corners=False): the nearer of two pixels
// has weight 3/4 along each axis, and the border is repeated.
#pragma once

#include <algorithm>
#include <cstdint>

#include "strip.h"

namespace lift {

template <typename A>
LIFT_HD A three_to_one(A near, A far) {
  return A(0.75) * near + A(0.25) * far;
}

// Blend n values of two rows. Not inlined: GCC vectorises it alone, as the next one.
template <typename A>
__attribute__((noinline)) void blend_coarse_rows(const A* __restrict near, const A* __restrict far,
                                                 int n, A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = three_to_one(near[k], far[k]);
}

// 2 n values from the n coarse ones and one more on both sides.
template <typename A>
__attribute__((noinline)) void upsample_along(const A* __restrict coarse, int n, A scale,
                                              A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A near = scale * coarse[k];
    to[2 * k] = three_to_one(near, scale * coarse[k - 1]);
    to[2 * k + 1] = three_to_one(near, scale * coarse[k + 1]);
  }
}

// n values from (x, y) on of a channel of a map (H, W) upsampled by 2, times `scale`; x and n are
// even.
template <typename A>
void upsample_strip(const StridedMap<A>& map, int64_t b, int64_t c, int64_t y, int64_t x, int n,
                    int64_t H, int64_t W, A scale, A* to) {
  alignas(64) A blended[strip_length / 2 + 2], copy_near[strip_length / 2],
      copy_far[strip_length / 2];
  const int64_t near = y / 2, far = std::clamp<int64_t>(near + (y % 2 ? 1 : -1), 0, H - 1);
  const int64_t first = x / 2;
  const int count = n / 2;
  blend_coarse_rows(map.load_strip(b, c, near, first, count, copy_near),
                    map.load_strip(b, c, far, first, count, copy_far), count, blended + 1);
  const A* const channel = map.data + b * map.stride_b + c * map.stride_c;
  const auto column = [&](int64_t at) {
    const A* const pixel = channel + std::clamp<int64_t>(at, 0, W - 1) * map.stride_x;
    return three_to_one(pixel[near * map.stride_y], pixel[far * map.stride_y]);
  };
  blended[0] = column(first - 1);
  blended[count + 1] = column(first + count);
  upsample_along(blended + 1, count, scale, to);
}

}  // namespace lift
