// Windowed temporal attention, forward.
//
// kernels/ops/temporal_attention/reference.py defines it. A task is one window and head. As many
// queries as a vector has lanes are computed at a time, so that scores, softmax and output are
// vectors over queries: keys and values are read in place, and nothing is added across lanes.
// Those in bfloat16 are widened once for all queries of a window, in a buffer that stays in the
// caches: what is read of memory is half as much.
#include "temporal_attention_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "../common/bfloat16.h"
#include "../common/exp.h"
#include "../common/parallel.h"
#include "../common/simd.h"
#include "../common/tensors.h"

namespace lift {
namespace {

constexpr int block = 8;  // keys, or channels of values, per vector of queries that is loaded

// A tensor (B, T, H, W, heads, d) whose channels are adjacent.
template <typename T>
struct Tokens {
  Tensor storage;
  const T* data;
  int64_t stride_b, stride_t, stride_y, stride_x, stride_head;

  explicit Tokens(const Tensor& x)
      : storage(x.stride(5) == 1 || x.size(5) == 1 ? x : torch::stable::contiguous(x)),
        data(static_cast<const T*>(storage.const_data_ptr())),
        stride_b(storage.stride(0)),
        stride_t(storage.stride(1)),
        stride_y(storage.stride(2)),
        stride_x(storage.stride(3)),
        stride_head(storage.stride(4)) {}

  const T* at(int64_t b, int64_t t, int64_t y, int64_t x, int64_t head) const {
    return data + b * stride_b + t * stride_t + y * stride_y + x * stride_x + head * stride_head;
  }
};

template <typename T>
struct Arguments {
  using A = Wide<T>;
  int64_t B, Tq, Tk, H, W, heads, d, window, shift;
  A scale;
  Tokens<T> q, k, v;
  std::vector<A> time_bias;    // (B or 1, heads, Tq, Tk), or empty
  bool time_bias_per_image;    // whether it has B
  std::vector<A> window_bias;  // (heads, 2 window - 1, 2 window - 1), or empty
  std::vector<bool> real;      // (B, Tk): whether a frame is
  T* out;                      // (B, Tq, H, W, heads, d), contiguous

  A time_bias_of(int64_t b, int64_t head, int64_t s, int64_t u) const {
    if (time_bias.empty()) return A(0);
    return time_bias[(((time_bias_per_image ? b : 0) * heads + head) * Tq + s) * Tk + u];
  }
  A window_bias_of(int64_t head, int64_t dy, int64_t dx) const {
    if (window_bias.empty()) return A(0);
    const int64_t side = 2 * window - 1;
    return window_bias[(head * side + dy + window - 1) * side + dx + window - 1];
  }
};

// The pixels of a window inside the image, row by row.
struct Window {
  int64_t y, x, height, width;

  template <typename T>
  Window(const Arguments<T>& p, int64_t row, int64_t column)
      : y(std::max<int64_t>(row * p.window - p.shift, 0)),
        x(std::max<int64_t>(column * p.window - p.shift, 0)),
        height(std::min((row + 1) * p.window - p.shift, p.H) - y),
        width(std::min((column + 1) * p.window - p.shift, p.W) - x) {}
  int64_t pixels() const { return height * width; }
  int64_t row_of(int64_t pixel) const { return pixel / width; }
  int64_t column_of(int64_t pixel) const { return pixel % width; }
};

template <typename T>
class Head {
 public:
  using A = Wide<T>;
  static constexpr int lanes = max_lanes<A>;
  using V = Vec<A, lanes>;

  Head(const Arguments<T>& p, int64_t b, const Window& window, int64_t head)
      : p_(p), b_(b), head_(head), window_(window) {
    std::vector<const T*> keys, values;
    for (int64_t u = 0; u < p.Tk; ++u) {
      if (!p.real[b * p.Tk + u]) continue;  // its content changes nothing
      frames_.push_back(u);
      for (int64_t i = 0; i < window.pixels(); ++i) {
        const int64_t y = window.y + window.row_of(i), x = window.x + window.column_of(i);
        keys.push_back(p.k.at(b, u, y, x, head));
        values.push_back(p.v.at(b, u, y, x, head));
        prefetch(keys.back(), p.d);
        prefetch(values.back(), p.d);
      }
    }
    keys_ = widened(std::move(keys), widened_keys_);
    values_ = widened(std::move(values), widened_values_);
    scores_.resize(keys_.size());
    query_.resize(p.d);
    of_frame_.resize(frames_.size());
    of_pixel_.resize(window.pixels());
  }

