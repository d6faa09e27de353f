#include <vector>

#include "image_rows.h"
#include "kernels.h"

namespace lift {
namespace {

// Bytes of a result that is too large to be found in a cache by whoever reads it.
constexpr int64_t beyond_caches = int64_t(16) << 20;

// Whether a result is written past the caches: it is large, and all stores are aligned vectors.
template <typename A>
bool bypasses_caches(const ImageView& out) {
  constexpr int64_t vector = max_lanes<A> * sizeof(A);
  const int64_t pixel = out.C * sizeof(A);
  return out.B * out.H * out.W * pixel >= beyond_caches && pixel % vector == 0 &&
         is_nhwc<A>(out, out.C) && reinterpret_cast<uintptr_t>(out.data) % vector == 0;
}

// A row of the result, strip by strip.
template <typename A, int N, int static_C, bool nontemporal>
void blend_row(const WarpParams<A, N>& p, const std::array<PixelRows<const A>, N>& rows,
               const ImageView& out, int64_t b, int64_t y, A* copy) {
  const int64_t C = static_C ? static_C : p.C;
  for (int64_t x = 0; x < p.W; x += strip_length) {
    const BlendWeights<A, N> blend(p, b, y, x);
    const StripSamples<A> samples0(p, 0, b, y, x, blend.weight[0], rows[0]);
    std::optional<StripSamples<A>> second;
    if constexpr (N == 2) second.emplace(p, 1, b, y, x, blend.weight[1], rows[1]);
    const StripSamples<A>& samples1 = N == 2 ? *second : samples0;
    prefetch_below<A>(rows[0], samples0.coords);
    if constexpr (N == 2) prefetch_below<A>(rows[1], samples1.coords);
    const A *const image0 = rows[0].data, *const image1 = rows[N - 1].data;
    A* const to = pixel_buffer(out, b, y, x, C, copy);
    const int n = samples0.coords.n;
    for (int k = 0; k < n; ++k) {
      const Corners<const A*> pixel0 = samples0.offsets.pixels(image0, k);
      const Corners<const A*> pixel1 = samples1.offsets.pixels(image1, k);
      const Corners<A> weight0 = samples0.weights_of(k), weight1 = samples1.weights_of(k);
      A* const pixel = to + k * C;
      for_static_channels<A, static_C>(C, [&](auto lanes, int64_t c) {
        auto sum = sample(pixel0, weight0, c, lanes);
        if constexpr (N == 2) sum += sample(pixel1, weight1, c, lanes);
        if constexpr (nontemporal)
          store_nontemporal<A>(pixel + c, sum, lanes);
        else
          store<A>(pixel + c, sum, lanes);
      });
    }
    write_pixels<A>(out, b, y, x, n, C, to);
  }
}

template <typename A, int N>
auto choose_blend_row(int64_t pixel_stride, bool nontemporal) {
  if (pixel_stride == 4) return blend_row<A, N, 4, false>;
  return nontemporal ? blend_row<A, N, 0, true> : blend_row<A, N, 0, false>;
}

}  // namespace

template <typename A, int N>
void warp_blend_forward(const WarpParams<A, N>& p, const std::array<ImageView, N>& image,
                        const ImageView& out) {
  const int64_t values = p.B * p.C * p.H * p.W, pixel_stride = p.pixel_stride();
  const std::vector<RowBlock> blocks = row_blocks(p.B, p.H, values);
  std::array<std::vector<RowRange>, N> ranges;
  std::vector<InputRows<A>> inputs;
  for (int i = 0; i < N; ++i) {
    if (!is_nhwc<A>(image[i], pixel_stride)) ranges[i] = sampled_rows(p, i);
    inputs.emplace_back(image[i], pixel_stride, ranges[i], blocks);
  }
  const bool nontemporal = bypasses_caches<A>(out);
  const auto compute_row = choose_blend_row<A, N>(pixel_stride, nontemporal);
  for_row_blocks(blocks, values, [&](int64_t task, const RowBlock& block) {
    std::vector<A> copy(strip_length * pixel_stride);
    std::array<InputRowReader<A>, N> readers;
    for (int i = 0; i < N; ++i) readers[i] = inputs[i].reader(task, block);
    for (int64_t y = block.begin; y < block.end; ++y) {
      std::array<PixelRows<const A>, N> rows;
      for (int i = 0; i < N; ++i) {
        if (readers[i].from) readers[i].load_until(ranges[i][block.b * p.H + y].last);
        rows[i] = readers[i].rows;
      }
      compute_row(p, rows, out, block.b, y, copy.data());
    }
    if (nontemporal) fence_nontemporal_stores();
  });
}

#define LIFT_FORWARD(A, N)                                                                         \
  template void warp_blend_forward<A, N>(const WarpParams<A, N>&, const std::array<ImageView, N>&, \
                                         const ImageView&);

LIFT_FORWARD(float, 1)
LIFT_FORWARD(float, 2)
LIFT_FORWARD(double, 1)
LIFT_FORWARD(double, 2)

}  // namespace lift
