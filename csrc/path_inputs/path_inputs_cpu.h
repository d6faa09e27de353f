// path_inputs on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <tuple>
#include <vector>

namespace lift {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

std::tuple<Tensor, Tensor> path_inputs_cpu(const Tensor& hidden, const Tensor& state,
                                           const Tensor& motions, const Tensor& times,
                                           const Tensor& valid, int64_t gaps,
                                           std::vector<double> factors, ScalarType dtype);

}  // namespace lift
