// CUDA C++ on a CPU: what kernel files mean where nvcc does not compile them.
//
// Every CUDA thread is a fiber; `emulator.cpp` runs them and says what each function of namespace `emulator` does. What
// is here is the language: its words, its vectors, its functions. Only what kernels use is here. There are no clusters,
// no asynchronous copies, no inline PTX, and blocks may not wait for each other.
//
// The emulator is stricter than a GPU where a program that is wrong could seem right: threads may not return before a
// barrier that others reach, barriers in different lines are different barriers, and no mask may name a lane that has
// returned.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

struct alignas(8) uint2 {
  unsigned x, y;
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

constexpr int warpSize = 32;

// `__thread` and not `thread_local`, which would call a function at each use. Blocks run one at a time on a thread of
// the operating system, and each fiber stays on one.
extern __thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

// A line of a kernel file: of the one who calls, where it is a default argument.
struct Place {
  const char* file;
  int line;
};
constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }

// What a thread does where it may wait for others.
struct Call {
  const char* operation;
  Place place;
};

// Waits for all threads of the block, and counts the votes.
unsigned barrier(Call call, bool vote);

// Waits for the lanes of the mask, and orders what they have done to memory.
void warp_barrier(Call call, unsigned mask);

// Waits for the lanes of the mask and gives the lanes that voted. Like votes on a GPU it orders no memory.
unsigned ballot(Call call, unsigned mask, bool vote);

// Waits for the lanes of the mask and gives the value of another lane. Like shuffles on a GPU it orders no memory.
enum class Shuffle { index, up, down, exclusive_or };
std::uint64_t shuffle(Call call, unsigned mask, Shuffle kind, std::uint64_t value, unsigned operand, int width);

// The array that the threads of a block know by this address of a static object of their own.
void* shared_array(const void* identity, std::size_t bytes, std::size_t alignment, Place place = here());

// The shared memory for which the launch asked.
void* dynamic_shared(Place place = here());

// Orders memory among blocks.
void fence();

// Ends the launch.
[[noreturn]] void trap(Place place);

template <class Value>
Value shuffle_as(Call call, unsigned mask, Shuffle kind, Value value, unsigned operand, int width) {
  static_assert(std::is_arithmetic_v<Value> && (sizeof(Value) == 4 || sizeof(Value) == 8), "no value of a shuffle");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(call, mask, kind, bits, operand, width);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// A parameter of a kernel.
struct Parameter {
  std::size_t bytes;
  bool address;
};

// A kernel: how it is called with pointers to its arguments, and what they must be.
struct Entry {
  void (*run)(const void* const* arguments);
  const Parameter* parameters;
  std::size_t count;
};

// Makes kernels known by their names, which are separated by commas.
void add_kernels(const char* names, const Entry* entries, std::size_t count);

template <auto kernel>
struct Caller;
template <class... Arguments, void (*kernel)(Arguments...)>
struct Caller<kernel> {
  static constexpr std::array<Parameter, sizeof...(Arguments)> parameters = {
      Parameter{sizeof(Arguments), std::is_pointer_v<Arguments>}...};

  // Arguments lie anywhere, so that they are copied to where their types may be.
  template <class Argument>
  static std::remove_const_t<Argument> load(const void* from) {
    static_assert(std::is_trivially_copyable_v<Argument>, "an argument of a kernel is a value");
    std::remove_const_t<Argument> argument;
    std::memcpy(&argument, from, sizeof argument);
    return argument;
  }

  template <std::size_t... index>
  static void call([[maybe_unused]] const void* const* arguments, std::index_sequence<index...>) {
    kernel(load<Arguments>(arguments[index])...);
  }

  static void run(const void* const* arguments) { call(arguments, std::index_sequence_for<Arguments...>()); }

  static constexpr Entry entry = {run, parameters.data(), parameters.size()};
};

// The kernels of a file, which become known when the program starts.
template <auto... kernels>
struct Kernels {
  explicit Kernels(const char* names) {
    constexpr std::array<Entry, sizeof...(kernels)> entries = {Caller<kernels>::entry...};
    add_kernels(names, entries.data(), entries.size());
  }
};

// What `atomicAdd` and its like take on a GPU as well.
template <class Value>
using Atomic = std::enable_if_t<
    std::is_same_v<Value, int> || std::is_same_v<Value, unsigned> || std::is_same_v<Value, unsigned long long>, Value>;

// The same type, which is not deduced from an argument.
template <class Value>
struct Same {
  using Type = Value;
};

}  // namespace emulator

