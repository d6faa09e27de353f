// Stands in for CUDA when tests compile a .cu file with g++: a block's threads are fibers that run one at a time in random order, and
// change at every barrier, shuffle and, now and then, atomic. A barrier that not all threads reach aborts.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#define LIFT_CUDA_EMULATION
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
  uint64_t shared;  // what a shuffle hands to other lanes
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline unsigned running;
inline std::mt19937 order;
inline std::function<void()> body;
inline uint64_t atomics;  // how often one was added to

inline void give_way(State state) {
  fibers[running].state = state;
  swapcontext(&fibers[running].context, &scheduler);
}

inline void start() {
  body();
  give_way(State::done);
}

// Let go on the fibers from `first` to `last` where all of them wait as `state` says; false where some do not.
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
      for (unsigned i = 0; i < threads; i += 32) released |= release(i, min(i + 32, threads), State::at_warp);
      if (released) continue;
      for (const Fiber& fiber : fibers)
        if (fiber.state != State::done) {
          std::fprintf(stderr, "emulation: a barrier or shuffle that not all threads reach\n");
          std::abort();
        }
      return;
    }
    std::shuffle(ready.begin(), ready.end(), order);
    for (unsigned i : ready) {
      running = threadIdx.x = i;
      swapcontext(&scheduler, &fibers[i].context);
    }
  }
}

template <typename F>
void launch(unsigned blocks, unsigned threads, const F& kernel) {
  body = kernel;
  blockDim.x = threads;
  gridDim.x = blocks;
  std::vector<unsigned> turn(blocks);
  for (unsigned i = 0; i < blocks; ++i) turn[i] = i;
  std::shuffle(turn.begin(), turn.end(), order);
  for (unsigned i : turn) {
    blockIdx.x = i;
    run_block(threads);
  }
}

}  // namespace emulation

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

#define LIFT_LAUNCH(kernel, blocks, threads, stream, ...) emulation::launch(blocks, threads, [=] { (kernel)(__VA_ARGS__); })

inline void __syncthreads() { emulation::give_way(emulation::State::at_barrier); }

// The value of the lane `from` of the same warp. All lanes must take part.
template <typename T>
T of_lane(T value, unsigned from) {
  const unsigned first = emulation::running / 32 * 32, self = emulation::running;
  std::memcpy(&emulation::fibers[self].shared, &value, sizeof value);
  emulation::give_way(emulation::State::at_warp);
  std::memcpy(&value, &emulation::fibers[first + from].shared, sizeof value);
  emulation::give_way(emulation::State::at_warp);
  return value;
}

inline unsigned lane() { return emulation::running % 32; }

template <typename T>
T __shfl_sync(unsigned, T value, unsigned from) { return of_lane(value, from); }
template <typename T>
T __shfl_xor_sync(unsigned, T value, unsigned mask) { return of_lane(value, lane() ^ mask); }
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned by) { return of_lane(value, lane() < by ? lane() : lane() - by); }
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned by) { return of_lane(value, lane() + by > 31 ? lane() : lane() + by); }

inline bool __all_sync(unsigned, bool value) {
  bool all = true;
  for (unsigned i = 0; i < 32; ++i) all &= of_lane(value, i);
  return all;
}

template <typename T>
T atomicAdd(T* to, T value) {
  ++emulation::atomics;
  if (emulation::order() % 64 == 0) emulation::give_way(emulation::State::ready);
  const T before = *to;
  *to = before + value;
  return before;
}

template <typename T>
T atomicMax(T* to, T value) {
  const T before = *to;
  *to = max(before, value);
  return before;
}

template <typename To, typename From>
To with_bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float __uint_as_float(uint32_t bits) { return with_bits_of<float>(bits); }
inline uint32_t __float_as_uint(float x) { return with_bits_of<uint32_t>(x); }
inline _Float16 __ushort_as_half(uint16_t bits) { return with_bits_of<_Float16>(bits); }
inline float __half2float(_Float16 x) { return x; }

inline int __clzll(long long x) { return __builtin_clzll(x); }

// As on a GPU: to the nearest, halves to even, what is too large to the end, NaN to 0.
inline long long __float2ll_rn(float x) {
  if (std::isnan(x)) return 0;
  return std::fabs(x) < 9.2e18f ? std::llrint(x) : x > 0 ? INT64_MAX : INT64_MIN;
}
