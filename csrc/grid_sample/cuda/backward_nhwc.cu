// grid_sample's gradients in NHWC with eight or more channels, which are on lanes.
// backward.cu has the history of this kernel.
#include "device.h"

namespace lift {
namespace {

constexpr int run_length = 4;         // pixels of the result that a group of lanes walks along
constexpr int channels_per_lane = 4;  // at a time

using LaneVec = FloatVec<channels_per_lane>;

// The channels of one lane, of those that its group has at a time.
//
// `wide`: lane i has channels 4 i to 4 i + 3, which are loaded or added at once.
// Else it has i, i + lanes, i + 2 lanes and i + 3 lanes: a load or an addition of one value per
// lane is then contiguous for the group.
struct LaneChannels {
  int lane, lanes;
  int64_t left;  // channels from the group's first on

  template <bool wide, typename I>
  __device__ __forceinline__ LaneVec load_from(const I* from) const {
    LaneVec x;
    if constexpr (wide) {
      if (lane * channels_per_lane < left)
        x = load<channels_per_lane>(from + lane * channels_per_lane);
    } else {
#pragma unroll
      for (int v = 0; v < channels_per_lane; ++v)
        if (lane + v * lanes < left) x.value[v] = to_float(from[lane + v * lanes]);
    }
    return x;
  }

