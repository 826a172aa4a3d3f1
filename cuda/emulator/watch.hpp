// What sanitizers are told of stacks and of memory that blocks share, in builds that have one.
#pragma once

#include <cstddef>

#if defined(EMULATE_THREADS)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
}
#elif defined(EMULATE_ADDRESSES)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {
namespace {

// A stack that can be left and gone back to.
struct Context {
  void* stack_pointer = nullptr;
  // What sanitizers know it by.
  void* watched = nullptr;
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  std::size_t size = 0;
};

// What sanitizers are told. Without them, nothing.
namespace watch {

#if defined(EMULATE_THREADS)
constexpr bool threads = true;
void* this_thread() { return __tsan_get_current_fiber(); }
void* new_thread() { return __tsan_create_fiber(0); }
void become(void* thread) {
  constexpr unsigned without_order = 1;
  __tsan_switch_to_fiber(thread, without_order);
}
void acquire(void* tag) { __tsan_acquire(tag); }
void release(void* tag) { __tsan_release(tag); }
// While it lives, what the thread does to memory is the emulator's business. What it allocates then has no history.
struct Unheard {
  Unheard() { __tsan_ignore_thread_begin(); }
  ~Unheard() { __tsan_ignore_thread_end(); }
};
#else
constexpr bool threads = false;
void* this_thread() { return nullptr; }
void* new_thread() { return nullptr; }
void become(void*) {}
void acquire(void*) {}
void release(void*) {}
struct Unheard {
  Unheard() {}
};
#endif

#if defined(EMULATE_ADDRESSES)
// Bytes that nobody may touch behind each shared array.
constexpr std::size_t gap = 64;
void forbid(void* from, std::size_t bytes) { __asan_poison_memory_region(from, bytes); }
void allow(void* from, std::size_t bytes) { __asan_unpoison_memory_region(from, bytes); }
void leave(Context& here, const Context& there) {
  __sanitizer_start_switch_fiber(&here.fake_stack, there.bottom, there.size);
}
// The bounds of the stack that was left come back, which is how those of the operating system's stack are found.
void arrive(Context& here, Context& left) {
  __sanitizer_finish_switch_fiber(here.fake_stack, &left.bottom, &left.size);
}
#else
constexpr std::size_t gap = 0;
void forbid(void*, std::size_t) {}
void allow(void*, std::size_t) {}
void leave(Context&, const Context&) {}
void arrive(Context&, Context&) {}
#endif

}  // namespace watch

}  // namespace
}  // namespace emulator