inline void __syncthreads(emulator::Place place = emulator::here()) {
  emulator::barrier({"__syncthreads", place}, false);
}
inline int __syncthreads_count(int predicate, emulator::Place place = emulator::here()) {
  return static_cast<int>(emulator::barrier({"__syncthreads_count", place}, predicate != 0));
}
inline int __syncthreads_and(int predicate, emulator::Place place = emulator::here()) {
  return emulator::barrier({"__syncthreads_and", place}, predicate == 0) == 0;
}
inline int __syncthreads_or(int predicate, emulator::Place place = emulator::here()) {
  return emulator::barrier({"__syncthreads_or", place}, predicate != 0) != 0;
}

inline void __syncwarp(unsigned mask = ~0u, emulator::Place place = emulator::here()) {
  emulator::warp_barrier({"__syncwarp", place}, mask);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, emulator::Place place = emulator::here()) {
  return emulator::ballot({"__ballot_sync", place}, mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate, emulator::Place place = emulator::here()) {
  return emulator::ballot({"__any_sync", place}, mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate, emulator::Place place = emulator::here()) {
  return emulator::ballot({"__all_sync", place}, mask, predicate == 0) == 0;
}

template <class Value>
Value __shfl_sync(unsigned mask, Value value, int lane, int width = warpSize,
                  emulator::Place place = emulator::here()) {
  const auto operand = static_cast<unsigned>(lane);
  return emulator::shuffle_as({"__shfl_sync", place}, mask, emulator::Shuffle::index, value, operand, width);
}
template <class Value>
Value __shfl_up_sync(unsigned mask, Value value, unsigned distance, int width = warpSize,
                     emulator::Place place = emulator::here()) {
  return emulator::shuffle_as({"__shfl_up_sync", place}, mask, emulator::Shuffle::up, value, distance, width);
}
template <class Value>
Value __shfl_down_sync(unsigned mask, Value value, unsigned distance, int width = warpSize,
                       emulator::Place place = emulator::here()) {
  return emulator::shuffle_as({"__shfl_down_sync", place}, mask, emulator::Shuffle::down, value, distance, width);
}
template <class Value>
Value __shfl_xor_sync(unsigned mask, Value value, int bits, int width = warpSize,
                      emulator::Place place = emulator::here()) {
  const auto operand = static_cast<unsigned>(bits);
  return emulator::shuffle_as({"__shfl_xor_sync", place}, mask, emulator::Shuffle::exclusive_or, value, operand, width);
}

// Atomics order nothing but the word itself.
template <class Value>
emulator::Atomic<Value> atomicAdd(Value* address, typename emulator::Same<Value>::Type value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <class Value>
emulator::Atomic<Value> atomicOr(Value* address, typename emulator::Same<Value>::Type value) {
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}
template <class Value>
emulator::Atomic<Value> atomicCAS(Value* address, typename emulator::Same<Value>::Type expected,
                                  typename emulator::Same<Value>::Type value) {
  // Writes to `expected` what it has found.
  __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <class Value>
emulator::Atomic<Value> atomicMax(Value* address, typename emulator::Same<Value>::Type value) {
  Value found = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (found < value &&
         !__atomic_compare_exchange_n(address, &found, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return found;
}
template <class Value>
emulator::Atomic<Value> atomicMin(Value* address, typename emulator::Same<Value>::Type value) {
  Value found = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (value < found &&
         !__atomic_compare_exchange_n(address, &found, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return found;
}

inline void __threadfence() { emulator::fence(); }
inline void __trap(emulator::Place place = emulator::here()) { emulator::trap(place); }

template <class Value>
Value __ldg(const Value* address) {
  return *address;
}

inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  const std::uint64_t both = static_cast<std::uint64_t>(high) << 32 | low;
  return static_cast<unsigned>(both << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  const std::uint64_t both = static_cast<std::uint64_t>(high) << 32 | low;
  return static_cast<unsigned>(both >> (shift & 31));
}
// The bytes that the low bits of the selector's digits name: those of `low` first, then those of `high`.
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const std::uint64_t both = static_cast<std::uint64_t>(high) << 32 | low;
  unsigned bytes = 0;
  for (unsigned k = 0; k < 4; k++) {
    const unsigned from = selector >> (4 * k) & 7;
    bytes |= (static_cast<unsigned>(both >> (8 * from)) & 255) << (8 * k);
  }
  return bytes;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
inline unsigned __brev(unsigned bits) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; bit++) reversed |= (bits >> bit & 1u) << (31 - bit);
  return reversed;
}

template <class Value>
Value min(Value a, Value b) {
  return b < a ? b : a;
}
template <class Value>
Value max(Value a, Value b) {
  return a < b ? b : a;
}
