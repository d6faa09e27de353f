// grid_sample's gradients where pixels are on lanes: NCHW with any number of channels, and NHWC
// with fewer than eight. backward.cu has the history of these kernels.
#include "device.h"

namespace lift {
namespace {

constexpr int warps = block_threads / 32;

// What a pixel adds to its four corners.
__device__ __forceinline__ Corners<float> corner_grads(float fx, float fy, float g, bool bilinear) {
  if (!bilinear) return {g, 0, 0, 0};
  const Corners<float> weight = bilinear_weights(fx, fy);
  return {g * weight.nw, g * weight.ne, g * weight.sw, g * weight.se};
}

// Merges what the 32 neighbouring pixels of a warp add to the same corner.
//
// Where a pixel's western corners are the eastern ones of the pixel before, as in a smooth flow, it
// adds for both. Where all pixels have the same corners, as in a collapsing flow, the first one
// adds for all. Every thread of the warp must take part.
struct WarpMerge {
  bool from_west = false;  // this pixel adds for its western neighbour
  bool to_east = false;    // the eastern neighbour adds for this pixel
  bool same = false;       // all pixels have the same corners

  __device__ __forceinline__ void find(const SampleCoords& at) {
    const int lane = threadIdx.x % 32;
    const int32_t y0 = __shfl_up_sync(full_warp, at.y0, 1);
    const int32_t x0 = __shfl_up_sync(full_warp, at.x0, 1);
    from_west = lane > 0 && at.any_inside() && y0 == at.y0 && x0 + 1 == at.x0;
    to_east = __shfl_down_sync(full_warp, static_cast<int>(from_west), 1) && lane < 31;
    const int32_t first_y0 = __shfl_sync(full_warp, at.y0, 0);
    const int32_t first_x0 = __shfl_sync(full_warp, at.x0, 0);
    same = __all_sync(full_warp, !at.any_inside() || (at.y0 == first_y0 && at.x0 == first_x0));
  }

  // From what each pixel adds to what each thread adds.
  __device__ __forceinline__ void merge(Corners<float>& x) const {
    if (same) {
      x = {warp_sum(x.nw), warp_sum(x.ne), warp_sum(x.sw), warp_sum(x.se)};
      return;
    }
    const float north = __shfl_up_sync(full_warp, x.ne, 1);
    const float south = __shfl_up_sync(full_warp, x.se, 1);
    if (to_east) x.ne = x.se = 0;
    if (from_west) {
      x.nw += north;
      x.sw += south;
    }
  }

