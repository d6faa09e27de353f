// A strip: up to 64 neighbouring pixels of a row of the result.
//
// Sample coordinates and weights are computed for a whole strip at once, by vectors over pixels;
// then each pixel is processed by vectors over channels.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "bfloat16.h"
#include "simd.h"
#include "tensors.h"

namespace lift {

constexpr int strip_length = 64;

// The pixels of the strip that begins at column x of a row of W pixels.
inline int strip_size(int64_t x, int64_t W) {
  return static_cast<int>(std::min<int64_t>(strip_length, W - x));
}

// A per-pixel map (B, channels, H, W) of any strides (in elements).
template <typename A>
struct StridedMap {
  const A* data = nullptr;
  int64_t stride_b = 0, stride_c = 0, stride_y = 0, stride_x = 0;

  StridedMap() = default;
  explicit StridedMap(const Tensor& x)
      : data(static_cast<const A*>(x.const_data_ptr())),
        stride_b(x.stride(0)),
        stride_c(x.stride(1)),
        stride_y(x.stride(2)),
        stride_x(x.stride(3)) {}

  // n values of a row from column x on: where they are if they are adjacent, else in `copy`.
  const A* load_strip(int64_t b, int64_t c, int64_t y, int64_t x, int n, A* copy) const {
    const A* from = data + b * stride_b + c * stride_c + y * stride_y + x * stride_x;
    if (stride_x == 1) {
      prefetch(from + 2 * strip_length, n);
      return from;
    }
    for (int k = 0; k < n; ++k) copy[k] = from[k * stride_x];
    return copy;
  }

  // The same in the type that is computed in: those of bfloat16 always in `copy`.
  const Wide<A>* load_wide_strip(int64_t b, int64_t c, int64_t y, int64_t x, int n,
                                 Wide<A>* copy) const {
    if constexpr (std::is_same_v<A, Wide<A>>) {
      return load_strip(b, c, y, x, n, copy);
    } else {
      A narrow_copy[strip_length];
      const A* const from = load_strip(b, c, y, x, n, narrow_copy);
      LIFT_SIMD
      for (int k = 0; k < n; ++k) copy[k] = widen(from[k]);
      return copy;
    }
  }
};

}  // namespace lift
