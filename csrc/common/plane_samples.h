// Bilinear samples of planes: images whose neighbouring pixels are adjacent, channel by channel.
//
// Several pixels are sampled at a time, each from a pair of neighbours in each of two rows. Images
// of few channels are read in place, without a copy as in pixels.h.
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

// How many are taken at a time.
template <typename A, typename I>
constexpr int samples_at_once = 4;
#if defined(__AVX512F__)
template <>
constexpr int samples_at_once<float, int32_t> = 16;
#endif

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

// Where a strip samples a plane: `offset` values from its start. Beyond n, the first pixels are
// sampled. I holds any offset within a plane.
template <typename A, typename I>
struct alignas(64) PlaneSamples {
  I offset[strip_length];
  A fx[strip_length], fy[strip_length];

  // n pixels from (x, y) on of an image (H, W), whose rows are `stride_y` apart, by flows of n
  // values.
  PlaneSamples(const A* dx, const A* dy, int64_t y, int64_t x, int n, int64_t H, int64_t W,
               int64_t stride_y) {
    alignas(64) int32_t x0[strip_length], y0[strip_length];
    locate<true>(static_cast<int32_t>(x), dx, n, static_cast<int32_t>(W), x0, fx);
    locate<false>(static_cast<int32_t>(y), dy, n, static_cast<int32_t>(H), y0, fy);
    const I stride = static_cast<I>(stride_y);
    LIFT_SIMD
    for (int k = 0; k < n; ++k) offset[k] = static_cast<I>(y0[k]) * stride + static_cast<I>(x0[k]);
    for (int k = n; k % samples_at_once<A, I>; ++k) offset[k] = 0, fx[k] = fy[k] = A(0);
  }
};

constexpr ActiveLanes<4, 4> four_lanes;

template <typename A>
LIFT_HD Vec<A, 2> load_pair(const A* from) {
  Vec<A, 2> pair;
  std::memcpy(&pair, from, sizeof pair);
  return pair;
}

// Pairs of neighbours: the western pixels and the eastern ones.
template <typename A, int n>
struct Pairs {
  Vec<A, n> west, east;
};

template <typename A, typename I>
LIFT_HD Pairs<A, 4> load_pairs(const A* row, const I* offset, ActiveLanes<4, 4>) {
  const auto ab =
      __builtin_shufflevector(load_pair(row + offset[0]), load_pair(row + offset[1]), 0, 1, 2, 3);
  const auto cd =
      __builtin_shufflevector(load_pair(row + offset[2]), load_pair(row + offset[3]), 0, 1, 2, 3);
  return {__builtin_shufflevector(ab, cd, 0, 2, 4, 6), __builtin_shufflevector(ab, cd, 1, 3, 5, 7)};
}

#if defined(__AVX512F__)
// A gather of 64-bit values fetches pairs of floats.
inline Pairs<float, 16> load_pairs(const float* row, const int32_t* offset, ActiveLanes<16, 16>) {
  const auto gather = [&](const int32_t* of) {
    const __m256i offsets = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(of));
    return _mm512_castpd_ps(_mm512_i32gather_pd(offsets, row, sizeof(float)));
  };
  const __m512 low = gather(offset), high = gather(offset + 8);
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  return {_mm512_permutex2var_ps(low, even, high), _mm512_permutex2var_ps(low, odd, high)};
}
#endif

// n samples of a plane whose rows are `stride` apart. `to` has space for a whole strip.
template <typename A, typename I>
__attribute__((noinline)) void sample_strip(const A* plane, int64_t stride,
                                            const PlaneSamples<A, I>& at, int n, A* to) {
  constexpr int lanes_at_once = samples_at_once<A, I>;
  constexpr ActiveLanes<lanes_at_once, lanes_at_once> lanes;
  for (int k = 0; k < n; k += lanes_at_once) {
    const auto fx = load(at.fx + k, lanes), fy = load(at.fy + k, lanes);
    const auto above = load_pairs(plane, at.offset + k, lanes);
    const auto below = load_pairs(plane + stride, at.offset + k, lanes);
    const auto north = above.west + fx * (above.east - above.west);
    const auto south = below.west + fx * (below.east - below.west);
    store<A>(to + k, north + fy * (south - north), lanes);
  }
}

}  // namespace lift
