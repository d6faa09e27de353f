// grid_sample's gradients where the channels of a pixel lie side by side, eight or more: they lie on lanes. grid_sample_backward.cu has
// the history of this kernel.
#include "grid_sample_device.h"

namespace lift {
namespace {

constexpr int run_length = 4;   // pixels of the result that a group of lanes walks along
constexpr int lane_values = 4;  // channels of a lane

// The channels of one lane, of those that its group has at a time. `wide`: i V to i V + V - 1 for lane i, 16 bytes of a float's load or
// addition. Else lane i has i, i + lanes, i + 2 lanes ...: a load or addition of one number a lane is then of one piece for the group.
struct Channels {
  int lane, lanes;
  int64_t left;  // how many there are from the group's first on

  template <bool wide, typename I>
  __device__ __forceinline__ Values<lane_values> load_from(const I* from) const {
    Values<lane_values> values;
    if constexpr (wide) {
      if (lane * lane_values < left) values = load<lane_values>(from + lane * lane_values);
    } else {
#pragma unroll
      for (int v = 0; v < lane_values; ++v)
        if (lane + v * lanes < left) values.at[v] = to_float(from[lane + v * lanes]);
    }
    return values;
  }

  template <bool wide, typename S>
  __device__ __forceinline__ void add_to(typename S::Cell* to, const Values<lane_values>& x, const S& sums) const {
    uint32_t bits = 0;
#pragma unroll
    for (int v = 0; v < lane_values; ++v) bits |= __float_as_uint(x.at[v]);
    if (bits << 1 == 0) return;  // all are 0, but for the sign: whole pixels, borders
    if constexpr (wide) {
#if __CUDA_ARCH__ >= 900
      if (lane * lane_values < left) add_four(to + lane * lane_values, x.at[0], x.at[1], x.at[2], x.at[3]);
#endif
    } else {
#pragma unroll
      for (int v = 0; v < lane_values; ++v)
        if (lane + v * lanes < left) atomicAdd(to + lane + v * lanes, sums.cell(x.at[v]));
    }
  }
};

// What has been added up for the four corners of one place, and not yet added to memory.
struct Pending {
  Values<lane_values> nw, ne, sw, se;
  int32_t row = nowhere, column = 0;  // of the north-west corner
};

template <bool wide, typename S>
__device__ __forceinline__ void add_column(const GridSampleBackward& p, const S& sums, int64_t image, int32_t row, int32_t column,
                                           int64_t c, const Channels& channels, const Values<lane_values>& north,
                                           const Values<lane_values>& south) {
  typename S::Cell* const to = S::sums(p) + ((image * p.H + row) * p.W + column) * p.C + c;
  if (within(p, row, column)) channels.add_to<wide>(to, north, sums);
  if (within(p, row + 1, column)) channels.add_to<wide>(to + p.W * p.C, south, sums);
}

// `lanes` neighbouring lanes, a power of two and run_length at least, are a group. `wide`: C is a multiple of four, so that a lane loads
// four channels at once, and adds them at once where sums are so. Where sums are added one by one, their lanes have other channels than
// those of the wide loads; the gradient of the result, which both need, is then loaded in both ways, the second time from the L1 cache.
template <typename I, typename S, bool wide, bool with_input, bool with_grid>
__global__ void __launch_bounds__(block_threads, 2) add_pixels(GridSampleBackward p, int lanes) {
  constexpr bool four = wide && S::adds_four;
  const S sums(p);
  const bool bilinear = static_cast<Mode>(p.mode) == Mode::bilinear;
  const int64_t plane = p.h * p.w;
  const int lane = threadIdx.x % lanes, leader = threadIdx.x % 32 - lane;  // the group's first lane
  const int groups = block_threads / lanes;
  const uint32_t blocks = blocks_for(plane, run_length * groups);  // of an image, and of all images less than 2^31: no 64-bit division
  const int64_t image = blockIdx.x / blocks;
  const int64_t in_image = (static_cast<int64_t>(blockIdx.x % blocks) * groups + threadIdx.x / lanes) * run_length;
  const int64_t first = image * plane + in_image;
  const I* const grad = static_cast<const I*>(p.grad);
  const I* const input = static_cast<const I*>(p.input);

  Place mine;  // of pixel `lane` of the run; the other lanes learn of it by shuffles
  if (lane < run_length && in_image + lane < plane) mine = place(p, first + lane);
  float my_east = 0, my_south = 0;

  for (int64_t c = 0; c < p.C; c += lanes * lane_values) {
    const Channels channels{lane, lanes, p.C - c};
    Pending pending;
#pragma unroll 1
    for (int r = 0; r <= run_length; ++r) {  // behind the run nothing is read, and what is pending is added
      const bool ends = r == run_length;
      const int from_lane = leader + min(r, run_length - 1);
      const int32_t there = __shfl_sync(everyone, mine.row, from_lane), column = __shfl_sync(everyone, mine.column, from_lane);
      const int32_t row = ends ? nowhere : there;
      const float fx = __shfl_sync(everyone, mine.fx, from_lane), fy = __shfl_sync(everyone, mine.fy, from_lane);
      const I* const up = grad + (first + r) * p.C + c;
      float east = 0, south = 0;
      Values<lane_values> g;
      if (row != nowhere) {
        g = channels.load_from<with_grid ? wide : four>(up);
        if constexpr (with_grid) {
          Values<lane_values> nw, ne, sw, se;
          const I* const from = input + ((image * p.H + row) * p.W + column) * p.C + c;
          if (within(p, row, column)) nw = channels.load_from<wide>(from);
          if (within(p, row, column + 1)) ne = channels.load_from<wide>(from + p.C);
          if (within(p, row + 1, column)) sw = channels.load_from<wide>(from + p.W * p.C);
          if (within(p, row + 1, column + 1)) se = channels.load_from<wide>(from + (p.W + 1) * p.C);
          add_change(east, south, g, nw, ne, sw, se, fx, fy);
          if constexpr (with_input && wide != four) g = channels.load_from<four>(up);
        }
      }

      if constexpr (with_input) {
        if (row != nowhere || ends) {
          if (row != pending.row || column != pending.column) {
            add_column<four>(p, sums, image, pending.row, pending.column, c, channels, pending.nw, pending.sw);
            if (row == pending.row && column == pending.column + 1) {  // one further east, as in a smooth flow
              pending.nw = pending.ne;
              pending.sw = pending.se;
            } else {
              add_column<four>(p, sums, image, pending.row, pending.column + 1, c, channels, pending.ne, pending.se);
              pending.nw = pending.sw = {};
            }
            pending.ne = pending.se = {};
            pending.row = row;
            pending.column = column;
          }
          if (bilinear) {
            add_scaled(pending.nw, g, (1 - fx) * (1 - fy));
            add_scaled(pending.ne, g, fx * (1 - fy));
            add_scaled(pending.sw, g, (1 - fx) * fy);
            add_scaled(pending.se, g, fx * fy);
          } else {
            add_scaled(pending.nw, g, 1.0f);
          }
        }
      }
      if (with_grid && !ends) {
        for (int step = lanes / 2; step > 0; step /= 2) {
          east += __shfl_xor_sync(everyone, east, step);
          south += __shfl_xor_sync(everyone, south, step);
        }
        if (lane == r) {
          my_east += east;
          my_south += south;
        }
      }
    }
  }

  if constexpr (with_grid) {
    if (lane < run_length && in_image + lane < plane) {
      const int64_t pixel = first + lane;
      p.dgrid[2 * pixel] = mine.reads() ? mine.slope_x * my_east : 0.0f;
      p.dgrid[2 * pixel + 1] = mine.reads() ? mine.slope_y * my_south : 0.0f;
    }
  }
}

struct LaunchPixels {
  const GridSampleBackward& p;
  cudaStream_t stream;

  template <typename I, typename S, bool with_input, bool with_grid>
  void of() const {
    int lanes = run_length;
    while (lanes < 32 && lanes * lane_values < p.C) lanes *= 2;
    const uint32_t blocks = static_cast<uint32_t>(p.B * blocks_for(p.h * p.w, run_length * (block_threads / lanes)));
    if (p.C % lane_values == 0)
      LIFT_LAUNCH((add_pixels<I, S, true, with_input, with_grid>), blocks, block_threads, stream, p, lanes);
    else
      LIFT_LAUNCH((add_pixels<I, S, false, with_input, with_grid>), blocks, block_threads, stream, p, lanes);
  }
};

}  // namespace

void add_in_pixels(const GridSampleBackward& p, cudaStream_t stream) { dispatch(p, LaunchPixels{p, stream}); }

}  // namespace lift