  template <bool wide, typename S>
  __device__ __forceinline__ void add_to(typename S::Sum* to, const LaneVec& x,
                                         const S& sums) const {
    uint32_t bits = 0;
#pragma unroll
    for (int v = 0; v < channels_per_lane; ++v) bits |= __float_as_uint(x.value[v]);
    if (bits << 1 == 0) return;  // all are 0 or -0, as with shifts by whole pixels and at borders
    if constexpr (wide) {
#if __CUDA_ARCH__ >= 900
      if (lane * channels_per_lane < left)
        atomic_add_v4(to + lane * channels_per_lane, x.value[0], x.value[1], x.value[2],
                      x.value[3]);
#endif
    } else {
#pragma unroll
      for (int v = 0; v < channels_per_lane; ++v)
        if (lane + v * lanes < left) atomicAdd(to + lane + v * lanes, sums.to_sum(x.value[v]));
    }
  }
};

// What is summed for the four corners of one sample position, and not yet added to memory.
struct PendingSums {
  Corners<LaneVec> at;
  int32_t y0 = no_row, x0 = 0;  // of the north-west corner
};

template <bool wide, typename S>
__device__ __forceinline__ void add_column(const GridSampleBackwardParams& p, const S& sums,
                                           int64_t image, int32_t y0, int32_t x, int64_t c,
                                           const LaneChannels& channels, const LaneVec& north,
                                           const LaneVec& south) {
  typename S::Sum* const to = S::data(p) + ((image * p.H + y0) * p.W + x) * p.C + c;
  if (is_inside(p, y0, x)) channels.add_to<wide>(to, north, sums);
  if (is_inside(p, y0 + 1, x)) channels.add_to<wide>(to + p.W * p.C, south, sums);
}

// A group is `lanes` neighbouring lanes, a power of two and at least run_length.
//
// `wide`: C is a multiple of four, so that a lane loads four channels at once, and adds them at
// once where the sums support it. Where sums are added one by one, the lanes have other channels
// than in the wide loads. The gradient of the result, which both need, is then loaded both ways,
// the second time from the L1 cache.
template <typename I, typename S, bool wide, bool needs_input, bool needs_grid>
__global__ void __launch_bounds__(block_threads, 2)
    grid_sample_bwd_nhwc_kernel(GridSampleBackwardParams p, int lanes) {
  constexpr bool wide_sums = wide && S::has_add_v4;
  const S sums(p);
  const bool bilinear = static_cast<Mode>(p.mode) == Mode::bilinear;
  const int64_t plane = p.h * p.w;
  const int lane = threadIdx.x % lanes;
  const int leader = threadIdx.x % 32 - lane;  // the group's first lane
  const int groups = block_threads / lanes;
  // Blocks per image. All images have fewer than 2^31, which needs no 64-bit division.
  const uint32_t blocks = blocks_for(plane, run_length * groups);
  const int64_t image = blockIdx.x / blocks;
  const int64_t group = static_cast<int64_t>(blockIdx.x % blocks) * groups + threadIdx.x / lanes;
  const int64_t in_image = group * run_length;
  const int64_t first = image * plane + in_image;
  const I* const grad = static_cast<const I*>(p.grad);
  const I* const input = static_cast<const I*>(p.input);

  // Lane i has the coordinates of pixel i of the run; the others get them by shuffles.
  SampleCoords mine;
  if (lane < run_length && in_image + lane < plane) mine = sample_coords(p, first + lane);
  float my_dx = 0, my_dy = 0;

  for (int64_t c = 0; c < p.C; c += lanes * channels_per_lane) {
    const LaneChannels channels{lane, lanes, p.C - c};
    PendingSums pending;
#pragma unroll 1
    for (int r = 0; r <= run_length; ++r) {  // after the run only pending sums are added
      const bool ends = r == run_length;
      const int from_lane = leader + min(r, run_length - 1);
      const int32_t there = __shfl_sync(full_warp, mine.y0, from_lane);
      const int32_t x0 = __shfl_sync(full_warp, mine.x0, from_lane);
      const int32_t y0 = ends ? no_row : there;
      const float fx = __shfl_sync(full_warp, mine.fx, from_lane);
      const float fy = __shfl_sync(full_warp, mine.fy, from_lane);
      const I* const grad_out = grad + (first + r) * p.C + c;
      float dx = 0, dy = 0;
      LaneVec g;
      if (y0 != no_row) {
        g = channels.load_from<needs_grid ? wide : wide_sums>(grad_out);
        if constexpr (needs_grid) {
          Corners<LaneVec> pixel;
          const I* const from = input + ((image * p.H + y0) * p.W + x0) * p.C + c;
          if (is_inside(p, y0, x0)) pixel.nw = channels.load_from<wide>(from);
          if (is_inside(p, y0, x0 + 1)) pixel.ne = channels.load_from<wide>(from + p.C);
          if (is_inside(p, y0 + 1, x0)) pixel.sw = channels.load_from<wide>(from + p.W * p.C);
          if (is_inside(p, y0 + 1, x0 + 1))
            pixel.se = channels.load_from<wide>(from + (p.W + 1) * p.C);
          add_coord_grads(dx, dy, g, pixel, fx, fy);
          if constexpr (needs_input && wide != wide_sums)
            g = channels.load_from<wide_sums>(grad_out);
        }
      }

      if constexpr (needs_input) {
        if (y0 != no_row || ends) {
          if (y0 != pending.y0 || x0 != pending.x0) {
            add_column<wide_sums>(p, sums, image, pending.y0, pending.x0, c, channels,
                                  pending.at.nw, pending.at.sw);
            if (y0 == pending.y0 && x0 == pending.x0 + 1) {  // the next column: a smooth flow
              pending.at.nw = pending.at.ne;
              pending.at.sw = pending.at.se;
            } else {
              add_column<wide_sums>(p, sums, image, pending.y0, pending.x0 + 1, c, channels,
                                    pending.at.ne, pending.at.se);
              pending.at.nw = pending.at.sw = {};
            }
            pending.at.ne = pending.at.se = {};
            pending.y0 = y0;
            pending.x0 = x0;
          }
          if (bilinear) {
            const Corners<float> weight = bilinear_weights(fx, fy);
            add_scaled(pending.at.nw, g, weight.nw);
            add_scaled(pending.at.ne, g, weight.ne);
            add_scaled(pending.at.sw, g, weight.sw);
            add_scaled(pending.at.se, g, weight.se);
          } else {
            add_scaled(pending.at.nw, g, 1.0f);
          }
        }
      }
      if (needs_grid && !ends) {
        for (int step = lanes / 2; step > 0; step /= 2) {
          dx += __shfl_xor_sync(full_warp, dx, step);
          dy += __shfl_xor_sync(full_warp, dy, step);
        }
        if (lane == r) {
          my_dx += dx;
          my_dy += dy;
        }
      }
    }
  }

  if constexpr (needs_grid) {
    if (lane < run_length && in_image + lane < plane) {
      const int64_t pixel = first + lane;
      p.dgrid[2 * pixel] = mine.any_inside() ? mine.slope_x * my_dx : 0.0f;
      p.dgrid[2 * pixel + 1] = mine.any_inside() ? mine.slope_y * my_dy : 0.0f;
    }
  }
}

struct LaunchNhwc {
  const GridSampleBackwardParams& p;
  cudaStream_t stream;

  template <typename I, typename S, bool needs_input, bool needs_grid>
  void run() const {
    int lanes = run_length;
    while (lanes < 32 && lanes * channels_per_lane < p.C) lanes *= 2;
    const int64_t pixels_per_block = run_length * (block_threads / lanes);
    const auto blocks = static_cast<uint32_t>(p.B * blocks_for(p.h * p.w, pixels_per_block));
    if (p.C % channels_per_lane == 0)
      LIFT_LAUNCH((grid_sample_bwd_nhwc_kernel<I, S, true, needs_input, needs_grid>), blocks,
                  block_threads, stream, p, lanes);
    else
      LIFT_LAUNCH((grid_sample_bwd_nhwc_kernel<I, S, false, needs_input, needs_grid>), blocks,
                  block_threads, stream, p, lanes);
  }
};

}  // namespace

void launch_backward_nhwc(const GridSampleBackwardParams& p, cudaStream_t stream) {
  dispatch(p, LaunchNhwc{p, stream});
}

}  // namespace lift
