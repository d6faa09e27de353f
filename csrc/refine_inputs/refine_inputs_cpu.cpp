// What the refinement's first convolution reads, channels-last, in one pass.
//
// kernels/ops/refine_inputs/reference.py defines it. A strip of up to 64 pixels of the images
// becomes strip_length / S pixels of the result, S being the stride of the refinement: its flows
// are upsampled and both images sampled while they are in the nearest cache. Flows and warped
// images never reach memory.
#include "refine_inputs_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <limits>

#include "../common/bfloat16.h"
#include "../common/parallel.h"
#include "../common/plane_samples.h"
#include "../common/transpose.h"
#include "../common/upsampling.h"

namespace lift {
namespace {

// As in reference.py.
constexpr int flows = 4, state_channels = 6, missing_channels = 2;
constexpr double flow_scale = 2.0 / 32;

constexpr int image_channels = 9;  // both warped images and their difference
constexpr int most_maps = state_channels + missing_channels;

// T is the type of the result, A that of everything else.
template <typename T, typename A = Wide<T>>
struct Arguments {
  int64_t B, H, W;
  Planes<A> image[2];     // (B, 3, H, W)
  StridedMap<A> state;    // (B, 6, H/2, W/2)
  StridedMap<A> missing;  // (B, 2, H/2, W/2), or null
  T* out;                 // (B, H/S, W/S, C)
  int64_t C;

  int maps() const { return missing.data ? most_maps : state_channels; }
};

// -- from planes to pixels ------------------------------------------------------------------------

// Write n columns of S rows of the images, planes c * S + row for channel c, as n / S pixels.
template <int S, typename T, typename A = Wide<T>>
void write_unshuffled(const Strip<A>* planes, int n, int64_t C, T* to) {
  for (int k = 0; k < n; k += 4) {
    T* const pixel = to + k / S * C;
    if constexpr (S == 4) {
      for (int c = 0; c < image_channels * S; ++c)
        store_narrow<T>(pixel + c * S, load(planes[c] + k, four_lanes), four_lanes);
    } else {
      T* const next =
          k + S < n ? pixel + C : pixel;  // for a single pixel the first is written last
      for (int c = 0; c < image_channels; ++c) {
        const Vec<A, 4> above = load(planes[S * c] + k, four_lanes);
        const Vec<A, 4> below = load(planes[S * c + 1] + k, four_lanes);
        const Vec<A, 4> west = __builtin_shufflevector(above, below, 0, 1, 4, 5);
        const Vec<A, 4> east = __builtin_shufflevector(above, below, 2, 3, 6, 7);
        store_narrow<T>(next + 4 * c, east, four_lanes);
        store_narrow<T>(pixel + 4 * c, west, four_lanes);
      }
    }
  }
}

// -- parts of the result --------------------------------------------------------------------------

template <typename A>
__attribute__((noinline)) void subtract(const A* __restrict a, const A* __restrict b, int n,
                                        A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = a[k] - b[k];
}

// The warped images and their difference in n pixels from (x, y) on: plane c * S for channel c.
template <int S, typename T, typename I, typename A = Wide<T>>
void sample_images(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n,
                   Strip<A>* planes) {
  alignas(64) A flow[flows][strip_length];
  for (int c = 0; c < flows; ++c)
    upsample_strip(p.state, b, c, y, x, n, p.H / 2, p.W / 2, A(2), flow[c]);
  const A* row[2][3];
  for (int i = 0; i < 2; ++i) {
    const int64_t stride = p.image[i].stride_y;
    const PlaneSamples<A, I> at(flow[2 * i], flow[2 * i + 1], y, x, n, p.H, p.W, stride);
    for (int c = 0; c < 3; ++c) {
      const A* const plane = p.image[i].data + b * p.image[i].stride_b + c * p.image[i].stride_c;
      sample_strip(plane, stride, at, n, planes[(3 * i + c) * S]);
      row[i][c] = plane + y * stride + x;
    }
  }
  for (int c = 0; c < 3; ++c) subtract(row[0][c], row[1][c], n, planes[(6 + c) * S]);
}

template <typename A>
__attribute__((noinline)) void scaled(const A* __restrict from, int n, A scale, A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = scale * from[k];
}

// The mean of 2 x 2 pixels, times `scale`.
template <typename A>
__attribute__((noinline)) void scaled_means(const A* __restrict above, const A* __restrict below,
                                            int n, A scale, A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k)
    to[k] =
        A(0.25) * scale * ((above[2 * k] + above[2 * k + 1]) + (below[2 * k] + below[2 * k + 1]));
}

// n values from (x, y) on of a map at half resolution, at the resolution of the result.
template <int S, typename T, typename A = Wide<T>>
void resample(const Arguments<T>& p, const StridedMap<A>& map, int64_t b, int64_t c, int64_t y,
              int64_t x, int n, A scale, A* to) {
  if constexpr (S == 1) {
    upsample_strip(map, b, c, y, x, n, p.H / 2, p.W / 2, scale, to);
  } else if constexpr (S == 2) {
    alignas(64) A copy[strip_length];
    scaled(map.load_strip(b, c, y, x, n, copy), n, scale, to);
  } else {
    alignas(64) A above[strip_length], below[strip_length];
    scaled_means(map.load_strip(b, c, 2 * y, 2 * x, 2 * n, above),
                 map.load_strip(b, c, 2 * y + 1, 2 * x, 2 * n, below), n, scale, to);
  }
}

// -- the result -----------------------------------------------------------------------------------

// Row y of the result.
template <int S, typename T, typename I, typename A = Wide<T>>
void compute_row(const Arguments<T>& p, int64_t b, int64_t y) {
  constexpr int first_map = image_channels * S;
  alignas(64) A planes[(first_map + most_maps + 3) / 4 * 4][strip_length] = {};
  T* const row = p.out + (b * (p.H / S) + y) * (p.W / S) * p.C;
  for (int64_t x = 0; x < p.W; x += strip_length) {
    const int n = strip_size(x, p.W);
    for (int i = 0; i < S; ++i) sample_images<S, T, I>(p, b, S * y + i, x, n, planes + i);
    for (int c = 0; c < p.maps(); ++c) {
      const bool of_state = c < state_channels;
      resample<S>(p, of_state ? p.state : p.missing, b, of_state ? c : c - state_channels, y, x / S,
                  n / S, A(c < flows ? flow_scale : 1), planes[first_map + c]);
    }
    T* const to = row + x / S * p.C;
    if constexpr (S == 1) {
      write_transposed<T>(planes, first_map + p.maps(), n, p.C, to);
    } else {
      write_unshuffled<S, T>(planes, n, p.C, to);
      write_transposed<T>(planes + first_map, p.maps(), n / S, p.C, to + first_map * S);
    }
  }
}

template <typename T, typename I>
void refine_inputs(const Arguments<T>& p, int64_t S) {
  const auto compute = S == 1   ? compute_row<1, T, I>
                       : S == 2 ? compute_row<2, T, I>
                                : compute_row<4, T, I>;
  for_rows(p.B, p.H / S, p.C * (p.W / S), [&](int64_t b, int64_t y) { compute(p, b, y); });
}

}  // namespace