  void compute() {
    const int64_t queries = p_.Tq * window_.pixels();
    for (int64_t first = 0; first < queries; first += lanes) {
      count_ = static_cast<int>(std::min<int64_t>(lanes, queries - first));
      load_queries(first);
      score();
      const V inverse = softmax();
      combine(inverse);
    }
  }

 private:
  // The tokens, or their copies in float32.
  std::vector<const A*> widened(std::vector<const T*> tokens, std::vector<A>& storage) const {
    if constexpr (std::is_same_v<T, A>) {
      return tokens;
    } else {
      storage.resize(tokens.size() * p_.d);
      std::vector<const A*> wide;
      A* to = storage.data();
      for (const T* const token : tokens) {
        wide.push_back(to);
        for_channels<A>(p_.d, [&](auto lanes, int64_t c) {
          store<A>(to + c, load_wide(token + c, lanes), lanes);
        });
        to += p_.d;
      }
      return wide;
    }
  }

  // Queries from `first` on, and what their biases add for a frame and for a pixel of keys.
  void load_queries(int64_t first) {
    for (int l = 0; l < lanes; ++l) {
      const int64_t i = first + std::min(l, count_ - 1);  // lanes beyond the last repeat it
      const int64_t s = i / window_.pixels(), pixel = i % window_.pixels();
      const int64_t row = window_.row_of(pixel), column = window_.column_of(pixel);
      const int64_t y = window_.y + row, x = window_.x + column;
      const T* const from = p_.q.at(b_, s, y, x, head_);
      for (int64_t c = 0; c < p_.d; ++c) query_[c][l] = widen(from[c]) * p_.scale;
      for (size_t u = 0; u < frames_.size(); ++u)
        of_frame_[u][l] = p_.time_bias_of(b_, head_, s, frames_[u]);
      for (int64_t k = 0; k < window_.pixels(); ++k)
        of_pixel_[k][l] =
            p_.window_bias_of(head_, window_.row_of(k) - row, window_.column_of(k) - column);
      out_[l] = p_.out + ((((b_ * p_.Tq + s) * p_.H + y) * p_.W + x) * p_.heads + head_) * p_.d;
    }
  }

  void score() {
    const int64_t n = static_cast<int64_t>(keys_.size());
    int64_t j = 0;
    for (; j + block <= n; j += block) score_keys<block>(j);
    for (; j < n; ++j) score_keys<1>(j);
    j = 0;
    for (const V& of_frame : of_frame_)
      for (const V& of_pixel : of_pixel_) scores_[j++] += of_frame + of_pixel;
  }

  template <int keys>
  void score_keys(int64_t j) {
    V sums[keys] = {};
    const A* const* const from = keys_.data() + j;
    for (int64_t c = 0; c < p_.d; ++c) {
      const V query = query_[c];
      for (int i = 0; i < keys; ++i) sums[i] += from[i][c] * query;
    }
    for (int i = 0; i < keys; ++i) scores_[j + i] = sums[i];
  }

  // Scores become weights that are not divided by their sum; returns 1 / the sum.
  V softmax() {
    V most = scores_.empty() ? V{} : scores_[0];
    for (const V& score : scores_) most = score > most ? score : most;
    V sum{};
    for (V& score : scores_) {
      V weight = score - most;
      A* const lane = reinterpret_cast<A*>(&weight);
      LIFT_SIMD
      for (int l = 0; l < lanes; ++l) lane[l] = exp_neg(lane[l]);
      sum += weight;
      score = weight;
    }
    return scores_.empty() ? V{} : A(1) / sum;  // zeros for a query without keys
  }

  void combine(const V& inverse) {
    int64_t c = 0;
    for (; c + block <= p_.d; c += block) combine_channels<block>(c, inverse);
    for (; c < p_.d; ++c) combine_channels<1>(c, inverse);
  }

