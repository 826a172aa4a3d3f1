// The rounds of the opening over columns: contracted columns with the weights on them, as the prover's `backend::stack` has
// them. Both are tables of `slots` slots for each column; a slot has RUNS elements, coordinate by coordinate: the first
// ones of all runs, then the second ones.
#include "slots.cuh"
#include "sums.cuh"

// In place of the number of a column or a slot that is not there.
#define NONE 0xffffffffu

// Where the first coordinate of an element of a column is; the next ones are RUNS words apart.
INLINE u64 place_of(u32 column, u32 slots, u32 element) {
  return ((u64)column * slots + element / RUNS) * (4 * RUNS) + element % RUNS;
}

INLINE Ext load(const u32* table, u64 place) {
  return {{table[place], table[place + RUNS], table[place + 2 * RUNS], table[place + 3 * RUNS]}};
}

INLINE void store(u32* table, u64 place, const Ext& x) {
#pragma unroll
  for (int c = 0; c < 4; c++) table[place + c * RUNS] = x.x[c];
}

// What an element of a column becomes: if there is another column, `low` times its own and `high` times that one's.
INLINE Ext joined(u32* table, u64 own, u64 other, bool alone, const Factor& low, const Factor& high) {
  Ext x = load(table, own);
  if (!alone) {
    x = x * low + load(table, other) * high;
    store(table, own, x);
  }
  return x;
}

// Joins of two columns a and b with others, each in its place, and for each, if there is b, the sum of the products of
// a's column and b's weight and of b's column and a's weight, in as many parts as there are blocks along x. A join, which
// is `blockIdx.y`, has the numbers of a, of what a is joined with, of b and of what b is joined with; of both the factors.
// Columns without others stay as they are.
extern "C" __global__ void __launch_bounds__(WIDTH)
    stack_join(u32* columns, u32* weights, const uint4* joins, const uint4* factors, uint4* out, u32 slots) {
  const uint4 own = joins[blockIdx.y];
  factors += 4 * blockIdx.y;
  const Factor low_a = factor(element(factors[0])), high_a = factor(element(factors[1]));
  const Factor low_b = factor(element(factors[2])), high_b = factor(element(factors[3]));
  Ext sums[1] = {};
#pragma unroll 1
  for (u32 k = blockIdx.x * WIDTH + threadIdx.x; k < slots * RUNS; k += gridDim.x * WIDTH) {
    const u64 place_a = place_of(own.x, slots, k), other_a = place_of(own.y, slots, k);
    const Ext column_a = joined(columns, place_a, other_a, own.y == NONE, low_a, high_a);
    const Ext weight_a = joined(weights, place_a, other_a, own.y == NONE, low_a, high_a);
    if (own.z == NONE) continue;
    const u64 place_b = place_of(own.z, slots, k), other_b = place_of(own.w, slots, k);
    const Ext column_b = joined(columns, place_b, other_b, own.w == NONE, low_b, high_b);
    const Ext weight_b = joined(weights, place_b, other_b, own.w == NONE, low_b, high_b);
    sums[0] = sums[0] + column_a * weight_b + column_b * weight_a;
  }
  sum_block(sums, out + (u64)blockIdx.y * gridDim.x);
}

// Zeros.
extern "C" __global__ void __launch_bounds__(256) stack_clear(uint4* table, u64 count) {
  const u64 place = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (place < count) table[place] = make_uint4(0, 0, 0, 0);
}

// The weights on the columns of a tree of `runs` runs, `2^log_runs` in a column. `spans` are ranges of runs in increasing
// order, each with its first run, its length, and the range of the products that are weights on it. A product has the
// places of its outer and of its inner weights, the log of the number of inner ones, and a coefficient: run `t 2^log + i`
// of the range weighs coefficient times outer weight t times inner weight i, a multiple of the pattern of inner weight i.
// `slot_of` has the slot of each pattern in each tile; there are `patterns` in a tile.
extern "C" __global__ void __launch_bounds__(256)
    stack_weigh(u32* weights, const uint4* spans, u32 count, const uint4* products, const uint4* outer, const uint4* inner,
                const u32* pattern_of, const u32* slot_of, u32 patterns, u32 slots, u32 log_runs, u32 runs) {
  const u32 run = blockIdx.x * blockDim.x + threadIdx.x;
  if (run >= runs) return;
  // The last span that begins here or before.
  u32 begin = 0, end = count;
  while (begin < end) {
    const u32 middle = begin + (end - begin) / 2;
    if (spans[middle].x <= run)
      begin = middle + 1;
    else
      end = middle;
  }
  if (begin == 0) return;
  const uint4 span = spans[begin - 1];
  const u32 local = run - span.x;
  if (local >= span.y) return;
  const u32 column = run >> log_runs, tile = (run & ((1u << log_runs) - 1)) / RUNS, lane = run % RUNS;
#pragma unroll 1
  for (u32 k = span.z; k < span.w; k++) {
    const uint4 product = products[2 * k];
    const u32 at = product.y + (local & ((1u << product.z) - 1));
    const Ext weight = element(products[2 * k + 1]) * element(outer[product.x + (local >> product.z)]) * element(inner[at]);
    // What is zero may have no slot.
    if ((weight.x[0] | weight.x[1] | weight.x[2] | weight.x[3]) == 0) continue;
    const u32 slot = slot_of[tile * patterns + pattern_of[at]];
    if (slot == NONE) continue;
    const u64 place = place_of(column, slots, slot * RUNS + lane);
    store(weights, place, load(weights, place) + weight);
  }
}

// The weight of slots that are those of one column alone: one, for all runs. There are `count` runs of them in all; each
// has its column, then its slot.
extern "C" __global__ void __launch_bounds__(256) stack_own(u32* weights, const uint2* own, u32 slots, u32 count) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count) return;
  const uint2 slot = own[place / RUNS];
  store(weights, place_of(slot.x, slots, slot.y * RUNS + place % RUNS), of_base(1));
}

KERNELS(stack_join, stack_clear, stack_weigh, stack_own)
