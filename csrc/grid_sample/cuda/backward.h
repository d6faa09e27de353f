// The gradients of grid_sample on a GPU, by plain pointers:
// grid_sample_cuda.cpp launches them, and tests run them without PyTorch.
#pragma once

#include <cstdint>

namespace lift {

enum class Element : int32_t { float32, float16, bfloat16 };

// (B, C, H, W) or (B, H, W, C), for any C.
enum class Layout : int32_t { nchw, nhwc };

struct GridSampleBackwardParams {
  // sizes: of the input (B, C, H, W) and of the result (B, C, h, w)
  int64_t B, C, H, W, h, w;
  int32_t mode, padding, align_corners;  // mode and padding as in grid_sample.h
  Element element;
  Layout layout;

  // inputs, all aligned to 16 bytes
  const void* grad;   // (B, C, h, w) in `layout`, elements
  const void* input;  // (B, C, H, W) in `layout`, elements; null where dgrid is
  const float* grid;  // (B, h, w, 2)

  // gradients; null where not needed
  void* dinput;  // (B, C, H, W) in `layout`: float32, zeroed;
                 // or elements, uninitialised, where `fixed_sums` is given
  float* dgrid;  // (B, h, w, 2), uninitialised

  // for a deterministic dinput, else null: sums in fixed point, whose order does not matter
  long long* fixed_sums;  // like dinput, zeroed
  uint32_t* grad_absmax;  // (1,), zeroed: becomes the bits of the largest |grad|
};

// Launch the kernels on a cudaStream_t. Returns null, or CUDA's message if the launch failed.
const char* launch_grid_sample_backward(const GridSampleBackwardParams& p, void* stream);

}  // namespace lift