  template <int channels>
  void combine_channels(int64_t c, const V& inverse) {
    V sums[channels] = {};
    for (size_t j = 0; j < scores_.size(); ++j) {
      const A* const from = values_[j] + c;
      const V weight = scores_[j];
      for (int i = 0; i < channels; ++i) sums[i] += from[i] * weight;
    }
    for (int i = 0; i < channels; ++i) {
      const V result = sums[i] * inverse;
      for (int l = 0; l < count_; ++l) out_[l][c + i] = narrow<T>(result[l]);
    }
  }

  const Arguments<T>& p_;
  const int64_t b_, head_;
  const Window window_;
  int count_ = 0;                                 // queries
  std::vector<int64_t> frames_;                   // that are real
  std::vector<const A*> keys_, values_;           // frame by frame
  std::vector<A> widened_keys_, widened_values_;  // unless they are of type A
  std::vector<V> scores_, query_, of_frame_, of_pixel_;
  T* out_[lanes];
};

template <typename T>
void temporal_attention(const Arguments<T>& p) {
  const int64_t rows = (p.H + p.shift + p.window - 1) / p.window;
  const int64_t columns = (p.W + p.shift + p.window - 1) / p.window;
  const int64_t values = p.B * p.H * p.W * p.heads * p.d * (p.Tq + p.Tk);
  for_tasks(p.B * rows * columns, values, [&](int64_t task) {
    const Window window(p, task / columns % rows, task % columns);
    if (window.height <= 0 || window.width <= 0) return;
    for (int64_t head = 0; head < p.heads; ++head)
      Head<T>(p, task / (columns * rows), window, head).compute();
  });
}

template <typename A>
std::vector<A> to_vector(const std::optional<Tensor>& x) {
  return x ? lift::to_vector<A>(*x) : std::vector<A>();
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> temporal_attention_cpu(
    const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& time_bias,
    const std::optional<Tensor>& window_bias, const std::optional<Tensor>& mask, int64_t window,
    int64_t shift, double scale, bool with_frame_weights) {
  const ScalarType dtype = q.scalar_type(), wide = accumulate_dtype(dtype);
  STD_TORCH_CHECK(q.dim() == 6 && k.dim() == 6, "q and k must be (B, T, H, W, heads, d)");
  STD_TORCH_CHECK(!with_frame_weights, "there are no frame weights");
  STD_TORCH_CHECK(window >= 1 && shift >= 0 && shift < window, "shift must be below window");
  const int64_t B = q.size(0), Tq = q.size(1), H = q.size(2), W = q.size(3), heads = q.size(4),
                d = q.size(5), Tk = k.size(1);
  check_tensor("q", q, {B, Tq, H, W, heads, d}, dtype);
  check_tensor("k", k, {B, Tk, H, W, heads, d}, dtype);
  check_tensor("v", v, {B, Tk, H, W, heads, d}, dtype);
  const bool per_image = time_bias && time_bias->size(0) == B;
  if (time_bias) check_tensor("time_bias", *time_bias, {per_image ? B : 1, heads, Tq, Tk}, wide);
  const int64_t side = 2 * window - 1;
  if (window_bias) check_tensor("window_bias", *window_bias, {heads, side, side}, wide);
  std::vector<bool> real(B * Tk, true);
  if (mask) {
    check_tensor("mask", *mask, {B, Tk}, ScalarType::Bool);
    const bool* const from = static_cast<const bool*>(mask->const_data_ptr());
    for (int64_t b = 0; b < B; ++b)
      for (int64_t u = 0; u < Tk; ++u)
        real[b * Tk + u] = from[b * mask->stride(0) + u * mask->stride(1)];
  }
  Tensor out = empty({B, Tq, H, W, heads, d}, q, dtype, MemoryFormat::Contiguous);
  Tensor none = empty_placeholder(q, wide);
  dispatch_feature_type(dtype, [&](auto number) {
    using T = decltype(number);
    using A = Wide<T>;
    if (out.numel() > 0)
      temporal_attention(Arguments<T>{B, Tq, Tk, H, W, heads, d, window, shift,
                                      static_cast<A>(scale), Tokens<T>(q), Tokens<T>(k),
                                      Tokens<T>(v), to_vector<A>(time_bias), per_image,
                                      to_vector<A>(window_bias), real,
                                      static_cast<T*>(out.mutable_data_ptr())});
  });
  return {out, none, none};
}

}  // namespace lift
