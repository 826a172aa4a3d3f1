// The compression of Blake2s (RFC 7693).
#pragma once

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
