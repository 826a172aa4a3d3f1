// The Poseidon2 permutation of width 16, as `circlet_core::hash::poseidon2` defines it: one thread has a state.
#pragma once

#include "dialect.cuh"
#include "field.cuh"

// Lanes of the state, full rounds at either end, and rounds of one lane between them.
#define LANES 16
#define FULL_ROUNDS 4
#define PARTIAL_ROUNDS 14

INLINE u32 fifth_power(u32 x) {
  const u32 square = times_half_of(x, 2 * x);
  return times_half_of(times_half_of(square, 2 * square), 2 * x);
}

// circ(2 M4, M4, M4, M4), where M4 = circ(2, 3, 1, 1): every group of four lanes becomes the image under M4 of its sum with the
// sum of all groups.
INLINE void external_layer(u32 (&x)[LANES]) {
  u32 all[4];
#pragma unroll
  for (int k = 0; k < 4; k++) all[k] = add(add(x[k], x[k + 4]), add(x[k + 8], x[k + 12]));
#pragma unroll
  for (int k = 0; k < LANES; k += 4) {
    const u32 a = add(x[k], all[0]), b = add(x[k + 1], all[1]), c = add(x[k + 2], all[2]), d = add(x[k + 3], all[3]);
    const u32 ab = add(a, b), cd = add(c, d), sum = add(ab, cd), sum_b = add(sum, b), sum_d = add(sum, d);
    x[k] = add(sum_b, ab);
    x[k + 1] = add(sum_b, add(c, c));
    x[k + 2] = add(sum_d, cd);
    x[k + 3] = add(sum_d, add(a, a));
  }
}

INLINE void full_rounds(u32 (&x)[LANES], const u32* constants) {
#pragma unroll 1
  for (int round = 0; round < FULL_ROUNDS; round++, constants += LANES) {
#pragma unroll
    for (int k = 0; k < LANES; k++) x[k] = fifth_power(add(x[k], constants[k]));
    external_layer(x);
  }
}

// The power of two by which the internal layer multiplies a lane from the second on: a rotation of 31 bits.
INLINE u32 times_power(u32 x, int lane) {
  const int log = lane <= 9 ? lane - 1 : lane == 10 ? 10 : lane + 1;
  return ((x << log) & P) | (x >> (31 - log));
}

// Given all constants in the order in which they are used.
INLINE void permute(u32 (&x)[LANES], const u32* constants) {
  external_layer(x);
  full_rounds(x, constants);
  constants += FULL_ROUNDS * LANES;
#pragma unroll 1
  for (int round = 0; round < PARTIAL_ROUNDS; round++) {
    x[0] = fifth_power(add(x[0], constants[round]));
    u32 sum[4];
#pragma unroll
    for (int k = 0; k < 4; k++) sum[k] = add(add(x[k], x[k + 4]), add(x[k + 8], x[k + 12]));
    const u32 all = add(add(sum[0], sum[1]), add(sum[2], sum[3]));
    x[0] = sub(all, add(x[0], x[0]));
#pragma unroll
    for (int k = 1; k < LANES; k++) x[k] = add(all, times_power(x[k], k));
  }
  full_rounds(x, constants + PARTIAL_ROUNDS);
}
