// Row rings: the few rows of an image that are in use at a time.
//
// Rows of the result are computed in order. A ring of input rows is loaded one row ahead of its
// use, a ring of gradient rows is flushed one row behind, and only the ring needs memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace lift {

// The first and the last row of an image that one row of the result reads.
struct RowRange {
  int32_t first, last;
};

// Which of an image's rows [low, high) a sequence of rows of the result needs, and when.
struct RowSchedule {
  int64_t first, total;                   // of all rows that are needed
  int64_t max_live = 0;                   // the most rows that are in use at a time
  std::vector<int64_t> first_needed_row;  // by this row of the result or a later one

  RowSchedule(const RowRange* ranges, int64_t count, int64_t low, int64_t high)
      : first_needed_row(count + 1, high) {
    const auto overlaps = [&](int64_t y) {
      return ranges[y].first < high && ranges[y].last >= low;
    };
    for (int64_t y = count - 1; y >= 0; --y) {
      first_needed_row[y] = first_needed_row[y + 1];
      if (overlaps(y))
        first_needed_row[y] =
            std::min(first_needed_row[y], std::max<int64_t>(low, ranges[y].first));
    }
    int64_t last_needed = low - 1;
    for (int64_t y = 0; y < count; ++y) {
      if (!overlaps(y)) continue;
      last_needed = std::max(last_needed, std::min<int64_t>(high - 1, ranges[y].last));
      max_live = std::max(max_live, last_needed - first_needed_row[y] + 1);
    }
    first = first_needed_row[0];
    total = std::max<int64_t>(0, last_needed - first + 1);
  }
};

// Rows of W pixels, `pixel_stride` values from pixel to pixel.
// Row y is at y & mask: a ring where the mask is not -1.
template <typename A>
struct PixelRows {
  A* data = nullptr;
  int64_t mask = -1, W = 0, pixel_stride = 0;

  A* row(int64_t y) const { return data + (y & mask) * (W * pixel_stride); }
};

// A ring within memory that several rings share.
// Its size is a power of two, or all rows where these are fewer.
struct RowRing {
  int64_t start;      // its first row in the shared memory
  int64_t rows;       // its size
  int64_t mask;       // of PixelRows
  int64_t first_row;  // the image row at `start`; 0 for a ring

  RowRing(int64_t start, const RowSchedule& needed)
      : RowRing(start, needed.max_live, needed.first, needed.total) {}

  RowRing(int64_t start, int64_t max_live, int64_t first, int64_t total) : start(start), rows(1) {
    while (rows < max_live) rows *= 2;
    mask = rows < total ? rows - 1 : -1;
    first_row = rows < total ? 0 : first;
    rows = std::min(rows, std::max<int64_t>(1, total));
  }

  template <typename A>
  PixelRows<A> view(A* memory, int64_t W, int64_t pixel_stride) const {
    return {memory + (start - first_row) * (W * pixel_stride), mask, W, pixel_stride};
  }
};

}  // namespace lift
