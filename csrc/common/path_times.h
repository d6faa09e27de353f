// The frames beside two references: their times, and which divided differences are known.
//
// Gaps are in the order: before the left reference, after the right one, then before and after
// those two, and so on. kernels/ops/path_inputs/reference.py has the definitions.
#pragma once

#include <cstdint>

#include "tensors.h"

namespace lift {

constexpr int most_gaps = 6;

// Times (B, G) and validity (B, G), of any strides (in elements).
template <typename A>
struct PathTimes {
  const A* times;
  int64_t times_b, times_g;
  const bool* valid;
  int64_t valid_b, valid_g;

  PathTimes(const Tensor& times, const Tensor& valid)
      : times(static_cast<const A*>(times.const_data_ptr())),
        times_b(times.stride(0)),
        times_g(times.stride(1)),
        valid(static_cast<const bool*>(valid.const_data_ptr())),
        valid_b(valid.stride(0)),
        valid_g(valid.stride(1)) {}

  A time(int64_t b, int g) const { return times[b * times_b + g * times_g]; }
  bool is_valid(int64_t b, int g) const { return valid[b * valid_b + g * valid_g]; }

  // Whether a difference is known. Those above order 2 need both of the order before.
  bool known(int64_t b, int g) const {
    for (int i = 0; i < g / 2 * 2; ++i)
      if (!is_valid(b, i)) return false;
    return is_valid(b, g);
  }
};

// Raise unless there are 2, 4 or 6 gaps, of times and validity (B, G).
inline void check_path_times(const Tensor& times, const Tensor& valid, int64_t B, int64_t G,
                             ScalarType dtype) {
  STD_TORCH_CHECK(G == 2 || G == 4 || G == most_gaps, "there must be 2, 4 or 6 gaps");
  check_tensor("times", times, {B, G}, dtype);
  check_tensor("valid", valid, {B, G}, ScalarType::Bool);
}

}  // namespace lift
