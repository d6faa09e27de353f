// group_norm on the CPU: two passes forward, two backward.
//
// The first pass of each direction adds up sums of every channel, the second writes. A task is some
// consecutive values: pixels of all channels where these are adjacent (channels_last), else a
// plane. Its values are processed in runs of `period` values; what belongs to a channel stands in
// tables of that length, so that all loops are over adjacent values. Sums of tasks are added in
// their order, whichever thread ran them.
//
// Statistics are sums of differences from the mean of a channel's first values in the task, so
// neither a large mean costs digits nor a first pixel that is unlike all others.
#include "group_norm_cpu.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>
#include <vector>

#include "../common/bfloat16.h"
#include "../common/parallel.h"
#include "../common/simd.h"
#include "../common/tensors.h"

namespace lift {
namespace {

constexpr int64_t task_values = 65536;   // of a task, where channels are adjacent
constexpr int64_t run_values = 512;      // of a run of a plane
constexpr int64_t run_pixels = 4;        // of a run where channels are adjacent
constexpr int64_t runs_between_sums = 64;  // more would lose digits: float sums become double ones

// How the values of images (B, C, HW) are divided into tasks.
struct Layout {
  int64_t B, C, HW;
  bool last;  // channels are adjacent
  int64_t period, pixels_per_task, tasks_per_image;

  Layout(int64_t B, int64_t C, int64_t HW, bool last) : B(B), C(C), HW(HW), last(last) {
    period = last ? run_pixels * C : std::min(run_values, std::max<int64_t>(HW, 1));
    pixels_per_task = std::max<int64_t>(run_pixels, task_values / C);
    tasks_per_image = last ? (HW + pixels_per_task - 1) / pixels_per_task : C;
  }

  int64_t channels_per_task() const { return last ? C : 1; }
  int64_t first_channel(int64_t i) const { return last ? 0 : i; }
  // The first value of task i of image b, and how many values it has.
  int64_t begin(int64_t b, int64_t i) const {
    return b * C * HW + (last ? i * pixels_per_task * C : i * HW);
  }
  int64_t count(int64_t i) const {
    return last ? C * std::min(pixels_per_task, HW - i * pixels_per_task) : HW;
  }

  template <typename F>
  void for_tasks_of_images(const F& work) const {
    for_tasks(B * tasks_per_image, B * C * HW,
              [&](int64_t task) { work(task, task / tasks_per_image, task % tasks_per_image); });
  }
};

// A value of every channel of a task, repeated over a run.
template <typename A>
struct Table {
  std::vector<A> values;

  template <typename F>
  Table(const Layout& p, int64_t i, const F& of_channel) : values(p.period) {
    for (int64_t k = 0; k < p.period; ++k)
      values[k] = static_cast<A>(of_channel(p.last ? k % p.C : p.first_channel(i)));
  }
  const A* data() const { return values.data(); }
};

// `count` sums of every channel, of all tasks, and of each image.
template <typename A>
class Sums {
 public:
  Sums(const Layout& p, int count)
      : p_(p), count_(count), tasks_(p.B * p.tasks_per_image * count * p.channels_per_task()) {}

  // Sums (count, channels) of a task.
  double* of_task(int64_t task) { return tasks_.data() + task * count_ * p_.channels_per_task(); }

  // Add up what add(offset, n, sums) adds to sums[0..count)[0..n) for the runs of a task.
  template <typename F>
  void task(int64_t task, int64_t b, int64_t i, const F& add) {
    std::vector<A> parts(count_ * p_.period);
    double* const total = of_task(task);
    const int64_t begin = p_.begin(b, i), count = p_.count(i);
    int64_t runs = 0;
    for (int64_t k = 0; k < count; k += p_.period) {
      add(begin + k, std::min(p_.period, count - k), parts.data());
      if (++runs % runs_between_sums == 0) flush(parts, total);
    }
    flush(parts, total);
  }

  // Sums (count, C) of image b.
  std::vector<double> image(int64_t b) const {
    std::vector<double> found(count_ * p_.C);
    for (int64_t i = 0; i < p_.tasks_per_image; ++i) {
      const int64_t n = p_.channels_per_task();
      const double* const from = tasks_.data() + (b * p_.tasks_per_image + i) * count_ * n;
      for (int s = 0; s < count_; ++s)
        for (int64_t c = 0; c < n; ++c)
          found[s * p_.C + p_.first_channel(i) + c] += from[s * n + c];
    }
    return found;
  }

