// Correlation over a square of displacements, and its gradients.
//
// The gradients are gathered: each value is summed by one thread, always in the same order.
//
// Rows that are in use are kept as planes of the accumulate type, normalized, with zeros on both
// sides. Whatever the layout and dtype of the maps, all arithmetic is then vectors over
// neighbouring pixels, and no displacement is a special case.
#include "correlation_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "../common/parallel.h"
#include "../common/pixels.h"
#include "../common/simd.h"
#include "../common/tensors.h"

namespace lift {
namespace {

constexpr double eps = 1e-3;  // EPS in kernels/ops/correlation/reference.py

template <typename A>
constexpr ActiveLanes<max_lanes<A>, max_lanes<A>> full_vector;

// Call work(std::integral_constant<int, rest>, i) for the `rest` = n - i last values,
// which are fewer than `limit`.
template <int limit, typename F>
void for_rest(int64_t rest, int64_t i, const F& work) {
  if constexpr (limit > 1) {
    if (rest == limit - 1) return work(std::integral_constant<int, limit - 1>(), i);
    for_rest<limit - 1>(rest, i, work);
  }
}

// Call work(std::integral_constant<int, count>, i) for chunks of `size` values, then the rest.
template <int size, typename F>
void for_chunks(int64_t n, const F& work) {
  int64_t i = 0;
  for (; i + size <= n; i += size) work(std::integral_constant<int, size>(), i);
  for_rest<size>(n - i, i, work);
}

// -- rows -----------------------------------------------------------------------------------------

// The last `capacity` rows of a map (B, C, H, W), each as (C, plane_stride).
template <typename A>
class PlaneRing {
 public:
  PlaneRing(const ImageView& map, int64_t capacity, int64_t radius, bool normalize)
      : map_(map),
        capacity_(capacity),
        radius_(radius),
        normalize_(normalize),
        plane_stride((map.W + 2 * radius + 2 * max_lanes<A> - 1) / max_lanes<A> * max_lanes<A>),
        data_(capacity * map.C * plane_stride),
        scale_(normalize ? capacity * plane_stride : 0),
        squared_norm_(scale_.size()) {}

  // Make row y available, and the rows before it down to `first`. Calls have ascending y.
  void load_until(int64_t b, int64_t first, int64_t y) {
    next_ = std::max({next_, first, int64_t(0)});
    for (; next_ <= std::min(y, map_.H - 1); ++next_) load_row(b, next_);
  }

  bool contains(int64_t y) const { return y >= 0 && y < map_.H; }

  // Pixel 0 of the first plane; `radius` zeros are before it, and more after the last pixel.
  const A* row(int64_t y) const { return data_.data() + slot(y) * map_.C * plane_stride + radius_; }

  // The factor that normalized each pixel, and its squared norm before, or another large number
  // where that would overflow.
  const A* scale(int64_t y) const { return scale_.data() + slot(y) * plane_stride; }
  const A* squared_norm(int64_t y) const { return squared_norm_.data() + slot(y) * plane_stride; }

 private:
  const ImageView map_;
  const int64_t capacity_, radius_;
  const bool normalize_;
  int64_t next_ = 0;

 public:
  const int64_t plane_stride;

 private:
  std::vector<A> data_, scale_, squared_norm_;

  struct HugePixel {
    int64_t x;
    A largest;
  };
  std::vector<HugePixel> huge_;  // of the row that is loaded

  int64_t slot(int64_t y) const { return y % capacity_; }

