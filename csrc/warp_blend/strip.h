// Where the pixels of a strip sample an image, and with which weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "../common/bfloat16.h"
#include "../common/row_ring.h"
#include "../common/strip.h"
#include "warp.h"

namespace lift {

// The arguments of warp (N = 1) or warp_blend (N = 2), without the images.
template <typename A, int N>
struct WarpParams {
  int64_t B, C, H, W;
  StridedMap<A> flow[N];  // (B, 2, H, W)
  StridedMap<A> occ[N];   // (B, 1, H, W), for N == 2 only

  // Values from pixel to pixel where the kernels read and write images.
  int64_t pixel_stride() const { return C == 3 ? 4 : C; }
};

// `bilinear_tap` for n pixels along x (`along`) or y.
//
// Neither inlined nor through BilinearTap: either keeps GCC from vectorising all of it.
template <bool along, typename A>
__attribute__((noinline)) void bilinear_taps(int32_t position, const A* __restrict flow, int n,
                                             int32_t size, int32_t* __restrict low,
                                             int32_t* __restrict step, A* __restrict fraction,
                                             int32_t* __restrict inside) {
  const A last = A(size - 1);
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A coord = A(along ? position + k : position) + flow[k];
    const A clamped = clamp_coord(coord, last);
    const int32_t whole = static_cast<int32_t>(clamped);
    low[k] = whole;
    step[k] = whole < size - 1 ? 1 : 0;
    fraction[k] = clamped - A(whole);
    inside[k] = strictly_inside(coord, last);
  }
}

// Where the n pixels of a strip sample an image: pixel k between columns x0 and x0 + step_x
// and rows y0 and y0 + step_y, (fx, fy) from the first.
template <typename A>
struct alignas(64) SampleCoords {
  int n;
  int32_t x0[strip_length], y0[strip_length], step_x[strip_length], step_y[strip_length];
  A fx[strip_length], fy[strip_length];
  int32_t inside_x[strip_length], inside_y[strip_length];

  template <int N>
  SampleCoords(const WarpParams<A, N>& p, int i, int64_t b, int64_t y, int64_t x)
      : n(strip_size(x, p.W)) {
    alignas(64) A copy[strip_length];
    bilinear_taps<true>(static_cast<int32_t>(x), p.flow[i].load_strip(b, 0, y, x, n, copy), n,
                        static_cast<int32_t>(p.W), x0, step_x, fx, inside_x);
    bilinear_taps<false>(static_cast<int32_t>(y), p.flow[i].load_strip(b, 1, y, x, n, copy), n,
                         static_cast<int32_t>(p.H), y0, step_y, fy, inside_y);
  }
};

template <typename A>
__attribute__((noinline)) void visibility_blends(const A* __restrict occ0, const A* __restrict occ1,
                                                 int n, A* __restrict weight0,
                                                 A* __restrict weight1, A* __restrict slope0,
                                                 A* __restrict slope1) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const VisibilityBlend<A> blend = visibility_blend(occ0[k], occ1[k]);
    weight0[k] = blend.weight[0];
    weight1[k] = blend.weight[1];
    slope0[k] = blend.slope[0];
    slope1[k] = blend.slope[1];
  }
}

// The weight of each image in the pixels of a strip: 1 for a single image, else the blend's.
template <typename A, int N>
struct alignas(64) BlendWeights {
  A weight[N][strip_length], slope[N][strip_length];

  BlendWeights(const WarpParams<A, N>& p, int64_t b, int64_t y, int64_t x) {
    const int count = strip_size(x, p.W);
    if constexpr (N == 1) {
      std::fill(weight[0], weight[0] + count, A(1));
    } else {
      alignas(64) A copy0[strip_length], copy1[strip_length];
      visibility_blends(p.occ[0].load_strip(b, 0, y, x, count, copy0),
                        p.occ[1].load_strip(b, 0, y, x, count, copy1), count, weight[0], weight[1],
                        slope[0], slope[1]);
    }
  }
};

// The bilinear weights of a strip, times the weight of the image.
template <typename A>
struct alignas(64) BilinearWeights {
  A nw[strip_length], ne[strip_length], sw[strip_length], se[strip_length];

  BilinearWeights(const SampleCoords<A>& at, const A* image_weight) {
    const int count = at.n;
    LIFT_SIMD
    for (int k = 0; k < count; ++k) {
      const A east = at.fx[k], west = A(1) - east;
      const A south = at.fy[k] * image_weight[k], north = (A(1) - at.fy[k]) * image_weight[k];
      nw[k] = north * west;
      ne[k] = north * east;
      sw[k] = south * west;
      se[k] = south * east;
    }
  }
};

// Where the sampled pixels of a strip are in memory: the offsets of the north-western and the
// south-western one from the rows' first value, and from these to the eastern ones.
template <typename A>
struct alignas(64) CornerOffsets {
  int64_t north[strip_length], south[strip_length], step_east[strip_length];

  template <typename Rows>
  CornerOffsets(const Rows& rows, const SampleCoords<A>& at) {
    const int count = at.n;
    const int64_t mask = rows.mask, W = rows.W, pixel_stride = rows.pixel_stride;
    LIFT_SIMD
    for (int k = 0; k < count; ++k) {
      north[k] = ((at.y0[k] & mask) * W + at.x0[k]) * pixel_stride;
      south[k] = (((at.y0[k] + at.step_y[k]) & mask) * W + at.x0[k]) * pixel_stride;
      step_east[k] = at.step_x[k] * pixel_stride;
    }
  }

  // The four pixels that pixel k samples.
  template <typename P>
  LIFT_HD Corners<P*> pixels(P* data, int k) const {
    P *const west_north = data + north[k], *const west_south = data + south[k];
    return {west_north, west_north + step_east[k], west_south, west_south + step_east[k]};
  }
};

// Channels of a sample from c on.
template <typename T, typename A, typename L>
LIFT_HD auto sample(const Corners<const T*>& pixel, const Corners<A>& weight, int64_t c, L lanes) {
  return weight.nw * load_wide(pixel.nw + c, lanes) + weight.ne * load_wide(pixel.ne + c, lanes) +
         weight.sw * load_wide(pixel.sw + c, lanes) + weight.se * load_wide(pixel.se + c, lanes);
}

// What a strip samples of one image.
template <typename A>
struct StripSamples {
  SampleCoords<A> coords;
  BilinearWeights<A> weights;
  CornerOffsets<A> offsets;

  template <int N, typename T>
  StripSamples(const WarpParams<A, N>& p, int i, int64_t b, int64_t y, int64_t x,
               const A* image_weight, const PixelRows<const T>& rows)
      : coords(p, i, b, y, x), weights(coords, image_weight), offsets(rows, coords) {}

  LIFT_HD Corners<A> weights_of(int k) const {
    return {weights.nw[k], weights.ne[k], weights.sw[k], weights.se[k]};
  }
};

// Prefetch what the next strip down is likely to read: the row below the southern one.
//
// Where the flow varies, rows are read in short stretches that the hardware does not foresee.
template <typename T, typename A>
void prefetch_below(const PixelRows<const T>& rows, const SampleCoords<A>& at) {
  if (rows.mask != -1) return;  // a ring is in the cache already
  constexpr int64_t line = 64 / sizeof(T);
  const int64_t C = rows.pixel_stride, step = std::max<int64_t>(1, line / C);
  for (int64_t k = 0; k < at.n; k += step) {
    const T* const below = rows.row(at.y0[k] + at.step_y[k] + 1) + at.x0[k] * C;
    for (int64_t c = 0; c < C; c += line) __builtin_prefetch(below + c);
  }
}

}  // namespace lift
