// Correlation over a square of displacements, and its gradients, which are gathered: no two threads add to one place, and the order of
// sums is always the same.
//
// The rows that are in use are kept as planes in the type of arithmetic, scaled, with zeros on both sides, so that whatever the layout and
// the type of the maps all arithmetic is vectors over neighbouring pixels and no displacement needs a case of its own.
#include "correlation_cpu.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "lanes.h"
#include "pixels.h"
#include "tensors.h"
#include "window.h"

namespace lift {
namespace {

constexpr double shortest = 1e-3;  // SHORTEST in kernels/correlation/reference.py

template <typename A>
constexpr Width<widest<A>, widest<A>> vector_width;

// Call work(std::integral_constant<int, n>, i) for what is left from i on, which is less than `fewer`.
template <int fewer, typename F>
void in_one(int64_t n, int64_t i, const F& work) {
  if constexpr (fewer > 1) {
    if (n == fewer - 1) return work(std::integral_constant<int, fewer - 1>(), i);
    in_one<fewer - 1>(n, i, work);
  }
}

// The same for n in stretches of `most`, and the rest.
template <int most, typename F>
void in_stretches(int64_t n, const F& work) {
  int64_t i = 0;
  for (; i + most <= n; i += most) work(std::integral_constant<int, most>(), i);
  in_one<most>(n - i, i, work);
}

// -- rows -----------------------------------------------------------------------------------------------------------------------------

// The latest `held` rows of a map (B, C, H, W), each C planes of one row, `apart` values from one to the next.
template <typename A>
class Planes {
 public:
  Planes(const View& map, int64_t held, int64_t radius, bool unit)
      : map_(map), held_(held), radius_(radius), unit_(unit), apart((map.W + 2 * radius + 2 * widest<A> - 1) / widest<A> * widest<A>),
        data_(held * map.C * apart), scale_(unit ? held * apart : 0), square_(scale_.size()) {}

  // Row y and the ones before it that are needed are there from now on; y rises, from `first` on.
  void need(int64_t b, int64_t first, int64_t y) {
    for (next_ = std::max({next_, first, int64_t(0)}); next_ <= std::min(y, map_.H - 1); ++next_) take(b, next_);
  }

  bool has(int64_t y) const { return y >= 0 && y < map_.H; }

  // The first plane's pixel 0; `radius` zeros lie before it, and more than that behind the last pixel.
  const A* row(int64_t y) const { return data_.data() + y % held_ * map_.C * apart + radius_; }
  const A* scale(int64_t y) const { return scale_.data() + y % held_ * apart; }    // what the channels were multiplied by
  const A* square(int64_t y) const { return square_.data() + y % held_ * apart; }  // their squared length before

 private:
  const View map_;
  const int64_t held_, radius_;
  const bool unit_;
  int64_t next_ = 0;

 public:
  const int64_t apart;

 private:
  std::vector<A> data_, scale_, square_;

