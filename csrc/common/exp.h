// The exponential function of numbers that are not positive.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace lift {

// exp(x) for x <= 0, with an error below 2e-7; NaN stays NaN.
// Plain arithmetic, so that a loop over pixels vectorises.
LIFT_HD float exp_neg(float x) {
#if defined(__CUDA_ARCH__)
  return expf(x);
#else
  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits.
  const float shift = 12582912.0f;
  const float shifted = x * 1.44269504f + shift;
  const float whole = shifted - shift;
  // ln 2 in two parts, of which the first has exact products.
  const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return x < -87.0f ? 0.0f : series * power;
#endif
}

LIFT_HD double exp_neg(double x) { return std::exp(x); }

}  // namespace lift
