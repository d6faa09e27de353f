// grid_sample's gradients where pixels lie on lanes: planes of any number of channels, and pixels of fewer than eight.
// grid_sample_backward.cu has the history of these kernels.
#include "grid_sample_device.h"

namespace lift {
namespace {

constexpr int warps = block_threads / 32;

// What a pixel adds to its four corners.
struct Corners {
  float nw, ne, sw, se;
};

__device__ __forceinline__ Corners shares(float fx, float fy, float g, bool bilinear) {
  if (!bilinear) return {g, 0, 0, 0};
  return {g * ((1 - fx) * (1 - fy)), g * (fx * (1 - fy)), g * ((1 - fx) * fy), g * (fx * fy)};
}

// A warp is a row of 32 pixels. Where a pixel's western corners are the eastern ones of the pixel before, as in a smooth flow, it adds for
// both; where all pixels read one place, as in a collapsing flow, the first adds for all. Every thread of the warp must take part.
struct Neighbours {
  bool takes = false, gives = false, together = false;

  __device__ __forceinline__ void find(const Place& at) {
    const int lane = threadIdx.x % 32;
    const int32_t row = __shfl_up_sync(everyone, at.row, 1), column = __shfl_up_sync(everyone, at.column, 1);
    takes = lane > 0 && at.reads() && row == at.row && column + 1 == at.column;
    gives = __shfl_down_sync(everyone, static_cast<int>(takes), 1) && lane < 31;
    const int32_t first_row = __shfl_sync(everyone, at.row, 0), first_column = __shfl_sync(everyone, at.column, 0);
    together = __all_sync(everyone, !at.reads() || (at.row == first_row && at.column == first_column));
  }

  // From what each pixel adds to what each thread adds.
  __device__ __forceinline__ void merge(Corners& x) const {
    if (together) {
      x = {whole(x.nw), whole(x.ne), whole(x.sw), whole(x.se)};
      return;
    }
    const float north = __shfl_up_sync(everyone, x.ne, 1), south = __shfl_up_sync(everyone, x.se, 1);
    if (gives) x.ne = x.se = 0;
    if (takes) {
      x.nw += north;
      x.sw += south;
    }
  }

