#include <algorithm>
#include <vector>

#include "../common/parallel.h"
#include "kernels.h"

namespace lift {
namespace {

// Memory for n values that a thread keeps from call to call.
template <typename A>
A* thread_buffer(int64_t n) {
  static thread_local std::vector<A> values;
  if (static_cast<int64_t>(values.size()) < n) values.resize(n);
  return values.data();
}

// Pixel (y, x) of an image (H, W, C), or `outside`.
template <typename T, typename A>
LIFT_HD T* pixel_at(T* image, int32_t y, int32_t x, const GridSampleParams<A>& p, T* outside) {
  const bool inside = y >= 0 && y < p.H && x >= 0 && x < p.W;
  return inside ? image + (y * p.W + x) * p.C : outside;
}

// The four pixels around a sample, of which (y, x) is the north-west one.
template <typename T, typename A>
LIFT_HD Corners<T*> pixels_around(T* image, int32_t y, int32_t x, const GridSampleParams<A>& p,
                                  T* outside) {
  return {pixel_at(image, y, x, p, outside), pixel_at(image, y, x + 1, p, outside),
          pixel_at(image, y + 1, x, p, outside), pixel_at(image, y + 1, x + 1, p, outside)};
}

// The same, unless the pixel is outside the input.
template <typename A>
LIFT_HD void add_scaled_pixel_if_inside(A* to, A weight, const A* grad, int64_t C) {
  if (to) add_scaled_pixel(to, weight, grad, C);
}

// Rows [first, last) of the gradient of the input of batch entry b.
template <typename A>
void input_grad_rows(const GridSampleParams<A>& p, int64_t b, int64_t first, int64_t last,
                     const ImageView& grad, A* dinput) {
  const int64_t C = p.C, W = p.W;
  A* const copy = thread_buffer<A>(strip_length * C);
  A* const outside = nullptr;
  std::fill(dinput + first * W * C, dinput + last * W * C, A(0));
  for (int64_t y = 0; y < p.h; ++y) {
    for (int64_t x = 0; x < p.w; x += strip_length) {
      const GridCoords<A> at(p, b, y, x);
      const auto [lowest, highest] = std::minmax_element(at.y0, at.y0 + at.n);
      if (*lowest >= last || *highest + 1 < first) continue;
      const A* grad_out = read_pixels(grad, b, y, x, at.n, C, copy);
      for (int k = 0; k < at.n; ++k, grad_out += C) {
        const int32_t y0 = at.y0[k], x0 = at.x0[k];
        const bool north = y0 >= first && y0 < last, south = y0 + 1 >= first && y0 + 1 < last;
        if (p.mode == Mode::nearest) {
          A* const to = pixel_at(dinput, y0, x0, p, outside);
          if (north) add_scaled_pixel_if_inside(to, A(1), grad_out, C);
          continue;
        }
        const Corners<A*> to = pixels_around(dinput, y0, x0, p, outside);
        const Corners<A> weight = bilinear_weights(at.fx[k], at.fy[k]);
        if (north) {
          add_scaled_pixel_if_inside(to.nw, weight.nw, grad_out, C);
          add_scaled_pixel_if_inside(to.ne, weight.ne, grad_out, C);
        }
        if (south) {
          add_scaled_pixel_if_inside(to.sw, weight.sw, grad_out, C);
          add_scaled_pixel_if_inside(to.se, weight.se, grad_out, C);
        }
      }
    }
  }
}

}  // namespace

template <typename A>
void grid_sample_backward_grid_nhwc(const GridSampleParams<A>& p, const NhwcImages<A>& input,
                                    const ImageView& grad, A* dgrid) {
  const int64_t C = p.C;
  const std::vector<A> zeros(C);
  for_rows(p.B, p.h, p.w * C, [&](int64_t b, int64_t y) {
    A* const copy = thread_buffer<A>(strip_length * C);
    const A* const image = input.image(b);
    for (int64_t x = 0; x < p.w; x += strip_length) {
      const GridCoords<A> at(p, b, y, x);
      const A* grad_out = read_pixels(grad, b, y, x, at.n, C, copy);
      A* to = dgrid + ((b * p.h + y) * p.w + x) * 2;
      for (int k = 0; k < at.n; ++k, grad_out += C, to += 2) {
        const Corners<const A*> pixel = pixels_around(image, at.y0[k], at.x0[k], p, zeros.data());
        const A fx = at.fx[k], fy = at.fy[k];
        ChannelSum<A, true> dx, dy;
        for_channels<A>(C, [&](auto lanes, int64_t c) {
          const auto g = load(grad_out + c, lanes);
          const auto nw = load(pixel.nw + c, lanes), ne = load(pixel.ne + c, lanes);
          const auto sw = load(pixel.sw + c, lanes), se = load(pixel.se + c, lanes);
          // Differences of neighbours first: sums of large flat values would swamp them.
          const auto north = ne - nw, both = (se - sw) - north;
          dx.add(g * (north + fy * both));
          dy.add(g * ((sw - nw) + fx * both));
        });
        to[0] = at.slope_x[k] * dx.total();
        to[1] = at.slope_y[k] * dy.total();
      }
    }
  });
}

template <typename A>
void grid_sample_backward_input_nhwc(const GridSampleParams<A>& p, const ImageView& grad,
                                     const NhwcImages<A>& dinput) {
  const int64_t values = std::max(p.H * p.W, p.h * p.w) * p.C;
  const int64_t blocks = blocks_per_image(p.B, p.H, values);
  for_tasks(p.B * blocks, p.B * values, [&](int64_t task) {
    const int64_t b = task / blocks, i = task % blocks;
    input_grad_rows<A>(p, b, i * p.H / blocks, (i + 1) * p.H / blocks, grad, dinput.image(b));
  });
}

#define LIFT_GRID_SAMPLE(A)                                                                      \
  template void grid_sample_backward_grid_nhwc<A>(const GridSampleParams<A>&,                    \
                                                  const NhwcImages<A>&, const ImageView&, A*);   \
  template void grid_sample_backward_input_nhwc<A>(const GridSampleParams<A>&, const ImageView&, \
                                                   const NhwcImages<A>&);

LIFT_GRID_SAMPLE(float)
LIFT_GRID_SAMPLE(double)

}  // namespace lift
