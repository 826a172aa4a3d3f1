// The transcript of rounds that need no processor, and its permutation alone.
#include "poseidon2.cuh"
#include "sums.cuh"

// Lanes of a message.
#define RATE 8

// Permutes states, `count` of them.
extern "C" __global__ void __launch_bounds__(256) permute_all(u32* states, const u32* constants, u32 count) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count) return;
  uint4* own = (uint4*)states + (u64)place * (LANES / 4);
  u32 x[LANES];
#pragma unroll
  for (int k = 0; k < LANES / 4; k++) {
    const uint4 four = own[k];
    x[4 * k] = four.x, x[4 * k + 1] = four.y, x[4 * k + 2] = four.z, x[4 * k + 3] = four.w;
  }
  permute(x, constants);
#pragma unroll
  for (int k = 0; k < LANES / 4; k++) own[k] = make_uint4(x[4 * k], x[4 * k + 1], x[4 * k + 2], x[4 * k + 3]);
}

// Ends a round of a layer of the lookups: adds up the sums of `blocks` blocks, `t(0)` and `t_2`, sends `t_1` and `t_2`, draws a
// challenge, and leaves the claim of the next round. `sponge` is the transcript's state, what a message adds to its capacity, what a
// challenge adds to it, and the claim. `round` has the coordinate that is bound and its inverse, and gets the sums and the
// challenge.
extern "C" __global__ void __launch_bounds__(WIDTH)
    layer_round(const uint4* sums, u32 blocks, const u32* constants, u32* sponge, uint4* round) {
  sum_blocks(sums, blocks, round + 2);
  if (threadIdx.x != 0) return;
  u32 *state = sponge, *absorbed = state + LANES, *drawn = absorbed + (LANES - RATE);
  uint4* claim = (uint4*)(drawn + (LANES - RATE));
  const Ext t0 = element(round[2]), t2 = element(round[3]);
  // (1 - z) t(0) + z t(1) is claimed.
  const Ext t1 = (element(*claim) - t0) * element(round[1]) - t2;
  u32 x[LANES];
#pragma unroll
  for (int k = 0; k < 4; k++) x[k] = t1.x[k], x[4 + k] = t2.x[k];
#pragma unroll
  for (int k = RATE; k < LANES; k++) x[k] = add(state[k], absorbed[k - RATE]);
  permute(x, constants);
  const Ext r = {{x[0], x[1], x[2], x[3]}};
#pragma unroll
  for (int k = RATE; k < LANES; k++) state[k] = add(x[k], drawn[k - RATE]);
  round[4] = words(r);
  *claim = words(element(*claim) - element(round[0]) * (t1 + t2) + (t1 + t2 * r) * r);
}

KERNELS(permute_all, layer_round)
