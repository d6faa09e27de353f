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
    if (column == 1) return from;
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
};

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
    alignas(64) A copy_u[strip_length], copy_v[strip_length];
    const A* u = p.flow[i].strip(b, 0, y, x, n, copy_u);
    const A* v = p.flow[i].strip(b, 1, y, x, n, copy_v);
    const int32_t W = static_cast<int32_t>(p.W), H = static_cast<int32_t>(p.H);
    const int32_t left = static_cast<int32_t>(x), row = static_cast<int32_t>(y);
    const int count = n;
    LIFT_SIMD
    for (int k = 0; k < count; ++k) {
      const Tap<A> across = tap(left + k, u[k], W), down = tap(row, v[k], H);
      west[k] = across.low;
      north[k] = down.low;
      east[k] = across.step;
      south[k] = down.step;
      fx[k] = across.fraction;
      fy[k] = down.fraction;
      inside_x[k] = across.inside;
      inside_y[k] = down.inside;
    }
  }
};

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
      const A* occ0 = p.occ[0].strip(b, 0, y, x, count, copy0);
      const A* occ1 = p.occ[1].strip(b, 0, y, x, count, copy1);
      LIFT_SIMD
      for (int k = 0; k < count; ++k) {
        const Blend<A> blended = blend(occ0[k], occ1[k]);
        weight[0][k] = blended.weight[0];
        weight[1][k] = blended.weight[1];
        slope[0][k] = blended.slope[0];
        slope[1][k] = blended.slope[1];
      }
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

// Rows of pixels (W, C), one after the other; row r lies at r & mask, so that few rows of memory serve an image whose rows are used in turn.
template <typename A>
struct Rows {
  A* data = nullptr;
  int64_t mask = -1, W = 0, C = 0;

  A* row(int64_t r) const { return data + (r & mask) * (W * C); }
};

// The four pixels, C values each, that pixel k of a strip reads.
template <typename A>
struct Corners {
  A *nw, *ne, *sw, *se;

  LIFT_HD Corners(const Rows<A>& rows, const Places<std::remove_const_t<A>>& at, int k, int64_t C) {
    const int64_t west = at.west[k] * C, east = at.east[k] * C, north = at.north[k];
    nw = rows.row(north) + west;
    ne = nw + east;
    sw = rows.row(north + at.south[k]) + west;
    se = sw + east;
  }
};

// Ask for what the next strip down is likely to read: the row below the southern one. With flow that varies, rows are read in short
// stretches, which the processor itself does not foresee.
template <typename A>
void prefetch_below(const Rows<const A>& rows, const Places<A>& at) {
  if (rows.mask != -1) return;  // a window of rows: in the cache already
  constexpr int64_t line = 64 / sizeof(A);
  const int64_t C = rows.C, step = std::max<int64_t>(1, line / C);
  for (int64_t k = 0; k < at.n; k += step) {
    const A* const below = rows.row(at.north[k] + at.south[k] + 1) + at.west[k] * C;
    for (int64_t c = 0; c < C; c += line) __builtin_prefetch(below + c);
  }
}

}  // namespace lift
