// Stands in for CUDA when tests compile a .cu file with g++.
//
// The threads of a block are fibers that run one at a time in random order. They switch at every
// barrier and shuffle and, now and then, at an atomic. A barrier that not all threads reach aborts.
//
// LIFT_EMULATED_ARCH, 900 for compute capability 9.0, selects the code for a GPU of that kind;
// without it the code is for one older than any.
//
// It counts the additions to global memory and the 32-byte sectors that they touch in the L2 cache:
// each sector once for an instruction of a warp. Lanes execute the same instruction together if
// they have executed as many warp-wide operations and have since reached the same place in the code
// equally often.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#define LIFT_CUDA_EMULATION
#ifdef LIFT_EMULATED_ARCH
#define __CUDA_ARCH__ LIFT_EMULATED_ARCH
#endif
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
using std::max;
using std::min;

struct Index {
  unsigned x;
};

namespace emulation {

enum class State { ready, at_barrier, at_warp, done };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  State state;
  uint64_t shared[2];  // values for other lanes, of this shuffle and the one before
  unsigned steps;      // warp-wide operations so far
  // How often it has added since the last of these, by the place in the code.
  std::vector<std::pair<const void*, unsigned>> turns;
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline unsigned running;
inline std::mt19937 order;
inline std::function<void()> body;
// The blocks of a kernel that run; all do if it is empty.
inline std::function<std::vector<unsigned>(const char* kernel, unsigned count)> choose_blocks;
inline uint64_t additions;  // of single values to global memory
inline uint64_t shared_additions;
inline uint64_t sectors;  // that additions to global memory touched
// Of a block: warp, step, place in the code, turn, sector.
inline std::vector<std::tuple<unsigned, unsigned, const void*, unsigned, uintptr_t>> touched;

inline void yield(State state) {
  fibers[running].state = state;
  swapcontext(&fibers[running].context, &scheduler);
}

inline void start() {
  body();
  yield(State::done);
}

// If all fibers from `first` to `last` - 1 wait in `state`, let them continue.
inline bool release(unsigned first, unsigned last, State state) {
  for (unsigned i = first; i < last; ++i)
    if (fibers[i].state != state) return false;
  for (unsigned i = first; i < last; ++i) fibers[i].state = State::ready;
  return true;
}

}  // namespace emulation

inline Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

inline void run_block(unsigned threads) {
  fibers.resize(threads);
  for (Fiber& fiber : fibers) {
    fiber.stack.resize(1 << 16);
    fiber.state = State::ready;
    fiber.steps = 0;
    fiber.turns.clear();
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    makecontext(&fiber.context, start, 0);
  }
  for (;;) {
    std::vector<unsigned> ready;
    for (unsigned i = 0; i < threads; ++i)
      if (fibers[i].state == State::ready) ready.push_back(i);
    if (ready.empty()) {
      bool released = release(0, threads, State::at_barrier);
      for (unsigned i = 0; i < threads; i += 32)
        released |= release(i, min(i + 32, threads), State::at_warp);
      if (released) continue;
      for (const Fiber& fiber : fibers)
        if (fiber.state != State::done) {
          std::fprintf(stderr, "emulation: a barrier or shuffle that not all threads reach\n");
          std::abort();
        }
      std::sort(touched.begin(), touched.end());
      sectors += std::unique(touched.begin(), touched.end()) - touched.begin();
      touched.clear();
      return;
    }
    std::shuffle(ready.begin(), ready.end(), order);
    for (unsigned i : ready) {
      running = threadIdx.x = i;
      swapcontext(&scheduler, &fibers[i].context);
    }
  }
}

inline std::vector<unsigned> all_blocks(unsigned count) {
  std::vector<unsigned> blocks(count);
  for (unsigned i = 0; i < count; ++i) blocks[i] = i;
  return blocks;
}

template <typename F>
void launch(const char* name, unsigned count, unsigned threads, const F& kernel) {
  body = kernel;
  blockDim.x = threads;
  gridDim.x = count;
  std::vector<unsigned> blocks = choose_blocks ? choose_blocks(name, count) : all_blocks(count);
  std::shuffle(blocks.begin(), blocks.end(), order);
  for (unsigned i : blocks) {
    blockIdx.x = i;
    run_block(threads);
  }
}

}  // namespace emulation

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