  // The sum over the warp, in the first lane; 0 in the others.
  __device__ static __forceinline__ float whole(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(everyone, x, step);
    return threadIdx.x % 32 == 0 ? x : 0.0f;
  }
};

// -- few channels: a tile of shared memory ---------------------------------------------------------------------------------------------

constexpr int block_width = 32, block_height = warps;  // pixels of the result
constexpr int tile_width = 48, tile_height = 16;       // pixels of the input

template <typename S>
__device__ __forceinline__ void add_to_tile(typename S::Cell* tile, int32_t top, int32_t left, const GridSampleBackward& p, const S& sums,
                                            typename S::Cell* channel, int64_t step, int32_t row, int32_t column, float x) {
  if (x == 0 || !within(p, row, column)) return;
  const int32_t y = row - top, across = column - left;
  if (y >= 0 && y < tile_height && across >= 0 && across < tile_width)
    atomicAdd(tile + y * tile_width + across, sums.cell(x));
  else
    atomicAdd(channel + (row * p.W + column) * step, sums.cell(x));
}

template <typename I, typename S, bool with_input, bool with_grid>
__global__ void __launch_bounds__(block_threads, 2) add_tiles(GridSampleBackward p) {
  __shared__ typename S::Cell tile[tile_height * tile_width];
  __shared__ int32_t corner[2];
  const S sums(p);
  const bool bilinear = static_cast<Mode>(p.mode) == Mode::bilinear;
  const uint32_t across = blocks_for(p.w, block_width), down = blocks_for(p.h, block_height);  // all the blocks are less than 2^31
  const uint32_t block = blockIdx.x % (across * down);
  const int64_t image = blockIdx.x / (across * down), left = block % across * block_width, top = block / across * block_height;
  const int64_t x = left + threadIdx.x % block_width, y = top + threadIdx.x / block_width;
  const bool present = x < p.w && y < p.h;
  const int64_t plane = p.H * p.W, up_plane = p.h * p.w, pixel = (image * p.h + y) * p.w + x;
  const bool pixels = p.order == Order::pixels;
  const int64_t step = pixels ? p.C : 1;  // from pixel to pixel
  Place at;
  if (present) at = place(p, pixel);

  if constexpr (with_input) {
    // The centre of the block, or its first pixel where it has no centre, decides where the tile lies.
    const int64_t centre_x = min(left + block_width / 2, p.w - 1);
    const int64_t centre_y = min(top + block_height / 2, p.h - 1);
    if (x == centre_x && y == centre_y) {
      corner[0] = at.row - tile_height / 2;
      corner[1] = at.column - tile_width / 2;
    }
    __syncthreads();
  }

  Neighbours neighbours;
  if constexpr (with_input) neighbours.find(at);
  float east = 0, south = 0;
#pragma unroll 1
  for (int64_t c = 0; c < p.C; ++c) {
    if constexpr (with_input) {
      for (int i = threadIdx.x; i < tile_height * tile_width; i += block_threads) tile[i] = 0;
      __syncthreads();
    }
    const int64_t channel = image * p.C * plane + c * (pixels ? 1 : plane);
    Corners adds = {};
    if (present && at.reads()) {
      const int64_t up = image * p.C * up_plane + c * (pixels ? 1 : up_plane);
      const Values<1> g = load<1>(static_cast<const I*>(p.grad) + up + (y * p.w + x) * step);
      if constexpr (with_grid) {
        const I* const from = static_cast<const I*>(p.input) + channel + (at.row * p.W + at.column) * step;
        Values<1> nw, ne, sw, se;
        if (within(p, at.row, at.column)) nw = load<1>(from);
        if (within(p, at.row, at.column + 1)) ne = load<1>(from + step);
        if (within(p, at.row + 1, at.column)) sw = load<1>(from + p.W * step);
        if (within(p, at.row + 1, at.column + 1)) se = load<1>(from + (p.W + 1) * step);
        add_change(east, south, g, nw, ne, sw, se, at.fx, at.fy);
      }
      adds = shares(at.fx, at.fy, g.at[0], bilinear);
    }
    if constexpr (with_input) {
      neighbours.merge(adds);
      typename S::Cell* const to = S::sums(p) + channel;
      add_to_tile(tile, corner[0], corner[1], p, sums, to, step, at.row, at.column, adds.nw);
      add_to_tile(tile, corner[0], corner[1], p, sums, to, step, at.row, at.column + 1, adds.ne);
      add_to_tile(tile, corner[0], corner[1], p, sums, to, step, at.row + 1, at.column, adds.sw);
      add_to_tile(tile, corner[0], corner[1], p, sums, to, step, at.row + 1, at.column + 1, adds.se);
      __syncthreads();
      for (int i = threadIdx.x; i < tile_height * tile_width; i += block_threads) {
        const int32_t row = corner[0] + i / tile_width, column = corner[1] + i % tile_width;
        if (tile[i] != 0 && within(p, row, column)) atomicAdd(to + (row * p.W + column) * step, tile[i]);
      }
      __syncthreads();
    }
  }
  if constexpr (with_grid) {
    if (present) {
      p.dgrid[2 * pixel] = at.reads() ? at.slope_x * east : 0.0f;
      p.dgrid[2 * pixel + 1] = at.reads() ? at.slope_y * south : 0.0f;
    }
  }
}

// -- many channels in planes: straight to memory ----------------------------------------------------------------------------------------

constexpr int descent = 4;                                     // rows of the result that a warp walks down
constexpr int least_team = 4, most_rows = warps / least_team * descent;  // of a block

// What is known of one pixel's place, the same for all channels.
struct Spot {
  // Which corners lie inside; whether it reads one row further south than the pixel above it; its neighbours.
  enum Flag : uint32_t { nw = 1, ne = 2, sw = 4, se = 8, corners = 15, below = 16, takes = 32, gives = 64, together = 128 };

