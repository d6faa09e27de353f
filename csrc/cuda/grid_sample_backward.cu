// The gradients of grid_sample with respect to input and grid, on a GPU.
//
// Version 1: a thread a pixel of the result, 4 C atomics each, as the common kernel does it; the yardstick, not kept.
// Version 2, `add_pixels`: the channels of a pixel side by side and on the lanes of a group, each with four of them. Loads are 16 bytes
//   wide; from sm_90 on one instruction adds four floats. Meant to buy coalesced atomics, four times fewer of them.
// Version 3: a group walks along a run of pixels and keeps what falls on the eastern corners in registers: where the next pixel's western
//   corners are the same, as in a smooth flow, it is added there. Meant to halve the atomics.
// Version 4, `add_planes`, for few channels in planes: what a block of 32 x 8 pixels adds goes to a tile of shared memory around the
//   place that its centre reads, and from there once to global memory; what falls outside the tile goes there straight away. Meant to
//   turn four global atomics a pixel into little more than one.
// Version 5: sums in 64-bit fixed point on request. Whole numbers add up to the same in any order, so the result is the same to the bit;
//   the unit is chosen from the largest |grad| so that no sum can overflow, and is 2^-30 of it or finer for up to 2^30 pixels. A gradient
//   that holds a number that is not finite becomes NaN everywhere.
// Version 6: threads of `add_planes` hand eastern corners to the next thread, and a row that reads one place is summed before it is added,
//   since an atomic on shared memory in float32 is a loop that starts again when another thread was quicker. What is 0, as most of it is
//   where a flow moves by whole pixels, is not added. Meant to halve the atomics of a smooth flow, to end the queue of a collapsing one.
//
// None has been timed on a GPU yet: "meant" is what stands to be measured (benchmarks/results/OWED.md).
//
// 16-bit elements are added up in float32, whatever the card: sm_86 and sm_89 have no 16-bit vector atomics. Offsets are 64-bit. A number
// of the grid that is not finite reads nothing with zeros padding, as PyTorch has it on a GPU.
//
// Tests compile this file with g++, where tests/cuda_emulation.h stands in for CUDA.
#include "grid_sample_backward.h"

#ifndef LIFT_CUDA_EMULATION
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define LIFT_LAUNCH(kernel, blocks, threads, stream, ...) kernel<<<blocks, threads, 0, stream>>>(__VA_ARGS__)
#endif

#include "../grid_sample.h"

