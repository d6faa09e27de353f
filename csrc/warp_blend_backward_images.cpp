#include <vector>

#include "rows.h"
#include "warp_blend_kernels.h"

namespace lift {
namespace {

using torch::stable::get_num_threads;
using torch::stable::parallel_for;

// The first and the last row of an image that a row of pixels reads.
struct Reach {
  int32_t first, last;
};

// The reach of each of the B * H rows of pixels in image i.
template <typename A, int N>
std::vector<Reach> reach(const Problem<A, N>& p, int i) {
  std::vector<Reach> rows(p.B * p.H);
  const int32_t H = static_cast<int32_t>(p.H);
  for_rows(p.B, p.H, p.W, [&](int64_t b, int64_t y) {
    int32_t first = H, last = -1;
    alignas(64) A copy[strip_length];
    for (int64_t x = 0; x < p.W; x += strip_length) {
      const int n = static_cast<int>(std::min<int64_t>(strip_length, p.W - x));
      const A* v = p.flow[i].strip(b, 1, y, x, n, copy);
      _Pragma("omp simd reduction(min : first) reduction(max : last)")
      for (int k = 0; k < n; ++k) {
        const Tap<A> down = tap(static_cast<int32_t>(y), v[k], H);
        first = std::min(first, down.low);
        last = std::max(last, down.low + down.step);
      }
    }
    rows[b * p.H + y] = {first, last};
  });
  return rows;
}

template <typename A>
LIFT_HD void add_pixel(A* to, A share, const A* grad, int64_t C) {
  for_channels<A>(C, [&](auto width, int64_t c) { store<A>(to + c, load(to + c, width) + share * load(grad + c, width), width); });
}

// Rows [first, last) of the gradient of image i of batch entry b.
template <typename A, int N>
void add_band(const Problem<A, N>& p, int i, int64_t b, int64_t first, int64_t last, const std::vector<Reach>& rows, const View& grad,
              A* dimage) {
  static thread_local std::vector<A> copy;
  copy.resize(strip_length * p.C);
  const int64_t C = p.C, W = p.W;
  std::fill(dimage + first * W * C, dimage + last * W * C, A(0));
  for (int64_t y = 0; y < p.H; ++y) {
    const bool whole = rows.empty() || (rows[b * p.H + y].first >= first && rows[b * p.H + y].last < last);
    if (!whole && (rows[b * p.H + y].first >= last || rows[b * p.H + y].last < first)) continue;
    for (int64_t x = 0; x < W; x += strip_length) {
      const Places<A> at(p, i, b, y, x);
      const Weights<A, N> weights(p, b, y, x);
      const Shares<A> share(at, weights.weight[i]);
      const A* up = read_pixels(grad, b, y, x, at.n, copy.data());
      for (int k = 0; k < at.n; ++k, up += C) {
        const Corners<A> to(dimage, at, k, C, W);
        const int64_t north = at.north_row[k], south = north + at.south[k];
        if (whole || (north >= first && north < last)) {
          add_pixel(to.nw, share.nw[k], up, C);
          add_pixel(to.ne, share.ne[k], up, C);
        }
        if (whole || (south >= first && south < last)) {
          add_pixel(to.sw, share.sw[k], up, C);
          add_pixel(to.se, share.se[k], up, C);
        }
      }
    }
  }
}

}  // namespace

template <typename A, int N>
void warp_blend_backward_images(const Problem<A, N>& p, const View& grad, const std::array<Pixels<A>, N>& dimage) {
  std::vector<int> asked;
  for (int i = 0; i < N; ++i)
    if (dimage[i].data) asked.push_back(i);
  if (asked.empty()) return;
  const int64_t size = p.C * p.H * p.W, wholes = p.B * static_cast<int64_t>(asked.size());
  const int64_t threads = size < least_work ? 1 : static_cast<int64_t>(get_num_threads());
  const int64_t bands = std::clamp<int64_t>((threads + wholes - 1) / wholes, 1, p.H);
  std::array<std::vector<Reach>, N> rows;
  if (bands > 1)
    for (int i : asked) rows[i] = reach(p, i);
  const int64_t grain = std::max<int64_t>(1, least_work * bands / size);
  parallel_for(0, wholes * bands, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t band = task % bands, b = task / bands % p.B;
      const int i = asked[task / bands / p.B];
      Pixels<A> d = dimage[i];
      add_band<A, N>(p, i, b, band * p.H / bands, (band + 1) * p.H / bands, rows[i], grad, d.image(b));
    }
  });
}

#define LIFT_BACKWARD_IMAGES(A, N) \
  template void warp_blend_backward_images<A, N>(const Problem<A, N>&, const View&, const std::array<Pixels<A>, N>&);

LIFT_BACKWARD_IMAGES(float, 1)
LIFT_BACKWARD_IMAGES(float, 2)
LIFT_BACKWARD_IMAGES(double, 1)
LIFT_BACKWARD_IMAGES(double, 2)

}  // namespace lift
