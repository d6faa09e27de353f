// One Lucas-Kanade step between two warped images, and the motion smoothed.
//
// kernels/ops/lucas_kanade/reference.py defines it. One pass: rows are warped, multiplied, summed
// over the window, solved and smoothed while they are in a cache. Three warped rows, five rows of
// products and seven of weighted motion are kept. Every sum is direct: a running sum would carry
// its rounding along. Threads divide the rows of the result and compute the rows around theirs
// again, so a result does not depend on the number of threads.
#include "lucas_kanade_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "../common/parallel.h"
#include "../common/plane_samples.h"
#include "../common/simd.h"
#include "../common/strip.h"
#include "../common/tensors.h"

namespace lift {
namespace {

// As in reference.py.
constexpr int radius = 2;
constexpr int taps = 2 * radius + 1;
constexpr double damping = 1e-4, limit = 1;
constexpr double weight_sum = 81;  // of (1 2 3 2 1) in both directions
constexpr int smooth_radius = 3;
constexpr int smooth_taps = 2 * smooth_radius + 1;
constexpr double small_error = 4e-4;

constexpr int products = 6;  // gx gx, gx gy, gy gy, gx d, gy d, d d

template <typename A>
struct Arguments {
  int64_t B, C, H, W;
  Planes<A> image[2];
  StridedMap<A> flow[2];  // (B, 2, H, W)
  const A* t;             // (B,)
  int64_t stride_t;
  A* out;  // (B, 2, H, W), contiguous
};

// Where a strip samples image i.
template <typename A, typename I>
PlaneSamples<A, I> samples_of(const Arguments<A>& p, int i, int64_t b, int64_t y, int64_t x,
                              int n) {
  alignas(64) A copy_x[strip_length], copy_y[strip_length];
  const A* const dx = p.flow[i].load_strip(b, 0, y, x, n, copy_x);
  const A* const dy = p.flow[i].load_strip(b, 1, y, x, n, copy_y);
  return {dx, dy, y, x, n, p.H, p.W, p.image[i].stride_y};
}

// -- rows -----------------------------------------------------------------------------------------

// Row buffers of one thread. A plane of a row has `pad` values on both sides.
template <typename A>
struct Rows {
  static constexpr int64_t pad = 16;
  const int64_t C, W, stride;
  std::vector<A> warped, product, filtered, sums, weighted, smoothed;

  Rows(int64_t C, int64_t W)
      : C(C),
        W(W),
        stride((W + 3 * pad - 1) / pad * pad),
        warped(3 * 2 * C * stride),
        product(products * stride),
        filtered(taps * products * stride),
        sums(products * stride),
        weighted(3 * stride),
        smoothed(smooth_taps * 5 * stride) {}

  // The mean of the warped images (C planes), and their difference (C more).
  A* mean(int64_t y) { return warped.data() + y % 3 * 2 * C * stride + pad; }
  A* difference(int64_t y) { return mean(y) + C * stride; }
  // Products, summed over the window horizontally.
  A* filtered_row(int64_t y) { return filtered.data() + y % taps * products * stride + pad; }
  // Weight times motion (two planes) and weight, summed over the square horizontally, and the
  // motion of the flows (two more).
  A* smoothed_row(int64_t y) { return smoothed.data() + y % smooth_taps * 5 * stride + pad; }
};

// The image at t between two, and how they differ.
template <typename A>
__attribute__((noinline)) void compare(const A* __restrict image0, const A* __restrict image1, A t,
                                       int n, A* __restrict mean, A* __restrict difference) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A d = image1[k] - image0[k];
    mean[k] = image1[k] - t * d;
    difference[k] = d;
  }
}

template <typename A, typename I>
void warp_row(const Arguments<A>& p, int64_t b, int64_t y, Rows<A>& rows) {
  const A t = p.t[b * p.stride_t];
  // For a single row the southern one is the same.
  const int64_t step0 = p.H > 1 ? p.image[0].stride_y : 0,
                step1 = p.H > 1 ? p.image[1].stride_y : 0;
  A *const mean = rows.mean(y), *const difference = rows.difference(y);
  for (int64_t x = 0; x < p.W; x += strip_length) {
    const int n = strip_size(x, p.W);
    alignas(64) A warped[2][strip_length];
    const auto at0 = samples_of<A, I>(p, 0, b, y, x, n), at1 = samples_of<A, I>(p, 1, b, y, x, n);
    for (int64_t c = 0; c < p.C; ++c) {
      const A* const plane0 = p.image[0].data + b * p.image[0].stride_b + c * p.image[0].stride_c;
      const A* const plane1 = p.image[1].data + b * p.image[1].stride_b + c * p.image[1].stride_c;
      sample_strip(plane0, step0, at0, n, warped[0]);
      sample_strip(plane1, step1, at1, n, warped[1]);
      compare(warped[0], warped[1], t, n, mean + c * rows.stride + x,
              difference + c * rows.stride + x);
    }
  }
  for (int64_t c = 0; c < p.C; ++c) {
    A* const plane = mean + c * rows.stride;
    plane[-1] = plane[0];
    plane[p.W] = plane[p.W - 1];
  }
}

