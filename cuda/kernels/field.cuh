// The field of 2^31 - 1 elements. Numbers are canonical, below P, unless a name says otherwise.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;

#define P 0x7fffffffu

#ifdef __CUDACC__
#define INLINE static __device__ __forceinline__
#else
#define INLINE static inline __attribute__((always_inline))
#endif

// The smaller of a word and the same without P: reduces what is at most 2P - 1. One instruction on Hopper, as in `sub`,
// where a negative number is a large one.
INLINE u32 reduce_once(u32 x) {
  u32 less = x - P;
  return less < x ? less : x;
}

INLINE u32 add(u32 a, u32 b) { return reduce_once(a + b); }

INLINE u32 sub(u32 a, u32 b) {
  u32 difference = a - b, more = difference + P;
  return more < difference ? more : difference;
}

// The product of `a` and half of `twice`, an even number up to 2P: the high word of their product is that of `ab`
// from bit 31 on, and the low word holds the bits below twice, so that nothing has to be shifted together. They sum
// to less than 2P.
INLINE u32 times_half_of(u32 a, u32 twice) {
  u64 product = (u64)a * twice;
  return reduce_once(((u32)product >> 1) + (u32)(product >> 32));
}
