// The gradients of grid_sample with respect to input and grid, on a GPU.
//
// Version 1: a thread a pixel of the result, 4 C atomics each, as the common kernel does it; the yardstick, not kept.
// Version 2, `add_pixels`: the channels of a pixel side by side and on the lanes of a group, each with four of them. Loads are 16 bytes
//   wide; from sm_90 on one instruction adds four floats. Meant to buy coalesced atomics, four times fewer of them.
// Version 3: a group walks along a run of pixels and keeps what falls on the eastern corners in registers: where the next pixel's western
//   corners are the same, as in a smooth flow, it is added there. Meant to halve the atomics.
// Version 4, `add_tiles`, for few channels: what a block of 32 x 8 pixels adds goes to a tile of shared memory around the place that its
//   centre reads, and from there once to global memory; what falls outside the tile goes there straight away. Meant to turn four global
//   atomics a pixel into little more than one.
// Version 5: sums in 64-bit fixed point on request. Whole numbers add up to the same in any order, so the result is the same to the bit;
//   the unit is chosen from the largest |grad| so that no sum can overflow, and is 2^-30 of it or finer for up to 2^30 pixels. A gradient
//   that holds a number that is not finite becomes NaN everywhere.
// Version 6: threads of `add_tiles` hand eastern corners to the next thread, and a row that reads one place is summed before it is added,
//   since an atomic on shared memory in float32 is a loop that starts again when another thread was quicker. What is 0, as most of it is
//   where a flow moves by whole pixels, is not added. Meant to halve the atomics of a smooth flow, to end the queue of a collapsing one.
// Version 7: lanes that add number by number own channels that lie `lanes` apart, so that an addition of a group is of one piece of
//   memory. Meant to cut the sectors that atomics touch to a quarter before sm_90, and in fixed point everywhere.
// Version 8: all four corners stay in registers while a run reads one place. Meant to merge the atomics of a collapsing flow.
// Version 9: each place is computed once, by one lane for its group. Meant to save a third of the instructions. Mode, padding and align
//   stay arguments, as they now matter once a pixel, and 12 kernels in place of each would take minutes to compile.
// Version 10, `add_columns`: eight or more channels in planes are read and added where they lie; neighbours to the east are merged by
//   shuffles, those to the south in registers. Few channels side by side are read so by `add_tiles`, 16-bit elements by all. Meant to save
//   the three conversions of layout, 24 bytes a pixel and channel beside the 20 that the work takes in float32.
//
// None has been timed on a GPU yet: "meant" is what stands to be measured (benchmarks/results/OWED.md).
//
// Bytes a pixel and channel of float32 where sums do not fit the L2 cache: 20 (zeros 4, gradient and input 8, sums read and written 8);
// in fixed point 48 (largest 4, zeros 8, gradient and input 8, sums 16, and 12 from sums to result; 40 for 16-bit elements).
//
// 16-bit elements are added up in float32, whatever the card: sm_86 and sm_89 have no 16-bit vector atomics. Offsets are 64-bit. A number
// of the grid that is not finite reads nothing with zeros padding, as PyTorch has it on a GPU.
//
// Tests compile these files with g++, where tests/cuda_emulation.h stands in for CUDA.
#include "grid_sample_device.h"

namespace lift {
namespace {

// -- fixed point -----------------------------------------------------------------------------------------------------------------------

constexpr uint32_t most_blocks = 2048;              // enough to fill a large card, where a thread takes more than one number
constexpr int finished_numbers = 4 * block_threads;  // of a block

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

// From sums in fixed point to the gradient in the type of the elements.
template <typename I>
__global__ void __launch_bounds__(block_threads, 2) finish(GridSampleBackward p) {
  const int64_t n = p.B * p.C * p.H * p.W, first = static_cast<int64_t>(blockIdx.x) * finished_numbers + 4 * threadIdx.x;
  const bool finite = Fixed::finite(p);
  const int shift = Fixed::shift(p);
  const auto number = [&](long long sum) {
    return finite ? static_cast<float>(ldexp(static_cast<double>(sum), -shift)) : __uint_as_float(0x7fffffffu);
  };
  I* const to = static_cast<I*>(p.dinput);
  if (first + 4 <= n) {
    const Packed<long long, 2> a = *reinterpret_cast<const Packed<long long, 2>*>(p.fixed + first);
    const Packed<long long, 2> b = *reinterpret_cast<const Packed<long long, 2>*>(p.fixed + first + 2);
    Packed<I, 4> four;
    from_float(four.element[0], number(a.element[0]));
    from_float(four.element[1], number(a.element[1]));
    from_float(four.element[2], number(b.element[0]));
    from_float(four.element[3], number(b.element[1]));
    *reinterpret_cast<Packed<I, 4>*>(to + first) = four;
  } else {
    for (int64_t i = first; i < n; ++i) from_float(to[i], number(p.fixed[i]));
  }
}

struct LaunchLargest {
  const GridSampleBackward& p;
  cudaStream_t stream;

  template <typename I>
  void of() const {
    const uint32_t blocks = min(blocks_for(p.B * p.C * p.h * p.w, 4 * block_threads), most_blocks);
    LIFT_LAUNCH((find_largest<I>), blocks, block_threads, stream, p);
  }
};

struct LaunchFinish {
  const GridSampleBackward& p;
  cudaStream_t stream;

  template <typename I>
  void of() const {
    LIFT_LAUNCH((finish<I>), blocks_for(p.B * p.C * p.H * p.W, finished_numbers), block_threads, stream, p);
  }
};

}  // namespace

const char* grid_sample_backward(const GridSampleBackward& p, void* stream) {
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (p.fixed) dispatch_elements(p, LaunchLargest{p, queue});
  if (p.order == Order::pixels && p.C >= few_channels)
    add_in_pixels(p, queue);
  else
    add_in_planes(p, queue);
  if (p.fixed) dispatch_elements(p, LaunchFinish{p, queue});
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace lift
