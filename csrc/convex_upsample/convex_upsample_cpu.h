// convex_upsample on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

namespace lift {

using torch::stable::Tensor;

Tensor convex_upsample_cpu(const Tensor& state, const Tensor& logits, const Tensor& prior);

}  // namespace lift