 private:
  void flush(std::vector<A>& parts, double* total) const {
    const int64_t n = p_.channels_per_task();
    for (int s = 0; s < count_; ++s)
      for (int64_t k = 0; k < p_.period; ++k) total[s * n + k % n] += parts[s * p_.period + k];
    std::fill(parts.begin(), parts.end(), A(0));
  }

  const Layout& p_;
  const int count_;
  std::vector<double> tasks_;
};

// -- arguments ------------------------------------------------------------------------------------

template <typename A>
const A* data(const Tensor& x) {
  return static_cast<const A*>(x.const_data_ptr());
}

template <typename A>
struct Parameters {
  std::vector<A> weight, bias, x_bias;
};

template <typename A>
Parameters<A> parameters(const Tensor& weight, const Tensor& bias,
                         const std::optional<Tensor>& x_bias) {
  return {to_vector<A>(weight), to_vector<A>(bias),
          x_bias ? to_vector<A>(*x_bias) : std::vector<A>(weight.numel())};
}

void check(const Tensor& x, const std::optional<Tensor>& skip, const Tensor& weight,
           const Tensor& bias, const std::optional<Tensor>& x_bias, int64_t groups) {
  STD_TORCH_CHECK(x.dim() == 4 && x.is_cpu(), "x must be (B, C, H, W) on the CPU");
  STD_TORCH_CHECK(groups > 0 && x.size(1) % groups == 0, "groups must divide the channels of x");
  for (const Tensor* parameter : {&weight, &bias, x_bias ? &*x_bias : &bias})
    STD_TORCH_CHECK(parameter->dim() == 1 && parameter->size(0) == x.size(1) && parameter->is_cpu(),
                    "parameters must be (C,) on the CPU");
  if (skip)
    STD_TORCH_CHECK(skip->dim() == 4 && skip->is_cpu() && skip->scalar_type() == x.scalar_type() &&
                        std::equal(x.sizes().begin(), x.sizes().end(), skip->sizes().begin()),
                    "skip must be as x");
}

// -- forward --------------------------------------------------------------------------------------

// Mean and 1 / standard deviation (B, G) of x + x_bias.
template <typename T, typename A = Wide<T>>
void statistics(const Layout& p, const T* x, const Parameters<A>& parameters, int64_t G, double eps,
                A* mean, A* rstd) {
  const auto first = [&](int64_t b, int64_t c) {  // of a channel
    return widen(x[b * p.C * p.HW + (p.last ? c : c * p.HW)]);
  };
  Sums<A> sums(p, 2);
  p.for_tasks_of_images([&](int64_t task, int64_t b, int64_t i) {
    const int64_t channels = p.channels_per_task(), run = std::min(p.period, p.count(i));
    std::vector<double> means(channels);
    for (int64_t k = 0; k < run; ++k)
      means[k % channels] += widen(x[p.begin(b, i) + k]) * static_cast<double>(channels) / run;
    const Table<A> centers(p, i, [&](int64_t c) { return means[c - p.first_channel(i)]; });
    sums.task(task, b, i, [&](int64_t offset, int64_t n, A* parts) {
      const T* const from = x + offset;
      const A* const shift = centers.data();
      A *const sum = parts, *const squares = parts + p.period;
      LIFT_SIMD
      for (int64_t k = 0; k < n; ++k) {
        const A difference = widen(from[k]) - shift[k];
        sum[k] += difference;
        squares[k] += difference * difference;
      }
    });
    // as if they were differences from the first value of the image
    double *const sum = sums.of_task(task), *const squares = sum + channels;
    const double n = static_cast<double>(p.count(i) / channels);
    for (int64_t c = 0; c < channels; ++c) {
      const double offset = double(centers.data()[c]) - first(b, p.first_channel(i) + c);
      squares[c] += offset * (2 * sum[c] + n * offset);
      sum[c] += n * offset;
    }
  });
  const int64_t GC = p.C / G;
  for (int64_t b = 0; b < p.B; ++b) {
    const std::vector<double> found = sums.image(b);
    const double n = static_cast<double>(p.HW);
    for (int64_t g = 0; g < G; ++g) {
      double group_mean = 0, squares = 0;
      const auto channel_mean = [&](int64_t c) {
        return first(b, c) + found[c] / n + parameters.x_bias[c];
      };
      for (int64_t c = g * GC; c < (g + 1) * GC; ++c) group_mean += channel_mean(c) / GC;
      for (int64_t c = g * GC; c < (g + 1) * GC; ++c) {
        const double difference = channel_mean(c) - group_mean;
        const double within = std::max(found[p.C + c] - found[c] * found[c] / n, 0.0);
        // std::max would hide what is not a number
        squares += (std::isnan(found[p.C + c]) ? found[p.C + c] : within) +
                   n * difference * difference;
      }
      mean[b * G + g] = static_cast<A>(group_mean);
      rstd[b * G + g] = static_cast<A>(1 / std::sqrt(squares / (n * GC) + eps));
    }
  }
}

// What is subtracted from x, multiplied and added, of every channel of image b.
template <typename A>
struct Affine {
  Table<A> shift, scale, bias;