Tensor refine_inputs_cpu(const Tensor& image0, const Tensor& image1, const Tensor& state,
                         const std::optional<Tensor>& missing, int64_t stride, ScalarType dtype) {
  STD_TORCH_CHECK(image0.dim() == 4, "image0 must be (B, 3, H, W)");
  STD_TORCH_CHECK(stride == 1 || stride == 2 || stride == 4, "stride must be 1, 2 or 4");
  const ScalarType wide = accumulate_dtype(dtype);
  STD_TORCH_CHECK(dtype == wide || dtype == ScalarType::BFloat16,
                  "dtype must be float32, float64 or bfloat16");
  const int64_t B = image0.size(0), H = image0.size(2), W = image0.size(3);
  STD_TORCH_CHECK(H % std::max<int64_t>(2, stride) == 0 && W % std::max<int64_t>(2, stride) == 0 &&
                      H <= max_side && W <= max_side,
                  "the sides of image0 do not fit");
  check_tensor("image0", image0, {B, 3, H, W}, wide);
  check_tensor("image1", image1, {B, 3, H, W}, wide);
  check_tensor("state", state, {B, state_channels, H / 2, W / 2}, wide);
  if (missing) check_tensor("missing", *missing, {B, missing_channels, H / 2, W / 2}, wide);
  const int64_t C =
      image_channels * stride * stride + state_channels + (missing ? missing_channels : 0);
  Tensor pixels = empty({B, H / stride, W / stride, C}, image0, dtype, MemoryFormat::Contiguous);
  // As `empty_output` in reference.py, also where a side is 1.
  const Tensor out = torch::stable::transpose(torch::stable::transpose(pixels, 1, 3), 2, 3);
  if (image0.numel() == 0) return out;
  dispatch_feature_type(dtype, [&](auto number) {
    using T = decltype(number);
    using A = Wide<T>;
    const Arguments<T> p{B,
                         H,
                         W,
                         {Planes<A>(image0), Planes<A>(image1)},
                         StridedMap<A>(state),
                         missing ? StridedMap<A>(*missing) : StridedMap<A>(),
                         static_cast<T*>(pixels.mutable_data_ptr()),
                         C};
    const int64_t span = std::max(p.image[0].span(H, W), p.image[1].span(H, W));
    if (span <= std::numeric_limits<int32_t>::max())
      refine_inputs<T, int32_t>(p, stride);
    else
      refine_inputs<T, int64_t>(p, stride);
  });
  return out;
}

}  // namespace lift
