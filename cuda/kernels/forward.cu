// Products of activations with rows of weights, where these lie in the columns of a matrix as signed bytes or halves:
// out(t, n) = sum_k a(t, k) b(n, k), modulo 2^32. Activations are halves; rows of both are read in pieces of sixteen bytes of
// weights, and what lies behind the weights of a row meets zeros.
#include "dialect.cuh"
#include "field.cuh"

// Sums of products: for weights that are bytes, of the high bytes of activations and of the low ones.
struct Sum {
  u32 low, high;
};

// A sum, and the products of four signed bytes with four bytes that are signed or not.
INLINE u32 dot_signed(u32 sum, u32 weights, u32 bytes) {
#ifdef __CUDACC__
  return __dp4a((int)weights, (int)bytes, (int)sum);
#else
  for (int k = 0; k < 32; k += 8) sum += (u32)((signed char)(weights >> k) * (signed char)(bytes >> k));
  return sum;
#endif
}
INLINE u32 dot_unsigned(u32 sum, u32 weights, u32 bytes) {
#ifdef __CUDACC__
  u32 more;
  asm("dp4a.s32.u32 %0, %1, %2, %3;" : "=r"(more) : "r"(weights), "r"(bytes), "r"(sum));
  return more;
#else
  for (int k = 0; k < 32; k += 8) sum += (u32)((signed char)(weights >> k) * (int)(unsigned char)(bytes >> k));
  return sum;
#endif
}

// Weights of eight bits: a piece meets sixteen activations, whose bytes it takes apart.
struct Bytes {
  enum { PARTS = 2 };
  // The low bytes and the high ones.
  INLINE void split(const uint4* activations, uint4 (&x)[PARTS]) {
    const uint4 a = activations[0], b = activations[1];
    x[0] = make_uint4(__byte_perm(a.x, a.y, 0x6420), __byte_perm(a.z, a.w, 0x6420), __byte_perm(b.x, b.y, 0x6420),
                      __byte_perm(b.z, b.w, 0x6420));
    x[1] = make_uint4(__byte_perm(a.x, a.y, 0x7531), __byte_perm(a.z, a.w, 0x7531), __byte_perm(b.x, b.y, 0x7531),
                      __byte_perm(b.z, b.w, 0x7531));
  }
  INLINE void add(Sum& sum, const uint4& w, const uint4 (&x)[PARTS]) {
    sum.low = dot_unsigned(dot_unsigned(sum.low, w.x, x[0].x), w.y, x[0].y);
    sum.low = dot_unsigned(dot_unsigned(sum.low, w.z, x[0].z), w.w, x[0].w);
    sum.high = dot_signed(dot_signed(sum.high, w.x, x[1].x), w.y, x[1].y);
    sum.high = dot_signed(dot_signed(sum.high, w.z, x[1].z), w.w, x[1].w);
  }
};

// A sum, and the products of two signed halves with two others.
INLINE u32 dot_halves(u32 sum, u32 a, u32 b) {
  return sum + (u32)((int)(short)a * (int)(short)b) + (u32)(((int)a >> 16) * ((int)b >> 16));
}

// Weights of sixteen bits: a piece meets eight activations.
struct Halves {
  enum { PARTS = 1 };
  INLINE void split(const uint4* activations, uint4 (&x)[PARTS]) { x[0] = activations[0]; }
  INLINE void add(Sum& sum, const uint4& w, const uint4 (&x)[PARTS]) {
    sum.low = dot_halves(dot_halves(sum.low, w.x, x[0].x), w.y, x[0].y);
    sum.low = dot_halves(dot_halves(sum.low, w.z, x[0].z), w.w, x[0].w);
  }
};

INLINE u32 total(const Sum& sum) { return sum.low + (sum.high << 8); }

// Where weights and activations are, in sixteen bytes each: `rows` rows of weights, `pitch` apart, of which `pieces` count,
// and `count` rows of activations, one after the other. There are `width` sums for each of these; those of rows that are
// not there are zero.
struct Shape {
  u32 count, rows, width, pieces, pitch;
};

