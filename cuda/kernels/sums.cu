// The last step of a sum: over blocks.
#include "sums.cuh"

// The sums of `blocks` pairs.
extern "C" __global__ void __launch_bounds__(WIDTH) total(const uint4* sums, uint4* out, u32 blocks) {
  Ext own[2] = {};
#pragma unroll 1
  for (u32 block = threadIdx.x; block < blocks; block += WIDTH) {
#pragma unroll
    for (int k = 0; k < 2; k++) own[k] = own[k] + element(sums[2 * block + k]);
  }
  sum_block(own, out);
}

KERNELS(total)
