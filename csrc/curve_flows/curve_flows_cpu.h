// curve_flows on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <vector>

namespace lift {

using torch::stable::Tensor;

Tensor curve_flows_cpu(const Tensor& predicted, const std::optional<Tensor>& bias,
                       const Tensor& state, const Tensor& differences, const Tensor& times,
                       const Tensor& valid, const Tensor& t, double confidence_logit,
                       double largest_weight, std::vector<double> noise_agreement);

}  // namespace lift