// Lanes of a warp, which read neighbouring pieces.
#define LANES 32
// Threads of a block of the kernel for few positions.
#define FEW_THREADS 128

// All sums of a few rows of weights by each warp, of which it reads so many pieces ahead: for up to so many positions.
template <class Cells, int positions, int rows, int ahead>
INLINE void few(const uint4* weights, const uint4* activations, u32* out, const Shape& shape) {
  const u32 lane = threadIdx.x % LANES;
  const u32 first = (blockIdx.x * (FEW_THREADS / LANES) + threadIdx.x / LANES) * rows;
  Sum sums[rows][positions] = {};
  if (first < shape.rows) {
#pragma unroll 1
    for (u32 begin = lane; begin < shape.pieces; begin += ahead * LANES) {
      uint4 w[ahead][rows];
#pragma unroll
      for (int i = 0; i < ahead; i++) {
        const u32 k = begin + i * LANES;
#pragma unroll
        for (int r = 0; r < rows; r++) {
          const bool there = k < shape.pieces && first + r < shape.rows;
          w[i][r] = there ? weights[(u64)(first + r) * shape.pitch + k] : make_uint4(0, 0, 0, 0);
        }
      }
#pragma unroll
      for (int i = 0; i < ahead; i++) {
        const u32 k = begin + i * LANES;
        if (k >= shape.pieces) break;
#pragma unroll
        for (u32 t = 0; t < positions; t++) {
          // There may be fewer.
          const u32 own = t < shape.count ? t : 0;
          uint4 x[Cells::PARTS];
          Cells::split(activations + ((u64)own * shape.pieces + k) * Cells::PARTS, x);
#pragma unroll
          for (int r = 0; r < rows; r++) Cells::add(sums[r][t], w[i][r], x);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows; r++) {
#pragma unroll
    for (u32 t = 0; t < positions; t++) {
      u32 sum = total(sums[r][t]);
#pragma unroll
      for (int distance = LANES / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
      if (lane == 0 && t < shape.count && first + r < shape.width) out[(u64)t * shape.width + first + r] = sum;
    }
  }
}

// Up to eight positions. Each weight is read once, and enough of them are on their way at a time for the memory's rate.
template <class Cells>
INLINE void few(const uint4* weights, const uint4* activations, u32* out, const Shape& shape) {
  if (shape.count == 1)
    few<Cells, 1, 2, 2>(weights, activations, out, shape);
  else if (shape.count == 2)
    few<Cells, 2, 2, 2>(weights, activations, out, shape);
  else if (shape.count <= 4)
    few<Cells, 4, 4, 1>(weights, activations, out, shape);
  else
    few<Cells, 8, 2, 1>(weights, activations, out, shape);
}

// Threads of a block of the kernel for many positions, and of a tile the rows, the positions and the pieces of each.
#define THREADS 256
#define ROWS 128
#define POSITIONS 32
#define DEPTH 4
// From a row of a tile to the next: so that neighbours meet other banks.
#define PITCH (DEPTH + 1)
// Rows of each thread, and positions of each warp.
#define OWN_ROWS (ROWS / LANES)
#define OWN_POSITIONS (POSITIONS / (THREADS / LANES))

// The pieces of a tile that a thread fetches.
template <class Cells>
struct Fetched {
  uint4 weights[ROWS * DEPTH / THREADS];
  uint4 x[Cells::PARTS];
};

template <class Cells>
INLINE Fetched<Cells> fetch(const uint4* weights, const uint4* activations, const Shape& shape, u32 begin, u32 end) {
  const uint4 zero = make_uint4(0, 0, 0, 0);
  const u32 place = threadIdx.x / DEPTH, k = begin + threadIdx.x % DEPTH, t = blockIdx.y * POSITIONS + place;
  Fetched<Cells> fetched;
#pragma unroll
  for (int i = 0; i < ROWS * DEPTH / THREADS; i++) {
    const u32 row = blockIdx.x * ROWS + i * (THREADS / DEPTH) + place;
    fetched.weights[i] = k < end && row < shape.rows ? weights[(u64)row * shape.pitch + k] : zero;
  }
#pragma unroll
  for (int part = 0; part < Cells::PARTS; part++) fetched.x[part] = zero;
  if (place < POSITIONS && k < end && t < shape.count)
    Cells::split(activations + ((u64)t * shape.pieces + k) * Cells::PARTS, fetched.x);
  return fetched;
}

// A tile of positions and rows by each block, over a part of the pieces, which is `blockIdx.z`: each weight is read once for
// all positions of the tile. If there are several parts, they are added to what is there.
template <class Cells>
INLINE void many(const uint4* weights, const uint4* activations, u32* out, const Shape& shape, u32 part) {
  SHARED_ARRAY(uint4, tile, ROWS * PITCH);
  SHARED_ARRAY(uint4, against, Cells::PARTS * POSITIONS * PITCH);
  const u32 lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const u32 place = threadIdx.x / DEPTH, piece = threadIdx.x % DEPTH;
  const u32 begin = blockIdx.z * part;
  u32 end = part < shape.pieces - begin ? begin + part : shape.pieces;
  // Sums beyond the rows are zero.
  if (blockIdx.x * ROWS >= shape.rows) end = begin;
  Sum sums[OWN_ROWS][OWN_POSITIONS] = {};
  Fetched<Cells> next = fetch<Cells>(weights, activations, shape, begin, end);
#pragma unroll 1
  for (u32 k = begin; k < end; k += DEPTH) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ROWS * DEPTH / THREADS; i++)
      tile[(i * (THREADS / DEPTH) + place) * PITCH + piece] = next.weights[i];
    if (place < POSITIONS) {
#pragma unroll
      for (int p = 0; p < Cells::PARTS; p++) against[(p * POSITIONS + place) * PITCH + piece] = next.x[p];
    }
    __syncthreads();
    if (k + DEPTH < end) next = fetch<Cells>(weights, activations, shape, k + DEPTH, end);
#pragma unroll 1
    for (int d = 0; d < DEPTH; d++) {
      uint4 w[OWN_ROWS];
#pragma unroll
      for (int i = 0; i < OWN_ROWS; i++) w[i] = tile[(i * LANES + lane) * PITCH + d];
#pragma unroll
      for (int j = 0; j < OWN_POSITIONS; j++) {
        uint4 x[Cells::PARTS];
#pragma unroll
        for (int p = 0; p < Cells::PARTS; p++)
          x[p] = against[(p * POSITIONS + warp * OWN_POSITIONS + j) * PITCH + d];
#pragma unroll
        for (int i = 0; i < OWN_ROWS; i++) Cells::add(sums[i][j], w[i], x);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < OWN_POSITIONS; j++) {
    const u32 t = blockIdx.y * POSITIONS + warp * OWN_POSITIONS + j;
#pragma unroll
    for (int i = 0; i < OWN_ROWS; i++) {
      const u32 row = blockIdx.x * ROWS + i * LANES + lane;
      if (t >= shape.count || row >= shape.width) continue;
      u32* own = out + (u64)t * shape.width + row;
      if (gridDim.z > 1)
        atomicAdd(own, total(sums[i][j]));
      else
        *own = total(sums[i][j]);
    }
  }
}

#define FORWARD(cells, Cells)                                                                                             \
  extern "C" __global__ void __launch_bounds__(FEW_THREADS)                                                               \
      forward_few_##cells(const uint4* weights, const uint4* activations, u32* out, u32 count, u32 rows, u32 width,       \
                          u32 pieces, u32 pitch) {                                                                        \
    few<Cells>(weights, activations, out, {count, rows, width, pieces, pitch});                                           \
  }                                                                                                                       \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                   \
      forward_many_##cells(const uint4* weights, const uint4* activations, u32* out, u32 count, u32 rows, u32 width,      \
                           u32 pieces, u32 pitch, u32 part) {                                                             \
    many<Cells>(weights, activations, out, {count, rows, width, pieces, pitch}, part);                                    \
  }
FORWARD(bytes, Bytes)
FORWARD(halves, Halves)

KERNELS(forward_few_bytes, forward_many_bytes, forward_few_halves, forward_many_halves)