  void load_row(int64_t b, int64_t y) {
    A* const to = data_.data() + slot(y) * map_.C * plane_stride + radius_;
    copy_planes<A>(map_, b, y, 0, map_.W, plane_stride, to);
    if (!normalize_) return;
    A* const __restrict scale = scale_.data() + slot(y) * plane_stride;
    A* const __restrict square = squared_norm_.data() + slot(y) * plane_stride;
    std::fill_n(square, map_.W, A(0));
    for (int64_t c = 0; c < map_.C; ++c) {
      const A* const __restrict plane = to + c * plane_stride;
      LIFT_SIMD
      for (int64_t x = 0; x < map_.W; ++x) square[x] += plane[x] * plane[x];
    }
    shrink_huge_pixels(to, square);
    LIFT_SIMD
    for (int64_t x = 0; x < map_.W; ++x)
      scale[x] = A(1) / std::sqrt(square[x] < A(eps * eps) ? A(eps * eps) : square[x]);
    for (int64_t c = 0; c < map_.C; ++c) {
      A* const __restrict plane = to + c * plane_stride;
      LIFT_SIMD
      for (int64_t x = 0; x < map_.W; ++x) plane[x] *= scale[x];
    }
    for (const HugePixel& pixel : huge_) scale[pixel.x] /= pixel.largest;
  }

