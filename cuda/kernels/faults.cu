// Kernels that are wrong on purpose, and a few that are right, for tests of the emulator. They never run on a GPU.
#ifdef __CUDACC__
#error "these kernels are for the emulator alone"
#endif
#include "dialect.cuh"

// Threads of a block in which faults show.
constexpr unsigned block = 256;

// Nothing stands between a write to shared memory and a neighbour's read.
extern "C" __global__ void fault_missing_barrier(unsigned* words) {
  SHARED_ARRAY(unsigned, shared, block);
  shared[threadIdx.x] = words[threadIdx.x];
  words[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

// Some threads return before a barrier.
extern "C" __global__ void fault_early_return(unsigned* words) {
  if (threadIdx.x >= 200) return;
  __syncthreads();
  words[threadIdx.x] = 1;
}

// Threads wait in two branches.
extern "C" __global__ void fault_two_barriers(unsigned* words) {
  if (threadIdx.x % 2 == 0)
    __syncthreads();
  else
    __syncthreads();
  words[threadIdx.x] = 1;
}

// A mask names lanes that have returned, or will.
extern "C" __global__ void fault_absent_lanes(unsigned* words) {
  if (threadIdx.x % 32 >= 16) return;
  words[threadIdx.x] = __shfl_down_sync(~0u, words[threadIdx.x], 1);
}

// A mask does not name the lane itself.
extern "C" __global__ void fault_foreign_mask(unsigned* words) {
  words[threadIdx.x] = __ballot_sync(1, words[threadIdx.x] != 0);
}

// Lanes of a warp wait for each other in two places.
extern "C" __global__ void fault_two_meetings(unsigned* words) {
  const unsigned word = words[threadIdx.x];
  if (threadIdx.x % 2 == 0)
    words[threadIdx.x] = __any_sync(~0u, word != 0);
  else
    words[threadIdx.x] = __all_sync(~0u, word != 0);
}

// Half of each warp waits for the warp, the other half for the block.
extern "C" __global__ void fault_deadlock(unsigned* words) {
  if (threadIdx.x % 32 < 16)
    __syncwarp();
  else
    __syncthreads();
  words[threadIdx.x] = 1;
}

extern "C" __global__ void fault_trap(unsigned* words) {
  if (threadIdx.x == 7) __trap();
  words[threadIdx.x] = 1;
}

// Half of an array in shared memory is read but never written.
extern "C" __global__ void fault_unwritten(unsigned* words) {
  SHARED_ARRAY(unsigned, shared, block);
  if (threadIdx.x < block / 2) shared[threadIdx.x] = 1;
  __syncthreads();
  words[threadIdx.x] = shared[threadIdx.x];
}

// The last thread writes behind a buffer.
extern "C" __global__ void fault_beyond_buffer(unsigned* words) { words[threadIdx.x + 1] = threadIdx.x; }

// The last thread writes behind the shared memory of its block.
extern "C" __global__ void fault_beyond_shared(unsigned* words) {
  DYNAMIC_SHARED(unsigned, shared);
  shared[threadIdx.x + 1] = threadIdx.x;
  __syncthreads();
  words[threadIdx.x] = shared[threadIdx.x];
}

// The last thread writes behind an array.
extern "C" __global__ void fault_beyond_array(unsigned* words) {
  SHARED_ARRAY(unsigned, shared, block);
  shared[threadIdx.x + 1] = threadIdx.x;
  __syncthreads();
  words[threadIdx.x] = shared[threadIdx.x];
}

// Four words are written at once where only a word may be.
extern "C" __global__ void fault_misaligned(unsigned* words) {
  if (threadIdx.x == 0) *reinterpret_cast<uint4*>(words + 1) = make_uint4(1, 2, 3, 4);
}

// A word is shifted by more than it has bits, which is zero on a GPU and not on this machine.
extern "C" __global__ void fault_wide_shift(unsigned* words) { words[threadIdx.x] = 1u << threadIdx.x; }

// An array has a word more than a block has memory for such arrays.
extern "C" __global__ void fault_too_much_shared(unsigned* words) {
  SHARED_ARRAY(unsigned, shared, 12 * 1024 + 1);
  shared[threadIdx.x] = words[threadIdx.x];
}

// Two blocks write a word.
extern "C" __global__ void fault_two_blocks(unsigned* words) {
  if (threadIdx.x == 0) words[0] = blockIdx.x;
}

// Two blocks write a word, each after a barrier of its own.
extern "C" __global__ void fault_two_blocks_late(unsigned* words) {
  __syncthreads();
  if (threadIdx.x == 0) words[0] = blockIdx.x;
}

// Lanes exchange words through shared memory, and only a shuffle, which is no barrier for memory, stands between.
extern "C" __global__ void fault_missing_warp_barrier(unsigned* words) {
  SHARED_ARRAY(unsigned, shared, block);
  shared[threadIdx.x] = words[threadIdx.x];
  const unsigned other = __shfl_xor_sync(~0u, threadIdx.x, 1);
  words[threadIdx.x] = shared[other];
}

// Right: the sum and the largest of each block's words, in 64 and 32 bits, added to those of the grid. Then each warp
// turns its words around in shared memory, twice, and the block reverses them.
extern "C" __global__ void correct_sums(unsigned* words, unsigned long long* sum, unsigned* largest) {
  SHARED_ARRAY(unsigned long long, sums, 32);
  SHARED_ARRAY(unsigned, most, 32);
  DYNAMIC_SHARED(unsigned, reversed);
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  unsigned* const own = words + (blockIdx.x + blockIdx.y * gridDim.x) * blockDim.x;
  const unsigned word = own[threadIdx.x];

  unsigned long long total = word;
  for (unsigned distance = 16; distance > 0; distance /= 2) total += __shfl_down_sync(~0u, total, distance);
  unsigned high = word;
  for (int bits = 1; bits < 32; bits *= 2) high = max(high, __shfl_xor_sync(~0u, high, bits));
  if (lane == 0) {
    sums[warp] = total;
    most[warp] = high;
  }
  __syncthreads();
  if (warp == 0) {
    total = lane < warps ? sums[lane] : 0;
    for (unsigned distance = 16; distance > 0; distance /= 2) total += __shfl_down_sync(~0u, total, distance);
    if (lane == 0) atomicAdd(sum, total);
    if (lane < warps) atomicMax(largest, most[lane]);
  }

  reversed[threadIdx.x] = word;
  __syncwarp();
  const unsigned turned = reversed[threadIdx.x ^ 31];
  __syncwarp();
  reversed[threadIdx.x] = turned;
  __syncwarp();
  const unsigned back = reversed[threadIdx.x ^ 31];
  __syncthreads();
  reversed[threadIdx.x] = back;
  __syncthreads();
  own[threadIdx.x] = reversed[blockDim.x - 1 - threadIdx.x];
}

// Right: votes of warps and of blocks, shuffles of every kind, and a bit for each warp with a zero. Of each thread it
// writes eight words.
extern "C" __global__ void correct_votes(const unsigned* words, uint4* found, unsigned* zeros) {
  const unsigned place = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
  const unsigned word = __ldg(&words[place]);
  const unsigned odd = __ballot_sync(~0u, word % 2);
  const int all = __all_sync(~0u, word != 0), any = __any_sync(~0u, word == 1);
  if (!all && lane == 0) atomicOr(zeros, 1u << (place / 32));
  const int count = __syncthreads_count(word % 3 == 0);
  const int every = __syncthreads_and(word != 0), some = __syncthreads_or(word == 5);
  // Both halves of a warp at once, each with a mask of its own.
  const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;
  const unsigned first = __shfl_sync(half, word, 3, 16);
  found[2 * place] = make_uint4(odd, all | any << 1 | every << 2 | some << 3, count, first);
  found[2 * place + 1] = make_uint4(__shfl_up_sync(~0u, word, 3), __shfl_down_sync(~0u, word, 5, 8),
                                    __shfl_xor_sync(~0u, word, 9), __shfl_xor_sync(~0u, word, 9, 8));
}

// Right: functions of whole numbers. Of each pair of words it writes eight.
extern "C" __global__ void correct_numbers(const uint2* pairs, uint4* found, unsigned count) {
  const unsigned place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count) return;
  const uint2 pair = pairs[place];
  found[2 * place] = make_uint4(__umulhi(pair.x, pair.y), __funnelshift_l(pair.x, pair.y, pair.y),
                                __funnelshift_r(pair.x, pair.y, pair.y), __popc(pair.x));
  found[2 * place + 1] = make_uint4(__clz(pair.x), __brev(pair.x), min(pair.x, pair.y), max(pair.x, pair.y));
}

struct Words {
  unsigned word[8];
};

// Right: the last block to come adds what all have written, in words, and counts itself in with `atomicCAS`. The words
// are scaled by arguments of all kinds.
extern "C" __global__ void correct_last_block(unsigned* parts, unsigned* arrived, unsigned long long* total,
                                              Words factors, unsigned factor, unsigned long long offset) {
  if (threadIdx.x != 0) return;
  parts[blockIdx.x] = factors.word[blockIdx.x % 8] * factor;
  __threadfence();
  unsigned found = 0, before = 0;
  do {
    before = found;
    found = atomicCAS(arrived, before, before + 1);
  } while (found != before);
  __threadfence();
  if (before + 1 != gridDim.x) return;
  unsigned long long sum = offset;
  for (unsigned part = 0; part < gridDim.x; part++) sum += parts[part];
  *total = sum;
}

KERNELS(fault_missing_barrier, fault_early_return, fault_two_barriers, fault_absent_lanes, fault_foreign_mask,
        fault_two_meetings, fault_deadlock, fault_trap, fault_unwritten, fault_beyond_buffer, fault_beyond_shared,
        fault_beyond_array, fault_misaligned, fault_wide_shift, fault_too_much_shared, fault_two_blocks,
        fault_two_blocks_late, fault_missing_warp_barrier, correct_sums, correct_votes, correct_numbers,
        correct_last_block)
