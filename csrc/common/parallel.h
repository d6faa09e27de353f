// Work divided among threads: by rows, or by blocks of rows.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>
#include <vector>

namespace lift {

constexpr int64_t min_work_per_thread = 16384;  // values; for fewer another thread does not pay

// Call work(i) for i from 0 to n - 1, `grain` or more of them per thread. What it raises is raised
// here: PyTorch's parallel_for would replace the message.
template <typename F>
void parallel_for(int64_t n, int64_t grain, const F& work) {
  std::exception_ptr error;
  std::mutex mutex;
  torch::stable::parallel_for(0, n, grain, [&](int64_t begin, int64_t end) {
    try {
      for (int64_t i = begin; i < end; ++i) work(i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!error) error = std::current_exception();
    }
  });
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {  // in the words that programs look for
    throw std::runtime_error("DefaultCPUAllocator: can't allocate memory: the rows in use");
  }
}

// Call work(task) for tasks 0 to `tasks` - 1, which have `values` values in all.
template <typename F>
void for_tasks(int64_t tasks, int64_t values, const F& work) {
  const int64_t grain =
      std::max<int64_t>(1, min_work_per_thread * tasks / std::max<int64_t>(1, values));
  parallel_for(tasks, grain, work);
}

// Call work(b, y) for every row of a batch; a row has `values` values.
template <typename F>
void for_rows(int64_t B, int64_t H, int64_t values, const F& work) {
  const int64_t grain = std::max<int64_t>(1, min_work_per_thread / std::max<int64_t>(1, values));
  parallel_for(B * H, grain, [&](int64_t row) { work(row / H, row % H); });
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
