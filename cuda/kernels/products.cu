// The rounds of the relations: sums of products of two tables, each with a weight or without, bound from the highest variable
// down, as the prover's `backend::products` has them. A weight is a product itself: that of entry `t 2^n + i` is the outer
// weight t times the inner weight i, for an inner table of n variables.
#include "sums.cuh"

// In place of the number of a table that is not there.
#define NONE 0xffffffffu

// What cells hold: bytes, halves, words, of which P is zero, or elements of the extension.
#define BYTES 0
#define HALVES 1
#define EXTENSION 3

// A table of the variables from `first` to before `end`: its cells before any of them is bound, cell `k ^ flip` for entry k,
// and where its entries are from then on; elements of the extension are there at once.
struct Table {
  const void* cells;
  uint4* bound;
  u32 kind, first, end, flip;
};

INLINE u64 address(const u32* words) { return words[0] | (u64)words[1] << 32; }

// A table as it is described in eight words, in this order.
INLINE Table table_of(const u32* tables, u32 number) {
  tables += 8 * (u64)number;
  return {(const void*)address(tables), (uint4*)address(tables + 2), tables[4], tables[5], tables[6], tables[7]};
}

INLINE u32 product(u32 a, u32 b) { return times_half_of(a, 2 * b); }

INLINE Ext scaled(const Ext& x, u32 y) {
  const u32 twice = 2 * y;
  return {{times_half_of(x.x[0], twice), times_half_of(x.x[1], twice), times_half_of(x.x[2], twice),
           times_half_of(x.x[3], twice)}};
}

// Whether no variable of a table is bound, where all from `end` on are, and it has cells of numbers.
INLINE bool has_cells(const Table& table, u32 end) { return table.kind != EXTENSION && table.end == end; }

INLINE u32 cell(const Table& table, u32 k) {
  k ^= table.flip;
  if (table.kind == BYTES) return number(((const signed char*)table.cells)[k]);
  if (table.kind == HALVES) return number(((const short*)table.cells)[k]);
  return reduce_once(((const u32*)table.cells)[k]);
}

INLINE Ext entry(const Table& table, bool cells, u32 k) {
  return cells ? of_base(cell(table, k)) : element(table.bound[k]);
}

// Of a product of tables whose entries are k and k + half: the constant coefficient, that of X, and that of X^2.
INLINE void coefficients(u32 a0, u32 a1, u32 b0, u32 b1, u32 (&x)[3]) {
  x[0] = product(a0, b0), x[2] = product(sub(a1, a0), sub(b1, b0));
  x[1] = sub(sub(product(a1, b1), x[0]), x[2]);
}

// Of the terms of `blockIdx.y`, from the first of `terms` on, in as many parts as there are blocks along x: the coefficients
// of 1, X^2 and X^3 of the round that binds a variable, which all of them have. A term has the numbers of its two tables and
// of its outer and inner weights.
extern "C" __global__ void __launch_bounds__(WIDTH)
    products_round(const u32* tables, const uint4* terms, uint4* out, u32 variable) {
  const uint4 own = terms[blockIdx.y];
  const Table a = table_of(tables, own.x), b = table_of(tables, own.y);
  const bool cells_a = has_cells(a, variable + 1), cells_b = has_cells(b, variable + 1);
  const u32 half = 1u << variable, begin = blockIdx.x * WIDTH + threadIdx.x, stride = gridDim.x * WIDTH;
  Ext sums[3] = {};
  if (own.z == NONE) {
#pragma unroll 1
    for (u32 k = begin; k < half; k += stride) {
      const Ext a0 = entry(a, cells_a, k), b0 = entry(b, cells_b, k);
      const Ext da = entry(a, cells_a, k + half) - a0, db = entry(b, cells_b, k + half) - b0;
      sums[0] = sums[0] + a0 * b0;
      sums[1] = sums[1] + da * db;
    }
  } else {
    const uint4 *outer = table_of(tables, own.z).bound, *inner = table_of(tables, own.w).bound;
    const u32 low = table_of(tables, own.z).first;
    // The weights that have the variable, and those that entries k and k + half have in common.
    const bool rows = variable >= low;
    const uint4 *moving = rows ? outer : inner, *common = rows ? inner : outer;
    const u32 shift = rows ? low : 0, mask = rows ? (1u << low) - 1 : 0, step = half >> shift;
#pragma unroll 1
    for (u32 k = begin; k < half; k += stride) {
      const u32 at = k >> shift;
      const Factor by = factor(element(common[k & mask]));
      const Ext first = element(moving[at]);
      const Ext w0 = first * by, dw = (element(moving[at + step]) - first) * by;
      if (cells_a && cells_b) {
        u32 x[3];
        coefficients(cell(a, k), cell(a, k + half), cell(b, k), cell(b, k + half), x);
        sums[0] = sums[0] + scaled(w0, x[0]);
        sums[1] = sums[1] + scaled(w0, x[2]) + scaled(dw, x[1]);
        sums[2] = sums[2] + scaled(dw, x[2]);
      } else {
        const Ext a0 = entry(a, cells_a, k), a1 = entry(a, cells_a, k + half);
        const Ext b0 = entry(b, cells_b, k), b1 = entry(b, cells_b, k + half);
        const Ext last = a0 * b0, lead = (a1 - a0) * (b1 - b0), middle = a1 * b1 - last - lead;
        const Factor by_w0 = factor(w0), by_dw = factor(dw);
        sums[0] = sums[0] + last * by_w0;
        sums[1] = sums[1] + lead * by_w0 + middle * by_dw;
        sums[2] = sums[2] + lead * by_dw;
      }
    }
  }
  sum_block(sums, out + 3 * (u64)blockIdx.y * gridDim.x);
}

