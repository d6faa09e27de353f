// Work divided among threads: by rows, or by blocks of rows.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace lift {

constexpr int64_t min_work_per_thread = 16384;  // values; for fewer another thread does not pay

// Call work(task) for tasks 0 to `tasks` - 1, which have `values` values in all.
template <typename F>
void for_tasks(int64_t tasks, int64_t values, const F& work) {
  const int64_t grain =
      std::max<int64_t>(1, min_work_per_thread * tasks / std::max<int64_t>(1, values));
  torch::stable::parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) work(task);
  });
}

// Call work(b, y) for every row of a batch; a row has `values` values.
template <typename F>
void for_rows(int64_t B, int64_t H, int64_t values, const F& work) {
  const int64_t grain = std::max<int64_t>(1, min_work_per_thread / std::max<int64_t>(1, values));
  torch::stable::parallel_for(0, B * H, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) work(row / H, row % H);
  });
}

// How many blocks the rows of each image are divided into:
// as few as possible, but one for every thread where there are `values` values enough.
inline int64_t blocks_per_image(int64_t B, int64_t rows, int64_t values) {
  const int64_t threads =
      values < min_work_per_thread ? 1 : static_cast<int64_t>(torch::stable::get_num_threads());
  return std::clamp<int64_t>((threads + B - 1) / std::max<int64_t>(B, 1), 1, rows);
}

// Rows [begin, end) of batch entry b: the work of one task.
struct RowBlock {
  int64_t b, begin, end;
};

// All rows of a batch, which has `values` values, in blocks.
inline std::vector<RowBlock> row_blocks(int64_t B, int64_t H, int64_t values) {
  const int64_t count = blocks_per_image(B, H, values);
  std::vector<RowBlock> blocks;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < count; ++i) blocks.push_back({b, i * H / count, (i + 1) * H / count});
  return blocks;
}

// Call work(i, blocks[i]) for every block.
template <typename F>
void for_row_blocks(const std::vector<RowBlock>& blocks, int64_t values, const F& work) {
  for_tasks(static_cast<int64_t>(blocks.size()), values,
            [&](int64_t task) { work(task, blocks[task]); });
}

}  // namespace lift
