#include <vector>

#include "warp_blend_kernels.h"
#include "window.h"

namespace lift {
namespace {

// Sums over the channels of grad times: the sample, and how it changes to the east and to the south. Each is four partial sums, which are
// added up for a whole strip at once.
template <typename A>
struct alignas(64) Sums {
  A sample[strip_length][4], east[strip_length][4], south[strip_length][4];

  Sums(const Places<A>& at, const Rows<const A>& rows, const A* grad, int64_t C) {
    if (C == 4)
      add<4, false>(at, rows, grad, 4);
    else if (C < widest<A>)
      add<0, false>(at, rows, grad, C);
    else
      add<0, true>(at, rows, grad, C);
  }

 private:
  template <int known, bool wide>
  void add(const Places<A>& at, const Rows<const A>& rows, const A* grad, int64_t C) {
    const Addresses<A> address(rows, at);
    const A* const image = rows.data;
    if (known) C = known;
    for (int k = 0; k < at.n; ++k) {
      const Corners<const A> from(image, address, k);
      const A* const up = grad + k * C;
      const A fx = at.fx[k], fy = at.fy[k];
      Sum<A, wide> sum_sample, sum_east, sum_south;
      for_known_channels<A, known, wide>(C, [&](auto width, int64_t c) {
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

// The gradient of flow i for a strip, and in `sample` the sums over the channels of grad times the warped image.
template <typename A, int N>
void flow_gradient(const Problem<A, N>& p, const Places<A>& at, const Sums<A>& sums, const A* weight, A* sample, A* dflow, int64_t b,
                   int64_t start) {
  const int count = at.n;
  LIFT_SIMD
  for (int k = 0; k < count; ++k) sample[k] = total(sums.sample[k]);
  if (!dflow) return;
  A* __restrict dx = dflow + 2 * b * p.H * p.W + start;
  A* __restrict dy = dx + p.H * p.W;
  LIFT_SIMD
  for (int k = 0; k < count; ++k) {
    dx[k] = at.inside_x[k] ? weight[k] * total(sums.east[k]) : A(0);
    dy[k] = at.inside_y[k] ? weight[k] * total(sums.south[k]) : A(0);
  }
}

template <int known, typename A>
LIFT_HD void add_pixel(A* to, A share, const A* grad, int64_t C) {
  for_known_channels<A, known>(C, [&](auto width, int64_t c) {
    store<A>(to + c, load(to + c, width) + share * load(grad + c, width), width);
  });
}

// Add a strip's part of an image's gradient to the rows of a band; `whole`: it adds to no others.
template <int known, typename A>
void add_strip(const Places<A>& at, const A* weight, const A* grad, int64_t C, const Rows<A>& rows, const Band& band, bool whole) {
  const Shares<A> share(at, weight);
  const Addresses<A> address(rows, at);
  A* const image = rows.data;
  const A* up = grad;
  if (known) C = known;
  for (int k = 0; k < at.n; ++k, up += C) {
    const Corners<A> to(image, address, k);
    const int64_t north = at.north[k], south = north + at.south[k];
    if (whole || (north >= band.begin && north < band.end)) {
      add_pixel<known>(to.nw, share.nw[k], up, C);
      add_pixel<known>(to.ne, share.ne[k], up, C);
    }
    if (whole || (south >= band.begin && south < band.end)) {
      add_pixel<known>(to.sw, share.sw[k], up, C);
      add_pixel<known>(to.se, share.se[k], up, C);
    }
  }
}

// What a row of the result does: make the gradients of its own flow and visibility, and add to those of the images.
template <typename A, int N>
struct Row {
  int64_t b, y;
  std::array<bool, N> samples, adds, whole;
  std::array<Rows<const A>, N> images;
  std::array<Rows<A>, N> dimages;
};

template <typename A, int N>
void backward_row(const Problem<A, N>& p, const View& grad, const Gradients<A, N>& gradients, const Row<A, N>& row, const Band& band,
                  A* copy) {
  const int64_t C = p.apart();
  for (int64_t x = 0; x < p.W; x += strip_length) {
    const Weights<A, N> weights(p, row.b, row.y, x);
    const int count = static_cast<int>(std::min<int64_t>(strip_length, p.W - x));
    const int64_t start = row.y * p.W + x;
    const A* const up = read_pixels(grad, row.b, row.y, x, count, C, copy);
    alignas(64) A sample[N][strip_length];
    for (int i = 0; i < N; ++i) {
      if (!row.samples[i] && !row.adds[i]) continue;
      const Places<A> at(p, i, row.b, row.y, x);
      if (row.samples[i]) prefetch_below<A>(row.images[i], at);
      if (row.samples[i])
        flow_gradient<A, N>(p, at, Sums<A>(at, row.images[i], up, C), weights.weight[i], sample[i], gradients.flow[i], row.b, start);
      if (row.adds[i])
        (C == 4 ? add_strip<4, A> : add_strip<0, A>)(at, weights.weight[i], up, C, row.dimages[i], band, row.whole[i]);
    }
    if constexpr (N == 2) {
      for (int i = 0; i < 2; ++i) {
        if (!gradients.occ[i] || !row.samples[i]) continue;
        A* __restrict d = gradients.occ[i] + row.b * p.H * p.W + start;
        LIFT_SIMD
        for (int k = 0; k < count; ++k) d[k] = weights.slope[i][k] * (sample[i][k] - sample[1 - i][k]);
      }
    }
  }
}

}  // namespace

template <typename A, int N>
void warp_blend_backward(const Problem<A, N>& p, const std::array<View, N>& image, const View& grad, const Gradients<A, N>& gradients) {
  const int64_t values = p.B * p.C * p.H * p.W;
  const std::vector<Band> all = bands(p.B, p.H, values);
  const bool occ_asked = gradients.occ[0] || gradients.occ[N - 1];
  std::array<std::vector<Reach>, N> reaches;
  std::array<std::optional<Source<A>>, N> sources;
  std::array<std::optional<Sink<A>>, N> sinks;
  for (int i = 0; i < N; ++i) {
    const bool sampled = gradients.flow[i] || occ_asked;
    if (sampled || gradients.image[i]) reaches[i] = reach(p, i);
    if (sampled) sources[i].emplace(image[i], p.apart(), reaches[i], all);
    if (gradients.image[i]) sinks[i].emplace(*gradients.image[i], p.apart(), reaches[i], all);
  }
  for_bands(all, values, [&](int64_t task, const Band& band) {
    std::vector<A> copy(strip_length * p.apart());
    std::array<Reader<A>, N> readers;
    std::array<Writer<A>, N> writers;
    for (int i = 0; i < N; ++i) {
      if (sources[i]) readers[i] = sources[i]->reader(task, band);
      if (sinks[i]) writers[i] = sinks[i]->writer(task, band);
    }
    for (int64_t y = 0; y < p.H; ++y) {
      Row<A, N> row{band.b, y, {}, {}, {}, {}, {}};
      bool idle = true;
      for (int i = 0; i < N; ++i) {
        const Reach to = reaches[i].empty() ? Reach{} : reaches[i][band.b * p.H + y];
        row.samples[i] = sources[i] && y >= band.begin && y < band.end;
        row.adds[i] = sinks[i] && to.first < band.end && to.last >= band.begin;
        row.whole[i] = to.first >= band.begin && to.last < band.end;
        if (row.samples[i]) readers[i].need(to.last);
        if (row.adds[i]) writers[i].need(y, to.last);
        row.images[i] = readers[i].rows;
        row.dimages[i] = writers[i].rows;
        idle = idle && !row.samples[i] && !row.adds[i];
      }
      if (!idle) backward_row<A, N>(p, grad, gradients, row, band, copy.data());
    }
    for (int i = 0; i < N; ++i)
      if (sinks[i]) writers[i].finish();
  });
}

#define LIFT_BACKWARD(A, N) \
  template void warp_blend_backward<A, N>(const Problem<A, N>&, const std::array<View, N>&, const View&, const Gradients<A, N>&);

LIFT_BACKWARD(float, 1)
LIFT_BACKWARD(float, 2)
LIFT_BACKWARD(double, 1)
LIFT_BACKWARD(double, 2)

}  // namespace lift
