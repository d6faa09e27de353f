// Rows of all images of a batch, shared out among the threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>

namespace lift {

constexpr int64_t least_work = 16384;  // values a thread should have to itself before another one helps

// Call work(b, y) for every row, of `values` values each.
template <typename F>
void for_rows(int64_t B, int64_t H, int64_t values, const F& work) {
  const int64_t grain = std::max<int64_t>(1, least_work / std::max<int64_t>(1, values));
  torch::stable::parallel_for(0, B * H, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) work(row / H, row % H);
  });
}

}  // namespace lift
