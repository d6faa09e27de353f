// Vectors over the channels of a pixel. The channels of a pixel lie side by side; whatever the number of them, they are taken as wide as
// the processor has it, then by fours, then the one to three that are left, and nothing beyond the last one is read or written.
#pragma once

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

#include "warp.h"

#define LIFT_SIMD _Pragma("omp simd")

namespace lift {

template <typename A, int n>
struct LanesOf {
  typedef A type __attribute__((vector_size(n * sizeof(A))));
};

template <typename A, int n>
using Lanes = typename LanesOf<A, n>::type;

// n lanes, of which the first `held` are in memory.
template <int n_, int held_>
struct Width {
  static constexpr int n = n_, held = held_;
};

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <typename A>
constexpr int widest = vector_bytes / sizeof(A) > 4 ? vector_bytes / sizeof(A) : 4;

template <typename A, typename W>
LIFT_HD Lanes<A, W::n> load(const A* from, W) {
  if constexpr (W::held == 1) return Lanes<A, W::n>{from[0]};
  if constexpr (W::held == 2) return Lanes<A, W::n>{from[0], from[1]};
  if constexpr (W::held == 3) return Lanes<A, W::n>{from[0], from[1], from[2]};
  Lanes<A, W::n> lanes;
  std::memcpy(&lanes, from, W::n * sizeof(A));
  return lanes;
}

template <typename A, typename W>
LIFT_HD void store(A* to, const Lanes<A, W::n>& lanes, W) {
  if constexpr (W::held < 4) {
    for (int i = 0; i < W::held; ++i) to[i] = lanes[i];
  } else {
    std::memcpy(to, &lanes, W::n * sizeof(A));
  }
}

// A store past the caches, for what nobody reads soon: memory is not read first only to be overwritten. `to` is aligned to a vector. Other
// threads see it after `finish_streams`.
template <typename A, typename W>
LIFT_HD void stream(A* to, const Lanes<A, W::n>& lanes, W width) {
#if defined(__AVX512F__)
  if constexpr (sizeof lanes == 64) return _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<const __m512i&>(lanes));
#elif defined(__AVX__)
  if constexpr (sizeof lanes == 32) return _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<const __m256i&>(lanes));
#endif
  store<A>(to, lanes, width);
}

inline void finish_streams() {
#if defined(__AVX__)
  _mm_sfence();
#endif
}

// Call work(Width, c) for stretches of channels from c on that together are all C. `wide`: whether C may be as many as a widest vector holds.
template <typename A, bool wide = true, typename F>
LIFT_HD void for_channels(int64_t C, const F& work) {
  constexpr int most = widest<A>;
  int64_t c = 0;
  if constexpr (wide && most > 4)
    for (; c + most <= C; c += most) work(Width<most, most>(), c);
  for (; c + 4 <= C; c += 4) work(Width<4, 4>(), c);
  if (c + 1 == C) work(Width<4, 1>(), c);
  if (c + 2 == C) work(Width<4, 2>(), c);
  if (c + 3 == C) work(Width<4, 3>(), c);
}

// The same where the compiler may know C; 0 where it does not.
template <typename A, int known, bool wide = true, typename F>
LIFT_HD void for_known_channels(int64_t C, const F& work) {
  if constexpr (known == 4)
    work(Width<4, 4>(), int64_t(0));
  else
    for_channels<A, wide>(C, work);
}

// Ask for n values that will be read soon. Many streams are read in turn, each a little at a time; the processor itself foresees few of them.
template <typename T>
LIFT_HD void expect(const T* from, int64_t n) {
  const char* const bytes = reinterpret_cast<const char*>(from);
  for (int64_t i = 0; i < n * static_cast<int64_t>(sizeof(T)); i += 64) __builtin_prefetch(bytes + i);
}

// A sum over channels: add what `for_channels` hands out; `fold` leaves four partial sums.
template <typename A, bool wide>
struct Sum {
  Lanes<A, 4> four = {};
  Lanes<A, widest<A>> most = {};

  template <typename L>
  LIFT_HD void add(const L& lanes) {
    if constexpr (sizeof(L) == sizeof four)
      four += lanes;
    else
      most += lanes;
  }

  LIFT_HD void fold(A* to) const {
    Lanes<A, 4> total = four;
    if constexpr (wide && widest<A> > 4)
      for (int i = 0; i < widest<A>; i += 4) {
        Lanes<A, 4> part;
        std::memcpy(&part, reinterpret_cast<const char*>(&most) + i * sizeof(A), sizeof part);
        total += part;
      }
    std::memcpy(to, &total, sizeof total);
  }
};

}  // namespace lift