  // Divide pixels with a squared norm that overflows by their largest value.
  void shrink_huge_pixels(A* row, A* square) {
    constexpr A most = std::numeric_limits<A>::max();
    huge_.clear();
    for (int64_t x = 0; x < map_.W; ++x) {
      if (!(square[x] > most)) continue;
      A largest = 0;
      for (int64_t c = 0; c < map_.C; ++c)
        largest = std::max(largest, std::abs(row[c * plane_stride + x]));
      if (largest > most) continue;  // infinities have no direction
      square[x] = 0;
      for (int64_t c = 0; c < map_.C; ++c) {
        A& value = row[c * plane_stride + x];
        value /= largest;
        square[x] += value * value;
      }
      huge_.push_back({x, largest});
    }
  }
};

// -- kernels --------------------------------------------------------------------------------------

// A row of the result for N neighbouring displacements, `out_stride` values apart.
template <typename A, int N>
void dot_products(const A* row0, int64_t stride0, const A* row1, int64_t stride1, int64_t C,
                  int64_t W, A* out, int64_t out_stride) {
  constexpr auto lanes = full_vector<A>;
  for (int64_t x = 0; x < W; x += lanes.size) {
    Vec<A, lanes.size> sum[N] = {};
    for (int64_t c = 0; c < C; ++c) {
      const auto value0 = load(row0 + c * stride0 + x, lanes);
      for (int i = 0; i < N; ++i) sum[i] += value0 * load(row1 + c * stride1 + x + i, lanes);
    }
    for (int i = 0; i < N; ++i) {
      A* const to = out + i * out_stride + x;
      if (x + lanes.size <= W)
        store<A>(to, sum[i], lanes);
      else
        for (int64_t k = 0; k < W - x; ++k) to[k] = sum[i][k];
    }
  }
}

// out (B, (2 radius + 1)^2, H, W), contiguous.
template <typename A>
void correlation_forward(const ImageView& fmap0, const ImageView& fmap1, int64_t radius,
                         bool normalize, A* out) {
  const int64_t side = 2 * radius + 1, D = side * side;
  const int64_t H = fmap0.H, W = fmap0.W, plane = H * W;
  const int64_t values = fmap0.B * fmap0.C * H * W;
  const std::vector<RowBlock> blocks = row_blocks(fmap0.B, H, values);
  for_row_blocks(blocks, values, [&](int64_t, const RowBlock& block) {
    PlaneRing<A> rows0(fmap0, 1, 0, normalize), rows1(fmap1, side, radius, normalize);
    for (int64_t y = block.begin; y < block.end; ++y) {
      rows0.load_until(block.b, block.begin, y);
      rows1.load_until(block.b, block.begin - radius, y + radius);
      for (int64_t i = 0; i < side; ++i) {
        A* const to = out + ((block.b * D + i * side) * H + y) * W;
        const int64_t y1 = y + i - radius;
        if (!rows1.contains(y1)) {
          for (int64_t d = 0; d < side; ++d) std::fill_n(to + d * plane, W, A(0));
          continue;
        }
        for_chunks<8>(side, [&](auto count, int64_t d) {
          dot_products<A, count.value>(rows0.row(y), rows0.plane_stride, rows1.row(y1) + d - radius,
                                       rows1.plane_stride, fmap0.C, W, to + d * plane, plane);
        });
      }
    }
  });
}

// Turn the gradient of normalized pixels into that of the pixels, for one row: of x / |x| it is
// the part that is perpendicular to x, divided by |x|.
template <typename A>
void normalize_backward(const PlaneRing<A>& map, int64_t y, int64_t C, int64_t W, A* sums,
                        A* projection) {
  const int64_t stride = map.plane_stride;
  const A *const scale = map.scale(y), *const square = map.squared_norm(y);
  std::fill_n(projection, stride, A(0));
  for (int64_t c = 0; c < C; ++c) {
    const A* const __restrict sum = sums + c * stride;
    const A* const __restrict unit = map.row(y) + c * stride;
    LIFT_SIMD
    for (int64_t x = 0; x < W; ++x) projection[x] += sum[x] * unit[x];
  }
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) projection[x] = square[x] < A(eps * eps) ? A(0) : projection[x];
  for (int64_t c = 0; c < C; ++c) {
    A* const __restrict sum = sums + c * stride;
    const A* const __restrict unit = map.row(y) + c * stride;
    LIFT_SIMD
    for (int64_t x = 0; x < W; ++x) sum[x] = scale[x] * (sum[x] - projection[x] * unit[x]);
  }
}

// The gradient of `map`, which is fmap0, or fmap1 if `of_fmap1`. Of a pixel it is the sum over
// displacements of the result's gradient times the other map; for fmap1 with the gradient of the
// opposite displacement, at the displaced pixel.
template <typename A>
void correlation_backward(const ImageView& grad, const ImageView& map, const ImageView& other,
                          int64_t radius, bool normalize, bool of_fmap1, const ImageView& dmap) {
  constexpr auto lanes = full_vector<A>;
  const int64_t side = 2 * radius + 1, D = side * side, C = map.C, W = map.W;
  const int64_t values = map.B * C * map.H * W;
  const std::vector<RowBlock> blocks = row_blocks(map.B, map.H, values);
  for_row_blocks(blocks, values, [&](int64_t, const RowBlock& block) {
    PlaneRing<A> own(map, 1, 0, normalize), displaced(other, side, radius, normalize);
    PlaneRing<A> grads(grad, of_fmap1 ? side : 1, of_fmap1 ? radius : 0, false);
    std::vector<A> sums(C * own.plane_stride), projection(own.plane_stride);
    for (int64_t y = block.begin; y < block.end; ++y) {
      displaced.load_until(block.b, block.begin - radius, y + radius);
      if (of_fmap1)
        grads.load_until(block.b, block.begin - radius, y + radius);
      else
        grads.load_until(block.b, block.begin, y);
      // The rows of the displacements that are inside the map.
      const int64_t first = std::max<int64_t>(0, radius - y);
      const int64_t last = std::min(side, map.H - y + radius);
      for (int64_t x = 0; x < W; x += lanes.size)
        for_chunks<8>(C, [&](auto count, int64_t c) {
          constexpr int N = count.value;
          Vec<A, lanes.size> sum[N] = {};
          for (int64_t i = first; i < last; ++i) {
            const int64_t y1 = y + i - radius;
            for (int64_t j = 0; j < side; ++j) {
              const int64_t d = i * side + j;
              const A* const grad_out =
                  of_fmap1 ? grads.row(y1) + (D - 1 - d) * grads.plane_stride + j - radius
                           : grads.row(y) + d * grads.plane_stride;
              const A* const from = displaced.row(y1) + c * displaced.plane_stride + x + j - radius;
              const auto g = load(grad_out + x, lanes);
              for (int k = 0; k < N; ++k)
                sum[k] += g * load(from + k * displaced.plane_stride, lanes);
            }
          }
          for (int k = 0; k < N; ++k)
            store<A>(sums.data() + (c + k) * own.plane_stride + x, sum[k], lanes);
        });
      if (normalize) {
        own.load_until(block.b, block.begin, y);
        normalize_backward(own, y, C, W, sums.data(), projection.data());
      }
      write_planes<A>(dmap, block.b, y, sums.data(), own.plane_stride);
    }
  });
}

// -- operations -----------------------------------------------------------------------------------

void check(const Tensor& fmap0, const Tensor& fmap1, int64_t radius) {
  STD_TORCH_CHECK(fmap0.is_cpu() && fmap1.is_cpu(), "the feature maps must be on the CPU");
  STD_TORCH_CHECK(fmap0.dim() == 4 && fmap1.dim() == 4 &&
                      std::equal(fmap0.sizes().begin(), fmap0.sizes().end(), fmap1.sizes().begin()),
                  "fmap0 and fmap1 must be (B, C, H, W), of one shape");
  const ScalarType dtype = fmap0.scalar_type();
  STD_TORCH_CHECK(dtype == fmap1.scalar_type(), "fmap0 and fmap1 must have one dtype");
  STD_TORCH_CHECK(radius >= 0, "radius must be at least 0");
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype) || dtype == ScalarType::Half ||
                      dtype == ScalarType::BFloat16,
                  "the feature maps must be float32, float64, float16 or bfloat16");
}

}  // namespace

