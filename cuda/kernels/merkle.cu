// Merkle trees of Blake2s. The states in which leaves and nodes begin come from the host, which defines them.
#include "blake2s.cuh"

INLINE State load(const uint4* states, u32 place) {
  const uint4 low = states[2 * (u64)place], high = states[2 * (u64)place + 1];
  return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

INLINE void store(uint4* states, u32 place, const State& state) {
  const u32* w = state.words;
  states[2 * (u64)place] = make_uint4(w[0], w[1], w[2], w[3]);
  states[2 * (u64)place + 1] = make_uint4(w[4], w[5], w[6], w[7]);
}

// Absorbs `count` columns of cells, `stride` from one to the next, into the states of `rows` rows: a multiple of sixteen, unless
// with them all `length` bytes of a row are absorbed; `before` were before. Rows begin in the state `begin`.
extern "C" __global__ void __launch_bounds__(256)
    absorb_columns(const u32* columns, uint4* states, State begin, u32 count, u32 rows, u32 stride, u32 before,
                   u32 length) {
  const u32 row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  State state = before == 0 ? begin : load(states, row);
  for (u32 first = 0; first < count; first += 16) {
    u32 block[16];
#pragma unroll
    for (int k = 0; k < 16; k++) block[k] = first + k < count ? columns[(u64)(first + k) * stride + row] : 0;
    const u32 all = before + 4 * (first + 16), bytes = all < length ? all : length;
    compress(state, block, bytes, bytes == length);
  }
  store(states, row, state);
}

// Hashes rows that lie one after the other, of `blocks` blocks of sixteen cells each.
extern "C" __global__ void __launch_bounds__(256)
    hash_rows(const uint4* cells, uint4* states, State begin, u32 blocks, u32 rows) {
  const u32 row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  const uint4* own = cells + (u64)row * blocks * 4;
#pragma unroll 1
  for (u32 first = 0; first < blocks; first++) {
    u32 block[16];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const uint4 four = own[4 * first + k];
      block[4 * k] = four.x;
      block[4 * k + 1] = four.y;
      block[4 * k + 2] = four.z;
      block[4 * k + 3] = four.w;
    }
    compress(begin, block, 64 * (first + 1), first + 1 == blocks);
  }
  store(states, row, begin);
}

// Copies rows of `length` fours of cells, those of these indices, one after the other: a thread for each four.
extern "C" __global__ void __launch_bounds__(256)
    gather_rows(const uint4* cells, const u32* indices, uint4* out, u32 length, u32 count) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count * length) return;
  out[place] = cells[(u64)indices[place / length] * length + place % length];
}

// The parents of a level of nodes.
extern "C" __global__ void __launch_bounds__(256) parents(const uint4* level, uint4* above, State begin, u32 count) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count) return;
  const State left = load(level, 2 * place), right = load(level, 2 * place + 1);
  u32 block[16];
#pragma unroll
  for (int k = 0; k < 8; k++) {
    block[k] = left.words[k];
    block[k + 8] = right.words[k];
  }
  compress(begin, block, 64, true);
  store(above, place, begin);
}

KERNELS(absorb_columns, hash_rows, gather_rows, parents)