namespace lift {
namespace {

constexpr int block_threads = 256;
constexpr unsigned everyone = 0xffffffffu;

// Blocks of `each` that hold `work`.
__host__ __device__ __forceinline__ uint32_t blocks_for(int64_t work, int64_t each) { return static_cast<uint32_t>((work + each - 1) / each); }

// -- elements --------------------------------------------------------------------------------------------------------------------------

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(Half x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ __forceinline__ float to_float(BFloat16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }

// V neighbouring channels, loaded at once.
template <typename I, int V>
struct alignas(sizeof(I) * V) Packed {
  I element[V];
};

template <int V>
struct Values {
  float at[V] = {};
};

template <int V, typename I>
__device__ __forceinline__ Values<V> load(const I* from) {
  const Packed<I, V> packed = *reinterpret_cast<const Packed<I, V>*>(from);
  Values<V> values;
#pragma unroll
  for (int v = 0; v < V; ++v) values.at[v] = to_float(packed.element[v]);
  return values;
}

// -- sums ------------------------------------------------------------------------------------------------------------------------------

// In float32, added in whatever order.
struct Floating {
  using Cell = float;

  __device__ explicit Floating(const GridSampleBackward&) {}
  __device__ static float* sums(const GridSampleBackward& p) { return p.dinput; }
  __device__ __forceinline__ float cell(float x) const { return x; }
};

// In fixed point: whole numbers of 2^-shift.
struct Fixed {
  using Cell = unsigned long long;

  float half_scale, other_half;  // two, for their product may be no float

  // A place receives at most the whole of every gradient: h w times the largest; 2^61 holds that and the rounding.
  __device__ static int shift(const GridSampleBackward& p) {
    int exponent = static_cast<int>(*p.largest >> 23) - 126;  // |grad| < 2^exponent
    exponent += 64 - __clzll(p.h * p.w);
    return 61 - exponent;
  }
  __device__ static bool finite(const GridSampleBackward& p) { return *p.largest < 0x7f800000u; }

  __device__ explicit Fixed(const GridSampleBackward& p) : half_scale(0), other_half(0) {
    if (!finite(p)) return;
    half_scale = ldexpf(1.0f, shift(p) / 2);
    other_half = ldexpf(1.0f, shift(p) - shift(p) / 2);
  }
  __device__ static unsigned long long* sums(const GridSampleBackward& p) { return reinterpret_cast<unsigned long long*>(p.fixed); }
  __device__ __forceinline__ unsigned long long cell(float x) const {
    return static_cast<unsigned long long>(__float2ll_rn(x * half_scale * other_half));
  }
};

// Whether there is anything to add; not where a weight is 0: whole pixels, borders.
template <int V>
__device__ __forceinline__ bool any(const Values<V>& x) {
  uint32_t bits = 0;
#pragma unroll
  for (int v = 0; v < V; ++v) bits |= __float_as_uint(x.at[v]);
  return bits << 1 != 0;  // but for the sign
}

template <int V, typename S>
__device__ __forceinline__ void add(typename S::Cell* to, const Values<V>& x, const S& sums) {
#if __CUDA_ARCH__ >= 900
  if constexpr (V == 4 && sizeof(typename S::Cell) == sizeof(float)) {
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x.at[0]), "f"(x.at[1]), "f"(x.at[2]), "f"(x.at[3])
                 : "memory");
  } else
#endif
  {
#pragma unroll
    for (int v = 0; v < V; ++v) atomicAdd(to + v, sums.cell(x.at[v]));
  }
}

// -- where a pixel of the result reads --------------------------------------------------------------------------------------------------

struct Place {
  int32_t row, column;  // of the north-west corner
  float fx, fy, slope_x, slope_y;
  bool reads;  // whether any corner lies inside the input
};

__device__ __forceinline__ Place place(const GridSampleBackward& p, int64_t pixel) {
  const Mode mode = static_cast<Mode>(p.mode);
  const Padding padding = static_cast<Padding>(p.padding);
  const int32_t H = static_cast<int32_t>(p.H), W = static_cast<int32_t>(p.W);
  const Packed<float, 2> number = *reinterpret_cast<const Packed<float, 2>*>(p.grid + 2 * pixel);
  const Reading<float> x = reading(number.element[0], W, mode, padding, p.align_corners != 0);
  const Reading<float> y = reading(number.element[1], H, mode, padding, p.align_corners != 0);
  return {y.low, x.low, x.fraction, y.fraction, x.slope, y.slope, x.low >= -1 && x.low < W && y.low >= -1 && y.low < H};
}

__device__ __forceinline__ bool within(const GridSampleBackward& p, int32_t row, int32_t column) {
  return row >= 0 && row < p.H && column >= 0 && column < p.W;
}

// How the input changes to the east and to the south of a place, times the gradient.
template <int V>
__device__ __forceinline__ void add_change(float& east, float& south, const Values<V>& g, const Values<V>& nw, const Values<V>& ne,
                                           const Values<V>& sw, const Values<V>& se, float fx, float fy) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const float north = ne.at[v] - nw.at[v], both = (se.at[v] - sw.at[v]) - north;
    east += g.at[v] * (north + fy * both);
    south += g.at[v] * ((sw.at[v] - nw.at[v]) + fx * both);
  }
}

template <int V>
__device__ __forceinline__ Values<V> scaled(const Values<V>& x, float share) {
  Values<V> y;
#pragma unroll
  for (int v = 0; v < V; ++v) y.at[v] = x.at[v] * share;
  return y;
}

// -- channels on lanes -----------------------------------------------------------------------------------------------------------------

constexpr int run_length = 4;  // pixels of the result that a group of lanes walks along

// What lies on the eastern corners of the pixel before, not yet added.
template <int V>
struct Pending {
  Values<V> north, south;
  int32_t row = 0, column = 0;
  bool any = false;
};

template <int V, typename S>
__device__ __forceinline__ void add_column(const GridSampleBackward& p, const S& sums, int64_t image, int32_t row, int32_t column, int64_t c,
                                           const Values<V>& north, const Values<V>& south) {
  typename S::Cell* const to = S::sums(p) + ((image * p.H + row) * p.W + column) * p.C + c;
  if (within(p, row, column) && any(north)) add(to, north, sums);
  if (within(p, row + 1, column) && any(south)) add(to + p.W * p.C, south, sums);
}

