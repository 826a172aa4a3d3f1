// The extension of degree four: `x0 + x1 i + (x2 + x3 i) u` with i^2 = -1 and u^2 = 2 + i.
#pragma once

#include "field.cuh"

struct Ext {
  u32 x[4];
};

INLINE Ext element(uint4 x) { return {{x.x, x.y, x.z, x.w}}; }
INLINE uint4 words(const Ext& x) { return make_uint4(x.x[0], x.x[1], x.x[2], x.x[3]); }
INLINE Ext of_base(u32 x) { return {{x, 0, 0, 0}}; }

INLINE Ext operator+(const Ext& a, const Ext& b) {
  return {{add(a.x[0], b.x[0]), add(a.x[1], b.x[1]), add(a.x[2], b.x[2]), add(a.x[3], b.x[3])}};
}

INLINE Ext operator-(const Ext& a, const Ext& b) {
  return {{sub(a.x[0], b.x[0]), sub(a.x[1], b.x[1]), sub(a.x[2], b.x[2]), sub(a.x[3], b.x[3])}};
}

// A right factor, with all that its products are made of: `y`, `-y1`, `-y3`, and `a + b i = (2 + i) (y2 + y3 i)`, `-b`.
// Negatives of zero are P.
struct Factor {
  u32 y0, y1, y2, y3, minus_y1, minus_y3, a, b, minus_b;
};

INLINE Factor factor(const Ext& y) {
  const u32 a = sub(add(y.x[2], y.x[2]), y.x[3]), b = add(add(y.x[3], y.x[3]), y.x[2]);
  return {y.x[0], y.x[1], y.x[2], y.x[3], P - y.x[1], P - y.x[3], a, b, P - b};
}

// A sum of four products of numbers up to P: 2^31 and 2^62 are one.
INLINE u32 reduce(u64 sum) {
  const u32 low = (u32)sum & P, middle = (u32)(sum >> 31) & P, high = (u32)(sum >> 62);
  return reduce_once(reduce_once(low + middle) + high);
}

INLINE u32 four(const Ext& x, u32 a, u32 b, u32 c, u32 d) {
  return reduce((u64)x.x[0] * a + (u64)x.x[1] * b + (u64)x.x[2] * c + (u64)x.x[3] * d);
}

INLINE Ext operator*(const Ext& x, const Factor& y) {
  return {{four(x, y.y0, y.minus_y1, y.a, y.minus_b), four(x, y.y1, y.y0, y.b, y.a),
           four(x, y.y2, y.minus_y3, y.y0, y.minus_y1), four(x, y.y3, y.y2, y.y1, y.y0)}};
}

INLINE Ext operator*(const Ext& x, const Ext& y) { return x * factor(y); }

// The line through `low` at 0 and `high` at 1.
INLINE Ext mix(const Ext& low, const Ext& high, const Factor& r) { return low + (high - low) * r; }
