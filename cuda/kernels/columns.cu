// What the opening asks of the columns of a matrix: their inner products with patterns, run by run; their sum, each times a
// weight; and their cells in a few rows. What relations ask of matrices of numbers that lie in them: weighted sums of rows.
#include "slots.cuh"

// The sum of four cells, each times an element.
INLINE Ext dot(const u32 (&x)[4], const uint4 (&y)[4]) {
  const Ext sum = {{reduce((u64)x[0] * y[0].x + (u64)x[1] * y[1].x + (u64)x[2] * y[2].x + (u64)x[3] * y[3].x),
                    reduce((u64)x[0] * y[0].y + (u64)x[1] * y[1].y + (u64)x[2] * y[2].y + (u64)x[3] * y[3].y),
                    reduce((u64)x[0] * y[0].z + (u64)x[1] * y[1].z + (u64)x[2] * y[2].z + (u64)x[3] * y[3].z),
                    reduce((u64)x[0] * y[0].w + (u64)x[1] * y[1].w + (u64)x[2] * y[2].w + (u64)x[3] * y[3].w)}};
  return sum;
}

// The inner products of the runs of a column, which is `blockIdx.y`, with the patterns of slots: of each its tile, the pattern
// of its first run, and how much further on that of the next run is. Runs have `fours` fours of cells, and so do patterns;
// columns have `length` fours. Sums are coordinate by coordinate: of a slot the first ones of all runs, then the second ones.
// There are `count` runs in all slots.
template <class Cell>
INLINE void contract(const Cell* columns, const uint4* slots, const uint4* patterns, u32* sums, u32 fours, u32 length,
                     u32 count) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count) return;
  const u32 slot = place / RUNS, run = place % RUNS;
  const uint4 own = slots[slot];
  const Cell* cells = columns + 4 * ((u64)blockIdx.y * length + (u64)(own.x * RUNS + run) * fours);
  const uint4* pattern = patterns + (u64)(own.y + run * own.z) * fours * 4;
  Ext sum = {};
#pragma unroll 1
  for (u32 k = 0; k < fours; k++) {
    u32 x[4];
    four_numbers(cells + 4 * k, x);
    const uint4 y[4] = {pattern[4 * k], pattern[4 * k + 1], pattern[4 * k + 2], pattern[4 * k + 3]};
    sum = sum + dot(x, y);
  }
  u32* out = sums + ((u64)blockIdx.y * count + slot * RUNS) * 4 + run;
#pragma unroll
  for (int c = 0; c < 4; c++) out[c * RUNS] = sum.x[c];
}

#define CONTRACT(name, Cell)                                                                                       \
  extern "C" __global__ void __launch_bounds__(256) name(const Cell* columns, const uint4* slots, const uint4* patterns, \
                                                         u32* sums, u32 fours, u32 length, u32 count) {             \
    contract(columns, slots, patterns, sums, fours, length, count);                                                \
  }
CONTRACT(columns_contract, u32)
CONTRACT(columns_contract_halves, short)
CONTRACT(columns_contract_bytes, signed char)

// The sum of the cells in one place of `count` columns of `length` cells, each times its weight.
template <class Cell>
INLINE Ext weighted(const Cell* columns, const uint4* weights, u32 count, u64 length, u64 place) {
  Ext sum = {};
#pragma unroll 2
  for (u32 first = 0; first < count; first += 4) {
    u32 x[4];
    uint4 y[4];
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
      const bool there = first + k < count;
      x[k] = there ? number(columns[(first + k) * length + place]) : 0;
      y[k] = there ? weights[first + k] : make_uint4(0, 0, 0, 0);
    }
    sum = sum + dot(x, y);
  }
  return sum;
}

// The sum of `count` columns of `length` cells, each times its weight, coordinate by coordinate; added to what is there
// if `more`.
template <class Cell>
INLINE void combine(const Cell* columns, const uint4* weights, u32* sums, u32 count, u32 length, u32 more) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= length) return;
  const Ext sum = weighted(columns, weights, count, length, place);