// `lanes` neighbouring lanes, a power of two, are a group; lane i of it has the channels i V to i V + V - 1, and `lanes` V on from there.
template <typename I, typename S, bool with_input, bool with_grid>
__global__ void __launch_bounds__(block_threads, 2) add_pixels(GridSampleBackward p, int lanes) {
  constexpr int V = 4;
  const S sums(p);
  const bool bilinear = static_cast<Mode>(p.mode) == Mode::bilinear;
  const int64_t plane = p.h * p.w;
  const int lane = threadIdx.x % lanes;
  const int groups = block_threads / lanes;
  const uint32_t blocks = blocks_for(plane, run_length * groups);  // of an image, and of all images less than 2^31: no 64-bit division
  const int64_t image = blockIdx.x / blocks;
  const int64_t in_image = (static_cast<int64_t>(blockIdx.x % blocks) * groups + threadIdx.x / lanes) * run_length;
  const int64_t first = image * plane + in_image;
  const int present = static_cast<int>(max(min(plane - in_image, static_cast<int64_t>(run_length)), static_cast<int64_t>(0)));
  const I* const grad = static_cast<const I*>(p.grad);
  const I* const input = static_cast<const I*>(p.input);

  float east[run_length] = {}, south[run_length] = {};
  for (int64_t c = lane * V; c < p.C; c += lanes * V) {
    Pending<V> pending;
#pragma unroll
    for (int r = 0; r < run_length; ++r) {
      if (r >= present) continue;
      const Place at = place(p, first + r);
      if (!at.reads) continue;
      const Values<V> g = load<V>(grad + (first + r) * p.C + c);

      if constexpr (with_grid) {
        Values<V> nw, ne, sw, se;
        const I* const from = input + ((image * p.H + at.row) * p.W + at.column) * p.C + c;
        if (within(p, at.row, at.column)) nw = load<V>(from);
        if (within(p, at.row, at.column + 1)) ne = load<V>(from + p.C);
        if (within(p, at.row + 1, at.column)) sw = load<V>(from + p.W * p.C);
        if (within(p, at.row + 1, at.column + 1)) se = load<V>(from + (p.W + 1) * p.C);
        add_change(east[r], south[r], g, nw, ne, sw, se, at.fx, at.fy);
      }

      if constexpr (with_input) {
        if (!bilinear) {
          if (within(p, at.row, at.column)) add(S::sums(p) + ((image * p.H + at.row) * p.W + at.column) * p.C + c, g, sums);
          continue;
        }
        Values<V> north = scaled(g, (1 - at.fx) * (1 - at.fy)), south_west = scaled(g, (1 - at.fx) * at.fy);
        if (pending.any && pending.row == at.row && pending.column == at.column) {
#pragma unroll
          for (int v = 0; v < V; ++v) {
            north.at[v] += pending.north.at[v];
            south_west.at[v] += pending.south.at[v];
          }
        } else if (pending.any) {
          add_column(p, sums, image, pending.row, pending.column, c, pending.north, pending.south);
        }
        add_column(p, sums, image, at.row, at.column, c, north, south_west);
        pending.north = scaled(g, at.fx * (1 - at.fy));
        pending.south = scaled(g, at.fx * at.fy);
        pending.row = at.row;
        pending.column = at.column + 1;
        pending.any = true;
      }
    }
    if constexpr (with_input)
      if (pending.any) add_column(p, sums, image, pending.row, pending.column, c, pending.north, pending.south);
  }

  if constexpr (with_grid) {
#pragma unroll
    for (int r = 0; r < run_length; ++r) {
      for (int step = lanes / 2; step > 0; step /= 2) {
        east[r] += __shfl_xor_sync(everyone, east[r], step);
        south[r] += __shfl_xor_sync(everyone, south[r], step);
      }
      if (lane != 0 || r >= present) continue;
      const int64_t pixel = first + r;
      const Place at = place(p, pixel);
      p.dgrid[2 * pixel] = at.reads ? at.slope_x * east[r] : 0.0f;
      p.dgrid[2 * pixel + 1] = at.reads ? at.slope_y * south[r] : 0.0f;
    }
  }
}

// -- planes ----------------------------------------------------------------------------------------------------------------------------

constexpr int block_width = 32, block_height = block_threads / block_width;  // pixels of the result
constexpr int tile_width = 48, tile_height = 16;                              // pixels of the input

