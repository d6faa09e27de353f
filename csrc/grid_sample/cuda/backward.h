// The gradients of grid_sample on a GPU, as plain pointers: what grid_sample_cuda.cpp launches, and what tests run on the CPU.
#pragma once

#include <cstdint>

namespace lift {

enum class Element : int32_t { float32, float16, bfloat16 };

// (B, C, H, W) or (B, H, W, C), of any C.
enum class Order : int32_t { planes, pixels };

struct GridSampleBackward {
  int64_t B, C, H, W, h, w;
  int32_t mode, padding, align_corners;  // mode and padding as in grid_sample.h
  Element element;
  Order order;

  // inputs, all aligned to 16 bytes
  const void* grad;   // (B, C, h, w) or (B, h, w, C), elements
  const void* input;  // (B, C, H, W) or (B, H, W, C), elements; null where the grid's gradient is not asked for
  const float* grid;  // (B, h, w, 2)

  // gradients; null where not asked for
  void* dinput;  // like input: float32, zeros; or, where `fixed` is given, elements, unwritten
  float* dgrid;  // (B, h, w, 2), unwritten

  // for a deterministic dinput, else null: sums in fixed point, whose order does not matter
  long long* fixed;   // like input, zeros
  uint32_t* largest;  // (1,), zero, where `fixed` is given, else null: becomes the bits of the largest |grad|
};

// `stream` is a cudaStream_t. Work is queued, not awaited. Returns null, or what CUDA says is wrong with the launch.
const char* grid_sample_backward(const GridSampleBackward& p, void* stream);

}  // namespace lift
