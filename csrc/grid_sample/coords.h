// The coordinates of a strip's samples.
#pragma once

#include "../common/strip.h"
#include "grid_sample.h"

namespace lift {

// The arguments of grid_sample, without the input (B, C, H, W); the result is (B, C, h, w).
template <typename A>
struct GridSampleParams {
  int64_t B, C, H, W, h, w;
  Mode mode;
  Padding padding;
  bool align_corners;
  StridedMap<A> grid;  // (B, 2, h, w)

  // As StridedMap::load_strip, but fast where x and y alternate in memory.
  const A* load_strip(int64_t axis, int64_t b, int64_t y, int64_t x, int n,
                      A* __restrict copy) const {
    if (grid.stride_x != 2) return grid.load_strip(b, axis, y, x, n, copy);
    const A* __restrict const from =
        grid.data + b * grid.stride_b + axis * grid.stride_c + y * grid.stride_y + x * 2;
    prefetch(from + 4 * strip_length, 2 * n);
    LIFT_SIMD
    for (int k = 0; k < n; ++k) copy[k] = from[2 * k];
    return copy;
  }
};

// Where the n pixels of a strip sample the input: pixel k between columns x0 and x0 + 1 and rows
// y0 and y0 + 1, any of which may be outside the input. With nearest it samples (y0, x0) only.
template <typename A>
struct alignas(64) GridCoords {
  int n;
  int32_t y0[strip_length], x0[strip_length];
  A fx[strip_length], fy[strip_length];            // the fractions of GridTap
  A slope_x[strip_length], slope_y[strip_length];  // its slopes

  GridCoords(const GridSampleParams<A>& p, int64_t b, int64_t y, int64_t x);
};

}  // namespace lift
