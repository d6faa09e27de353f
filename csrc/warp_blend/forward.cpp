#include <optional>
#include <vector>

#include "warp_blend_kernels.h"
#include "window.h"

namespace lift {
namespace {

constexpr int64_t beyond_caches = int64_t(16) << 20;  // bytes of a result that whoever reads it will not find in a cache anyway

// Whether a result is written past the caches: whole aligned vectors, and many of them.
template <typename A>
bool streamed(const View& out) {
  constexpr int64_t vector = widest<A> * sizeof(A);
  const int64_t pixel = out.C * sizeof(A);
  return out.B * out.H * out.W * pixel >= beyond_caches && pixel % vector == 0 && in_place<A>(out, out.C) &&
         reinterpret_cast<uintptr_t>(out.data) % vector == 0;
}

// A row of the result, in strips. `streams`: as `streamed`.
template <typename A, int N, int known, bool streams>
void blend_row(const Problem<A, N>& p, const std::array<Rows<const A>, N>& rows, const View& out, int64_t b, int64_t y, A* copy) {
  const int64_t C = known ? known : p.C;
  for (int64_t x = 0; x < p.W; x += strip_length) {
    const Weights<A, N> weights(p, b, y, x);
    const Places<A> at0(p, 0, b, y, x);
    const Shares<A> share0(at0, weights.weight[0]);
    std::optional<Places<A>> second;
    std::optional<Shares<A>> second_share;
    if constexpr (N == 2) second_share.emplace(second.emplace(p, 1, b, y, x), weights.weight[1]);
    const Places<A>& at1 = N == 2 ? *second : at0;
    const Shares<A>& share1 = N == 2 ? *second_share : share0;
    prefetch_below<A>(rows[0], at0);
    if constexpr (N == 2) prefetch_below<A>(rows[1], at1);
    const Addresses<A> address0(rows[0], at0), address1(rows[N - 1], at1);
    const A *const image0 = rows[0].data, *const image1 = rows[N - 1].data;
    A* const to = place_for_pixels(out, b, y, x, C, copy);
    for (int k = 0; k < at0.n; ++k) {
      const Corners<const A> from0(image0, address0, k), from1(image1, address1, k);
      const A nw0 = share0.nw[k], ne0 = share0.ne[k], sw0 = share0.sw[k], se0 = share0.se[k];
      const A nw1 = share1.nw[k], ne1 = share1.ne[k], sw1 = share1.sw[k], se1 = share1.se[k];
      A* const pixel = to + k * C;
      for_known_channels<A, known>(C, [&](auto width, int64_t c) {
        auto sum = nw0 * load(from0.nw + c, width) + ne0 * load(from0.ne + c, width) + sw0 * load(from0.sw + c, width) +
                   se0 * load(from0.se + c, width);
        if constexpr (N == 2)
          sum += nw1 * load(from1.nw + c, width) + ne1 * load(from1.ne + c, width) + sw1 * load(from1.sw + c, width) +
                 se1 * load(from1.se + c, width);
        if constexpr (streams)
          stream<A>(pixel + c, sum, width);
        else
          store<A>(pixel + c, sum, width);
      });
    }
    write_pixels<A>(out, b, y, x, at0.n, C, to);
  }
}

}  // namespace

template <typename A, int N>
void warp_blend_forward(const Problem<A, N>& p, const std::array<View, N>& image, const View& out) {
  const int64_t values = p.B * p.C * p.H * p.W;
  const std::vector<Band> all = bands(p.B, p.H, values);
  std::array<std::vector<Reach>, N> reaches;
  std::vector<Source<A>> sources;
  for (int i = 0; i < N; ++i) {
    if (!in_place<A>(image[i], p.apart())) reaches[i] = reach(p, i);
    sources.emplace_back(image[i], p.apart(), reaches[i], all);
  }
  const bool streams = streamed<A>(out);
  const auto row_of_result = p.apart() == 4 ? blend_row<A, N, 4, false> : streams ? blend_row<A, N, 0, true> : blend_row<A, N, 0, false>;
  for_bands(all, values, [&](int64_t task, const Band& band) {
    std::vector<A> copy(strip_length * p.apart());
    std::array<Reader<A>, N> readers;
    for (int i = 0; i < N; ++i) readers[i] = sources[i].reader(task, band);
    for (int64_t y = band.begin; y < band.end; ++y) {
      std::array<Rows<const A>, N> rows;
      for (int i = 0; i < N; ++i) {
        if (readers[i].from) readers[i].need(reaches[i][band.b * p.H + y].last);
        rows[i] = readers[i].rows;
      }
      row_of_result(p, rows, out, band.b, y, copy.data());
    }
    if (streams) finish_streams();
  });
}

template void warp_blend_forward<float, 1>(const Problem<float, 1>&, const std::array<View, 1>&, const View&);
template void warp_blend_forward<float, 2>(const Problem<float, 2>&, const std::array<View, 2>&, const View&);
template void warp_blend_forward<double, 1>(const Problem<double, 1>&, const std::array<View, 1>&, const View&);
template void warp_blend_forward<double, 2>(const Problem<double, 2>&, const std::array<View, 2>&, const View&);

}  // namespace lift