  // In the first lane; 0 in the others.
  __device__ static __forceinline__ float warp_sum(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(full_warp, x, step);
    return threadIdx.x % 32 == 0 ? x : 0.0f;
  }
};

// -- few channels: sums in a tile of shared memory ------------------------------------------------

constexpr int block_width = 32, block_height = warps;  // pixels of the result
constexpr int tile_width = 48, tile_height = 16;       // pixels of the input

// Add x to pixel (y, x) of a channel: to the tile where it covers the pixel, else to memory.
template <typename S>
__device__ __forceinline__ void add_to_tile(typename S::Sum* tile, int32_t top, int32_t left,
                                            const GridSampleBackwardParams& p, const S& sums,
                                            typename S::Sum* channel, int64_t stride, int32_t y,
                                            int32_t x, float value) {
  if (value == 0 || !is_inside(p, y, x)) return;
  const int32_t down = y - top, across = x - left;
  if (down >= 0 && down < tile_height && across >= 0 && across < tile_width)
    atomicAdd(tile + down * tile_width + across, sums.to_sum(value));
  else
    atomicAdd(channel + (y * p.W + x) * stride, sums.to_sum(value));
}

template <typename I, typename S, bool needs_input, bool needs_grid>
__global__ void __launch_bounds__(block_threads, 2)
    grid_sample_bwd_few_channels_kernel(GridSampleBackwardParams p) {
  __shared__ typename S::Sum tile[tile_height * tile_width];
  __shared__ int32_t corner[2];  // row and column of the tile in the input
  const S sums(p);
  const bool bilinear = static_cast<Mode>(p.mode) == Mode::bilinear;
  // Blocks of an image; all images have fewer than 2^31.
  const uint32_t across = blocks_for(p.w, block_width), down = blocks_for(p.h, block_height);
  const uint32_t block = blockIdx.x % (across * down);
  const int64_t image = blockIdx.x / (across * down);
  const int64_t left = block % across * block_width, top = block / across * block_height;
  const int64_t x = left + threadIdx.x % block_width, y = top + threadIdx.x / block_width;
  const bool present = x < p.w && y < p.h;
  const int64_t plane = p.H * p.W, out_plane = p.h * p.w;
  const int64_t pixel = (image * p.h + y) * p.w + x;
  const bool nhwc = p.layout == Layout::nhwc;
  const int64_t stride = nhwc ? p.C : 1;  // from pixel to pixel
  SampleCoords at;
  if (present) at = sample_coords(p, pixel);

  if constexpr (needs_input) {
    // The pixel nearest to the centre of the block decides where the tile is.
    const int64_t centre_x = min(left + block_width / 2, p.w - 1);
    const int64_t centre_y = min(top + block_height / 2, p.h - 1);
    if (x == centre_x && y == centre_y) {
      corner[0] = at.y0 - tile_height / 2;
      corner[1] = at.x0 - tile_width / 2;
    }
    __syncthreads();
  }

  WarpMerge neighbours;
  if constexpr (needs_input) neighbours.find(at);
  float dx = 0, dy = 0;
#pragma unroll 1
  for (int64_t c = 0; c < p.C; ++c) {
    if constexpr (needs_input) {
      for (int i = threadIdx.x; i < tile_height * tile_width; i += block_threads) tile[i] = 0;
      __syncthreads();
    }
    const int64_t channel = image * p.C * plane + c * (nhwc ? 1 : plane);
    Corners<float> adds = {};
    if (present && at.any_inside()) {
      const int64_t out_channel = image * p.C * out_plane + c * (nhwc ? 1 : out_plane);
      const I* const grad_out = static_cast<const I*>(p.grad) + out_channel;
      const FloatVec<1> g = load<1>(grad_out + (y * p.w + x) * stride);
      if constexpr (needs_grid) {
        const I* const input = static_cast<const I*>(p.input) + channel;
        const I* const from = input + (at.y0 * p.W + at.x0) * stride;
        Corners<FloatVec<1>> value;
        if (is_inside(p, at.y0, at.x0)) value.nw = load<1>(from);
        if (is_inside(p, at.y0, at.x0 + 1)) value.ne = load<1>(from + stride);
        if (is_inside(p, at.y0 + 1, at.x0)) value.sw = load<1>(from + p.W * stride);
        if (is_inside(p, at.y0 + 1, at.x0 + 1)) value.se = load<1>(from + (p.W + 1) * stride);
        add_coord_grads(dx, dy, g, value, at.fx, at.fy);
      }
      adds = corner_grads(at.fx, at.fy, g.value[0], bilinear);
    }
    if constexpr (needs_input) {
      neighbours.merge(adds);
      typename S::Sum* const to = S::data(p) + channel;
      const auto add = [&](int32_t row, int32_t column, float value) {
        add_to_tile(tile, corner[0], corner[1], p, sums, to, stride, row, column, value);
      };
      add(at.y0, at.x0, adds.nw);
      add(at.y0, at.x0 + 1, adds.ne);
      add(at.y0 + 1, at.x0, adds.sw);
      add(at.y0 + 1, at.x0 + 1, adds.se);
      __syncthreads();
      for (int i = threadIdx.x; i < tile_height * tile_width; i += block_threads) {
        const int32_t row = corner[0] + i / tile_width, column = corner[1] + i % tile_width;
        if (tile[i] != 0 && is_inside(p, row, column))
          atomicAdd(to + (row * p.W + column) * stride, tile[i]);
      }
      __syncthreads();
    }
  }
  if constexpr (needs_grid) {
    if (present) {
      p.dgrid[2 * pixel] = at.any_inside() ? at.slope_x * dx : 0.0f;
      p.dgrid[2 * pixel + 1] = at.any_inside() ? at.slope_y * dy : 0.0f;
    }
  }
}

// -- many channels: sums straight to memory -------------------------------------------------------

constexpr int rows_per_team = 4;                            // rows of the result
constexpr int min_team = 4;                                 // warps
constexpr int max_rows = warps / min_team * rows_per_team;  // of a block

// How one pixel samples a plane; the same for all channels.
struct PixelPlan {
  enum Flag : uint32_t {
    nw = 1,  // corners that are inside the input
    ne = 2,
    sw = 4,
    se = 8,
    corners = 15,
    below = 16,      // samples one row further south than the pixel above it
    from_west = 32,  // as in WarpMerge
    to_east = 64,
    same = 128
  };

