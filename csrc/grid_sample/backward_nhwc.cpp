#include "grid_sample_kernels.h"

#include <algorithm>
#include <vector>

#include "rows.h"

namespace lift {
namespace {

using torch::stable::get_num_threads;
using torch::stable::parallel_for;

// Memory for n values that a thread keeps from call to call.
template <typename A>
A* scratch(int64_t n) {
  static thread_local std::vector<A> values;
  if (static_cast<int64_t>(values.size()) < n) values.resize(n);
  return values.data();
}

// The pixel (row, column) of an image (H, W, C), or `outside`.
template <typename A, typename P>
LIFT_HD A* pixel(A* image, int32_t row, int32_t column, const P& p, A* outside) {
  const bool within = row >= 0 && row < p.H && column >= 0 && column < p.W;
  return within ? image + (row * p.W + column) * p.C : outside;
}

// The four pixels around a place.
template <typename A>
struct Around {
  A *nw, *ne, *sw, *se;

  template <typename P>
  LIFT_HD Around(A* image, int32_t row, int32_t column, const P& p, A* outside)
      : nw(pixel(image, row, column, p, outside)), ne(pixel(image, row, column + 1, p, outside)),
        sw(pixel(image, row + 1, column, p, outside)), se(pixel(image, row + 1, column + 1, p, outside)) {}
};

// The shares that the four pixels around a place have in the result.
template <typename A>
struct Share {
  A nw, ne, sw, se;

  LIFT_HD Share(A fx, A fy) : nw((1 - fx) * (1 - fy)), ne(fx * (1 - fy)), sw((1 - fx) * fy), se(fx * fy) {}
};

template <typename A>
LIFT_HD A total(const Sum<A, true>& sum) {
  A parts[4];
  sum.fold(parts);
  return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

template <typename A>
LIFT_HD void add_pixel(A* to, A share, const A* grad, int64_t C) {
  if (!to) return;
  for_channels<A>(C, [&](auto width, int64_t c) { store<A>(to + c, load(to + c, width) + share * load(grad + c, width), width); });
}

// Rows [first, last) of the gradient of the input of batch entry b.
template <typename A>
void add_band(const Sampling<A>& s, int64_t b, int64_t first, int64_t last, const View& grad, A* dinput) {
  const int64_t C = s.C, W = s.W;
  A* const copy = scratch<A>(strip_length * C);
  A* const nowhere = nullptr;
  std::fill(dinput + first * W * C, dinput + last * W * C, A(0));
  for (int64_t y = 0; y < s.h; ++y) {
    for (int64_t x = 0; x < s.w; x += strip_length) {
      const Reads<A> at(s, b, y, x);
      const auto [lowest, highest] = std::minmax_element(at.row, at.row + at.n);
      if (*lowest >= last || *highest + 1 < first) continue;
      const A* up = read_pixels(grad, b, y, x, at.n, C, copy);
      for (int k = 0; k < at.n; ++k, up += C) {
        const int32_t row = at.row[k];
        const bool north = row >= first && row < last, south = row + 1 >= first && row + 1 < last;
        if (s.mode == Mode::nearest) {
          if (north) add_pixel(pixel(dinput, row, at.column[k], s, nowhere), A(1), up, C);
          continue;
        }
        const Around<A> to(dinput, row, at.column[k], s, nowhere);
        const Share<A> share(at.fx[k], at.fy[k]);
        if (north) {
          add_pixel(to.nw, share.nw, up, C);
          add_pixel(to.ne, share.ne, up, C);
        }
        if (south) {
          add_pixel(to.sw, share.sw, up, C);
          add_pixel(to.se, share.se, up, C);
        }
      }
    }
  }
}

}  // namespace

template <typename A>
void grid_sample_backward_grid(const Sampling<A>& s, const Pixels<A>& input, const View& grad, A* dgrid) {
  const int64_t C = s.C;
  const std::vector<A> outside(C);
  for_rows(s.B, s.h, s.w * C, [&](int64_t b, int64_t y) {
    A* const copy = scratch<A>(strip_length * C);
    const A* const image = input.image(b);
    for (int64_t x = 0; x < s.w; x += strip_length) {
      const Reads<A> at(s, b, y, x);
      const A* up = read_pixels(grad, b, y, x, at.n, C, copy);
      A* to = dgrid + ((b * s.h + y) * s.w + x) * 2;
      for (int k = 0; k < at.n; ++k, up += C, to += 2) {
        const Around<const A> from(image, at.row[k], at.column[k], s, outside.data());
        const A fx = at.fx[k], fy = at.fy[k];
        Sum<A, true> east, south;
        for_channels<A>(C, [&](auto width, int64_t c) {
          const auto g = load(up + c, width), nw = load(from.nw + c, width), ne = load(from.ne + c, width);
          const auto sw = load(from.sw + c, width), se = load(from.se + c, width);
          const auto north = ne - nw, both = (se - sw) - north;  // differences first: sums of large flat values would swamp them
          east.add(g * (north + fy * both));
          south.add(g * ((sw - nw) + fx * both));
        });
        to[0] = at.slope_x[k] * total(east);
        to[1] = at.slope_y[k] * total(south);
      }
    }
  });
}

template <typename A>
void grid_sample_backward_input(const Sampling<A>& s, const View& grad, const Pixels<A>& dinput) {
  const int64_t size = std::max(s.H * s.W, s.h * s.w) * s.C;
  const int64_t threads = size < least_work ? 1 : static_cast<int64_t>(get_num_threads());
  const int64_t bands = std::clamp<int64_t>((threads + s.B - 1) / s.B, 1, s.H);
  parallel_for(0, s.B * bands, std::max<int64_t>(1, least_work * bands / size), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t band = task % bands, b = task / bands;
      Pixels<A> d = dinput;
      add_band<A>(s, b, band * s.H / bands, (band + 1) * s.H / bands, grad, d.image(b));
    }
  });
}

#define LIFT_GRID_SAMPLE(A)                                                                          \
  template void grid_sample_backward_grid<A>(const Sampling<A>&, const Pixels<A>&, const View&, A*); \
  template void grid_sample_backward_input<A>(const Sampling<A>&, const View&, const Pixels<A>&);

LIFT_GRID_SAMPLE(float)
LIFT_GRID_SAMPLE(double)

}  // namespace lift
