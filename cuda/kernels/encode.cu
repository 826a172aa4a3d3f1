// Encoding: the forward FFT of the circle code, as `circlet_core::code` defines it.
//
// A codeword of 2^n words begins as the message, repeated: words that the message does not have are zeros, and layers
// over zeros copy. Layer j pairs words at a distance of 2^j, which become `a + t b` and `a - t b`; t is coordinate j of
// the point of the pair. Layers run from the highest to 0.
#include "dialect.cuh"
#include "field.cuh"

// Between words of shared memory that are far apart by a power of two lies an unused word after every 32, so that they
// are in different banks.
INLINE u32 padded(u32 place) { return place + (place >> 5); }

// Some layers at once, over the 2^q words of a thread whose places in the tile differ in the bits from `bit` on.
template <int q>
INLINE void butterflies(u32* tile, const u32* twiddles, u32 word_log, u32 low, u32 layers, u32 run_log, u32 outer, u32 bit,
                        u32 group) {
  const u32 column = group & ((1u << run_log) - 1), place = group >> run_log;
  const u32 below = place & ((1u << bit) - 1), above = place >> bit;
  const u32 first = ((above << (bit + q) | below) << run_log) | column;
  const u32 step = 1u << (bit + run_log);
  u32 x[1 << q];
#pragma unroll
  for (int e = 0; e < 1 << q; e++) x[e] = tile[padded(first + e * step)];
#pragma unroll
  for (int b = q - 1; b >= 0; b--) {
    const u32 layer = low + bit + b;
    const u32* own = twiddles + ((1u << word_log) - (1u << (word_log - layer)));
    const u32 pairs = outer << (layers - bit - b - 1) | above << (q - b - 1);
#pragma unroll
    for (int pair = 0; pair < 1 << (q - 1); pair++) {
      // Its words have a zero and a one in bit b.
      const int high = pair >> b, even = high << (b + 1) | (pair & ((1 << b) - 1)), odd = even | 1 << b;
      const u32 product = times_half_of(x[odd], own[pairs | high]);
      x[odd] = sub(x[even], product);
      x[even] = add(x[even], product);
    }
  }
#pragma unroll
  for (int e = 0; e < 1 << q; e++) tile[padded(first + e * step)] = x[e];
}

// Layers `low + layers - 1` to `low` of many words, a tile in each block: all 2^layers words whose places differ in
// these layers' bits, for 2^run_log neighbouring places. `twiddles` has those of layer 0, then those of layer 1 and so on,
// doubled. `from` has words of 2^from_log, which are repeated; it may be `to`.
template <class Cell>
INLINE void pass(const Cell* from, u32* to, const u32* twiddles, u32 from_log, u32 word_log, u32 low, u32 layers,
                 u32 run_log) {
  DYNAMIC_SHARED(u32, tile);
  const u32 inner_log = low - run_log, size = 1u << (layers + run_log);
  const u32 inner = blockIdx.x & ((1u << inner_log) - 1), outer = blockIdx.x >> inner_log;
  const u32 base = outer << (low + layers) | inner << run_log;
  from += (u64)blockIdx.y << from_log;
  to += (u64)blockIdx.y << word_log;
  for (u32 place = threadIdx.x; place < size; place += blockDim.x) {
    const u32 at = base | (place >> run_log) << low | (place & ((1u << run_log) - 1));
    tile[padded(place)] = number(from[at & ((1u << from_log) - 1)]);
  }
  u32 left = layers;
  while (left > 0) {
    __syncthreads();
    const u32 q = left >= 3 ? 3 : left, bit = left - q;
    for (u32 group = threadIdx.x; group < size >> q; group += blockDim.x) {
      if (q == 3)
        butterflies<3>(tile, twiddles, word_log, low, layers, run_log, outer, bit, group);
      else if (q == 2)
        butterflies<2>(tile, twiddles, word_log, low, layers, run_log, outer, bit, group);
      else
        butterflies<1>(tile, twiddles, word_log, low, layers, run_log, outer, bit, group);
    }
    left = bit;
  }
  __syncthreads();
  for (u32 place = threadIdx.x; place < size; place += blockDim.x)
    to[base | (place >> run_log) << low | (place & ((1u << run_log) - 1))] = tile[padded(place)];
}

#define PASS(name, Cell)                                                                                             \
  extern "C" __global__ void __launch_bounds__(512) name(const Cell* from, u32* to, const u32* twiddles, u32 from_log, \
                                                         u32 word_log, u32 low, u32 layers, u32 run_log) {           \
    pass(from, to, twiddles, from_log, word_log, low, layers, run_log);                                              \
  }
PASS(encode_pass, u32)
PASS(encode_pass_halves, short)
PASS(encode_pass_bytes, signed char)

KERNELS(encode_pass, encode_pass_halves, encode_pass_bytes)
