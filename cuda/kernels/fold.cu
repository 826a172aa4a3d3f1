// The rounds of the opening over rows: a sum of products of two tables, bound from the lowest coordinate up, and the
// codeword of the first table, folded with it, as `circlet_core::opening` and `circlet_core::code` define them.
#include "sums.cuh"

// Of two neighbouring entries of both tables: the product of the lower ones, and that of the differences.
INLINE void add_pair(Ext (&sums)[2], const Ext (&a)[2], const Ext (&b)[2]) {
  sums[0] = sums[0] + a[0] * b[0];
  sums[1] = sums[1] + (a[1] - a[0]) * (b[1] - b[0]);
}

// The sums over `pairs` pairs of entries.
extern "C" __global__ void __launch_bounds__(WIDTH) tables_sum(const uint4* a, const uint4* b, uint4* out, u32 pairs) {
  Ext sums[2] = {};
#pragma unroll 1
  for (u32 pair = blockIdx.x * WIDTH + threadIdx.x; pair < pairs; pair += gridDim.x * WIDTH) {
    const Ext low[2] = {element(a[2 * pair]), element(a[2 * pair + 1])};
    const Ext high[2] = {element(b[2 * pair]), element(b[2 * pair + 1])};
    add_pair(sums, low, high);
  }
  sum_block(sums, out);
}

INLINE void bind_two(const uint4* from, uint4* to, u32 pair, const Factor& r, Ext (&bound)[2]) {
#pragma unroll
  for (int k = 0; k < 2; k++) {
    const u32 place = 2 * pair + k;
    bound[k] = mix(element(from[2 * place]), element(from[2 * place + 1]), r);
    to[place] = words(bound[k]);
  }
}

// Binds the lowest coordinate of both tables; the sums over `pairs` pairs of what they are then.
extern "C" __global__ void __launch_bounds__(WIDTH) tables_bind(const uint4* a, const uint4* b, uint4* bound_a, uint4* bound_b,
                                                                uint4* out, u32 pairs, Ext r_) {
  const Factor r = factor(r_);
  Ext sums[2] = {};
#pragma unroll 1
  for (u32 pair = blockIdx.x * WIDTH + threadIdx.x; pair < pairs; pair += gridDim.x * WIDTH) {
    Ext low[2], high[2];
    bind_two(a, bound_a, pair, r, low);
    bind_two(b, bound_b, pair, r, high);
    add_pair(sums, low, high);
  }
  sum_block(sums, out);
}

// A word of elements of four codewords of their coordinates.
extern "C" __global__ void __launch_bounds__(256) word_join(const u32* codewords, uint4* word, u32 count) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count) return;
  const u64 step = count;
  word[place] = make_uint4(codewords[place], codewords[place + step], codewords[place + 2 * step], codewords[place + 3 * step]);
}

// Folds each group of sixteen neighbours, `count` of them, by four challenges. Of a challenge r, `factors` has `(1 - r) / 2`
// and `r / 2`; `inverses` has twice the inverse coordinates of all pairs, level by level, those of the first of these levels
// being `pairs`.
extern "C" __global__ void __launch_bounds__(256)
    word_fold(const uint4* word, uint4* folded, const u32* inverses, const uint4* factors, u32 pairs, u32 count) {
  const u32 group = blockIdx.x * blockDim.x + threadIdx.x;
  if (group >= count) return;
  Ext x[16];
#pragma unroll
  for (int k = 0; k < 16; k++) x[k] = element(word[16 * (u64)group + k]);
#pragma unroll
  for (int level = 0; level < 4; level++) {
    const Factor low = factor(element(factors[2 * level])), high = factor(element(factors[2 * level + 1]));
    const int half = 8 >> level;
    const u32* own = inverses + (u64)group * half;
#pragma unroll
    for (int k = 0; k < half; k++) {
      const Ext sum = x[2 * k] + x[2 * k + 1];
      Ext difference = x[2 * k] - x[2 * k + 1];
      const u32 inverse = own[k];
#pragma unroll
      for (int c = 0; c < 4; c++) difference.x[c] = times_half_of(difference.x[c], inverse);
      x[k] = sum * low + difference * high;
    }
    inverses += pairs >> level;
  }
  folded[group] = words(x[0]);
}

KERNELS(tables_sum, tables_bind, word_join, word_fold)
