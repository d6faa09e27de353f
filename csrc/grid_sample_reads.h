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