template <typename S>
__device__ __forceinline__ void add_to_tile(typename S::Cell* tile, int32_t top, int32_t left, const GridSampleBackward& p, const S& sums,
                                            typename S::Cell* plane, int32_t row, int32_t column, float x) {
  if (x == 0 || !within(p, row, column)) return;
  const int32_t y = row - top, across = column - left;
  if (y >= 0 && y < tile_height && across >= 0 && across < tile_width)
    atomicAdd(tile + y * tile_width + across, sums.cell(x));
  else
    atomicAdd(plane + row * p.W + column, sums.cell(x));
}

// What a pixel adds to its four corners.
struct Corners {
  float nw, ne, sw, se;
};

// A warp is a row of 32 pixels. Where a pixel's western corners are the eastern ones of the pixel before, as in a smooth flow, it adds for
// both; where all pixels read one place, as in a collapsing flow, the first adds for all. Every thread of the warp must take part.
class Neighbours {
 public:
  __device__ __forceinline__ void find(const Place& at) {
    lane = threadIdx.x % 32;
    const int32_t row = __shfl_up_sync(everyone, at.row, 1), column = __shfl_up_sync(everyone, at.column, 1);
    const bool reads = __shfl_up_sync(everyone, static_cast<int>(at.reads), 1);
    takes = lane > 0 && at.reads && reads && row == at.row && column + 1 == at.column;
    gives = __shfl_down_sync(everyone, static_cast<int>(takes), 1) && lane < 31;
    const int32_t first_row = __shfl_sync(everyone, at.row, 0), first_column = __shfl_sync(everyone, at.column, 0);
    together = __all_sync(everyone, !at.reads || (at.row == first_row && at.column == first_column));
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

 private:
  // The sum over the warp, in the first lane; 0 in the others.
  __device__ __forceinline__ float whole(float x) const {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(everyone, x, step);
    return lane == 0 ? x : 0.0f;
  }

  int lane = 0;
  bool takes = false, gives = false, together = false;
};

template <typename S, bool with_input, bool with_grid>
__global__ void __launch_bounds__(block_threads, 2) add_planes(GridSampleBackward p) {
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
  Place at = {};
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
  for (int64_t c = 0; c < p.C; ++c) {
    if constexpr (with_input) {
      for (int i = threadIdx.x; i < tile_height * tile_width; i += block_threads) tile[i] = 0;
      __syncthreads();
    }
    const int64_t channel = image * p.C + c;
    Corners adds = {};
    if (present && at.reads) {
      const Values<1> g = load<1>(static_cast<const float*>(p.grad) + channel * up_plane + y * p.w + x);
      if constexpr (with_grid) {
        const float* const from = static_cast<const float*>(p.input) + channel * plane + at.row * p.W + at.column;
        Values<1> nw, ne, sw, se;
        if (within(p, at.row, at.column)) nw = load<1>(from);
        if (within(p, at.row, at.column + 1)) ne = load<1>(from + 1);
        if (within(p, at.row + 1, at.column)) sw = load<1>(from + p.W);
        if (within(p, at.row + 1, at.column + 1)) se = load<1>(from + p.W + 1);
        add_change(east, south, g, nw, ne, sw, se, at.fx, at.fy);
      }
      adds.nw = bilinear ? g.at[0] * ((1 - at.fx) * (1 - at.fy)) : g.at[0];
      if (bilinear) {
        adds.ne = g.at[0] * (at.fx * (1 - at.fy));
        adds.sw = g.at[0] * ((1 - at.fx) * at.fy);
        adds.se = g.at[0] * (at.fx * at.fy);
      }
    }
    if constexpr (with_input) {
      neighbours.merge(adds);
      typename S::Cell* const to = S::sums(p) + channel * plane;
      add_to_tile(tile, corner[0], corner[1], p, sums, to, at.row, at.column, adds.nw);
      add_to_tile(tile, corner[0], corner[1], p, sums, to, at.row, at.column + 1, adds.ne);
      add_to_tile(tile, corner[0], corner[1], p, sums, to, at.row + 1, at.column, adds.sw);
      add_to_tile(tile, corner[0], corner[1], p, sums, to, at.row + 1, at.column + 1, adds.se);
    }
    if constexpr (with_input) {
      __syncthreads();
      for (int i = threadIdx.x; i < tile_height * tile_width; i += block_threads) {
        const int32_t row = corner[0] + i / tile_width, column = corner[1] + i % tile_width;
        if (tile[i] != 0 && within(p, row, column)) atomicAdd(S::sums(p) + channel * plane + row * p.W + column, tile[i]);
      }
      __syncthreads();
    }
  }
  if constexpr (with_grid) {
    if (present) {
      p.dgrid[2 * pixel] = at.reads ? at.slope_x * east : 0.0f;
      p.dgrid[2 * pixel + 1] = at.reads ? at.slope_y * south : 0.0f;
    }
  }
}

// -- fixed point -----------------------------------------------------------------------------------------------------------------------

template <typename I>
__global__ void __launch_bounds__(block_threads, 2) find_largest(GridSampleBackward p) {
  const int64_t n = p.B * p.C * p.h * p.w, step = static_cast<int64_t>(gridDim.x) * block_threads;
  uint32_t largest = 0;
  const auto include = [&](float x) { largest = max(largest, __float_as_uint(fabsf(x))); };  // bits are ordered as numbers are; NaN last
  const I* const grad = static_cast<const I*>(p.grad);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  for (int64_t i = first; i < n / 4; i += step) {
    const Values<4> g = load<4>(grad + 4 * i);
#pragma unroll
    for (int v = 0; v < 4; ++v) include(g.at[v]);
  }
  if (first < n % 4) include(to_float(grad[n - n % 4 + first]));
  for (int lane = 16; lane > 0; lane /= 2) largest = max(largest, __shfl_xor_sync(everyone, largest, lane));
  if (threadIdx.x % 32 == 0) atomicMax(p.largest, largest);
}

__global__ void __launch_bounds__(block_threads, 2) finish(GridSampleBackward p) {
  const int64_t n = p.B * p.C * p.H * p.W, step = static_cast<int64_t>(gridDim.x) * block_threads;
  const bool finite = Fixed::finite(p);
  const int shift = Fixed::shift(p);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * block_threads + threadIdx.x; i < n; i += step)
    p.dinput[i] = finite ? static_cast<float>(ldexp(static_cast<double>(p.fixed[i]), -shift)) : __uint_as_float(0x7fffffffu);
}