  int64_t offset;  // of the north-west corner in a plane
  float fx, fy;
  uint32_t flags;

  __device__ __forceinline__ bool is(uint32_t flag) const { return (flags & flag) != 0; }
};

// A block has 32 columns of the result. The `team` warps of a team share `rows_per_team` rows of
// them, and each warp has every team-th channel; the block's other teams have the rows below.
// Coordinates are computed once, by one warp for all, and shared through shared memory.
template <typename I, typename S, bool needs_input, bool needs_grid>
__global__ void __launch_bounds__(block_threads, 2)
    grid_sample_bwd_nchw_kernel(GridSampleBackwardParams p, int team) {
  __shared__ SampleCoords coords[max_rows][32];
  // Each warp's sums for dx and dy.
  __shared__ float partial[needs_grid ? 2 : 1][needs_grid ? warps * rows_per_team : 1][32];
  const S sums(p);
  const bool bilinear = static_cast<Mode>(p.mode) == Mode::bilinear;
  const int rows = warps / team * rows_per_team, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int member = warp % team, first_row = warp / team * rows_per_team;
  // Blocks of an image; all images have fewer than 2^31.
  const uint32_t across = blocks_for(p.w, 32), down = blocks_for(p.h, rows);
  const uint32_t block = blockIdx.x % (across * down);
  const int64_t image = blockIdx.x / (across * down);
  const int64_t top = block / across * static_cast<int64_t>(rows);
  const int64_t x = block % across * 32 + lane;
  const int64_t plane = p.H * p.W, out_plane = p.h * p.w;

  for (int row = warp; row < rows; row += warps) {
    SampleCoords at;
    if (x < p.w && top + row < p.h) at = sample_coords(p, (image * p.h + top + row) * p.w + x);
    coords[row][lane] = at;
  }
  __syncthreads();

  PixelPlan plans[rows_per_team];
#pragma unroll
  for (int r = 0; r < rows_per_team; ++r) {
    const SampleCoords& at = coords[first_row + r][lane];
    uint32_t flags = 0;
    if (is_inside(p, at.y0, at.x0)) flags |= PixelPlan::nw;
    if (is_inside(p, at.y0, at.x0 + 1)) flags |= PixelPlan::ne;
    if (is_inside(p, at.y0 + 1, at.x0)) flags |= PixelPlan::sw;
    if (is_inside(p, at.y0 + 1, at.x0 + 1)) flags |= PixelPlan::se;
    if constexpr (needs_input) {
      WarpMerge neighbours;
      neighbours.find(at);
      if (neighbours.from_west) flags |= PixelPlan::from_west;
      if (neighbours.to_east) flags |= PixelPlan::to_east;
      if (neighbours.same) flags |= PixelPlan::same;
      if (r > 0) {
        const SampleCoords& above = coords[first_row + r - 1][lane];
        if (at.any_inside() && above.any_inside() && at.y0 == above.y0 + 1 && at.x0 == above.x0)
          flags |= PixelPlan::below;
      }
    }
    plans[r] = {at.y0 * p.W + at.x0, at.fx, at.fy, flags};
  }

  float dx[rows_per_team] = {}, dy[rows_per_team] = {};
#pragma unroll 1
  for (int64_t c = member; c < p.C; c += team) {
    const int64_t channel = image * p.C + c;
    const I* const grad_out =
        static_cast<const I*>(p.grad) + channel * out_plane + (top + first_row) * p.w + x;
    // All loads before any addition, which the compiler must assume to change what is loaded.
    FloatVec<1> g[rows_per_team];
#pragma unroll
    for (int r = 0; r < rows_per_team; ++r)
      if (plans[r].is(PixelPlan::corners)) g[r] = load<1>(grad_out + r * p.w);
    if constexpr (needs_grid) {
      const I* const input = static_cast<const I*>(p.input) + channel * plane;
#pragma unroll
      for (int r = 0; r < rows_per_team; ++r) {
        const PixelPlan& plan = plans[r];
        const I* const from = input + plan.offset;
        Corners<FloatVec<1>> value;
        if (plan.is(PixelPlan::nw)) value.nw = load<1>(from);
        if (plan.is(PixelPlan::ne)) value.ne = load<1>(from + 1);
        if (plan.is(PixelPlan::sw)) value.sw = load<1>(from + p.W);
        if (plan.is(PixelPlan::se)) value.se = load<1>(from + p.W + 1);
        if (plan.is(PixelPlan::corners))
          add_coord_grads(dx[r], dy[r], g[r], value, plan.fx, plan.fy);
      }
    }
    if constexpr (needs_input) {
      typename S::Sum* const to = S::data(p) + channel * plane;
      float south_west = 0, south_east = 0;  // of the row above, not yet added
      const auto add_south = [&](const PixelPlan& above) {
        typename S::Sum* const beneath = to + above.offset + p.W;
        if (above.is(PixelPlan::sw) && south_west != 0) atomicAdd(beneath, sums.to_sum(south_west));
        if (above.is(PixelPlan::se) && south_east != 0)
          atomicAdd(beneath + 1, sums.to_sum(south_east));
      };
#pragma unroll
      for (int r = 0; r < rows_per_team; ++r) {
        const PixelPlan& plan = plans[r];
        Corners<float> adds = {};
        if (plan.is(PixelPlan::corners))
          adds = corner_grads(plan.fx, plan.fy, g[r].value[0], bilinear);
        if (plan.is(PixelPlan::below)) {
          adds.nw += south_west;
          adds.ne += south_east;
        } else if (r > 0) {
          add_south(plans[r - 1]);
        }
        const WarpMerge neighbours{plan.is(PixelPlan::from_west), plan.is(PixelPlan::to_east),
                                   plan.is(PixelPlan::same)};
        neighbours.merge(adds);
        if (plan.is(PixelPlan::nw) && adds.nw != 0)
          atomicAdd(to + plan.offset, sums.to_sum(adds.nw));
        if (plan.is(PixelPlan::ne) && adds.ne != 0)
          atomicAdd(to + plan.offset + 1, sums.to_sum(adds.ne));
        south_west = adds.sw;
        south_east = adds.se;
      }
      add_south(plans[rows_per_team - 1]);
    }
  }

  if constexpr (needs_grid) {
#pragma unroll
    for (int r = 0; r < rows_per_team; ++r) {
      partial[0][warp * rows_per_team + r][lane] = dx[r];
      partial[1][warp * rows_per_team + r][lane] = dy[r];
    }
    __syncthreads();
    for (int row = warp; row < rows; row += warps) {
      if (x >= p.w || top + row >= p.h) continue;
      float total[2] = {};
      for (int one = 0; one < team; ++one) {  // always in this order
        const int i = (row / rows_per_team * team + one) * rows_per_team + row % rows_per_team;
        total[0] += partial[0][i][lane];
        total[1] += partial[1][i][lane];
      }
      const SampleCoords& at = coords[row][lane];
      const int64_t pixel = (image * p.h + top + row) * p.w + x;
      p.dgrid[2 * pixel] = at.any_inside() ? at.slope_x * total[0] : 0.0f;
      p.dgrid[2 * pixel + 1] = at.any_inside() ? at.slope_y * total[1] : 0.0f;
    }
  }
}

struct LaunchNchw {
  const GridSampleBackwardParams& p;
  cudaStream_t stream;

  template <typename I, typename S, bool needs_input, bool needs_grid>
  void run() const {
    if (p.C < min_lane_channels) {
      const int64_t blocks = p.B * blocks_for(p.w, block_width) * blocks_for(p.h, block_height);
      LIFT_LAUNCH((grid_sample_bwd_few_channels_kernel<I, S, needs_input, needs_grid>),
                  static_cast<uint32_t>(blocks), block_threads, stream, p);
    } else {
      // With channels enough for a large team each coordinate is used several times.
      const int team = p.C < 32 ? min_team : warps;
      const int64_t blocks =
          p.B * blocks_for(p.w, 32) * blocks_for(p.h, warps / team * rows_per_team);
      LIFT_LAUNCH((grid_sample_bwd_nchw_kernel<I, S, needs_input, needs_grid>),
                  static_cast<uint32_t>(blocks), block_threads, stream, p, team);
    }
  }
};

}  // namespace

void launch_backward_nchw(const GridSampleBackwardParams& p, cudaStream_t stream) {
  dispatch(p, LaunchNchw{p, stream});
}

}  // namespace lift
