// Sums over the threads of a block.
#pragma once

#include "dialect.cuh"
#include "extension.cuh"

// Threads of a block of a sum.
#define WIDTH 256

// The sums over a block's threads, in place `blockIdx.x`.
template <int count>
INLINE void sum_block(const Ext (&sums)[count], uint4* out) {
  SHARED_ARRAY(uint4, shared, count * WIDTH);
#pragma unroll
  for (int k = 0; k < count; k++) shared[k * WIDTH + threadIdx.x] = words(sums[k]);
#pragma unroll 1
  for (u32 half = WIDTH / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
#pragma unroll
      for (int k = 0; k < count; k++) {
        uint4* own = shared + k * WIDTH + threadIdx.x;
        own[0] = words(element(own[0]) + element(own[half]));
      }
    }
  }
  if (threadIdx.x == 0) {
#pragma unroll
    for (int k = 0; k < count; k++) out[blockIdx.x * count + k] = shared[k * WIDTH];
  }
}

// The sums of `blocks` pairs of sums, by one block.
INLINE void sum_blocks(const uint4* sums, u32 blocks, uint4* out) {
  Ext own[2] = {};
#pragma unroll 1
  for (u32 block = threadIdx.x; block < blocks; block += WIDTH) {
#pragma unroll
    for (int k = 0; k < 2; k++) own[k] = own[k] + element(sums[2 * block + k]);
  }
  sum_block(own, out);
}
