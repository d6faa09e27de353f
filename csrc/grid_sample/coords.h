// Where up to 64 neighbouring pixels of a row of the result read the input: computed for all of them at once.
#pragma once

#include "grid_sample.h"
#include "strip.h"

namespace lift {

// What grid_sample is asked, less the input: (B, C, H, W) is the input, (B, C, h, w) the result.
template <typename A>
struct Sampling {
  int64_t B, C, H, W, h, w;
  Mode mode;
  Padding padding;
  bool align_corners;
  Field<A> grid;  // (B, 2, h, w)

  // Pixels of a row of the result that make a strip, from x on.
  int length(int64_t x) const { return static_cast<int>(std::min<int64_t>(strip_length, w - x)); }

  // As Field's own, quick where x and y alternate.
  const A* strip(int64_t axis, int64_t b, int64_t y, int64_t x, int n, A* __restrict copy) const {
    if (grid.column != 2) return grid.strip(b, axis, y, x, n, copy);
    const A* __restrict const from = grid.data + b * grid.batch + axis * grid.channel + y * grid.row + x * 2;
    expect(from + 4 * strip_length, 2 * n);
    LIFT_SIMD
    for (int k = 0; k < n; ++k) copy[k] = from[2 * k];
    return copy;
  }
};

// Pixel k reads the four around (row, column) and the next of either, any of which may lie outside the input; the nearest one reads
// (row, column) alone.
template <typename A>
struct alignas(64) Reads {
  int n;
  int32_t row[strip_length], column[strip_length];
  A fx[strip_length], fy[strip_length], slope_x[strip_length], slope_y[strip_length];

  Reads(const Sampling<A>& s, int64_t b, int64_t y, int64_t x);
};

}  // namespace lift
