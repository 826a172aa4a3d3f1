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

// Cells of memory as numbers of the field: words, which may be P for zero, or signed integers of fewer bits.
INLINE u32 number(u32 cell) { return cell; }
INLINE u32 number(short cell) { return cell < 0 ? P + cell : cell; }
INLINE u32 number(signed char cell) { return cell < 0 ? P + cell : cell; }

// Four neighbouring cells, the first of which is at a multiple of four.
INLINE void four_numbers(const u32* cells, u32 (&x)[4]) {
  const uint4 four = *(const uint4*)cells;
  x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
}
INLINE void four_numbers(const short* cells, u32 (&x)[4]) {
  const uint2 four = *(const uint2*)cells;
  x[0] = number((short)four.x), x[1] = number((short)(four.x >> 16));
  x[2] = number((short)four.y), x[3] = number((short)(four.y >> 16));
}
INLINE void four_numbers(const signed char* cells, u32 (&x)[4]) {
  const u32 four = *(const u32*)cells;
#pragma unroll
  for (int k = 0; k < 4; k++) x[k] = number((signed char)(four >> (8 * k)));
}
