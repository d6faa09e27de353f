#include <vector>

#include "image_rows.h"
#include "kernels.h"

namespace lift {
namespace {

// Sums over the channels of grad times the sample, and times its derivatives along x and y.
// Each is stored as four partial sums; the totals are computed for a whole strip at once.
template <typename A>
struct alignas(64) StripSums {
  A sample[strip_length][4], dx[strip_length][4], dy[strip_length][4];

  StripSums(const SampleCoords<A>& at, const PixelRows<const A>& rows, const A* grad, int64_t C) {
    if (C == 4)
      compute<4, false>(at, rows, grad, 4);
    else if (C < max_lanes<A>)
      compute<0, false>(at, rows, grad, C);
    else
      compute<0, true>(at, rows, grad, C);
  }

 private:
  template <int static_C, bool wide>
  void compute(const SampleCoords<A>& at, const PixelRows<const A>& rows, const A* grad,
               int64_t C) {
    const CornerOffsets<A> offsets(rows, at);
    const A* const image = rows.data;
    if (static_C) C = static_C;
    for (int k = 0; k < at.n; ++k) {
      const Corners<const A*> pixel = offsets.pixels(image, k);
      const A* const grad_out = grad + k * C;
      const A fx = at.fx[k], fy = at.fy[k];
      ChannelSum<A, wide> sum_sample, sum_dx, sum_dy;
      for_static_channels<A, static_C, wide>(C, [&](auto lanes, int64_t c) {
        const auto g = load(grad_out + c, lanes);
        const auto nw = load(pixel.nw + c, lanes), ne = load(pixel.ne + c, lanes);
        const auto sw = load(pixel.sw + c, lanes), se = load(pixel.se + c, lanes);
        // Differences of neighbours first: sums of large flat values would swamp them.
        const auto north = ne - nw, both = (se - sw) - north;
        const auto down = (sw - nw) + fx * both;
        sum_sample.add(g * (nw + fx * north + fy * down));
        sum_dx.add(g * (north + fy * both));
        sum_dy.add(g * down);
      });
      sum_sample.store_partial_sums(sample[k]);
      sum_dx.store_partial_sums(dx[k]);
      sum_dy.store_partial_sums(dy[k]);
    }
  }
};

// The gradient of flow i for a strip, which begins at pixel `start` of the image.
// `sample` receives the sums over the channels of grad times the warped image.
template <typename A, int N>
void flow_gradient(const WarpParams<A, N>& p, const SampleCoords<A>& at, const StripSums<A>& sums,
                   const A* weight, A* sample, A* dflow, int64_t b, int64_t start) {
  const int count = at.n;
  LIFT_SIMD
  for (int k = 0; k < count; ++k) sample[k] = sum_of_four(sums.sample[k]);
  if (!dflow) return;
  A* __restrict dx = dflow + 2 * b * p.H * p.W + start;
  A* __restrict dy = dx + p.H * p.W;
  LIFT_SIMD
  for (int k = 0; k < count; ++k) {
    dx[k] = at.inside_x[k] ? weight[k] * sum_of_four(sums.dx[k]) : A(0);
    dy[k] = at.inside_y[k] ? weight[k] * sum_of_four(sums.dy[k]) : A(0);
  }
}

// Add a strip's part of an image's gradient to the rows of a block.
// `inside`: the strip adds to no other rows.
template <int static_C, typename A>
void scatter_strip(const SampleCoords<A>& at, const A* weight, const A* grad, int64_t C,
                   const PixelRows<A>& rows, const RowBlock& block, bool inside) {
  const BilinearWeights<A> weights(at, weight);
  const CornerOffsets<A> offsets(rows, at);
  A* const image = rows.data;
  const A* grad_out = grad;
  if (static_C) C = static_C;
  for (int k = 0; k < at.n; ++k, grad_out += C) {
    const Corners<A*> to = offsets.pixels(image, k);
    const int64_t north = at.y0[k], south = north + at.step_y[k];
    if (inside || (north >= block.begin && north < block.end)) {
      add_scaled_pixel<A, static_C>(to.nw, weights.nw[k], grad_out, C);
      add_scaled_pixel<A, static_C>(to.ne, weights.ne[k], grad_out, C);
    }
    if (inside || (south >= block.begin && south < block.end)) {
      add_scaled_pixel<A, static_C>(to.sw, weights.sw[k], grad_out, C);
      add_scaled_pixel<A, static_C>(to.se, weights.se[k], grad_out, C);
    }
  }
}

// What a task does for one row of the result and image i.
template <typename A, int N>
struct RowTask {
  int64_t b, y;
  std::array<bool, N> samples;  // compute the gradients of the row's flow and visibility
  std::array<bool, N> adds;     // add to the gradient of the image
  std::array<bool, N> inside;   // all that is added is inside the task's block
  std::array<PixelRows<const A>, N> images;
  std::array<PixelRows<A>, N> dimages;
};

template <typename A, int N>
void backward_row(const WarpParams<A, N>& p, const ImageView& grad,
                  const WarpGradients<A, N>& gradients, const RowTask<A, N>& row,
                  const RowBlock& block, A* copy) {
  const int64_t C = p.pixel_stride();
  for (int64_t x = 0; x < p.W; x += strip_length) {
    const BlendWeights<A, N> blend(p, row.b, row.y, x);
    const int count = strip_size(x, p.W);
    const int64_t start = row.y * p.W + x;
    const A* const grad_out = read_pixels(grad, row.b, row.y, x, count, C, copy);
    alignas(64) A sample[N][strip_length];
    for (int i = 0; i < N; ++i) {
      if (!row.samples[i] && !row.adds[i]) continue;
      const SampleCoords<A> at(p, i, row.b, row.y, x);
      if (row.samples[i]) {
        prefetch_below<A>(row.images[i], at);
        const StripSums<A> sums(at, row.images[i], grad_out, C);
        flow_gradient<A, N>(p, at, sums, blend.weight[i], sample[i], gradients.flow[i], row.b,
                            start);
      }
      if (row.adds[i]) {
        const auto scatter = C == 4 ? scatter_strip<4, A> : scatter_strip<0, A>;
        scatter(at, blend.weight[i], grad_out, C, row.dimages[i], block, row.inside[i]);
      }
    }
    if constexpr (N == 2) {
      for (int i = 0; i < 2; ++i) {
        if (!gradients.occ[i] || !row.samples[i]) continue;
        A* __restrict d = gradients.occ[i] + row.b * p.H * p.W + start;
        LIFT_SIMD
        for (int k = 0; k < count; ++k)
          d[k] = blend.slope[i][k] * (sample[i][k] - sample[1 - i][k]);
      }
    }
  }
}

}  // namespace

template <typename A, int N>
void warp_blend_backward(const WarpParams<A, N>& p, const std::array<ImageView, N>& image,
                         const ImageView& grad, const WarpGradients<A, N>& gradients) {
  const int64_t values = p.B * p.C * p.H * p.W, pixel_stride = p.pixel_stride();
  const std::vector<RowBlock> blocks = row_blocks(p.B, p.H, values);
  const bool needs_occ = gradients.occ[0] || gradients.occ[N - 1];
  std::array<std::vector<RowRange>, N> ranges;
  std::array<std::optional<InputRows<A>>, N> inputs;
  std::array<std::optional<GradRows<A>>, N> outputs;
  for (int i = 0; i < N; ++i) {
    const bool samples = gradients.flow[i] || needs_occ;
    if (samples || gradients.image[i]) ranges[i] = sampled_rows(p, i);
    if (samples) inputs[i].emplace(image[i], pixel_stride, ranges[i], blocks);
    if (gradients.image[i])
      outputs[i].emplace(*gradients.image[i], pixel_stride, ranges[i], blocks);
  }
  for_row_blocks(blocks, values, [&](int64_t task, const RowBlock& block) {
    std::vector<A> copy(strip_length * pixel_stride);
    std::array<InputRowReader<A>, N> readers;
    std::array<GradRowWriter<A>, N> writers;
    for (int i = 0; i < N; ++i) {
      if (inputs[i]) readers[i] = inputs[i]->reader(task, block);
      if (outputs[i]) writers[i] = outputs[i]->writer(task, block);
    }
    for (int64_t y = 0; y < p.H; ++y) {
      RowTask<A, N> row{block.b, y, {}, {}, {}, {}, {}};
      bool idle = true;
      for (int i = 0; i < N; ++i) {
        const RowRange range = ranges[i].empty() ? RowRange{} : ranges[i][block.b * p.H + y];
        row.samples[i] = inputs[i] && y >= block.begin && y < block.end;
        row.adds[i] = outputs[i] && range.first < block.end && range.last >= block.begin;
        row.inside[i] = range.first >= block.begin && range.last < block.end;
        if (row.samples[i]) readers[i].load_until(range.last);
        if (row.adds[i]) writers[i].prepare(y, range.last);
        row.images[i] = readers[i].rows;
        row.dimages[i] = writers[i].rows;
        idle = idle && !row.samples[i] && !row.adds[i];
      }
      if (!idle) backward_row<A, N>(p, grad, gradients, row, block, copy.data());
    }
    for (int i = 0; i < N; ++i)
      if (outputs[i]) writers[i].finish();
  });
}

#define LIFT_BACKWARD(A, N)                                                                  \
  template void warp_blend_backward<A, N>(const WarpParams<A, N>&,                           \
                                          const std::array<ImageView, N>&, const ImageView&, \
                                          const WarpGradients<A, N>&);

LIFT_BACKWARD(float, 1)
LIFT_BACKWARD(float, 2)
LIFT_BACKWARD(double, 1)
LIFT_BACKWARD(double, 2)

}  // namespace lift