  void take(int64_t b, int64_t y) {
    A* const to = data_.data() + y % held_ * map_.C * apart + radius_;
    copy_planes<A>(map_, b, y, 0, map_.W, apart, to);
    if (!unit_) return;
    A* const __restrict scale = scale_.data() + y % held_ * apart;
    A* const __restrict square = square_.data() + y % held_ * apart;
    std::fill_n(square, map_.W, A(0));
    for (int64_t c = 0; c < map_.C; ++c) {
      const A* const __restrict plane = to + c * apart;
      LIFT_SIMD for (int64_t x = 0; x < map_.W; ++x) square[x] += plane[x] * plane[x];
    }
    LIFT_SIMD for (int64_t x = 0; x < map_.W; ++x)
      scale[x] = A(1) / std::sqrt(square[x] < A(shortest * shortest) ? A(shortest * shortest) : square[x]);
    for (int64_t c = 0; c < map_.C; ++c) {
      A* const __restrict plane = to + c * apart;
      LIFT_SIMD for (int64_t x = 0; x < map_.W; ++x) plane[x] *= scale[x];
    }
  }
};

// -- kernels --------------------------------------------------------------------------------------------------------------------------

// A row of the result for N displacements, `plane` values from one to the next.
template <typename A, int N>
void products(const A* left, int64_t left_apart, const A* right, int64_t right_apart, int64_t C, int64_t W, A* out, int64_t plane) {
  constexpr auto width = vector_width<A>;
  for (int64_t x = 0; x < W; x += width.n) {
    Lanes<A, width.n> sum[N] = {};
    for (int64_t c = 0; c < C; ++c) {
      const auto l = load(left + c * left_apart + x, width);
      for (int i = 0; i < N; ++i) sum[i] += l * load(right + c * right_apart + x + i, width);
    }
    for (int i = 0; i < N; ++i) {
      A* const to = out + i * plane + x;
      if (x + width.n <= W)
        store<A>(to, sum[i], width);
      else
        for (int64_t k = 0; k < W - x; ++k) to[k] = sum[i][k];
    }
  }
}

template <typename A>
void correlate(const View& left, const View& right, int64_t radius, bool unit, A* out) {
  const int64_t side = 2 * radius + 1, D = side * side, H = left.H, W = left.W, plane = H * W;
  const int64_t values = left.B * left.C * H * W;
  const std::vector<Band> all = bands(left.B, H, values);
  for_bands(all, values, [&](int64_t, const Band& band) {
    Planes<A> near(left, 1, 0, unit), far(right, side, radius, unit);
    for (int64_t y = band.begin; y < band.end; ++y) {
      near.need(band.b, band.begin, y);
      far.need(band.b, band.begin - radius, y + radius);
      for (int64_t i = 0; i < side; ++i) {
        A* const to = out + ((band.b * D + i * side) * H + y) * W;
        const int64_t moved = y + i - radius;
        if (!far.has(moved)) {
          for (int64_t d = 0; d < side; ++d) std::fill_n(to + d * plane, W, A(0));
          continue;
        }
        in_stretches<8>(side, [&](auto count, int64_t d) {
          products<A, count.value>(near.row(y), near.apart, far.row(moved) + d - radius, far.apart, left.C, W, to + d * plane, plane);
        });
      }
    }
  });
}

// Planes of one row into a map of any layout and type.
template <typename A>
void write_planes(const View& to, int64_t b, int64_t y, const A* from, int64_t apart) {
  const auto write = [&](auto* type) {
    using To = std::remove_pointer_t<decltype(type)>;
    To* const start = static_cast<To*>(to.data) + b * to.batch + y * to.row;
    if (to.column == 1) {
      for (int64_t c = 0; c < to.C; ++c)
        for (int64_t x = 0; x < to.W; ++x) start[c * to.channel + x] = static_cast<To>(from[c * apart + x]);
      return;
    }
    for (int64_t x0 = 0; x0 < to.W; x0 += 16)           // a line of each plane at a time
      for (int64_t c = 0; c < to.C; ++c)
        for (int64_t x = x0; x < std::min(x0 + 16, to.W); ++x) start[x * to.column + c * to.channel] = static_cast<To>(from[c * apart + x]);
  };
  switch (to.dtype) {
    case ScalarType::Float: return write(static_cast<float*>(nullptr));
    case ScalarType::Double: return write(static_cast<double*>(nullptr));
    case ScalarType::BFloat16: return write(static_cast<c10::BFloat16*>(nullptr));
    default: return write(static_cast<c10::Half*>(nullptr));
  }
}

// The gradient of `map`, which is left, or right with `mirror`: of a pixel the sum over displacements of the result's gradient there times
// the other map; for right, of the opposite displacement's gradient at the displaced place.
template <typename A>
void gather(const View& grad, const View& map, const View& other, int64_t radius, bool unit, bool mirror, const View& dmap) {
  constexpr auto width = vector_width<A>;
  const int64_t side = 2 * radius + 1, D = side * side, C = map.C, W = map.W;
  const int64_t values = map.B * C * map.H * W;
  const std::vector<Band> all = bands(map.B, map.H, values);
  for_bands(all, values, [&](int64_t, const Band& band) {
    Planes<A> own(map, 1, 0, unit), far(other, side, radius, unit), g(grad, mirror ? side : 1, mirror ? radius : 0, false);
    std::vector<A> sums(C * own.apart), along(own.apart);
    for (int64_t y = band.begin; y < band.end; ++y) {
      far.need(band.b, band.begin - radius, y + radius);
      if (mirror)
        g.need(band.b, band.begin - radius, y + radius);
      else
        g.need(band.b, band.begin, y);
      const int64_t first = std::max<int64_t>(0, radius - y), last = std::min(side, map.H - y + radius);  // rows of dy inside the map
      for (int64_t x = 0; x < W; x += width.n)
        in_stretches<8>(C, [&](auto count, int64_t c) {
          constexpr int N = count.value;
          Lanes<A, width.n> sum[N] = {};
          for (int64_t i = first; i < last; ++i) {
            const int64_t moved = y + i - radius;
            for (int64_t j = 0; j < side; ++j) {
              const int64_t d = i * side + j;
              const A* const weight = mirror ? g.row(moved) + (D - 1 - d) * g.apart + j - radius : g.row(y) + d * g.apart;
              const A* const from = far.row(moved) + c * far.apart + x + j - radius;
              const auto w = load(weight + x, width);
              for (int k = 0; k < N; ++k) sum[k] += w * load(from + k * far.apart, width);
            }
          }
          for (int k = 0; k < N; ++k) store<A>(sums.data() + (c + k) * own.apart + x, sum[k], width);
        });
      if (unit) {  // of x / |x|: what does not point along x, over |x|
        own.need(band.b, band.begin, y);
        const A *const scale = own.scale(y), *const square = own.square(y);
        std::fill(along.begin(), along.end(), A(0));
        for (int64_t c = 0; c < C; ++c) {
          const A *const __restrict sum = sums.data() + c * own.apart, *const __restrict to = own.row(y) + c * own.apart;
          LIFT_SIMD for (int64_t x = 0; x < W; ++x) along[x] += sum[x] * to[x];
        }
        LIFT_SIMD for (int64_t x = 0; x < W; ++x) along[x] = square[x] < A(shortest * shortest) ? A(0) : along[x];
        for (int64_t c = 0; c < C; ++c) {
          A* const __restrict sum = sums.data() + c * own.apart;
          const A* const __restrict to = own.row(y) + c * own.apart;
          LIFT_SIMD for (int64_t x = 0; x < W; ++x) sum[x] = scale[x] * (sum[x] - along[x] * to[x]);
        }
      }
      write_planes<A>(dmap, band.b, y, sums.data(), own.apart);
    }
  });
}

// -- operations -----------------------------------------------------------------------------------------------------------------------

ScalarType check(const Tensor& left, const Tensor& right, int64_t radius) {
  STD_TORCH_CHECK(left.is_cpu() && right.is_cpu(), "the maps must be on the CPU");
  STD_TORCH_CHECK(left.dim() == 4 && right.dim() == 4 && std::equal(left.sizes().begin(), left.sizes().end(), right.sizes().begin()),
                  "left and right must be (B, C, H, W), of one shape");
  STD_TORCH_CHECK(left.scalar_type() == right.scalar_type(), "left and right must have one dtype");
  STD_TORCH_CHECK(radius >= 0, "radius must be at least 0");
  const ScalarType dtype = left.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::Half || dtype == ScalarType::BFloat16,
                  "the maps must be float32, float64, float16 or bfloat16");
  return dtype == ScalarType::Double ? dtype : ScalarType::Float;
}

template <typename F>
void with_arithmetic(ScalarType arithmetic, const F& work) {
  if (arithmetic == ScalarType::Double)
    work(double());
  else
    work(float());
}

}  // namespace

