// Features in bfloat16, read and written as float32. In templates T is the type of features, and
// Wide<T> the one that is computed in.
#pragma once

#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "host_device.h"
#include "simd.h"
#include "tensors.h"

namespace lift {

struct BFloat16 {
  uint16_t bits;
};

template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, BFloat16>, float, T>;

// Call work(T()) for features of a dtype: float, double or BFloat16.
template <typename F>
void dispatch_feature_type(ScalarType dtype, const F& work) {
  switch (dtype) {
    case ScalarType::Float: return work(float());
    case ScalarType::Double: return work(double());
    case ScalarType::BFloat16: return work(BFloat16());
    default: STD_TORCH_CHECK(false, "features must be float32, float64 or bfloat16");
  }
}

// -- single values; plain arithmetic, so that loops vectorise -------------------------------------

LIFT_HD float widen(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

LIFT_HD float widen(float x) { return x; }
LIFT_HD double widen(double x) { return x; }

// Rounded to the nearest, to even between two; NaN stays NaN.
template <typename T>
LIFT_HD T narrow(Wide<T> x) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return {static_cast<uint16_t>(x == x ? rounded : bits >> 16 | 0x40u)};
  } else {
    return x;
  }
}

// -- vectors, as `load` and `store` of simd.h -----------------------------------------------------

// 16-bit values as 32-bit ones. GCC would convert the halves of a wide vector one by one.
template <typename To, typename V>
LIFT_HD To zero_extend(const V& vec) {
#if defined(__AVX512F__)
  if constexpr (sizeof(To) == 64)
    return reinterpret_cast<To>(_mm512_cvtepu16_epi32(reinterpret_cast<const __m256i&>(vec)));
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(To) == 32)
    return reinterpret_cast<To>(_mm256_cvtepu16_epi32(reinterpret_cast<const __m128i&>(vec)));
#endif
  return __builtin_convertvector(vec, To);
}

template <typename T, typename L>
LIFT_HD Vec<Wide<T>, L::size> load_wide(const T* from, L lanes) {
  if constexpr (!std::is_same_v<T, BFloat16>) {
    return load(from, lanes);
  } else {
    using Narrow = Vec<uint16_t, L::size>;
    using Bits = Vec<uint32_t, L::size>;
    Narrow narrow_bits = {};
    if constexpr (L::active < 4)
      for (int i = 0; i < L::active; ++i) narrow_bits[i] = from[i].bits;
    else
      std::memcpy(&narrow_bits, from, sizeof narrow_bits);
    const Bits bits = zero_extend<Bits>(narrow_bits) << 16;
    Vec<float, L::size> wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
  }
}

template <typename T, typename L>
LIFT_HD void store_narrow(T* to, const Vec<Wide<T>, L::size>& vec, L lanes) {
  if constexpr (!std::is_same_v<T, BFloat16>) {
    store<T>(to, vec, lanes);
  } else {
    using Narrow = Vec<uint16_t, L::size>;
    using Bits = Vec<uint32_t, L::size>;
    Bits bits;  // copied: GCC takes an access by another type to be to other memory
    std::memcpy(&bits, &vec, sizeof bits);
    const Bits rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    const Bits found = vec == vec ? rounded : bits >> 16 | 0x40u;
    const Narrow narrow_bits = __builtin_convertvector(found, Narrow);
    if constexpr (L::active < 4)
      for (int i = 0; i < L::active; ++i) to[i].bits = narrow_bits[i];
    else
      std::memcpy(to, &narrow_bits, sizeof narrow_bits);
  }
}

}  // namespace lift
