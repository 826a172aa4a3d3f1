// What every kernel file includes first: the little in which nvcc and the emulator differ.
//
// * `SHARED_ARRAY(T, name, n)` declares an array that the threads of a block share.
// * `DYNAMIC_SHARED(T, name)` declares a pointer to the shared memory that the launch asks for, aligned to 16 bytes.
// * `RELAXED_LOAD(address)` reads a word that other threads change by atomics.
// * `KERNELS(a, b, ...)` stands at the end of the file and names its kernels, so that the emulator knows them.
//
// The emulator fills shared memory with 0xa5 before a block uses it, and knows no plain `__shared__`.
#pragma once

#ifdef __CUDACC__

#define SHARED_ARRAY(T, name, n) __shared__ T name[n]
#define DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(dynamic_shared)
#define RELAXED_LOAD(address) (*(const volatile unsigned*)(address))
#define KERNELS(...)

#else

#include "emulator.hpp"

#define SHARED_ARRAY(T, name, n)   \
  static char name##_identity = 0; \
  T(&name)[n] = *static_cast<T(*)[n]>(emulator::shared_array(&name##_identity, sizeof(T[n]), alignof(T)))
#define DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(emulator::dynamic_shared())
#define RELAXED_LOAD(address) __atomic_load_n(address, __ATOMIC_RELAXED)
#define KERNELS(...) static const emulator::Kernels<__VA_ARGS__> kernels_of_this_file(#__VA_ARGS__);

#endif
