// Proof of work: the smallest nonce whose word of Blake2s has zeros where a mask says (`circlet_core::pow`).
#include "blake2s.cuh"

// Bytes of the message: a seed, the number of bits, zero, and the nonce.
#define LENGTH 48

// The smallest of `count` nonces from one on that is good, as a number from the first one on, if it is below what is in
// `found`. A block tries `each` nonces for every thread that lie one after the other, and ends where a smaller one was found:
// blocks begin in order, so that of those behind what is found few do anything.
extern "C" __global__ void __launch_bounds__(256)
    pow_search(State begin, State seed, u32 bits, u32 mask, u64 first, u32 count, u32 each, u32* found) {
  u32 nonce = blockIdx.x * blockDim.x * each + threadIdx.x;
#pragma unroll 1
  for (u32 k = 0; k < each && nonce < count; k++, nonce += blockDim.x) {
    if (RELAXED_LOAD(found) < nonce) return;
    const u64 all = first + nonce;
    const u32 block[16] = {seed.words[0], seed.words[1], seed.words[2], seed.words[3],
                           seed.words[4], seed.words[5], seed.words[6], seed.words[7],
                           bits,          0,             (u32)all,      (u32)(all >> 32)};
    State state = begin;
    compress(state, block, LENGTH, true);
    if ((state.words[0] & mask) == 0) {
      atomicMin(found, nonce);
      return;
    }
  }
}

KERNELS(pow_search)