  Affine(const Layout& p, int64_t b, int64_t i, const Parameters<A>& parameters, int64_t G,
         const A* mean, const A* rstd)
      : shift(p, i, [&](int64_t c) { return mean[b * G + c / (p.C / G)] - parameters.x_bias[c]; }),
        scale(p, i,
              [&](int64_t c) { return rstd[b * G + c / (p.C / G)] * parameters.weight[c]; }),
        bias(p, i, [&](int64_t c) { return parameters.bias[c]; }) {}
};

template <typename T, bool has_skip, bool active, typename A = Wide<T>>
void normalize_run(const T* x, const T* skip, A slope, const Affine<A>& affine, int64_t n, T* out) {
  const A *const shift = affine.shift.data(), *const scale = affine.scale.data(),
          *const bias = affine.bias.data();
  LIFT_SIMD
  for (int64_t k = 0; k < n; ++k) {
    A y = (widen(x[k]) - shift[k]) * scale[k] + bias[k];
    if constexpr (has_skip) y += widen(skip[k]);
    if constexpr (active) y = y > 0 ? y : y * slope;
    out[k] = narrow<T>(y);
  }
}

// Call work(has_skip, active), each std::true_type or std::false_type.
template <typename F>
void dispatch_form(bool has_skip, bool active, const F& work) {
  const auto second = [&](auto first) {
    if (active)
      work(first, std::true_type());
    else
      work(first, std::false_type());
  };
  if (has_skip)
    second(std::true_type());
  else
    second(std::false_type());
}

// -- backward -------------------------------------------------------------------------------------

// The normalized input and the gradient of what the activation is applied to.
template <typename T, bool has_skip, bool active, typename A = Wide<T>>
struct Pair {
  A normalized, grad;

