// What a flow block's first convolution reads, channels-last, in one pass.
//
// kernels/ops/flow_inputs/reference.py defines it. Features are sampled as by `warp`, straight into
// the channels of the result. What is planes is transposed, a strip of up to 64 pixels at a time.
// Features and the result may be bfloat16; everything else is of the type that is computed in.
#include "flow_inputs_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "../common/bfloat16.h"
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

template <typename T>
struct Arguments {
  using A = Wide<T>;

  WarpParams<A, 2> warp;
  NhwcImages<T> features[2];  // (B, H, W, C)
  StridedMap<A> local;        // (B, D, H, W)
  int64_t D;
  StridedMap<A> zero_motion;  // (B, 1, H, W)
  StridedMap<A> state;        // (B, 6, H, W)
  StridedMap<A> missing;      // (B, 2, H, W), or null
  const A* t;                 // (B,)
  int64_t stride_t;
  A factor;  // of the flows
  T* out;    // (B, H, W, K)
  int64_t K;

  bool transposes_local() const { return local.stride_c != 1; }
  int planes() const { return static_cast<int>(K - 2 * warp.C - (transposes_local() ? 0 : D)); }
};

// -- the channels of a strip's n pixels from (x, y) on, written from `to` on ----------------------

// As `for_channels`, but between the widest vectors and fours there is one of eight: 24 channels
// are two vectors instead of three.
template <typename A, typename F>
void for_channels_and_eight(int64_t C, const F& work) {
  constexpr int most = max_lanes<A>;
  int64_t c = 0;
  for (; c + most <= C; c += most) work(ActiveLanes<most, most>(), c);
  if (most > 8 && c + 8 <= C) {
    work(ActiveLanes<8, 8>(), c);
    c += 8;
  }
  for_channels<A, false>(C - c, [&](auto lanes, int64_t rest) { work(lanes, c + rest); });
}

// Both images' features, warped.
template <typename T, typename A = Wide<T>>
void write_warped(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, const A* ones, T* to) {
  const int64_t C = p.warp.C;
  for (int i = 0; i < 2; ++i) {
    const PixelRows<const T> rows{p.features[i].image(b), -1, p.warp.W, C};
    const StripSamples<A> samples(p.warp, i, b, y, x, ones, rows);
    prefetch_below<T>(rows, samples.coords);
    for (int k = 0; k < samples.coords.n; ++k) {
      const Corners<const T*> pixel = samples.offsets.pixels(rows.data, k);
      const Corners<A> weight = samples.weights_of(k);
      T* const channels = to + k * p.K + i * C;
      for_channels_and_eight<A>(C, [&](auto lanes, int64_t c) {
        store_narrow<T>(channels + c, sample(pixel, weight, c, lanes), lanes);
      });
    }
  }
}

// The correlation, where its channels are adjacent.
template <typename T, typename A = Wide<T>>
void write_local(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n, T* to) {
  const StridedMap<A>& local = p.local;
  const A* const from = local.data + b * local.stride_b + y * local.stride_y + x * local.stride_x;
  for (int k = 0; k < n; ++k)
    for_channels_and_eight<A>(p.D, [&](auto lanes, int64_t c) {
      store_narrow<T>(to + k * p.K + c, load(from + k * local.stride_x + c, lanes), lanes);
    });
}

// Everything else. `planes` are those of a strip, up to a multiple of four.
template <typename T, typename A = Wide<T>>
void write_maps(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n, Strip<A>* planes,
                T* to) {
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
  write_transposed<T>(planes, p.planes(), n, p.K, to);
}

// -- the result -----------------------------------------------------------------------------------

// The features in place if possible, else a copy that lives as long as `storage`.
template <typename T>
NhwcImages<T> nhwc_features(const Tensor& x, Tensor& storage) {
  if constexpr (!std::is_same_v<T, BFloat16>) {
    return to_nhwc<T>(ImageView(x), x.size(1), storage);
  } else {
    storage = to_layout(x, MemoryFormat::ChannelsLast);
    return {static_cast<T*>(const_cast<void*>(storage.const_data_ptr())),
            x.size(1) * x.size(2) * x.size(3)};
  }
}

template <typename T>
void flow_inputs(const Arguments<T>& p) {
  using A = Wide<T>;
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
        T* const to = p.out + ((block.b * size.H + y) * size.W + x) * p.K;
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
  const ScalarType wide = accumulate_dtype(dtype);
  STD_TORCH_CHECK(dtype == wide || dtype == ScalarType::BFloat16,
                  "dtype must be float32, float64 or bfloat16");
  const int64_t B = left.size(0), C = left.size(1), H = left.size(2), W = left.size(3);
  STD_TORCH_CHECK(H <= max_side && W <= max_side, "sides must be at most ", max_side);
  const int64_t D = local.size(1);
  check_tensor("left", left, {B, C, H, W}, dtype);
  check_tensor("right", right, {B, C, H, W}, dtype);
  check_tensor("local", local, {B, D, H, W}, wide);
  check_tensor("zero_motion", zero_motion, {B, 1, H, W}, wide);
  check_tensor("state", state, {B, state_channels, H, W}, wide);
  if (missing) check_tensor("missing", *missing, {B, missing_channels, H, W}, wide);
  check_tensor("t", t, {B}, wide);
  const int64_t K = 2 * C + D + most_maps - (missing ? 0 : missing_channels);
  Tensor pixels = empty({B, H, W, K}, left, dtype, MemoryFormat::Contiguous);
  // As `empty_output` in reference.py, also where a side is 1.
  const Tensor out = torch::stable::transpose(torch::stable::transpose(pixels, 1, 3), 2, 3);
  if (pixels.numel() == 0) return out;
  dispatch_feature_type(dtype, [&](auto number) {
    using T = decltype(number);
    using A = Wide<T>;
    Tensor storage[2];
    const StridedMap<A> of_state(state);
    StridedMap<A> flow1 = of_state;
    flow1.data += 2 * flow1.stride_c;
    flow_inputs<T>({{B, C, H, W, {of_state, flow1}, {}},
                    {nhwc_features<T>(left, storage[0]), nhwc_features<T>(right, storage[1])},
                    StridedMap<A>(local),
                    D,
                    StridedMap<A>(zero_motion),
                    of_state,
                    missing ? StridedMap<A>(*missing) : StridedMap<A>(),
                    static_cast<const A*>(t.const_data_ptr()),
                    t.stride(0),
                    A(scale / flow_scale),
                    static_cast<T*>(pixels.mutable_data_ptr()),
                    K});
  });
  return out;
}

}  // namespace lift
