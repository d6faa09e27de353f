// What a flow block's first convolution reads, channels-last, in one pass.
//
// kernels/ops/flow_inputs/reference.py defines it. Features are sampled as by `warp`, straight into
// the channels of the result. What is planes is transposed, a strip of up to 64 pixels at a time.
#include "flow_inputs_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <vector>

#include "../common/parallel.h"
#include "../common/pixels.h"
#include "../common/transpose.h"
#include "../warp_blend/strip.h"

namespace lift {
namespace {

// As in reference.py.
constexpr int flows = 4, state_channels = 6, missing_channels = 2;
constexpr double flow_scale = 32;

constexpr int most_maps = 1 + state_channels + 1 + missing_channels;  // all but the correlation

template <typename A>
struct Arguments {
  WarpParams<A, 2> warp;
  NhwcImages<A> features[2];  // (B, H, W, C)
  StridedMap<A> local;        // (B, D, H, W)
  int64_t D;
  StridedMap<A> zero_motion;  // (B, 1, H, W)
  StridedMap<A> state;        // (B, 6, H, W)
  StridedMap<A> missing;      // (B, 2, H, W), or null
  const A* t;                 // (B,)
  int64_t stride_t;
  A factor;  // of the flows
  A* out;    // (B, H, W, K)
  int64_t K;

  bool transposes_local() const { return local.stride_c != 1; }
  int planes() const { return static_cast<int>(K - 2 * warp.C - (transposes_local() ? 0 : D)); }
};

// -- the channels of a strip's n pixels from (x, y) on, written from `to` on ----------------------

// Both images' features, warped.
template <typename A>
void write_warped(const Arguments<A>& p, int64_t b, int64_t y, int64_t x, const A* ones, A* to) {
  const int64_t C = p.warp.C;
  for (int i = 0; i < 2; ++i) {
    const PixelRows<const A> rows{p.features[i].image(b), -1, p.warp.W, C};
    const StripSamples<A> samples(p.warp, i, b, y, x, ones, rows);
    prefetch_below<A>(rows, samples.coords);
    for (int k = 0; k < samples.coords.n; ++k) {
      const Corners<const A*> pixel = samples.offsets.pixels(rows.data, k);
      const Corners<A> weight = samples.weights_of(k);
      A* const channels = to + k * p.K + i * C;
      for_channels<A>(C, [&](auto lanes, int64_t c) {
        store<A>(channels + c, sample(pixel, weight, c, lanes), lanes);
      });
    }
  }
}

// The correlation, where its channels are adjacent.
template <typename A>
void write_local(const Arguments<A>& p, int64_t b, int64_t y, int64_t x, int n, A* to) {
  const StridedMap<A>& local = p.local;
  const A* const from = local.data + b * local.stride_b + y * local.stride_y + x * local.stride_x;
  for (int k = 0; k < n; ++k)
    for_channels<A>(p.D, [&](auto lanes, int64_t c) {
      store<A>(to + k * p.K + c, load(from + k * local.stride_x + c, lanes), lanes);
    });
}

// Everything else. `planes` are those of a strip, up to a multiple of four.
template <typename A>
void write_maps(const Arguments<A>& p, int64_t b, int64_t y, int64_t x, int n, Strip<A>* planes,
                A* to) {
  Strip<A>* next = planes;
  const auto add = [&](const StridedMap<A>& map, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c, ++next) {
      const A* const from = map.load_strip(b, c, y, x, n, *next);
      if (from != *next) std::copy_n(from, n, *next);
    }
  };
  if (p.transposes_local()) add(p.local, p.D);
  add(p.zero_motion, 1);
  add(p.state, state_channels);
  for (Strip<A>* flow = next - state_channels; flow < next - state_channels + flows; ++flow)
    for (A& value : *flow) value *= p.factor;
  std::fill_n(*next++, n, p.t[b * p.stride_t]);
  if (p.missing.data) add(p.missing, missing_channels);
  write_transposed<A>(planes, p.planes(), n, p.K, to);
}

// -- the result -----------------------------------------------------------------------------------

template <typename A>
void flow_inputs(const Arguments<A>& p) {
  const WarpParams<A, 2>& size = p.warp;
  const int64_t values = size.B * size.H * size.W * p.K;
  alignas(64) A ones[strip_length];
  std::fill_n(ones, strip_length, A(1));
  for_row_blocks(row_blocks(size.B, size.H, values), values, [&](int64_t, const RowBlock& block) {
    std::vector<A> memory((p.planes() + 3) / 4 * 4 * strip_length);
    auto* const planes = reinterpret_cast<Strip<A>*>(memory.data());
    for (int64_t y = block.begin; y < block.end; ++y)
      for (int64_t x = 0; x < size.W; x += strip_length) {
        const int n = strip_size(x, size.W);
        A* const to = p.out + ((block.b * size.H + y) * size.W + x) * p.K;
        write_warped(p, block.b, y, x, ones, to);
        if (!p.transposes_local()) write_local(p, block.b, y, x, n, to + 2 * size.C);
        write_maps(p, block.b, y, x, n, planes, to + p.K - p.planes());
      }
  });
}

}  // namespace

Tensor flow_inputs_cpu(const Tensor& left, const Tensor& right, const Tensor& local,
                       const Tensor& zero_motion, const Tensor& state,
                       const std::optional<Tensor>& missing, const Tensor& t, int64_t scale,
                       ScalarType dtype) {
  STD_TORCH_CHECK(left.dim() == 4 && local.dim() == 4, "left and local must be (B, C, H, W)");
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype), "dtype must be float32 or float64");
  const int64_t B = left.size(0), C = left.size(1), H = left.size(2), W = left.size(3);
  STD_TORCH_CHECK(H <= max_side && W <= max_side, "sides must be at most ", max_side);
  const int64_t D = local.size(1);
  check_tensor("left", left, {B, C, H, W}, dtype);
  check_tensor("right", right, {B, C, H, W}, dtype);
  check_tensor("local", local, {B, D, H, W}, dtype);
  check_tensor("zero_motion", zero_motion, {B, 1, H, W}, dtype);
  check_tensor("state", state, {B, state_channels, H, W}, dtype);
  if (missing) check_tensor("missing", *missing, {B, missing_channels, H, W}, dtype);
  check_tensor("t", t, {B}, dtype);
  const int64_t K = 2 * C + D + most_maps - (missing ? 0 : missing_channels);
  Tensor pixels = empty({B, H, W, K}, left, dtype, MemoryFormat::Contiguous);
  // As `empty_output` in reference.py, also where a side is 1.
  const Tensor out = torch::stable::transpose(torch::stable::transpose(pixels, 1, 3), 2, 3);
  if (pixels.numel() == 0) return out;
  dispatch_accumulate_type(dtype, [&](auto number) {
    using A = decltype(number);
    Tensor storage[2];
    const StridedMap<A> of_state(state);
    StridedMap<A> flow1 = of_state;
    flow1.data += 2 * flow1.stride_c;
    flow_inputs<A>(
        {{B, C, H, W, {of_state, flow1}, {}},
         {to_nhwc<A>(ImageView(left), C, storage[0]), to_nhwc<A>(ImageView(right), C, storage[1])},
         StridedMap<A>(local),
         D,
         StridedMap<A>(zero_motion),
         of_state,
         missing ? StridedMap<A>(*missing) : StridedMap<A>(),
         static_cast<const A*>(t.const_data_ptr()),
         t.stride(0),
         A(scale / flow_scale),
         static_cast<A*>(pixels.mutable_data_ptr()),
         K});
  });
  return out;
}

}  // namespace lift
