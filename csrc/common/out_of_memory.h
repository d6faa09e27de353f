// The message of a failed allocation, for programs that catch it and try a smaller batch.
#pragma once

#include <string>

// Since torch 2.13: the message of the last error in a call of PyTorch. Older ones lose it.
extern "C" const char* torch_exception_get_what_without_backtrace() __attribute__((weak));

namespace lift {

// Why PyTorch did not allocate a tensor of so many bytes, in the words of its allocator.
inline std::string out_of_memory(double bytes, bool on_cpu) {
  if (torch_exception_get_what_without_backtrace != nullptr)
    return torch_exception_get_what_without_backtrace();
  std::string count = std::to_string(bytes);
  count.resize(count.find('.'));
  if (on_cpu)
    return "DefaultCPUAllocator: can't allocate memory: you tried to allocate " + count + " bytes.";
  return "CUDA out of memory. Tried to allocate " + count + " bytes.";
}

}  // namespace lift