// Of such terms, of `log` variables, of which none is bound: the sums over all entries.
extern "C" __global__ void __launch_bounds__(WIDTH)
    products_sum(const u32* tables, const uint4* terms, uint4* out, u32 log) {
  const uint4 own = terms[blockIdx.y];
  const Table a = table_of(tables, own.x), b = table_of(tables, own.y);
  const bool cells_a = has_cells(a, log), cells_b = has_cells(b, log), weighted = own.z != NONE;
  const uint4 *outer = weighted ? table_of(tables, own.z).bound : nullptr, *inner = weighted ? table_of(tables, own.w).bound : nullptr;
  const u32 low = weighted ? table_of(tables, own.z).first : 0, mask = (1u << low) - 1;
  Ext sums[1] = {};
#pragma unroll 1
  for (u32 k = blockIdx.x * WIDTH + threadIdx.x; k < 1u << log; k += gridDim.x * WIDTH) {
    Ext x = cells_a && cells_b ? of_base(product(cell(a, k), cell(b, k))) : entry(a, cells_a, k) * entry(b, cells_b, k);
    if (weighted) x = x * (element(outer[k >> low]) * element(inner[k & mask]));
    sums[0] = sums[0] + x;
  }
  sum_block(sums, out + (u64)blockIdx.y * gridDim.x);
}

// The sums of three sums over all parts of `count` terms, each times its factor.
extern "C" __global__ void __launch_bounds__(WIDTH)
    products_total(const uint4* sums, const uint4* factors, uint4* out, u32 parts, u32 count) {
  Ext own[3] = {};
#pragma unroll 1
  for (u32 place = threadIdx.x; place < parts * count; place += WIDTH) {
    const Factor by = factor(element(factors[place / parts]));
#pragma unroll
    for (int k = 0; k < 3; k++) own[k] = own[k] + element(sums[3 * (u64)place + k]) * by;
  }
  sum_block(own, out);
}

// Binds a variable of all tables that have it: the table of `blockIdx.y`, from the first of `tables` on.
extern "C" __global__ void __launch_bounds__(WIDTH) products_bind(const u32* tables, u32 variable, Ext r_) {
  const Table own = table_of(tables, blockIdx.y);
  if (variable < own.first || variable >= own.end) return;
  const Factor r = factor(r_);
  const bool cells = has_cells(own, variable + 1);
  const u32 half = 1u << (variable - own.first);
#pragma unroll 1
  for (u32 k = blockIdx.x * WIDTH + threadIdx.x; k < half; k += gridDim.x * WIDTH) {
    if (cells) {
      const u32 low = cell(own, k);
      own.bound[k] = words(of_base(low) + scaled(r_, sub(cell(own, k + half), low)));
    } else {
      own.bound[k] = words(mix(element(own.bound[k]), element(own.bound[k + half]), r));
    }
  }
}

KERNELS(products_round, products_sum, products_total, products_bind)