Tensor correlation_cpu(const Tensor& left, const Tensor& right, int64_t radius, bool unit) {
  const ScalarType arithmetic = check(left, right, radius);
  const int64_t side = 2 * radius + 1;
  Tensor out = room({left.size(0), side * side, left.size(2), left.size(3)}, left, arithmetic, MemoryFormat::Contiguous);
  if (left.numel() == 0) return torch::stable::zero_(out);
  with_arithmetic(arithmetic, [&](auto number) {
    using A = decltype(number);
    correlate<A>(View(left), View(right), radius, unit, static_cast<A*>(out.mutable_data_ptr()));
  });
  return out;
}

std::tuple<Tensor, Tensor> correlation_backward_cpu(const Tensor& grad, const Tensor& left, const Tensor& right, int64_t radius, bool unit,
                                                    int64_t needs) {
  const ScalarType arithmetic = check(left, right, radius);
  const int64_t side = 2 * radius + 1;
  STD_TORCH_CHECK(grad.is_cpu() && grad.dim() == 4 && grad.size(0) == left.size(0) && grad.size(1) == side * side &&
                      grad.size(2) == left.size(2) && grad.size(3) == left.size(3) && grad.scalar_type() == arithmetic,
                  "grad must be the gradient of the result");
  const Tensor* const maps[] = {&left, &right};
  Tensor found[2];
  for (int i = 0; i < 2; ++i) {
    const bool wanted = needs >> i & 1;
    found[i] = wanted ? room(*maps[i], maps[i]->scalar_type(), layout(*maps[i])) : nothing(*maps[i], maps[i]->scalar_type());
    if (!wanted || left.numel() == 0) continue;
    with_arithmetic(arithmetic, [&](auto number) {
      gather<decltype(number)>(View(grad), View(*maps[i]), View(*maps[1 - i]), radius, unit, i == 1, View(found[i]));
    });
  }
  return {found[0], found[1]};
}

}  // namespace lift
