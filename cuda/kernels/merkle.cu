// Merkle trees of Blake2s (RFC 7693). The states in which leaves and nodes begin come from the host, which defines them.
#include "dialect.cuh"
#include "field.cuh"

struct State {
  u32 words[8];
};

#define MIX(a, b, c, d, x, y)                            \
  v[a] += v[b] + m[x];                                   \
  v[d] = __funnelshift_r(v[d] ^ v[a], v[d] ^ v[a], 16);  \
  v[c] += v[d];                                          \
  v[b] = __funnelshift_r(v[b] ^ v[c], v[b] ^ v[c], 12);  \
  v[a] += v[b] + m[y];                                   \
  v[d] = __funnelshift_r(v[d] ^ v[a], v[d] ^ v[a], 8);   \
  v[c] += v[d];                                          \
  v[b] = __funnelshift_r(v[b] ^ v[c], v[b] ^ v[c], 7);

#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15) \
  MIX(0, 4, 8, 12, s0, s1)                                                          \
  MIX(1, 5, 9, 13, s2, s3)                                                          \
  MIX(2, 6, 10, 14, s4, s5)                                                         \
  MIX(3, 7, 11, 15, s6, s7)                                                         \
  MIX(0, 5, 10, 15, s8, s9)                                                         \
  MIX(1, 6, 11, 12, s10, s11)                                                       \
  MIX(2, 7, 8, 13, s12, s13)                                                        \
  MIX(3, 4, 9, 14, s14, s15)

// Compresses a block into a state, given the number of bytes with it and whether it is the last.
INLINE void compress(State& h, const u32 (&m)[16], u32 bytes, bool last) {
  u32 v[16] = {h.words[0],  h.words[1],  h.words[2],         h.words[3],  h.words[4],
               h.words[5],  h.words[6],  h.words[7],         0x6a09e667u, 0xbb67ae85u,
               0x3c6ef372u, 0xa54ff53au, 0x510e527fu ^ bytes, 0x9b05688cu, last ? ~0x1f83d9abu : 0x1f83d9abu,
               0x5be0cd19u};
  ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
  ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
  ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
  ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
  ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
  ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
  ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
  ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
  ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
  ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
#pragma unroll
  for (int k = 0; k < 8; k++) h.words[k] ^= v[k] ^ v[k + 8];
}

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
