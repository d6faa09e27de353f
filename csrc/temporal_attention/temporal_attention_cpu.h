// temporal_attention on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>

namespace lift {

using torch::stable::Tensor;

std::tuple<Tensor, Tensor, Tensor> temporal_attention_cpu(
    const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& time_bias,
    const std::optional<Tensor>& window_bias, const std::optional<Tensor>& mask, int64_t window,
    int64_t shift, double scale, bool with_frame_weights);

}  // namespace lift