  int64_t offset;  // in a plane, of the north-west corner
  float fx, fy;
  uint32_t flags;

  __device__ __forceinline__ bool is(uint32_t flag) const { return (flags & flag) != 0; }
};

// A block takes 32 columns of the result. The `team` warps of a team share `descent` rows of them and have every team-th channel; the
// other teams of the block have the rows beneath. Each place is found once, by one warp for all, through shared memory.
template <typename I, typename S, bool with_input, bool with_grid>
__global__ void __launch_bounds__(block_threads, 2) add_columns(GridSampleBackward p, int team) {
  __shared__ Place places[most_rows][32];
  __shared__ float change[with_grid ? 2 : 1][with_grid ? warps * descent : 1][32];
  const S sums(p);
  const bool bilinear = static_cast<Mode>(p.mode) == Mode::bilinear;
  const int rows = warps / team * descent, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int member = warp % team, first_row = warp / team * descent;
  const uint32_t across = blocks_for(p.w, 32), down = blocks_for(p.h, rows);  // all the blocks are less than 2^31
  const uint32_t block = blockIdx.x % (across * down);
  const int64_t image = blockIdx.x / (across * down), top = block / across * static_cast<int64_t>(rows);
  const int64_t x = block % across * 32 + lane;
  const int64_t plane = p.H * p.W, up_plane = p.h * p.w;

  for (int row = warp; row < rows; row += warps) {
    Place at;
    if (x < p.w && top + row < p.h) at = place(p, (image * p.h + top + row) * p.w + x);
    places[row][lane] = at;
  }
  __syncthreads();

  Spot spots[descent];
#pragma unroll
  for (int r = 0; r < descent; ++r) {
    const Place& at = places[first_row + r][lane];
    uint32_t flags = 0;
    if (within(p, at.row, at.column)) flags |= Spot::nw;
    if (within(p, at.row, at.column + 1)) flags |= Spot::ne;
    if (within(p, at.row + 1, at.column)) flags |= Spot::sw;
    if (within(p, at.row + 1, at.column + 1)) flags |= Spot::se;
    if constexpr (with_input) {
      Neighbours neighbours;
      neighbours.find(at);
      if (neighbours.takes) flags |= Spot::takes;
      if (neighbours.gives) flags |= Spot::gives;
      if (neighbours.together) flags |= Spot::together;
      if (r > 0) {
        const Place& above = places[first_row + r - 1][lane];
        if (at.reads() && above.reads() && at.row == above.row + 1 && at.column == above.column) flags |= Spot::below;
      }
    }
    spots[r] = {at.row * p.W + at.column, at.fx, at.fy, flags};
  }

  float east[descent] = {}, south[descent] = {};
#pragma unroll 1
  for (int64_t c = member; c < p.C; c += team) {
    const int64_t channel = image * p.C + c;
    const I* const up = static_cast<const I*>(p.grad) + channel * up_plane + (top + first_row) * p.w + x;
    Values<1> g[descent];
#pragma unroll
    for (int r = 0; r < descent; ++r)  // all that is read before anything is added, which the compiler must take for a change of it
      if (spots[r].is(Spot::corners)) g[r] = load<1>(up + r * p.w);
    if constexpr (with_grid) {
      const I* const input = static_cast<const I*>(p.input) + channel * plane;
#pragma unroll
      for (int r = 0; r < descent; ++r) {
        const Spot& spot = spots[r];
        const I* const from = input + spot.offset;
        Values<1> nw, ne, sw, se;
        if (spot.is(Spot::nw)) nw = load<1>(from);
        if (spot.is(Spot::ne)) ne = load<1>(from + 1);
        if (spot.is(Spot::sw)) sw = load<1>(from + p.W);
        if (spot.is(Spot::se)) se = load<1>(from + p.W + 1);
        if (spot.is(Spot::corners)) add_change(east[r], south[r], g[r], nw, ne, sw, se, spot.fx, spot.fy);
      }
    }
    if constexpr (with_input) {
      typename S::Cell* const to = S::sums(p) + channel * plane;
      float south_west = 0, south_east = 0;  // of the row above, not yet added
      const auto add_south = [&](const Spot& above) {
        typename S::Cell* const beneath = to + above.offset + p.W;
        if (above.is(Spot::sw) && south_west != 0) atomicAdd(beneath, sums.cell(south_west));
        if (above.is(Spot::se) && south_east != 0) atomicAdd(beneath + 1, sums.cell(south_east));
      };
#pragma unroll
      for (int r = 0; r < descent; ++r) {
        const Spot& spot = spots[r];
        Corners adds = {};
        if (spot.is(Spot::corners)) adds = shares(spot.fx, spot.fy, g[r].at[0], bilinear);
        if (spot.is(Spot::below)) {
          adds.nw += south_west;
          adds.ne += south_east;
        } else if (r > 0) {
          add_south(spots[r - 1]);
        }
        const Neighbours neighbours{spot.is(Spot::takes), spot.is(Spot::gives), spot.is(Spot::together)};
        neighbours.merge(adds);
        if (spot.is(Spot::nw) && adds.nw != 0) atomicAdd(to + spot.offset, sums.cell(adds.nw));
        if (spot.is(Spot::ne) && adds.ne != 0) atomicAdd(to + spot.offset + 1, sums.cell(adds.ne));
        south_west = adds.sw;
        south_east = adds.se;
      }
      add_south(spots[descent - 1]);
    }
  }

  if constexpr (with_grid) {
#pragma unroll
    for (int r = 0; r < descent; ++r) {
      change[0][warp * descent + r][lane] = east[r];
      change[1][warp * descent + r][lane] = south[r];
    }
    __syncthreads();
    for (int row = warp; row < rows; row += warps) {
      if (x >= p.w || top + row >= p.h) continue;
      float whole[2] = {};
      for (int one = 0; one < team; ++one) {  // in this order always
        const int at = (row / descent * team + one) * descent + row % descent;
        whole[0] += change[0][at][lane];
        whole[1] += change[1][at][lane];
      }
      const Place& at = places[row][lane];
      const int64_t pixel = (image * p.h + top + row) * p.w + x;
      p.dgrid[2 * pixel] = at.reads() ? at.slope_x * whole[0] : 0.0f;
      p.dgrid[2 * pixel + 1] = at.reads() ? at.slope_y * whole[1] : 0.0f;
    }
  }
}

struct LaunchPlanes {
  const GridSampleBackward& p;
  cudaStream_t stream;

  template <typename I, typename S, bool with_input, bool with_grid>
  void of() const {
    if (p.C < few_channels) {
      const int64_t blocks = p.B * blocks_for(p.w, block_width) * blocks_for(p.h, block_height);
      LIFT_LAUNCH((add_tiles<I, S, with_input, with_grid>), static_cast<uint32_t>(blocks), block_threads, stream, p);
    } else {
      const int team = p.C < 32 ? least_team : warps;  // channels enough that each place is used several times
      const int64_t blocks = p.B * blocks_for(p.w, 32) * blocks_for(p.h, warps / team * descent);
      LIFT_LAUNCH((add_columns<I, S, with_input, with_grid>), static_cast<uint32_t>(blocks), block_threads, stream, p, team);
    }
  }
};

}  // namespace

void add_in_planes(const GridSampleBackward& p, cudaStream_t stream) { dispatch(p, LaunchPlanes{p, stream}); }

}  // namespace lift
