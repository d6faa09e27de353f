// refine_inputs on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>

#include "../common/tensors.h"

namespace lift {

Tensor refine_inputs_cpu(const Tensor& image0, const Tensor& image1, const Tensor& state,
                         const std::optional<Tensor>& missing, int64_t stride, ScalarType dtype);

}  // namespace lift