// Add the products of one channel to six planes.
template <bool first, typename A>
void add_products(const A* __restrict mean, const A* __restrict above, const A* __restrict below,
                  const A* __restrict difference, int64_t W, int64_t stride, A* __restrict to) {
  A* const __restrict gxx = to;
  A* const __restrict gxy = to + stride;
  A* const __restrict gyy = to + 2 * stride;
  A* const __restrict gxd = to + 3 * stride;
  A* const __restrict gyd = to + 4 * stride;
  A* const __restrict dd = to + 5 * stride;
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) {
    const A gx = (mean[x + 1] - mean[x - 1]) * A(0.5), gy = (below[x] - above[x]) * A(0.5);
    const A d = difference[x];
    gxx[x] = gx * gx + (first ? A(0) : gxx[x]);
    gxy[x] = gx * gy + (first ? A(0) : gxy[x]);
    gyy[x] = gy * gy + (first ? A(0) : gyy[x]);
    gxd[x] = gx * d + (first ? A(0) : gxd[x]);
    gyd[x] = gy * d + (first ? A(0) : gyd[x]);
    dd[x] = d * d + (first ? A(0) : dd[x]);
  }
}

// Five values times 1 2 3 2 1.
template <typename A>
LIFT_HD A triangle(A a, A b, A c, A d, A e) {
  return (a + e) + A(2) * (b + d) + A(3) * c;
}

// Seven values.
template <typename A>
LIFT_HD A box(A a, A b, A c, A d, A e, A f, A g) {
  return ((a + b) + (c + d)) + ((e + f) + g);
}

template <typename A>
void triangle_along(const A* __restrict from, int64_t W, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x)
    to[x] = triangle(from[x - 2], from[x - 1], from[x], from[x + 1], from[x + 2]);
}

template <typename A>
void box_along(const A* __restrict from, int64_t W, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x)
    to[x] =
        box(from[x - 3], from[x - 2], from[x - 1], from[x], from[x + 1], from[x + 2], from[x + 3]);
}

template <typename A>
void triangle_across(const A* const (&rows)[taps], int64_t offset, int64_t W, A* __restrict to) {
  const A *const r0 = rows[0] + offset, *const r1 = rows[1] + offset, *const r2 = rows[2] + offset,
                 *const r3 = rows[3] + offset, *const r4 = rows[4] + offset;
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) to[x] = triangle(r0[x], r1[x], r2[x], r3[x], r4[x]);
}

template <typename A>
void box_across(const A* const (&rows)[smooth_taps], int64_t offset, int64_t W, A* __restrict to) {
  const A *const r0 = rows[0] + offset, *const r1 = rows[1] + offset, *const r2 = rows[2] + offset,
                 *const r3 = rows[3] + offset, *const r4 = rows[4] + offset,
                 *const r5 = rows[5] + offset, *const r6 = rows[6] + offset;
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) to[x] = box(r0[x], r1[x], r2[x], r3[x], r4[x], r5[x], r6[x]);
}

// Give a row its nearest values beyond both borders.
template <typename A>
void extend(A* row, int64_t W, int count) {
  std::fill_n(row - count, count, row[0]);
  std::fill_n(row + W, count, row[W - 1]);
}

// Products of row y, summed over the window horizontally. The rows around it are warped.
template <typename A>
void multiply_row(const Arguments<A>& p, int64_t y, Rows<A>& rows) {
  const int64_t above = std::max<int64_t>(y - 1, 0), below = std::min(y + 1, p.H - 1);
  const int64_t stride = rows.stride, W = p.W;
  A* const product = rows.product.data() + Rows<A>::pad;
  for (int64_t c = 0; c < p.C; ++c) {
    const auto add = c == 0 ? add_products<true, A> : add_products<false, A>;
    const int64_t plane = c * stride;
    add(rows.mean(y) + plane, rows.mean(above) + plane, rows.mean(below) + plane,
        rows.difference(y) + plane, W, stride, product);
  }
  A* const to = rows.filtered_row(y);
  for (int i = 0; i < products; ++i) {
    extend(product + i * stride, W, radius);
    triangle_along(product + i * stride, W, to + i * stride);
  }
}