// -- launch ----------------------------------------------------------------------------------------------------------------------------

constexpr int64_t many_blocks = 2048;  // enough to fill a large card, where a thread takes more than one number

uint32_t blocks_for_numbers(int64_t n) { return min(blocks_for(n, block_threads), static_cast<uint32_t>(many_blocks)); }

template <typename I, typename S, bool with_input, bool with_grid>
void launch_sums(const GridSampleBackward& p, cudaStream_t stream) {
  if (p.order == Order::pixels) {
    int lanes = 1;
    while (lanes < 32 && lanes * 4 < p.C) lanes *= 2;
    const int64_t blocks = p.B * blocks_for(p.h * p.w, run_length * (block_threads / lanes));
    LIFT_LAUNCH((add_pixels<I, S, with_input, with_grid>), static_cast<uint32_t>(blocks), block_threads, stream, p, lanes);
  } else if constexpr (sizeof(I) == sizeof(float)) {
    const int64_t blocks = p.B * blocks_for(p.w, block_width) * blocks_for(p.h, block_height);
    LIFT_LAUNCH((add_planes<S, with_input, with_grid>), static_cast<uint32_t>(blocks), block_threads, stream, p);
  }
}

template <typename I>
void launch(const GridSampleBackward& p, cudaStream_t stream) {
  if (p.dinput && p.fixed) {
    LIFT_LAUNCH((find_largest<I>), blocks_for_numbers((p.B * p.C * p.h * p.w + 3) / 4), block_threads, stream, p);
    if (p.dgrid)
      launch_sums<I, Fixed, true, true>(p, stream);
    else
      launch_sums<I, Fixed, true, false>(p, stream);
    LIFT_LAUNCH(finish, blocks_for_numbers(p.B * p.C * p.H * p.W), block_threads, stream, p);
  } else if (p.dinput && p.dgrid) {
    launch_sums<I, Floating, true, true>(p, stream);
  } else if (p.dinput) {
    launch_sums<I, Floating, true, false>(p, stream);
  } else if (p.dgrid) {
    launch_sums<I, Floating, false, true>(p, stream);
  }
}

}  // namespace

const char* grid_sample_backward(const GridSampleBackward& p, void* stream) {
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  switch (p.element) {
    case Element::float32: launch<float>(p, queue); break;
    case Element::float16: launch<Half>(p, queue); break;
    case Element::bfloat16: launch<BFloat16>(p, queue); break;
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace lift