  Pair(T grad_out, T x, const T* skip, A shift, A rstd, A weight, A bias, A slope)
      : normalized((widen(x) - shift) * rstd), grad(widen(grad_out)) {
    if constexpr (active) {
      A y = normalized * weight + bias;
      if constexpr (has_skip) y += widen(*skip);
      grad = y > 0 ? grad : grad * slope;
    }
  }
};

template <typename T>
struct Gradients {
  T *dx, *dskip;  // null where not needed
  std::vector<double> weight, bias, x_bias;
};

template <typename T, bool has_skip, bool active, typename A = Wide<T>>
void backward(const Layout& p, const T* grad, const T* x, const T* skip,
              const Parameters<A>& parameters, int64_t G, A slope, const A* mean, const A* rstd,
              Gradients<T>& found) {
  const int64_t GC = p.C / G;
  const auto shift_of = [&](int64_t b, int64_t c) {
    return mean[b * G + c / GC] - parameters.x_bias[c];
  };
  const auto tables = [&](int64_t b, int64_t i) {
    return std::array<Table<A>, 4>{
        Table<A>(p, i, [&](int64_t c) { return shift_of(b, c); }),
        Table<A>(p, i, [&](int64_t c) { return rstd[b * G + c / GC]; }),
        Table<A>(p, i, [&](int64_t c) { return parameters.weight[c]; }),
        Table<A>(p, i, [&](int64_t c) { return parameters.bias[c]; })};
  };
  using Values = Pair<T, has_skip, active>;
  Sums<A> sums(p, 3);  // of the gradient, its product with the normalized input, and of that
  p.for_tasks_of_images([&](int64_t task, int64_t b, int64_t i) {
    const auto table = tables(b, i);
    const A *const shift = table[0].data(), *const scale = table[1].data(),
            *const weight = table[2].data(), *const bias = table[3].data();
    sums.task(task, b, i, [&](int64_t offset, int64_t n, A* parts) {
      A *const first = parts, *const second = parts + p.period, *const third = second + p.period;
      LIFT_SIMD
      for (int64_t k = 0; k < n; ++k) {
        const Values v(grad[offset + k], x[offset + k], skip + offset + k, shift[k], scale[k],
                       weight[k], bias[k], slope);
        first[k] += v.grad;
        second[k] += v.grad * v.normalized;
        third[k] += v.normalized;
      }
    });
  });
  std::vector<double> group_grad(p.B * G), group_product(p.B * G);
  const double n = static_cast<double>(p.HW);
  for (int64_t b = 0; b < p.B; ++b) {
    const std::vector<double> of = sums.image(b);
    for (int64_t c = 0; c < p.C; ++c) {
      group_grad[b * G + c / GC] += parameters.weight[c] * of[c] / (n * GC);
      group_product[b * G + c / GC] += parameters.weight[c] * of[p.C + c] / (n * GC);
    }
    for (int64_t c = 0; c < p.C; ++c) {
      const int64_t g = b * G + c / GC;
      found.bias[c] += of[c];
      found.weight[c] += of[p.C + c];
      found.x_bias[c] += rstd[g] * (parameters.weight[c] * of[c] - n * group_grad[g] -
                                    group_product[g] * of[2 * p.C + c]);
    }
  }
  if (found.dx == nullptr && found.dskip == nullptr) return;
  p.for_tasks_of_images([&](int64_t, int64_t b, int64_t i) {
    const auto table = tables(b, i);
    const A *const shift = table[0].data(), *const scale = table[1].data(),
            *const weight = table[2].data(), *const bias = table[3].data();
    const Table<A> means(p, i, [&](int64_t c) { return group_grad[b * G + c / GC]; });
    const Table<A> products(p, i, [&](int64_t c) { return group_product[b * G + c / GC]; });
    const int64_t begin = p.begin(b, i), count = p.count(i);
    for (int64_t start = 0; start < count; start += p.period) {
      const int64_t offset = begin + start, length = std::min(p.period, count - start);
      const A *const of_mean = means.data(), *const of_product = products.data();
      if (T* const dx = found.dx) {
        LIFT_SIMD
        for (int64_t k = 0; k < length; ++k) {
          const Values v(grad[offset + k], x[offset + k], skip + offset + k, shift[k], scale[k],
                         weight[k], bias[k], slope);
          dx[offset + k] = narrow<T>(
              scale[k] * (weight[k] * v.grad - of_mean[k] - v.normalized * of_product[k]));
        }
      }
      if (T* const dskip = found.dskip) {
        LIFT_SIMD
        for (int64_t k = 0; k < length; ++k)
          dskip[offset + k] =
              narrow<T>(Values(grad[offset + k], x[offset + k], skip + offset + k, shift[k],
                               scale[k], weight[k], bias[k], slope)
                            .grad);
      }
    }
  });
}

std::optional<Tensor> to_layout(const std::optional<Tensor>& x, MemoryFormat format) {
  return x ? std::optional<Tensor>(lift::to_layout(*x, format)) : std::nullopt;
}

Layout layout_of(const Tensor& x, MemoryFormat format) {
  return Layout(x.size(0), x.size(1), x.size(2) * x.size(3), format == MemoryFormat::ChannelsLast);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> group_norm_cpu(
    const Tensor& x, const std::optional<Tensor>& skip, const Tensor& weight, const Tensor& bias,
    const std::optional<Tensor>& x_bias, int64_t groups, double eps, double slope) {
  check(x, skip, weight, bias, x_bias, groups);
  const MemoryFormat format = layout(x);
  const Tensor dense = lift::to_layout(x, format);
  const std::optional<Tensor> added = to_layout(skip, format);
  Tensor out = empty(x, x.scalar_type(), format);
  const ScalarType wide = accumulate_dtype(x.scalar_type());
  Tensor mean = empty({x.size(0), groups}, x, wide, MemoryFormat::Contiguous);
  Tensor rstd = empty({x.size(0), groups}, x, wide, MemoryFormat::Contiguous);
  if (x.numel() == 0) {
    torch::stable::zero_(mean);
    torch::stable::zero_(rstd);
    return {out, mean, rstd};
  }
  dispatch_feature_type(x.scalar_type(), [&](auto feature) {
    using T = decltype(feature);
    using A = Wide<T>;
    const Layout p = layout_of(x, format);
    const Parameters<A> values = parameters<A>(weight, bias, x_bias);
    const T* const from = data<T>(dense);
    const T* const skipped = data<T>(added ? *added : dense);  // the latter is not read
    A* const means = static_cast<A*>(mean.mutable_data_ptr());
    A* const rstds = static_cast<A*>(rstd.mutable_data_ptr());
    T* const to = static_cast<T*>(out.mutable_data_ptr());
    statistics(p, from, values, groups, eps, means, rstds);
    dispatch_form(skip.has_value(), slope != 1, [&](auto has_skip, auto active) {
      p.for_tasks_of_images([&](int64_t, int64_t b, int64_t i) {
        const Affine<A> affine(p, b, i, values, groups, means, rstds);
        const int64_t begin = p.begin(b, i), count = p.count(i);
        for (int64_t k = 0; k < count; k += p.period)
          normalize_run<T, has_skip.value, active.value>(
              from + begin + k, skipped + begin + k, static_cast<A>(slope), affine,
              std::min(p.period, count - k), to + begin + k);
      });
    });
  });
  return {out, mean, rstd};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> group_norm_backward_cpu(
    const Tensor& grad, const Tensor& x, const std::optional<Tensor>& skip, const Tensor& weight,
    const Tensor& bias, const std::optional<Tensor>& x_bias, int64_t groups, double /* eps */,
    double slope, const Tensor& mean, const Tensor& rstd, int64_t needs) {
  check(x, skip, weight, bias, x_bias, groups);
  const ScalarType dtype = x.scalar_type();
  STD_TORCH_CHECK(grad.scalar_type() == dtype, "the gradient must have the dtype of x");
  const MemoryFormat format = layout(x);
  // The gradient of skip has the layout of skip.
  const MemoryFormat skip_format = skip ? layout(*skip) : format;
  const auto needed = [&](int i) { return (needs >> i & 1) != 0; };
  const auto parameter_grad = [&](int i) {
    return needed(i) ? empty({x.size(1)}, x, accumulate_dtype(dtype), MemoryFormat::Contiguous)
                     : empty_placeholder(x, accumulate_dtype(dtype));
  };
  Tensor dx = needed(0) ? empty(x, dtype, format) : empty_placeholder(x, dtype);
  Tensor dskip = needed(1) && skip ? empty(x, dtype, format) : empty_placeholder(x, dtype);
  std::array<Tensor, 3> of_parameters{parameter_grad(2), parameter_grad(3), parameter_grad(4)};
  if (x.numel() == 0) {
    for (Tensor& of : of_parameters) torch::stable::zero_(of);
    return {dx, dskip, of_parameters[0], of_parameters[1], of_parameters[2]};
  }
  const Tensor dense = lift::to_layout(x, format), dense_grad = lift::to_layout(grad, format);
  const std::optional<Tensor> added = to_layout(skip, format);
  dispatch_feature_type(dtype, [&](auto feature) {
    using T = decltype(feature);
    using A = Wide<T>;
    const Layout p = layout_of(x, format);
    const std::vector<double> zeros(p.C);
    Gradients<T> found{needed(0) ? static_cast<T*>(dx.mutable_data_ptr()) : nullptr,
                       needed(1) && skip ? static_cast<T*>(dskip.mutable_data_ptr()) : nullptr,
                       zeros, zeros, zeros};
    dispatch_form(skip.has_value(), slope != 1, [&](auto has_skip, auto active) {
      backward<T, has_skip.value, active.value>(
          p, data<T>(dense_grad), data<T>(dense), data<T>(added ? *added : dense),
          parameters<A>(weight, bias, x_bias), groups, static_cast<A>(slope), data<A>(mean),
          data<A>(rstd), found);
    });
    const std::vector<double>* const sums[] = {&found.weight, &found.bias, &found.x_bias};
    for (int i = 0; i < 3; ++i)
      if (needed(2 + i))
        std::copy(sums[i]->begin(), sums[i]->end(),
                  static_cast<A*>(of_parameters[i].mutable_data_ptr()));
  });
  if (needed(1) && skip) dskip = lift::to_layout(dskip, skip_format);
  return {dx, dskip, of_parameters[0], of_parameters[1], of_parameters[2]};
}

}  // namespace lift