Tensor correlation_cpu(const Tensor& fmap0, const Tensor& fmap1, int64_t radius, bool normalize) {
  check(fmap0, fmap1, radius);
  const int64_t side = 2 * radius + 1;
  Tensor out = empty({fmap0.size(0), side * side, fmap0.size(2), fmap0.size(3)}, fmap0,
                     accumulate_dtype(fmap0.scalar_type()), MemoryFormat::Contiguous);
  if (fmap0.numel() == 0) return torch::stable::zero_(out);
  dispatch_accumulate_type(fmap0.scalar_type(), [&](auto number) {
    using A = decltype(number);
    correlation_forward<A>(ImageView(fmap0), ImageView(fmap1), radius, normalize,
                           static_cast<A*>(out.mutable_data_ptr()));
  });
  return out;
}

std::tuple<Tensor, Tensor> correlation_backward_cpu(const Tensor& grad, const Tensor& fmap0,
                                                    const Tensor& fmap1, int64_t radius,
                                                    bool normalize, int64_t needs) {
  check(fmap0, fmap1, radius);
  const int64_t side = 2 * radius + 1;
  STD_TORCH_CHECK(grad.is_cpu() && grad.dim() == 4 && grad.size(0) == fmap0.size(0) &&
                      grad.size(1) == side * side && grad.size(2) == fmap0.size(2) &&
                      grad.size(3) == fmap0.size(3) &&
                      grad.scalar_type() == accumulate_dtype(fmap0.scalar_type()),
                  "grad must be the gradient of the result");
  const Tensor* const maps[] = {&fmap0, &fmap1};
  Tensor grads[2];
  for (int i = 0; i < 2; ++i) {
    const Tensor &map = *maps[i], &other = *maps[1 - i];
    if (!(needs >> i & 1)) {
      grads[i] = empty_placeholder(map, map.scalar_type());
      continue;
    }
    grads[i] = empty(map, map.scalar_type(), layout(map));
    if (map.numel() == 0) continue;
    dispatch_accumulate_type(map.scalar_type(), [&](auto number) {
      correlation_backward<decltype(number)>(ImageView(grad), ImageView(map), ImageView(other),
                                             radius, normalize, i == 1, ImageView(grads[i]));
    });
  }
  return {grads[0], grads[1]};
}

}  // namespace lift
