// Bilinear samples of planes: images whose neighbouring pixels are adjacent, channel by channel.
//
// Four pixels are sampled at a time, from a pair of neighbours in each of two rows. Images of few
// channels are read in place, without a copy as in pixels.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "bilinear.h"
#include "parallel.h"
#include "pixels.h"
#include "simd.h"
#include "strip.h"
#include "tensors.h"

namespace lift {

// Planes (B, C, H, W) of type A whose neighbouring pixels are adjacent.
template <typename A>
struct Planes {
  Tensor storage;
  const A* data;
  int64_t stride_b, stride_c, stride_y;

  // The image in place if possible, else a copy. A sample reads two pixels, so a single column
  // is copied too.
  explicit Planes(const Tensor& image) : storage(image) {
    if (image.scalar_type() != dtype_of<A> || image.stride(3) != 1 || image.size(3) == 1) {
      const ImageView from(image);
      const int64_t width = std::max<int64_t>(2, from.W);
      A* const to = allocate<A>(from.B * from.C * from.H * width, storage);
      stride_y = width;
      stride_c = from.H * stride_y;
      stride_b = from.C * stride_c;
      for_rows(from.B, from.H, from.C * from.W, [&](int64_t b, int64_t y) {
        A* const row = to + b * stride_b + y * stride_y;
        copy_planes<A>(from, b, y, 0, from.W, stride_c, row);
        if (from.W == 1)
          for (int64_t c = 0; c < from.C; ++c) row[c * stride_c + 1] = row[c * stride_c];
      });
      data = to;
    } else {
      data = static_cast<const A*>(image.const_data_ptr());
      stride_b = image.stride(0);
      stride_c = image.stride(1);
      stride_y = image.stride(2);
    }
  }

  // The largest offset within a plane.
  int64_t span(int64_t H, int64_t W) const { return (H - 1) * stride_y + W; }
};

// -- samples --------------------------------------------------------------------------------------

// The first of the two rows or columns around each sample of a strip, and how far it is from there.
//
// On the far border these are the last two, and the fraction is 1. Not inlined: GCC vectorises it
// alone.
template <bool along, typename A>
__attribute__((noinline)) void locate(int32_t position, const A* __restrict flow, int n,
                                      int32_t size, int32_t* __restrict first,
                                      A* __restrict fraction) {
  const A last = A(size - 1);
  const int32_t last_first = size > 2 ? size - 2 : 0;
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A coord = clamp_coord(A(along ? position + k : position) + flow[k], last);
    const int32_t whole = static_cast<int32_t>(coord);
    first[k] = whole < last_first ? whole : last_first;
    fraction[k] = coord - A(first[k]);
  }
}

// Where a strip samples a plane: `offset` values from its start. Lanes beyond n, up to a multiple of
// four, sample the first pixels. I holds any offset within a plane.
template <typename A, typename I>
struct alignas(64) PlaneSamples {
  I offset[strip_length];
  A fx[strip_length], fy[strip_length];

  // n pixels from (x, y) on of an image (H, W), whose rows are `stride_y` apart, by flows of n values.
  PlaneSamples(const A* dx, const A* dy, int64_t y, int64_t x, int n, int64_t H, int64_t W,
               int64_t stride_y) {
    alignas(64) int32_t x0[strip_length], y0[strip_length];
    locate<true>(static_cast<int32_t>(x), dx, n, static_cast<int32_t>(W), x0, fx);
    locate<false>(static_cast<int32_t>(y), dy, n, static_cast<int32_t>(H), y0, fy);
    const I stride = static_cast<I>(stride_y);
    LIFT_SIMD
    for (int k = 0; k < n; ++k) offset[k] = static_cast<I>(y0[k]) * stride + static_cast<I>(x0[k]);
    for (int k = n; k % 4; ++k) offset[k] = 0, fx[k] = fy[k] = A(0);
  }
};

constexpr ActiveLanes<4, 4> four_lanes;

template <typename A>
LIFT_HD Vec<A, 2> load_pair(const A* from) {
  Vec<A, 2> pair;
  std::memcpy(&pair, from, sizeof pair);
  return pair;
}

// Four samples between pairs of neighbours in one row.
template <typename A, typename I>
LIFT_HD Vec<A, 4> sample_row(const A* row, const I* offset, Vec<A, 4> fx) {
  const auto ab = __builtin_shufflevector(load_pair(row + offset[0]), load_pair(row + offset[1]), 0,
                                          1, 2, 3);
  const auto cd = __builtin_shufflevector(load_pair(row + offset[2]), load_pair(row + offset[3]), 0,
                                          1, 2, 3);
  const Vec<A, 4> west = __builtin_shufflevector(ab, cd, 0, 2, 4, 6);
  const Vec<A, 4> east = __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
  return west + fx * (east - west);
}

// Four samples of a plane whose rows are `stride` apart.
template <typename A, typename I>
LIFT_HD Vec<A, 4> sample(const A* plane, int64_t stride, const PlaneSamples<A, I>& at, int k) {
  const Vec<A, 4> fx = load(at.fx + k, four_lanes), fy = load(at.fy + k, four_lanes);
  const Vec<A, 4> north = sample_row(plane, at.offset + k, fx);
  const Vec<A, 4> south = sample_row(plane + stride, at.offset + k, fx);
  return north + fy * (south - north);
}

}  // namespace lift