#define LIFT_LAUNCH(kernel, blocks, threads, stream, ...) \
  emulation::launch(#kernel, blocks, threads, [&] { (kernel)(__VA_ARGS__); })

inline void __syncthreads() { emulation::yield(emulation::State::at_barrier); }

// Give `value` to the other lanes of the warp, all of which must take part.
// Returns the warp's fibers and which of their `shared` has their values.
template <typename T>
std::pair<const emulation::Fiber*, unsigned> exchange(T value) {
  emulation::Fiber& self = emulation::fibers[emulation::running];
  const unsigned slot = self.steps++ % 2;  // no lane is two steps ahead of another
  self.turns.clear();
  std::memcpy(&self.shared[slot], &value, sizeof value);
  emulation::yield(emulation::State::at_warp);
  return {&emulation::fibers[emulation::running / 32 * 32], slot};
}

template <typename T>
T of_lane(T value, unsigned from) {
  const auto [lanes, slot] = exchange(value);
  std::memcpy(&value, &lanes[from].shared[slot], sizeof value);
  return value;
}

inline unsigned lane() { return emulation::running % 32; }

template <typename T>
T __shfl_sync(unsigned, T value, unsigned from) {
  return of_lane(value, from);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, unsigned mask) {
  return of_lane(value, lane() ^ mask);
}
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned by) {
  return of_lane(value, lane() < by ? lane() : lane() - by);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned by) {
  return of_lane(value, lane() + by > 31 ? lane() : lane() + by);
}

inline bool __all_sync(unsigned, bool value) {
  const auto [lanes, slot] = exchange<uint64_t>(value);
  bool all = true;
  for (unsigned i = 0; i < 32; ++i) all &= lanes[i].shared[slot] != 0;
  return all;
}

extern "C" char __data_start, _end;

namespace emulation {

// Count `values` that the instruction at `code` adds from `to` on, within one sector.
inline void count(const void* to, unsigned values, const void* code) {
  const char* const at = static_cast<const char*>(to);
  if (at >= &__data_start && at < &_end) {  // __shared__ variables are static
    shared_additions += values;
    return;
  }
  additions += values;
  Fiber& self = fibers[running];
  auto turn = std::find_if(self.turns.begin(), self.turns.end(),
                           [=](const auto& turn) { return turn.first == code; });
  if (turn == self.turns.end()) turn = self.turns.insert(turn, {code, 0});
  touched.emplace_back(running / 32, self.steps, code, turn->second++,
                       reinterpret_cast<uintptr_t>(to) / 32);
}

inline void sometimes_yield() {
  if (order() % 64 == 0) yield(State::ready);
}

}  // namespace emulation

template <typename T>
__attribute__((noinline)) T atomicAdd(T* to, T value) {
  emulation::count(to, 1, __builtin_return_address(0));
  emulation::sometimes_yield();
  const T before = *to;
  *to = before + value;
  return before;
}

// Four floats at once, to 16 bytes that are aligned.
__attribute__((noinline)) inline void atomic_add_v4(float* to, float a, float b, float c, float d) {
  emulation::count(to, 4, __builtin_return_address(0));
  emulation::sometimes_yield();
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0) std::abort();
  to[0] += a;
  to[1] += b;
  to[2] += c;
  to[3] += d;
}

template <typename T>
T atomicMax(T* to, T value) {
  const T before = *to;
  *to = max(before, value);
  return before;
}

template <typename To, typename From>
To bit_cast_to(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float __uint_as_float(uint32_t bits) { return bit_cast_to<float>(bits); }
inline uint32_t __float_as_uint(float x) { return bit_cast_to<uint32_t>(x); }
inline _Float16 __ushort_as_half(uint16_t bits) { return bit_cast_to<_Float16>(bits); }
inline float __half2float(_Float16 x) { return x; }
inline _Float16 __float2half_rn(float x) { return static_cast<_Float16>(x); }
inline uint16_t __half_as_ushort(_Float16 x) { return bit_cast_to<uint16_t>(x); }

inline int __clzll(long long x) { return __builtin_clzll(x); }

// As on a GPU: round to nearest, ties to even; saturate; NaN becomes 0.
inline long long __float2ll_rn(float x) {
  if (std::isnan(x)) return 0;
  if (std::fabs(x) < 9.2e18f) return std::llrint(x);
  return x > 0 ? INT64_MAX : INT64_MIN;
}
