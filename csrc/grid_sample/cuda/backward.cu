// The gradients of grid_sample with respect to input and grid, on a GPU.
//
// Version 1: one thread per pixel of the result, 4 C atomics each, as the usual kernel does it; the
//   baseline, which is not in use.
// Version 2, `grid_sample_bwd_nhwc_kernel`: the channels of a pixel are adjacent and on the lanes
//   of a group, four per lane. Loads are 16 bytes wide; from sm_90 on one instruction adds four
//   floats. Meant to coalesce the atomics, and to need a quarter of them.
// Version 3: a group walks along a run of pixels and keeps what falls on the eastern corners in
//   registers. Where the next pixel's western corners are the same, as in a smooth flow, it is
//   added there. Meant to halve the atomics.
// Version 4, `grid_sample_bwd_few_channels_kernel`: a block of 32 x 8 pixels adds to a tile of
//   shared memory around the position that its centre samples, and the tile is added once to global
//   memory; what is outside the tile is added to global memory directly. Meant to turn four global
//   atomics per pixel into little more than one.
// Version 5: sums in 64-bit fixed point on request. Integers have the same sum in any order, so the
//   result is deterministic. The unit is chosen from the largest |grad| so that no sum can
//   overflow, and is 2^-30 of it or finer for up to 2^30 pixels. If a gradient has a value that is
//   not finite, the whole result is NaN.
// Version 6: threads of version 4 give eastern corners to the next thread, and a warp whose pixels
//   have the same corners is summed first, since a float32 atomic on shared memory is a loop that
//   repeats when another thread was faster. Zeros, which are frequent where a flow moves by whole
//   pixels, are not added. Meant to halve the atomics of a smooth flow, and to remove the
//   contention of a collapsing one.
// Version 7: lanes that add value by value own channels that are `lanes` apart, so that an addition
//   of a group is contiguous. Meant to touch a quarter of the sectors before sm_90, and in fixed
//   point everywhere.
// Version 8: all four corners stay in registers while the pixels of a run have the same corners.
//   Meant to merge the atomics of a collapsing flow.
// Version 9: coordinates are computed once, by one lane for its group. Meant to save a third of the
//   instructions. Mode, padding and align_corners stay arguments: they matter once per pixel now,
//   and 12 kernels in place of each would take minutes to compile.
// Version 10, `grid_sample_bwd_nchw_kernel`: eight or more channels in planes are processed in
//   place. Neighbours to the east are merged by shuffles, those to the south in registers. Version
//   4 processes few channels in NHWC in place, too, and all kernels 16-bit elements. Meant to save
//   three layout conversions, 24 bytes per pixel and channel beside the 20 that the gradients
//   themselves take in float32.
//
// None has been timed on a GPU yet: "meant" is a claim to be measured.
//
// Bytes per pixel and channel of float32 where sums do not fit the L2 cache: 20 (zeros 4, gradient
// and input 8, sums read and written 8); in fixed point 48 (absmax 4, zeros 8, gradient and input
// 8, sums 16, and 12 from sums to result; 40 for 16-bit elements).
//
// 16-bit elements are summed in float32 on every GPU: sm_86 and sm_89 have no 16-bit vector
// atomics. Offsets are 64-bit. A grid coordinate that is not finite samples nothing with zeros
// padding, as in PyTorch on a GPU.
//
// Tests compile these files with g++, where tests/support/cuda_emulation.h stands in for CUDA.
#include "device.h"

namespace lift {
namespace {

// -- fixed point ----------------------------------------------------------------------------------

constexpr uint32_t max_blocks = 2048;  // enough for a large GPU: a thread takes several values
constexpr int values_per_block = 4 * block_threads;

// p.grad_absmax from p.grad: it determines the scale of the fixed point sums.
template <typename I>
__global__ void __launch_bounds__(block_threads, 2)
    grid_sample_bwd_grad_absmax_kernel(GridSampleBackwardParams p) {
  const int64_t n = p.B * p.C * p.h * p.w;
  const int64_t step = static_cast<int64_t>(gridDim.x) * block_threads;
  uint32_t largest = 0;
  // The bits of positive floats are in the order of the floats; NaN is the largest.
  const auto include = [&](float x) { largest = max(largest, __float_as_uint(fabsf(x))); };
  const I* const grad = static_cast<const I*>(p.grad);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  for (int64_t i = first; i < n / 4; i += step) {
    const FloatVec<4> g = load<4>(grad + 4 * i);
#pragma unroll
    for (int v = 0; v < 4; ++v) include(g.value[v]);
  }
  if (first < n % 4) include(to_float(grad[n - n % 4 + first]));
  for (int lane = 16; lane > 0; lane /= 2)
    largest = max(largest, __shfl_xor_sync(full_warp, largest, lane));
  if (threadIdx.x % 32 == 0) atomicMax(p.grad_absmax, largest);
}

// p.dinput from p.fixed_sums.
template <typename I>
__global__ void __launch_bounds__(block_threads, 2)
    grid_sample_bwd_fixed_to_float_kernel(GridSampleBackwardParams p) {
  const int64_t n = p.B * p.C * p.H * p.W;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * values_per_block + 4 * threadIdx.x;
  const bool finite = FixedPointSums::is_finite(p);
  const int shift = FixedPointSums::shift(p);
  const auto value = [&](long long sum) {
    return finite ? static_cast<float>(ldexp(static_cast<double>(sum), -shift))
                  : __uint_as_float(0x7fffffffu);
  };
  I* const to = static_cast<I*>(p.dinput);
  if (first + 4 <= n) {
    using Pair = Packed<long long, 2>;
    const Pair a = *reinterpret_cast<const Pair*>(p.fixed_sums + first);
    const Pair b = *reinterpret_cast<const Pair*>(p.fixed_sums + first + 2);
    Packed<I, 4> four;
    from_float(four.element[0], value(a.element[0]));
    from_float(four.element[1], value(a.element[1]));
    from_float(four.element[2], value(b.element[0]));
    from_float(four.element[3], value(b.element[1]));
    *reinterpret_cast<Packed<I, 4>*>(to + first) = four;
  } else {
    for (int64_t i = first; i < n; ++i) from_float(to[i], value(p.fixed_sums[i]));
  }
}

struct LaunchGradAbsmax {
  const GridSampleBackwardParams& p;
  cudaStream_t stream;

  template <typename I>
  void run() const {
    const uint32_t blocks = min(blocks_for(p.B * p.C * p.h * p.w, values_per_block), max_blocks);
    LIFT_LAUNCH((grid_sample_bwd_grad_absmax_kernel<I>), blocks, block_threads, stream, p);
  }
};

struct LaunchFixedToFloat {
  const GridSampleBackwardParams& p;
  cudaStream_t stream;

  template <typename I>
  void run() const {
    const uint32_t blocks = blocks_for(p.B * p.C * p.H * p.W, values_per_block);
    LIFT_LAUNCH((grid_sample_bwd_fixed_to_float_kernel<I>), blocks, block_threads, stream, p);
  }
};

}  // namespace

const char* launch_grid_sample_backward(const GridSampleBackwardParams& p, void* stream) {
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (p.fixed_sums) dispatch_elements(p, LaunchGradAbsmax{p, queue});
  if (p.layout == Layout::nhwc && p.C >= min_lane_channels)
    launch_backward_nhwc(p, queue);
  else
    launch_backward_nchw(p, queue);
  if (p.fixed_sums) dispatch_elements(p, LaunchFixedToFloat{p, queue});
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace lift