// The motion of the flows in row y.
template <typename A>
void subtract_flows(const Arguments<A>& p, int64_t b, int64_t y, int64_t stride, A* motion) {
  for (int c = 0; c < 2; ++c)
    for (int64_t x = 0; x < p.W; x += strip_length) {
      A copy0[strip_length], copy1[strip_length];
      const int n = strip_size(x, p.W);
      const A* const flow0 = p.flow[0].load_strip(b, c, y, x, n, copy0);
      const A* const flow1 = p.flow[1].load_strip(b, c, y, x, n, copy1);
      A* const __restrict to = motion + c * stride + x;
      LIFT_SIMD
      for (int k = 0; k < n; ++k) to[k] = flow1[k] - flow0[k];
    }
}

// Solve the 2 x 2 system of every pixel of a row, and weight the motion after the step. Planes of a
// row have `stride` values.
template <typename A>
void solve(const A* __restrict sums, const A* __restrict motion, int64_t stride, int64_t W,
           A* __restrict weighted) {
  const A scale = A(1 / weight_sum), most = A(limit);
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) {
    A a = sums[x] * scale, c = sums[x + 2 * stride] * scale;
    const A b = sums[x + stride] * scale;
    const A u = sums[x + 3 * stride] * scale, v = sums[x + 4 * stride] * scale;
    const A minor = a * c - b * b;  // never negative but for rounding
    const A determinant = (minor > A(0) ? minor : A(0)) + A(damping) * (a + c + A(damping));
    a += A(damping);
    c += A(damping);
    const A inverse = A(1) / determinant;
    const A dx = (b * v - c * u) * inverse, dy = (b * u - a * v) * inverse;
    const A dx_low = dx < -most ? -most : dx, dy_low = dy < -most ? -most : dy;
    const A step_x = dx_low > most ? most : dx_low, step_y = dy_low > most ? most : dy_low;
    const A error = sums[x + 5 * stride] * scale + u * step_x + v * step_y;
    const A weight = determinant / ((a + c) * ((error > A(0) ? error : A(0)) + A(small_error)));
    weighted[x] = weight * (motion[x] + step_x);
    weighted[x + stride] = weight * (motion[x + stride] + step_y);
    weighted[x + 2 * stride] = weight;
  }
}

// Weighted motion of row y, summed over the square horizontally. The rows around it are multiplied.
template <typename A>
void solve_row(const Arguments<A>& p, int64_t b, int64_t y, Rows<A>& rows) {
  const A* around[taps];
  for (int i = 0; i < taps; ++i)
    around[i] = rows.filtered_row(std::clamp<int64_t>(y + i - radius, 0, p.H - 1));
  for (int i = 0; i < products; ++i)
    triangle_across(around, i * rows.stride, p.W, rows.sums.data() + i * rows.stride);
  A *const to = rows.smoothed_row(y), *const motion = to + 3 * rows.stride;
  A* const weighted = rows.weighted.data() + Rows<A>::pad;
  subtract_flows(p, b, y, rows.stride, motion);
  solve(rows.sums.data(), motion, rows.stride, p.W, weighted);
  for (int i = 0; i < 3; ++i) {
    extend(weighted + i * rows.stride, p.W, smooth_radius);
    box_along(weighted + i * rows.stride, p.W, to + i * rows.stride);
  }
}

// What the averaged motion has more than the flows. Planes of a row have `stride` values.
template <typename A>
void divide(const A* __restrict sums, const A* __restrict motion, int64_t stride, int64_t W,
            A* __restrict out_x, A* __restrict out_y) {
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) {
    const A inverse = A(1) / sums[x + 2 * stride];
    out_x[x] = sums[x] * inverse - motion[x];
    out_y[x] = sums[x + stride] * inverse - motion[x + stride];
  }
}

