// The operations of torch.ops.lift_cpp, and a description of the build.
//
// This file is compiled for the processor family's baseline,
// so that the module can be loaded and queried on any machine.
#include <pybind11/pybind11.h>
#include <torch/csrc/stable/library.h>

#include <sstream>
#include <string>

#include "change_map/change_map_cpu.h"
#include "common/cpu_features.h"
#include "convex_upsample/convex_upsample_cpu.h"
#include "correlation/correlation_cpu.h"
#include "curve_flows/curve_flows_cpu.h"
#include "flow_inputs/flow_inputs_cpu.h"
#include "frame_inputs/frame_inputs_cpu.h"
#include "global_motion/global_motion_cpu.h"
#include "grid_sample/grid_sample_cpu.h"
#include "group_norm/group_norm_cpu.h"
#include "lucas_kanade/lucas_kanade_cpu.h"
#include "path_inputs/path_inputs_cpu.h"
#include "propagate/propagate_cpu.h"
#include "refine_inputs/refine_inputs_cpu.h"
#include "refine_output/refine_output_cpu.h"
#include "temporal_attention/temporal_attention_cpu.h"
#include "warp_blend/warp_blend_cpu.h"

STABLE_TORCH_LIBRARY(lift_cpp, m) {
  m.def("warp(Tensor image, Tensor flow) -> Tensor");
  m.def("warp_backward(Tensor grad, Tensor image, Tensor flow, int needs) -> (Tensor, Tensor)");
  m.def(
      "warp_blend(Tensor image0, Tensor image1, Tensor flow0, Tensor flow1,"
      " Tensor occ0, Tensor occ1) -> Tensor");
  m.def(
      "warp_blend_backward(Tensor grad, Tensor image0, Tensor image1, Tensor flow0, Tensor flow1,"
      " Tensor occ0, Tensor occ1, int needs)"
      " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "grid_sample(Tensor input, Tensor grid, int mode, int padding, bool align_corners)"
      " -> Tensor");
  m.def(
      "grid_sample_backward(Tensor grad, Tensor input, Tensor grid, int mode, int padding,"
      " bool align_corners, int needs, bool deterministic) -> (Tensor, Tensor)");
  m.def("correlation(Tensor fmap0, Tensor fmap1, int radius, bool normalize) -> Tensor");
  m.def(
      "correlation_backward(Tensor grad, Tensor fmap0, Tensor fmap1, int radius, bool normalize,"
      " int needs) -> (Tensor, Tensor)");
  m.def(
      "lucas_kanade(Tensor image0, Tensor image1, Tensor flow0, Tensor flow1, Tensor t)"
      " -> Tensor");
  m.def(
      "group_norm(Tensor x, Tensor? skip, Tensor weight, Tensor bias, Tensor? x_bias, int groups,"
      " float eps, float slope) -> (Tensor, Tensor, Tensor)");
  m.def(
      "group_norm_backward(Tensor grad, Tensor x, Tensor? skip, Tensor weight, Tensor bias,"
      " Tensor? x_bias, int groups, float eps, float slope, Tensor mean, Tensor rstd, int needs)"
      " -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "temporal_attention(Tensor q, Tensor k, Tensor v, Tensor? time_bias, Tensor? window_bias,"
      " Tensor? mask, int window, int shift, float scale, bool with_frame_weights)"
      " -> (Tensor, Tensor, Tensor)");
  m.def("change_map(Tensor image0, Tensor image1) -> Tensor");
  m.def(
      "path_inputs(Tensor hidden, Tensor state, Tensor motions, Tensor times, Tensor valid,"
      " int gaps, float[] factors, ScalarType dtype) -> (Tensor, Tensor)");
  m.def(
      "curve_flows(Tensor predicted, Tensor? bias, Tensor state, Tensor differences, Tensor times,"
      " Tensor valid, Tensor t, float confidence_logit, float largest_weight,"
      " float[] noise_agreement) -> Tensor");
  m.def(
      "propagate(Tensor luma0, Tensor luma1, Tensor state, int distance, bool save)"
      " -> (Tensor, Tensor)");
  m.def("propagate_backward(Tensor grad, Tensor weights, int distance) -> Tensor");
  m.def("convex_upsample(Tensor state, Tensor logits, Tensor prior) -> Tensor");
  m.def(
      "flow_inputs(Tensor left, Tensor right, Tensor local, Tensor zero_motion, Tensor state,"
      " Tensor? missing, Tensor t, int scale, ScalarType dtype) -> Tensor");
  m.def(
      "frame_inputs(Tensor frames, int multiple, ScalarType dtype)"
      " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "global_motion(Tensor volume, Tensor left, Tensor right, Tensor inv_temperature,"
      " Tensor prior, Tensor t, int radius, ScalarType dtype) -> (Tensor, Tensor)");
  m.def(
      "refine_inputs(Tensor image0, Tensor image1, Tensor state, Tensor? missing, int stride,"
      " ScalarType dtype) -> Tensor");
  m.def(
      "refine_output(Tensor residual, Tensor bias, Tensor image0, Tensor image1, Tensor state,"
      " Tensor change, Tensor threshold, int stride) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(lift_cpp, CPU, m) {
  m.impl("warp", TORCH_BOX(&lift::warp_cpu));
  m.impl("warp_backward", TORCH_BOX(&lift::warp_backward_cpu));
  m.impl("warp_blend", TORCH_BOX(&lift::warp_blend_cpu));
  m.impl("warp_blend_backward", TORCH_BOX(&lift::warp_blend_backward_cpu));
  m.impl("grid_sample", TORCH_BOX(&lift::grid_sample_cpu));
  m.impl("grid_sample_backward", TORCH_BOX(&lift::grid_sample_backward_cpu));
  m.impl("correlation", TORCH_BOX(&lift::correlation_cpu));
  m.impl("correlation_backward", TORCH_BOX(&lift::correlation_backward_cpu));
  m.impl("lucas_kanade", TORCH_BOX(&lift::lucas_kanade_cpu));
  m.impl("group_norm", TORCH_BOX(&lift::group_norm_cpu));
  m.impl("group_norm_backward", TORCH_BOX(&lift::group_norm_backward_cpu));
  m.impl("temporal_attention", TORCH_BOX(&lift::temporal_attention_cpu));
  m.impl("change_map", TORCH_BOX(&lift::change_map_cpu));
  m.impl("path_inputs", TORCH_BOX(&lift::path_inputs_cpu));
  m.impl("curve_flows", TORCH_BOX(&lift::curve_flows_cpu));
  m.impl("propagate", TORCH_BOX(&lift::propagate_cpu));
  m.impl("propagate_backward", TORCH_BOX(&lift::propagate_backward_cpu));
  m.impl("convex_upsample", TORCH_BOX(&lift::convex_upsample_cpu));
  m.impl("flow_inputs", TORCH_BOX(&lift::flow_inputs_cpu));
  m.impl("frame_inputs", TORCH_BOX(&lift::frame_inputs_cpu));
  m.impl("global_motion", TORCH_BOX(&lift::global_motion_cpu));
  m.impl("refine_inputs", TORCH_BOX(&lift::refine_inputs_cpu));
  m.impl("refine_output", TORCH_BOX(&lift::refine_output_cpu));
}

namespace {

bool processor_has(const std::string& feature) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (feature == "avx2") return __builtin_cpu_supports("avx2");
  if (feature == "fma") return __builtin_cpu_supports("fma");
  if (feature == "avx512f") return __builtin_cpu_supports("avx512f");
  if (feature == "avx512vl") return __builtin_cpu_supports("avx512vl");
  if (feature == "avx512bw") return __builtin_cpu_supports("avx512bw");
  if (feature == "avx512dq") return __builtin_cpu_supports("avx512dq");
#endif
  return true;
}

// The features that the kernels were compiled for and this processor lacks; empty if it has all.
std::string missing_features() {
  std::istringstream features(lift::cpu_features);
  std::string missing;
  for (std::string feature; features >> feature;)
    if (!processor_has(feature)) missing += (missing.empty() ? "" : " ") + feature;
  return missing;
}

pybind11::dict build() {
  constexpr auto target = TORCH_TARGET_VERSION;
  pybind11::dict info;
  info["sources"] = LIFT_SOURCES;  // a hash of the sources
  info["compiler"] =
#if defined(__clang__)
      "clang " __clang_version__;
#elif defined(__GNUC__)
      "gcc " __VERSION__;
#else
      "unknown";
#endif
  info["flags"] = LIFT_FLAGS;
  info["features"] = std::string(lift::cpu_features);
  info["torch"] = TORCH_VERSION;
  info["torch_target"] = std::to_string(target >> 56) + "." + std::to_string(target >> 48 & 255);
  info["pybind11"] =
      PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_MINOR);
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "The C++ kernels of LIFT. Importing it defines the operations of torch.ops.lift_cpp.";
  m.def("build", &build, "How the module was built: sources, compiler, flags, versions.");
  m.def("missing_features", &missing_features,
        "Processor features that the kernels need and this machine lacks, separated by spaces.");
}
