#include <vector>

#include "rows.h"
#include "warp_blend_kernels.h"

namespace lift {
namespace {

// Sums over the channels of grad times: the sample, and how it changes to the east and to the south. Each is four partial sums, which are
// added up for a whole strip at once.
template <typename A>
struct alignas(64) Sums {
  A sample[strip_length][4], east[strip_length][4], south[strip_length][4];

  Sums(const Places<A>& at, const A* image, const A* grad, int64_t C, int64_t W) {
    if (C < widest<A>)
      add<false>(at, image, grad, C, W);
    else
      add<true>(at, image, grad, C, W);
  }

 private:
  template <bool wide>
  void add(const Places<A>& at, const A* image, const A* grad, int64_t C, int64_t W) {
    for (int k = 0; k < at.n; ++k) {
      const Corners<const A> from(image, at, k, C, W);
      const A* const up = grad + k * C;
      const A fx = at.fx[k], fy = at.fy[k];
      Sum<A, wide> sum_sample, sum_east, sum_south;
      for_channels<A, wide>(C, [&](auto width, int64_t c) {
        const auto g = load(up + c, width), nw = load(from.nw + c, width), ne = load(from.ne + c, width);
        const auto sw = load(from.sw + c, width), se = load(from.se + c, width);
        const auto north = ne - nw, both = (se - sw) - north;  // differences first: sums of large flat values would swamp them
        const auto down = (sw - nw) + fx * both;
        sum_sample.add(g * (nw + fx * north + fy * down));
        sum_east.add(g * (north + fy * both));
        sum_south.add(g * down);
      });
      sum_sample.fold(sample[k]);
      sum_east.fold(east[k]);
      sum_south.fold(south[k]);
    }
  }
};

template <typename A>
LIFT_HD A total(const A (&parts)[4]) {
  return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

}  // namespace

template <typename A, int N>
void warp_blend_backward_fields(const Problem<A, N>& p, const std::array<Pixels<A>, N>& image, const View& grad,
                                const std::array<A*, N>& dflow, const std::array<A*, N>& docc) {
  const bool occ_asked = N == 2 && (docc[0] || docc[N - 1]);
  const int64_t plane = p.H * p.W;
  for_rows(p.B, p.H, p.W * p.C, [&](int64_t b, int64_t y) {
    static thread_local std::vector<A> copy;
    copy.resize(strip_length * p.C);
    alignas(64) A sample[N][strip_length];  // sum over the channels of grad times the warped image
    for (int64_t x = 0; x < p.W; x += strip_length) {
      const Weights<A, N> weights(p, b, y, x);
      const int count = static_cast<int>(std::min<int64_t>(strip_length, p.W - x));
      const int64_t start = y * p.W + x;
      const A* const up = read_pixels(grad, b, y, x, count, copy.data());
      for (int i = 0; i < N; ++i) {
        if (!dflow[i] && !occ_asked) continue;
        const Places<A> at(p, i, b, y, x);
        const Sums<A> sums(at, image[i].image(b), up, p.C, p.W);
        LIFT_SIMD
        for (int k = 0; k < count; ++k) sample[i][k] = total(sums.sample[k]);
        if (!dflow[i]) continue;
        A* __restrict dx = dflow[i] + 2 * b * plane + start;
        A* __restrict dy = dx + plane;
        LIFT_SIMD
        for (int k = 0; k < count; ++k) {
          dx[k] = at.inside_x[k] ? weights.weight[i][k] * total(sums.east[k]) : A(0);
          dy[k] = at.inside_y[k] ? weights.weight[i][k] * total(sums.south[k]) : A(0);
        }
      }
      if constexpr (N == 2) {
        for (int i = 0; i < 2; ++i) {
          if (!docc[i]) continue;
          A* __restrict d = docc[i] + b * plane + start;
          LIFT_SIMD
          for (int k = 0; k < count; ++k) d[k] = weights.slope[i][k] * (sample[i][k] - sample[1 - i][k]);
        }
      }
    }
  });
}

#define LIFT_BACKWARD_FIELDS(A, N)                                                                                                     \
  template void warp_blend_backward_fields<A, N>(const Problem<A, N>&, const std::array<Pixels<A>, N>&, const View&, const std::array<A*, N>&, \
                                                 const std::array<A*, N>&);

LIFT_BACKWARD_FIELDS(float, 1)
LIFT_BACKWARD_FIELDS(float, 2)
LIFT_BACKWARD_FIELDS(double, 1)
LIFT_BACKWARD_FIELDS(double, 2)

}  // namespace lift
