// A strip: up to 64 neighbouring pixels of a row of the result. Where they read, and how much of what they read they take, is computed
// for all of them at once; then each passes over its channels.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "lanes.h"
#include "warp.h"

namespace lift {

using torch::stable::Tensor;

constexpr int strip_length = 64;

// A per-pixel tensor (B, channels, H, W) of the type of arithmetic, wherever it lies.
template <typename A>
struct Field {
  const A* data = nullptr;
  int64_t batch = 0, channel = 0, row = 0, column = 0;

  Field() = default;
  explicit Field(const Tensor& x)
      : data(static_cast<const A*>(x.const_data_ptr())), batch(x.stride(0)), channel(x.stride(1)), row(x.stride(2)), column(x.stride(3)) {}

  // n values of a row from column x on, side by side: in place where they lie so, else copied.
  const A* strip(int64_t b, int64_t c, int64_t y, int64_t x, int n, A* copy) const {
    const A* from = data + b * batch + c * channel + y * row + x * column;
    if (column == 1) {
      expect(from + 2 * strip_length, n);
      return from;
    }
    for (int k = 0; k < n; ++k) copy[k] = from[k * column];
    return copy;
  }
};

// What warp (N = 1) or warp_blend (N = 2) is asked, less the images.
template <typename A, int N>
struct Problem {
  int64_t B, C, H, W;
  Field<A> flow[N];
  Field<A> occ[N];  // N == 2 only

  // Values from one pixel to the next where the kernels read and write them.
  int64_t apart() const { return C == 3 ? 4 : C; }
};

// `tap` of n pixels. A function of its own, and without the structure that `tap` returns: either else keeps GCC from vectorising all of it.
template <bool along, typename A>
__attribute__((noinline)) void taps(int32_t position, const A* __restrict flow, int n, int32_t size, int32_t* __restrict low,
                                    int32_t* __restrict step, A* __restrict fraction, int32_t* __restrict within) {
  const A last = A(size - 1);
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A coordinate = A(along ? position + k : position) + flow[k], clamped = clamp(coordinate, last);
    const int32_t whole = static_cast<int32_t>(clamped);
    low[k] = whole;
    step[k] = whole < size - 1 ? 1 : 0;
    fraction[k] = clamped - A(whole);
    within[k] = inside(coordinate, last);
  }
}

// Where a strip reads an image: pixel k the four around (west[k], north[k]), `east` one column on and `south` one row on (0 on the far
// border).
template <typename A>
struct alignas(64) Places {
  int n;
  int32_t west[strip_length], north[strip_length], east[strip_length], south[strip_length];
  A fx[strip_length], fy[strip_length];
  int32_t inside_x[strip_length], inside_y[strip_length];

  template <int N>
  Places(const Problem<A, N>& p, int i, int64_t b, int64_t y, int64_t x) : n(static_cast<int>(std::min<int64_t>(strip_length, p.W - x))) {
    alignas(64) A copy[strip_length];
    taps<true>(static_cast<int32_t>(x), p.flow[i].strip(b, 0, y, x, n, copy), n, static_cast<int32_t>(p.W), west, east, fx, inside_x);
    taps<false>(static_cast<int32_t>(y), p.flow[i].strip(b, 1, y, x, n, copy), n, static_cast<int32_t>(p.H), north, south, fy, inside_y);
  }
};

template <typename A>
__attribute__((noinline)) void blends(const A* __restrict occ0, const A* __restrict occ1, int n, A* __restrict weight0,
                                      A* __restrict weight1, A* __restrict slope0, A* __restrict slope1) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const Blend<A> blended = blend(occ0[k], occ1[k]);
    weight0[k] = blended.weight[0];
    weight1[k] = blended.weight[1];
    slope0[k] = blended.slope[0];
    slope1[k] = blended.slope[1];
  }
}

// How much of each image the pixels of a strip take: all of the only one, or the blend of two.
template <typename A, int N>
struct alignas(64) Weights {
  A weight[N][strip_length], slope[N][strip_length];

  Weights(const Problem<A, N>& p, int64_t b, int64_t y, int64_t x) {
    const int count = static_cast<int>(std::min<int64_t>(strip_length, p.W - x));
    if constexpr (N == 1) {
      std::fill(weight[0], weight[0] + count, A(1));
    } else {
      alignas(64) A copy0[strip_length], copy1[strip_length];
      blends(p.occ[0].strip(b, 0, y, x, count, copy0), p.occ[1].strip(b, 0, y, x, count, copy1), count, weight[0], weight[1], slope[0],
             slope[1]);
    }
  }
};

// The shares of the four pixels around a place in the result.
template <typename A>
struct alignas(64) Shares {
  A nw[strip_length], ne[strip_length], sw[strip_length], se[strip_length];

  Shares(const Places<A>& at, const A* weight) {
    const int count = at.n;
    LIFT_SIMD
    for (int k = 0; k < count; ++k) {
      const A east = at.fx[k], west = A(1) - east;
      const A south = at.fy[k] * weight[k], north = (A(1) - at.fy[k]) * weight[k];
      nw[k] = north * west;
      ne[k] = north * east;
      sw[k] = south * west;
      se[k] = south * east;
    }
  }
};

// Rows of pixels (W, apart), one after the other; row r lies at r & mask, so that few rows of memory serve an image whose rows are used
// in turn.
template <typename A>
struct Rows {
  A* data = nullptr;
  int64_t mask = -1, W = 0, apart = 0;

  A* row(int64_t r) const { return data + (r & mask) * (W * apart); }
};

// Where the pixels around the places of a strip lie in memory: the north-western and the south-western one from the first value of the
// rows on, and how far east of them the others are.
template <typename A>
struct alignas(64) Addresses {
  int64_t north[strip_length], south[strip_length], east[strip_length];

  template <typename Row>
  Addresses(const Row& rows, const Places<A>& at) {
    const int count = at.n;
    const int64_t mask = rows.mask, W = rows.W, apart = rows.apart;
    LIFT_SIMD
    for (int k = 0; k < count; ++k) {
      north[k] = ((at.north[k] & mask) * W + at.west[k]) * apart;
      south[k] = (((at.north[k] + at.south[k]) & mask) * W + at.west[k]) * apart;
      east[k] = at.east[k] * apart;
    }
  }
};

// The four pixels that pixel k of a strip reads.
template <typename A>
struct Corners {
  A *nw, *ne, *sw, *se;

  LIFT_HD Corners(A* data, const Addresses<std::remove_const_t<A>>& at, int k)
      : nw(data + at.north[k]), ne(nw + at.east[k]), sw(data + at.south[k]), se(sw + at.east[k]) {}
};

// Ask for what the next strip down is likely to read: the row below the southern one. With flow that varies, rows are read in short
// stretches, which the processor itself does not foresee.
template <typename A>
void prefetch_below(const Rows<const A>& rows, const Places<A>& at) {
  if (rows.mask != -1) return;  // a window of rows: in the cache already
  constexpr int64_t line = 64 / sizeof(A);
  const int64_t C = rows.apart, step = std::max<int64_t>(1, line / C);
  for (int64_t k = 0; k < at.n; k += step) {
    const A* const below = rows.row(at.north[k] + at.south[k] + 1) + at.west[k] * C;
    for (int64_t c = 0; c < C; c += line) __builtin_prefetch(below + c);
  }
}

}  // namespace lift
