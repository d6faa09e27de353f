// The rows of the images as tasks read them, and of their gradients as tasks sum them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "../common/parallel.h"
#include "../common/pixels.h"
#include "../common/row_ring.h"
#include "strip.h"

namespace lift {

// The rows of image i that each of the B * H rows of the result samples.
template <typename A, int N>
std::vector<RowRange> sampled_rows(const WarpParams<A, N>& p, int i) {
  std::vector<RowRange> ranges(p.B * p.H);
  const int32_t H = static_cast<int32_t>(p.H);
  constexpr A infinity = std::numeric_limits<A>::infinity();
  for_rows(p.B, p.H, p.W, [&](int64_t b, int64_t y) {
    A least = infinity, most = -infinity;  // coordinates are in the order of the flow
    int no_nan = 1;
    alignas(64) A copy[strip_length];
    for (int64_t x = 0; x < p.W; x += strip_length) {
      const int n = strip_size(x, p.W);
      const A* v = p.flow[i].load_strip(b, 1, y, x, n, copy);
#pragma omp simd reduction(min : least) reduction(max : most) reduction(& : no_nan)
      for (int k = 0; k < n; ++k) {
        least = v[k] < least ? v[k] : least;
        most = v[k] > most ? v[k] : most;
        no_nan &= v[k] == v[k];
      }
    }
    const auto tap = [&](A flow) { return bilinear_tap(static_cast<int32_t>(y), flow, H); };
    const BilinearTap<A> upper = tap(no_nan ? least : -infinity);  // NaN samples row 0
    const BilinearTap<A> lower = tap(least <= most ? most : -infinity);
    ranges[b * p.H + y] = {upper.low, lower.low + lower.step};
  });
  return ranges;
}

// -- images that are read -------------------------------------------------------------------------

// The rows of an image that one task reads.
template <typename A>
struct InputRowReader {
  PixelRows<const A> rows;
  const ImageView* from = nullptr;  // null where the rows are read in place
  int64_t b = 0, loaded = 0;

  // Make the rows up to `last` available.
  void load_until(int64_t last) {
    if (!from) return;
    for (; loaded <= last; ++loaded)
      copy_row(*from, b, loaded, rows.pixel_stride, const_cast<A*>(rows.row(loaded)));
  }
};

// An image as the tasks read it: in place; else through one ring per task, if rings are small;
// else as one copy of the whole.
template <typename A>
class InputRows {
 public:
  InputRows(const ImageView& image, int64_t pixel_stride, const std::vector<RowRange>& ranges,
            const std::vector<RowBlock>& blocks)
      : image_(image), pixel_stride_(pixel_stride) {
    if (is_nhwc<A>(image, pixel_stride)) {
      whole_ = {static_cast<A*>(image.data), image.stride_b};
      return;
    }
    int64_t total = 0, rows = 0;
    for (const RowBlock& block : blocks) {
      const RowSchedule needed(ranges.data() + block.b * image.H + block.begin,
                               block.end - block.begin, 0, image.H);
      first_rows_.push_back(needed.first);
      rows += rings_.emplace_back(rows, needed).rows;
      total += needed.total;
    }
    // A ring does not pay where each thread would copy much of the image for itself.
    if (2 * total > 3 * image.B * image.H || rows > image.B * image.H) {
      rings_.clear();
      whole_ = to_nhwc<A>(image, pixel_stride, storage_);
    } else {
      memory_ = allocate<A>(rows * image.W * pixel_stride, storage_);
    }
  }

  InputRowReader<A> reader(int64_t task, const RowBlock& block) const {
    if (rings_.empty()) return {{whole_.image(block.b), -1, image_.W, pixel_stride_}};
    return {rings_[task].view<const A>(memory_, image_.W, pixel_stride_), &image_, block.b,
            first_rows_[task]};
  }

 private:
  ImageView image_;
  int64_t pixel_stride_;
  Tensor storage_;
  NhwcImages<A> whole_;
  A* memory_ = nullptr;  // of all rings
  std::vector<RowRing> rings_;
  std::vector<int64_t> first_rows_;
};

// -- gradients that are written -------------------------------------------------------------------

// A block of rows of an image's gradient as one task sums them.
// Each row is zeroed before anything is added to it and flushed after everything was.
template <typename A>
struct GradRowWriter {
  PixelRows<A> rows;
  const ImageView* to = nullptr;  // null where the rows are summed in place
  RowBlock block{};
  const int64_t* first_needed_row = nullptr;  // of RowSchedule
  int64_t zeroed = 0, flushed = 0;

  // Row y of the result is about to add to the rows up to `last`.
  void prepare(int64_t y, int64_t last) {
    if (to) flush(first_needed_row[y]);
    zero(std::min(last + 1, block.end));
  }

  void finish() {
    if (to) flush(block.end);
    zero(block.end);
  }

 private:
  void zero(int64_t end) {
    for (; zeroed < end; ++zeroed)
      std::fill(rows.row(zeroed), rows.row(zeroed) + rows.W * rows.pixel_stride, A(0));
  }

  void flush(int64_t end) {
    for (; flushed < end; ++flushed) {
      zero(flushed + 1);
      write_pixels<A>(*to, block.b, flushed, 0, rows.W, rows.pixel_stride, rows.row(flushed));
    }
  }
};

// The gradient of an image as the tasks sum it: in place, or through one ring per task.
template <typename A>
class GradRows {
 public:
  GradRows(const ImageView& image, int64_t pixel_stride, const std::vector<RowRange>& ranges,
           const std::vector<RowBlock>& blocks)
      : image_(image), pixel_stride_(pixel_stride) {
    int64_t rows = 0;
    for (const RowBlock& block : blocks) {
      RowSchedule needed(ranges.data() + block.b * image.H, image.H, block.begin, block.end);
      const RowRing ring(rows, needed.max_live, block.begin, block.end - block.begin);
      rows += rings_.emplace_back(ring).rows;
      first_needed_row_.push_back(std::move(needed.first_needed_row));
    }
    if (!is_nhwc<A>(image, pixel_stride))
      memory_ = allocate<A>(rows * image.W * pixel_stride, storage_);
  }

  GradRowWriter<A> writer(int64_t task, const RowBlock& block) const {
    const int64_t* const first_needed = first_needed_row_[task].data();
    if (memory_)
      return {rings_[task].view(memory_, image_.W, pixel_stride_),
              &image_,
              block,
              first_needed,
              block.begin,
              block.begin};
    A* const image = static_cast<A*>(image_.data) + block.b * image_.stride_b;
    return {{image, -1, image_.W, pixel_stride_},
            nullptr,
            block,
            first_needed,
            block.begin,
            block.begin};
  }

 private:
  ImageView image_;
  int64_t pixel_stride_;
  Tensor storage_;
  A* memory_ = nullptr;  // of all rings
  std::vector<RowRing> rings_;
  std::vector<std::vector<int64_t>> first_needed_row_;
};

}  // namespace lift
