// Which rows of an image the rows of the result read, and the windows of rows that are in use at a time: a window of an image is loaded
// a row ahead of its use, a window of a gradient is delivered a row behind, and only the window has memory of its own.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "pixels.h"
#include "rows.h"
#include "strip.h"

namespace lift {

// The first and the last row of an image that a row of the result reads.
struct Reach {
  int32_t first, last;
};

// The reach into image i of each of the B * H rows of the result.
template <typename A, int N>
std::vector<Reach> reach(const Problem<A, N>& p, int i) {
  std::vector<Reach> rows(p.B * p.H);
  const int32_t H = static_cast<int32_t>(p.H);
  for_rows(p.B, p.H, p.W, [&](int64_t b, int64_t y) {
    A least = std::numeric_limits<A>::infinity(), most = -least;  // the places are in the order of the flow
    int numbers = 1;
    alignas(64) A copy[strip_length];
    for (int64_t x = 0; x < p.W; x += strip_length) {
      const int n = static_cast<int>(std::min<int64_t>(strip_length, p.W - x));
      const A* v = p.flow[i].strip(b, 1, y, x, n, copy);
      _Pragma("omp simd reduction(min : least) reduction(max : most) reduction(& : numbers)")
      for (int k = 0; k < n; ++k) {
        least = v[k] < least ? v[k] : least;
        most = v[k] > most ? v[k] : most;
        numbers &= v[k] == v[k];
      }
    }
    const Tap<A> up = tap(static_cast<int32_t>(y), numbers ? least : -std::numeric_limits<A>::infinity(), H);  // NaN reads row 0
    const Tap<A> down = tap(static_cast<int32_t>(y), least <= most ? most : -std::numeric_limits<A>::infinity(), H);
    rows[b * p.H + y] = {up.low, down.low + down.step};
  });
  return rows;
}

// A task: rows [begin, end) of batch entry b.
struct Band {
  int64_t b, begin, end;
};

// All rows, divided so that every thread has a band and the bands are as few as they can be.
inline std::vector<Band> bands(int64_t B, int64_t H, int64_t values) {
  const int64_t threads = values < least_work ? 1 : static_cast<int64_t>(torch::stable::get_num_threads());
  const int64_t each = std::clamp<int64_t>((threads + B - 1) / B, 1, H);
  std::vector<Band> all;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < each; ++i) all.push_back({b, i * H / each, (i + 1) * H / each});
  return all;
}

template <typename F>
void for_bands(const std::vector<Band>& bands, int64_t values, const F& work) {
  const int64_t tasks = static_cast<int64_t>(bands.size());
  const int64_t grain = std::max<int64_t>(1, least_work * tasks / std::max<int64_t>(1, values));
  torch::stable::parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) work(task, bands[task]);
  });
}

// What rows of the result, taken in order, need of an image's rows [low, high).
struct Span {
  int64_t first, total;        // all that they reach
  int64_t at_once = 0;         // the most rows from the first that is still to be reached to the last that was
  std::vector<int64_t> still;  // for each of them, the first row that it or a later one reaches

  Span(const Reach* rows, int64_t count, int64_t low, int64_t high) : still(count + 1, high) {
    const auto reaches = [&](int64_t y) { return rows[y].first < high && rows[y].last >= low; };
    for (int64_t y = count - 1; y >= 0; --y)
      still[y] = reaches(y) ? std::min(still[y + 1], std::max<int64_t>(low, rows[y].first)) : still[y + 1];
    int64_t reached = low - 1;
    for (int64_t y = 0; y < count; ++y) {
      if (!reaches(y)) continue;
      reached = std::max(reached, std::min<int64_t>(high - 1, rows[y].last));
      at_once = std::max(at_once, reached - still[y] + 1);
    }
    first = still[0];
    total = std::max<int64_t>(0, reached - first + 1);
  }
};

// Where a window of an image lies: a ring of a power of two of rows, or plainly all rows where that is less.
struct Window {
  int64_t start, rows, mask, shift;  // in rows: of the memory of all windows; of this one; of Rows; of row 0 before `start`

  Window(int64_t start, int64_t at_once, int64_t first, int64_t total) : start(start), rows(1) {
    while (rows < at_once) rows *= 2;
    mask = rows < total ? rows - 1 : -1;
    shift = rows < total ? 0 : first;
    rows = std::min(rows, std::max<int64_t>(1, total));
  }

  template <typename A>
  Rows<A> in(A* memory, int64_t W, int64_t apart) const {
    return {memory + (start - shift) * (W * apart), mask, W, apart};
  }
};

