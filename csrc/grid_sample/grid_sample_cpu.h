// grid_sample and its gradients on the CPU: operations of the namespace lift_cpp (kernels/grid_sample/registration.py states their schemas).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

namespace lift {

using torch::stable::Tensor;

// PyTorch's own, which kernels here did not beat; called from here, as less is to be done around it than from Python.
Tensor grid_sample_cpu(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding, bool align_corners);

// Deterministic whether asked to be or not.
std::tuple<Tensor, Tensor> grid_sample_backward_cpu(const Tensor& grad, const Tensor& input, const Tensor& grid, int64_t mode,
                                                    int64_t padding, bool align_corners, int64_t needs, bool deterministic);

}  // namespace lift
