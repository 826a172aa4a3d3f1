// What the opening asks of the columns of a matrix: their inner products with patterns, run by run; their sum, each times a
// weight; and their cells in a few rows.
#include "dialect.cuh"
#include "extension.cuh"

// Runs of a tile, each of which a slot has a sum for.
#define RUNS 16

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
extern "C" __global__ void __launch_bounds__(256)
    columns_contract(const uint4* columns, const uint4* slots, const uint4* patterns, u32* sums, u32 fours, u32 length, u32 count) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= count) return;
  const u32 slot = place / RUNS, run = place % RUNS;
  const uint4 own = slots[slot];
  const uint4* cells = columns + (u64)blockIdx.y * length + (u64)(own.x * RUNS + run) * fours;
  const uint4* pattern = patterns + (u64)(own.y + run * own.z) * fours * 4;
  Ext sum = {};
#pragma unroll 1
  for (u32 k = 0; k < fours; k++) {
    const uint4 four = cells[k];
    const u32 x[4] = {four.x, four.y, four.z, four.w};
    const uint4 y[4] = {pattern[4 * k], pattern[4 * k + 1], pattern[4 * k + 2], pattern[4 * k + 3]};
    sum = sum + dot(x, y);
  }
  u32* out = sums + ((u64)blockIdx.y * count + slot * RUNS) * 4 + run;
#pragma unroll
  for (int c = 0; c < 4; c++) out[c * RUNS] = sum.x[c];
}

// The sum of `count` columns of `length` cells, each times its weight, coordinate by coordinate.
extern "C" __global__ void __launch_bounds__(256)
    columns_combine(const u32* columns, const uint4* weights, u32* sums, u32 count, u32 length) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= length) return;
  Ext sum = {};
#pragma unroll 2
  for (u32 first = 0; first < count; first += 4) {
    u32 x[4];
    uint4 y[4];
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
      const bool there = first + k < count;
      x[k] = there ? columns[(u64)(first + k) * length + place] : 0;
      y[k] = there ? weights[first + k] : make_uint4(0, 0, 0, 0);
    }
    sum = sum + dot(x, y);
  }
#pragma unroll
  for (int c = 0; c < 4; c++) sums[(u64)c * length + place] = sum.x[c];
}

// The cells of `count` columns of `length` cells in some rows, row by row: `cells` in all.
extern "C" __global__ void __launch_bounds__(256)
    columns_gather(const u32* columns, const u32* rows, u32* out, u32 count, u32 length, u32 cells) {
  const u32 place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= cells) return;
  out[place] = columns[(u64)(place % count) * length + rows[place / count]];
}

KERNELS(columns_contract, columns_combine, columns_gather)