template <typename A>
A* scratch(int64_t values, Tensor& room) {
  const std::array<int64_t, 1> size{values};
  room = torch::stable::empty({size.data(), 1}, dtype_of<A>);
  return static_cast<A*>(room.mutable_data_ptr());
}

// -- images that are read ------------------------------------------------------------------------------------------------------------------

// An image's rows as one task reads them.
template <typename A>
struct Reader {
  Rows<const A> rows;
  const View* from = nullptr;  // null where the rows lie in memory as they are
  int64_t b = 0, loaded = 0;

  // Have the rows up to `last`.
  void need(int64_t last) {
    if (!from) return;
    for (; loaded <= last; ++loaded) copy_row(*from, b, loaded, rows.apart, const_cast<A*>(rows.row(loaded)));
  }
};

// An image as the tasks read it: where it lies; through windows, where they are few rows; else as one copy of the whole.
template <typename A>
class Source {
 public:
  Source(const View& image, int64_t apart, const std::vector<Reach>& reaches, const std::vector<Band>& bands)
      : image_(image), apart_(apart) {
    if (in_place<A>(image, apart)) {
      whole_ = {static_cast<A*>(image.data), image.batch};
      return;
    }
    int64_t total = 0, rows = 0;
    for (const Band& band : bands) {
      const Span span(reaches.data() + band.b * image.H + band.begin, band.end - band.begin, 0, image.H);
      firsts_.push_back(span.first);
      rows += windows_.emplace_back(rows, span.at_once, span.first, span.total).rows;
      total += span.total;
    }
    if (2 * total > 3 * image.B * image.H || rows > image.B * image.H) {  // threads would copy much of the image each for itself
      windows_.clear();
      whole_ = gather_pixels<A>(image, apart, room_);
    } else {
      ring_ = scratch<A>(rows * image.W * apart, room_);
    }
  }

  Reader<A> reader(int64_t task, const Band& band) const {
    if (windows_.empty()) return {{whole_.image(band.b), -1, image_.W, apart_}};
    return {windows_[task].in<const A>(ring_, image_.W, apart_), &image_, band.b, firsts_[task]};
  }

 private:
  View image_;
  int64_t apart_;
  Tensor room_;
  Pixels<A> whole_;
  A* ring_ = nullptr;
  std::vector<Window> windows_;
  std::vector<int64_t> firsts_;
};

// -- gradients that are written ------------------------------------------------------------------------------------------------------------

// A band of rows of an image's gradient as one task sums them: each is zeroed before anything is added, and delivered after all is.
template <typename A>
struct Writer {
  Rows<A> rows;
  const View* to = nullptr;  // null where the rows lie in memory as they are
  Band band{};
  const int64_t* still = nullptr;  // as in Span
  int64_t zeroed = 0, delivered = 0;

  // Row y of the result is about to add to the rows up to `last`.
  void need(int64_t y, int64_t last) {
    if (to) deliver(still[y]);
    zero(std::min(last + 1, band.end));
  }

  void finish() {
    if (to) deliver(band.end);
    zero(band.end);
  }

 private:
  void zero(int64_t end) {
    for (; zeroed < end; ++zeroed) std::fill(rows.row(zeroed), rows.row(zeroed) + rows.W * rows.apart, A(0));
  }

  void deliver(int64_t end) {
    for (; delivered < end; ++delivered) {
      zero(delivered + 1);
      write_pixels<A>(*to, band.b, delivered, 0, rows.W, rows.apart, rows.row(delivered));
    }
  }
};

// The gradient of an image as the tasks sum it: where the result wants it, or through windows.
template <typename A>
class Sink {
 public:
  Sink(const View& image, int64_t apart, const std::vector<Reach>& reaches, const std::vector<Band>& bands)
      : image_(image), apart_(apart) {
    int64_t rows = 0;
    for (const Band& band : bands) {
      Span span(reaches.data() + band.b * image.H, image.H, band.begin, band.end);
      rows += windows_.emplace_back(rows, span.at_once, band.begin, band.end - band.begin).rows;
      still_.push_back(std::move(span.still));
    }
    if (!in_place<A>(image, apart)) memory_ = scratch<A>(rows * image.W * apart, room_);
  }

  Writer<A> writer(int64_t task, const Band& band) const {
    const Rows<A> here{static_cast<A*>(image_.data) + band.b * image_.batch, -1, image_.W, apart_};
    return {memory_ ? windows_[task].in(memory_, image_.W, apart_) : here, memory_ ? &image_ : nullptr, band, still_[task].data(),
            band.begin, band.begin};
  }

 private:
  View image_;
  int64_t apart_;
  Tensor room_;
  A* memory_ = nullptr;
  std::vector<Window> windows_;
  std::vector<std::vector<int64_t>> still_;
};

}  // namespace lift
