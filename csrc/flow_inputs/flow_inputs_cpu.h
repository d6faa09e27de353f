// flow_inputs on the CPU, without a gradient: an operation of the namespace lift_cpp (schema:
// bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "../common/tensors.h"

namespace lift {

Tensor flow_inputs_cpu(const Tensor& left, const Tensor& right, const Tensor& local,
                       const Tensor& zero_motion, const Tensor& state,
                       const std::optional<Tensor>& missing, const Tensor& t, int64_t scale,
                       ScalarType dtype);

}  // namespace lift
