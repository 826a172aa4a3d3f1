// The last step of a sum: over blocks.
#include "sums.cuh"

// The sums of `blocks` pairs.
extern "C" __global__ void __launch_bounds__(WIDTH) total(const uint4* sums, uint4* out, u32 blocks) {
  sum_blocks(sums, blocks, out);
}

KERNELS(total)