// Row y of the result. The rows around it are solved.
template <typename A>
void smooth_row(const Arguments<A>& p, int64_t b, int64_t y, Rows<A>& rows) {
  const A* around[smooth_taps];
  for (int i = 0; i < smooth_taps; ++i)
    around[i] = rows.smoothed_row(std::clamp<int64_t>(y + i - smooth_radius, 0, p.H - 1));
  for (int i = 0; i < 3; ++i)
    box_across(around, i * rows.stride, p.W, rows.sums.data() + i * rows.stride);
  A* const out = p.out + (b * 2 * p.H + y) * p.W;
  divide(rows.sums.data(), rows.smoothed_row(y) + 3 * rows.stride, rows.stride, p.W, out,
         out + p.H * p.W);
}

template <typename A, typename I>
void lucas_kanade(const Arguments<A>& p) {
  const int64_t values = p.B * (p.C + products) * p.H * p.W;
  for_row_blocks(row_blocks(p.B, p.H, values), values, [&](int64_t, const RowBlock& block) {
    Rows<A> rows(p.C, p.W);
    int64_t solved = std::max<int64_t>(block.begin - smooth_radius, 0);
    int64_t multiplied = std::max<int64_t>(solved - radius, 0);
    int64_t warped = std::max<int64_t>(multiplied - 1, 0);
    for (int64_t y = block.begin; y < block.end; ++y) {
      for (; solved <= std::min(y + smooth_radius, p.H - 1); ++solved) {
        for (; multiplied <= std::min(solved + radius, p.H - 1); ++multiplied) {
          for (; warped <= std::min(multiplied + 1, p.H - 1); ++warped)
            warp_row<A, I>(p, block.b, warped, rows);
          multiply_row(p, multiplied, rows);
        }
        solve_row(p, block.b, solved, rows);
      }
      smooth_row(p, block.b, y, rows);
    }
  });
}

// -- checks ---------------------------------------------------------------------------------------

void check(const char* name, const Tensor& x, const Tensor& image, int64_t channels,
           ScalarType dtype) {
  STD_TORCH_CHECK(x.dim() == 4 && x.size(0) == image.size(0) && x.size(1) == channels &&
                      x.size(2) == image.size(2) && x.size(3) == image.size(3),
                  name, " must be (", image.size(0), ", ", channels, ", ", image.size(2), ", ",
                  image.size(3), ")");
  STD_TORCH_CHECK(x.is_cpu(), name, " must be on the CPU");
  STD_TORCH_CHECK(x.scalar_type() == dtype, name, " has the wrong dtype");
}

}  // namespace

Tensor lucas_kanade_cpu(const Tensor& image0, const Tensor& image1, const Tensor& flow0,
                        const Tensor& flow1, const Tensor& t) {
  const ScalarType dtype = image0.scalar_type(), accumulate = accumulate_dtype(dtype);
  STD_TORCH_CHECK(image0.dim() == 4, "an image must be (B, C, H, W)");
  STD_TORCH_CHECK(image0.size(2) <= max_side && image0.size(3) <= max_side,
                  "an image's sides must be at most ", max_side);
  STD_TORCH_CHECK(dtype == accumulate || dtype == ScalarType::Half || dtype == ScalarType::BFloat16,
                  "images must be float32, float64, float16 or bfloat16");
  const int64_t B = image0.size(0), C = image0.size(1), H = image0.size(2), W = image0.size(3);
  check("image0", image0, image0, C, dtype);
  check("image1", image1, image0, C, dtype);
  check("flow0", flow0, image0, 2, accumulate);
  check("flow1", flow1, image0, 2, accumulate);
  STD_TORCH_CHECK(t.dim() == 1 && t.size(0) == B && t.is_cpu() && t.scalar_type() == accumulate,
                  "t must be (", B, ",), on the CPU, in the dtype of the flows");
  Tensor out = empty({B, 2, H, W}, image0, accumulate, MemoryFormat::Contiguous);
  if (image0.numel() == 0) return torch::stable::zero_(out);
  dispatch_accumulate_type(dtype, [&](auto number) {
    using A = decltype(number);
    const Arguments<A> p{B,
                         C,
                         H,
                         W,
                         {Planes<A>(image0), Planes<A>(image1)},
                         {StridedMap<A>(flow0), StridedMap<A>(flow1)},
                         static_cast<const A*>(t.const_data_ptr()),
                         t.stride(0),
                         static_cast<A*>(out.mutable_data_ptr())};
    const int64_t span = std::max(p.image[0].span(H, W), p.image[1].span(H, W));
    if (span <= std::numeric_limits<int32_t>::max())
      lucas_kanade<A, int32_t>(p);
    else
      lucas_kanade<A, int64_t>(p);
  });
  return out;
}

}  // namespace lift