#pragma unroll
  for (int c = 0; c < 4; c++) {
    u32* out = sums + (u64)c * length + place;
    *out = more ? add(*out, sum.x[c]) : sum.x[c];
  }
}

#define COMBINE(name, Cell)                                                                                              \
  extern "C" __global__ void __launch_bounds__(256) name(const Cell* columns, const uint4* weights, u32* sums, u32 count, \
                                                         u32 length, u32 more) {                                         \
    combine(columns, weights, sums, count, length, more);                                                                \
  }
COMBINE(columns_combine, u32)
COMBINE(columns_combine_halves, short)
COMBINE(columns_combine_bytes, signed char)

// The weight of each of `count` rows: the sum over the slots of its tile of a multiple of the pattern that its run has.
// Multiples are coordinate by coordinate, of a slot the first ones of all runs, then the second ones; they are scaled.
// `starts` has the first slot of each tile, and the end of the last one's.
extern "C" __global__ void __launch_bounds__(256)
    columns_expand(const u32* multiples, const uint4* slots, const u32* starts, const uint4* patterns, uint4* out, u32 log_run,
                   u32 count, Ext scale_) {
  const u32 row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= count) return;
  const u32 run = (row >> log_run) % RUNS, tile = (row >> log_run) / RUNS;
  Ext sum = {};
#pragma unroll 1
  for (u32 slot = starts[tile]; slot < starts[tile + 1]; slot++) {
    const uint4 own = slots[slot];
    const u32* at = multiples + (u64)slot * 4 * RUNS + run;
    const Ext multiple = {{at[0], at[RUNS], at[2 * RUNS], at[3 * RUNS]}};
    const u64 place = ((u64)(own.y + run * own.z) << log_run) + (row & ((1u << log_run) - 1));
    sum = sum + multiple * element(patterns[place]);
  }
  out[row] = words(sum * scale_);
}

// The weighted sums of the rows of matrices, which lie one after the other: `count` rows of `2^log_width` cells each. Sums
// are of `part` rows, and those of part `blockIdx.y` of all matrices lie together: there are `sums` of them.
template <class Cell>
INLINE void over_rows(const Cell* cells, const uint4* weights, uint4* out, u32 count, u32 log_width, u32 part, u32 sums) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= sums) return;
  const u32 width = 1u << log_width, first = blockIdx.y * part, matrix = place >> log_width;
  const u32 rows = part < count - first ? part : count - first;
  cells += ((u64)matrix * count + first) << log_width;
  out[(u64)blockIdx.y * sums + place] = words(weighted(cells, weights + first, rows, width, place & (width - 1)));
}

#define OVER_ROWS(name, Cell)                                                                                         \
  extern "C" __global__ void __launch_bounds__(256) name(const Cell* cells, const uint4* weights, uint4* out, u32 count, \
                                                         u32 log_width, u32 part, u32 sums) {                         \
    over_rows(cells, weights, out, count, log_width, part, sums);                                                     \
  }
OVER_ROWS(matrices_over_rows, u32)
OVER_ROWS(matrices_over_rows_halves, short)
OVER_ROWS(matrices_over_rows_bytes, signed char)

// The sums of `parts` parts of `count` sums each.
extern "C" __global__ void __launch_bounds__(256) matrices_total(const uint4* parts, uint4* out, u32 count, u32 number) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count) return;
  Ext sum = element(parts[place]);
#pragma unroll 4
  for (u32 k = 1; k < number; k++) sum = sum + element(parts[(u64)k * count + place]);
  out[place] = words(sum);
}

// The cells of `count` columns of `length` cells in some rows, row by row: `cells` in all.
extern "C" __global__ void __launch_bounds__(256)
    columns_gather(const u32* columns, const u32* rows, u32* out, u32 count, u32 length, u32 cells) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= cells) return;
  out[place] = columns[(u64)(place % count) * length + rows[place / count]];
}

KERNELS(columns_contract, columns_contract_halves, columns_contract_bytes, columns_combine, columns_combine_halves,
        columns_combine_bytes, columns_expand, columns_gather, matrices_over_rows, matrices_over_rows_halves,
        matrices_over_rows_bytes, matrices_total)
