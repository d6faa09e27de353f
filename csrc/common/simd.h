// Vectors over the channels of a pixel, which are adjacent in memory.
//
// Any number of channels is processed by the widest vectors of the processor, then by fours, then
// the remaining one to three; nothing beyond the last channel is read or written.
#pragma once

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

#include "host_device.h"

#define LIFT_SIMD _Pragma("omp simd")

namespace lift {

template <typename A, int n>
struct VecOf {
  typedef A type __attribute__((vector_size(n * sizeof(A))));
};

template <typename A, int n>
using Vec = typename VecOf<A, n>::type;

// The shape of a vector: `size` lanes, of which the first `active` are in memory.
template <int size_, int active_>
struct ActiveLanes {
  static constexpr int size = size_, active = active_;
};

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <typename A>
constexpr int max_lanes = vector_bytes / sizeof(A) > 4 ? vector_bytes / sizeof(A) : 4;

// -- loads and stores -----------------------------------------------------------------------------

template <typename A, typename L>
LIFT_HD Vec<A, L::size> load(const A* from, L) {
  if constexpr (L::active == 1) return Vec<A, L::size>{from[0]};
  if constexpr (L::active == 2) return Vec<A, L::size>{from[0], from[1]};
  if constexpr (L::active == 3) return Vec<A, L::size>{from[0], from[1], from[2]};
  Vec<A, L::size> vec;
  std::memcpy(&vec, from, L::size * sizeof(A));
  return vec;
}

template <typename A, typename L>
LIFT_HD void store(A* to, const Vec<A, L::size>& vec, L) {
  if constexpr (L::active < 4) {
    for (int i = 0; i < L::active; ++i) to[i] = vec[i];
  } else {
    std::memcpy(to, &vec, L::size * sizeof(A));
  }
}

// A store that bypasses the caches, for results that are not read soon:
// it does not read the memory that it overwrites.
//
// `to` is aligned to a vector. Other threads see it after `fence_nontemporal_stores`.
template <typename A, typename L>
LIFT_HD void store_nontemporal(A* to, const Vec<A, L::size>& vec, L lanes) {
#if defined(__AVX512F__)
  if constexpr (sizeof vec == 64)
    return _mm512_stream_si512(reinterpret_cast<__m512i*>(to),
                               reinterpret_cast<const __m512i&>(vec));
#elif defined(__AVX__)
  if constexpr (sizeof vec == 32)
    return _mm256_stream_si256(reinterpret_cast<__m256i*>(to),
                               reinterpret_cast<const __m256i&>(vec));
#endif
  store<A>(to, vec, lanes);
}

inline void fence_nontemporal_stores() {
#if defined(__AVX__)
  _mm_sfence();
#endif
}

// Prefetch n values. The kernels read many streams in turn, a little of each at a time,
// and the hardware prefetcher follows few of them.
template <typename T>
LIFT_HD void prefetch(const T* from, int64_t n) {
  const char* const bytes = reinterpret_cast<const char*>(from);
  for (int64_t i = 0; i < n * static_cast<int64_t>(sizeof(T)); i += 64)
    __builtin_prefetch(bytes + i);
}

// -- loops over channels --------------------------------------------------------------------------

// Call work(ActiveLanes, c) for vectors of channels from c on, which together are all C channels.
// `wide`: whether C may reach the width of the widest vector.
template <typename A, bool wide = true, typename F>
LIFT_HD void for_channels(int64_t C, const F& work) {
  constexpr int most = max_lanes<A>;
  int64_t c = 0;
  if constexpr (wide && most > 4)
    for (; c + most <= C; c += most) work(ActiveLanes<most, most>(), c);
  for (; c + 4 <= C; c += 4) work(ActiveLanes<4, 4>(), c);
  if (c + 1 == C) work(ActiveLanes<4, 1>(), c);
  if (c + 2 == C) work(ActiveLanes<4, 2>(), c);
  if (c + 3 == C) work(ActiveLanes<4, 3>(), c);
}

// The same for a C that is known at compile time: 4, or 0 where it is not known.
template <typename A, int static_C, bool wide = true, typename F>
LIFT_HD void for_static_channels(int64_t C, const F& work) {
  if constexpr (static_C == 4)
    work(ActiveLanes<4, 4>(), int64_t(0));
  else
    for_channels<A, wide>(C, work);
}

// Add `weight` times the C channels of a pixel to those of another.
template <typename A, int static_C = 0>
LIFT_HD void add_scaled_pixel(A* to, A weight, const A* pixel, int64_t C) {
  for_static_channels<A, static_C>(C, [&](auto lanes, int64_t c) {
    store<A>(to + c, load(to + c, lanes) + weight * load(pixel + c, lanes), lanes);
  });
}

template <typename A>
LIFT_HD A sum_of_four(const A (&parts)[4]) {
  return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

// A sum over channels of the vectors that `for_channels` provides.
template <typename A, bool wide>
struct ChannelSum {
  Vec<A, 4> four = {};
  Vec<A, max_lanes<A>> most = {};

  template <typename V>
  LIFT_HD void add(const V& vec) {
    if constexpr (sizeof(V) == sizeof four)
      four += vec;
    else
      most += vec;
  }

  // Four partial sums.
  LIFT_HD void store_partial_sums(A* to) const {
    Vec<A, 4> sum = four;
    if constexpr (wide && max_lanes<A> > 4)
      for (int i = 0; i < max_lanes<A>; i += 4) {
        Vec<A, 4> part;
        std::memcpy(&part, reinterpret_cast<const char*>(&most) + i * sizeof(A), sizeof part);
        sum += part;
      }
    std::memcpy(to, &sum, sizeof sum);
  }

  LIFT_HD A total() const {
    A parts[4];
    store_partial_sums(parts);
    return sum_of_four(parts);
  }
};

}  // namespace lift
