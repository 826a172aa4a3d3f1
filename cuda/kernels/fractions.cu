// The fraction tree of the lookups and the sumchecks of its layers, as `circlet_core::lookup` defines them.
//
// A layer of fractions is two arrays: denominators, then numerators, which are in the base field in the leaves. The
// parent of the fractions at x and x + half is their sum. Rounds of a sumcheck go from the highest coordinate down.
#include "sums.cuh"

INLINE u32 thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

INLINE Ext at(const uint4* table, u32 place) { return element(table[place]); }
INLINE Ext at(const u32* table, u32 place) { return of_base(table[place]); }

// A signed integer. As an unsigned word a negative one is larger by 2^32 = 2, and its top bit counts as 2^31 = 1.
INLINE u32 residue(int number) {
  const u32 word = (u32)number;
  return reduce_once(sub(word & P, word >> 31));
}

// All leaves from `first` on are `numerator / denominator`.
extern "C" __global__ void __launch_bounds__(256)
    leaves_fill(uint4* q, u32* p, u32 first, u32 count, Ext denominator, u32 numerator) {
  const u32 place = thread();
  if (place >= count) return;
  q[first + place] = words(denominator);
  p[first + place] = numerator;
}

template <class Number>
INLINE void add_numbers(uint4* q, const Number* numbers, u32 first, u32 count, const Ext& by) {
  const u32 place = thread();
  if (place >= count) return;
  const u32 number = residue(numbers[place]);
  Ext sum = at(q, first + place);
#pragma unroll
  for (int k = 0; k < 4; k++) sum.x[k] = add(sum.x[k], times_half_of(number, 2 * by.x[k]));
  q[first + place] = words(sum);
}

// Adds so many times each of the numbers to the denominators from `first` on. Words may be elements of the field, or `P` for
// zero: these are integers with the same residue.
extern "C" __global__ void __launch_bounds__(256)
    leaves_add(uint4* q, const int* numbers, u32 first, u32 count, Ext factor) {
  add_numbers(q, numbers, first, count, factor);
}
extern "C" __global__ void __launch_bounds__(256)
    leaves_add_bytes(uint4* q, const signed char* numbers, u32 first, u32 count, Ext factor) {
  add_numbers(q, numbers, first, count, factor);
}
extern "C" __global__ void __launch_bounds__(256)
    leaves_add_narrow(uint4* q, const short* numbers, u32 first, u32 count, Ext factor) {
  add_numbers(q, numbers, first, count, factor);
}

// Numerators from `first` on: minus these numbers.
extern "C" __global__ void __launch_bounds__(256)
    leaves_subtract(u32* p, const int* numbers, u32 first, u32 count) {
  const u32 place = thread();
  if (place >= count) return;
  p[first + place] = sub(0, residue(numbers[place]));
}

template <class Numerator>
INLINE void add_fractions(const uint4* q, const Numerator* p, uint4* above_q, uint4* above_p, u32 half) {
  const u32 place = thread();
  if (place >= half) return;
  const Ext q0 = at(q, place);
  const Factor q1 = factor(at(q, place + half));
  above_q[place] = words(q0 * q1);
  above_p[place] = words(at(p, place) * q1 + at(p, place + half) * factor(q0));
}

// The layer above, of `half` fractions.
extern "C" __global__ void __launch_bounds__(256)
    layer_above(const uint4* q, const uint4* p, uint4* above_q, uint4* above_p, u32 half) {
  add_fractions(q, p, above_q, above_p, half);
}
extern "C" __global__ void __launch_bounds__(256)
    layer_above_leaves(const uint4* q, const u32* p, uint4* above_q, uint4* above_p, u32 half) {
  add_fractions(q, p, above_q, above_p, half);
}

// `eq(point[..k], .)` for all k up to `coordinates`, that of k from place 2^k on. Place 0 is not written.
extern "C" __global__ void __launch_bounds__(256) weights(const uint4* point, uint4* levels, u32 coordinates) {
  const u32 place = thread();
  if (place == 0 || place >> (coordinates + 1) != 0) return;
  Ext product = of_base(1);
  // The highest bit says which level it is.
#pragma unroll 1
  for (u32 k = 0; place >> (k + 1) != 0; k++) {
    const Ext z = at(point, k);
    product = product * (place >> k & 1 ? z : of_base(1) - z);
  }
  levels[place] = words(product);
}

// A node of a layer's sumcheck; its summand is `p0 q1 + q0 last`, where `last = p1 + lambda q1`.
struct Node {
  Ext p0, q1, q0, last;
};

INLINE Ext summand(const Node& node) { return node.p0 * node.q1 + node.q0 * node.last; }

INLINE Node difference(const Node& low, const Node& high) {
  return {high.p0 - low.p0, high.q1 - low.q1, high.q0 - low.q0, high.last - low.last};
}

// Nodes are four arrays, `stride` places apart.
INLINE Node load(const uint4* nodes, u32 stride, u32 place) {
  return {at(nodes, place), at(nodes + stride, place), at(nodes + 2 * (u64)stride, place),
          at(nodes + 3 * (u64)stride, place)};
}

INLINE void store(uint4* nodes, u32 stride, u32 place, const Node& node) {
  nodes[place] = words(node.p0);
  (nodes + stride)[place] = words(node.q1);
  (nodes + 2 * (u64)stride)[place] = words(node.q0);
  (nodes + 3 * (u64)stride)[place] = words(node.last);
}

// A sum over pairs of nodes: `pair` gives the nodes at a place of the lower half and of the higher. Of every WIDTH
// neighbouring places a thread has that of its rank; the weight of a place is `inner` at its rank times `outer` of these.
template <class Pair>
INLINE void sum_pairs(const uint4* inner, const uint4* outer, u32 tiles, uint4* out, Pair pair) {
  // At 0, and the leading coefficient.
  Ext sums[2] = {};
#pragma unroll 1
  for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    Node low, high;
    pair(tile * WIDTH + threadIdx.x, low, high);
    const Factor weight = factor(at(outer, tile));
    sums[0] = sums[0] + summand(low) * weight;
    sums[1] = sums[1] + summand(difference(low, high)) * weight;
  }
  const Factor weight = factor(at(inner, threadIdx.x));
#pragma unroll
  for (int k = 0; k < 2; k++) sums[k] = sums[k] * weight;
  sum_block(sums, out);
}

template <class Numerator>
INLINE Node node_of(const uint4* q, const Numerator* p, u32 half, u32 place, const Factor& lambda) {
  const Ext q1 = at(q, place + half);
  return {at(p, place), q1, at(q, place), at(p, place + half) + q1 * lambda};
}

// The first round, over the children of `half` nodes.
template <class Numerator>
INLINE void sum_children(const uint4* q, const Numerator* p, const uint4* inner, const uint4* outer, uint4* out, u32 half,
                         const Ext& lambda_) {
  const Factor lambda = factor(lambda_);
  sum_pairs(inner, outer, half / 2 / WIDTH, out, [=](u32 place, Node& low, Node& high) {
    low = node_of(q, p, half, place, lambda);
    high = node_of(q, p, half, place + half / 2, lambda);
  });
}

extern "C" __global__ void __launch_bounds__(WIDTH)
    layer_first(const uint4* q, const uint4* p, const uint4* inner, const uint4* outer, uint4* out, u32 half, Ext lambda) {
  sum_children(q, p, inner, outer, out, half, lambda);
}
extern "C" __global__ void __launch_bounds__(WIDTH)
    layer_first_leaves(const uint4* q, const u32* p, const uint4* inner, const uint4* outer, uint4* out, u32 half,
                       Ext lambda) {
  sum_children(q, p, inner, outer, out, half, lambda);
}

// The challenge of a round: the number that is given, or what lies there.
INLINE Ext challenge(const Ext& given, const uint4* there) { return there == nullptr ? given : element(*there); }

// Binds the highest coordinate of children: a node for every two, half / 2 in all, and the sums of the next round.
template <class Numerator>
INLINE void bind_children(const uint4* q, const Numerator* p, uint4* nodes, const uint4* inner, const uint4* outer,
                          uint4* out, u32 half, const Ext& lambda_, const Ext& r_) {
  const Factor lambda = factor(lambda_), r = factor(r_);
  const u32 count = half / 2;
  auto bound = [=](u32 place) -> Node {
    const u32 right = place + half;
    const Ext q1 = mix(at(q, right), at(q, right + count), r);
    const Ext p1 = mix(at(p, right), at(p, right + count), r);
    const Node node = {mix(at(p, place), at(p, place + count), r), q1, mix(at(q, place), at(q, place + count), r),
                       p1 + q1 * lambda};
    store(nodes, count, place, node);
    return node;
  };
  sum_pairs(inner, outer, count / 2 / WIDTH, out, [=](u32 place, Node& low, Node& high) {
    low = bound(place);
    high = bound(place + count / 2);
  });
}

extern "C" __global__ void __launch_bounds__(WIDTH)
    layer_bind(const uint4* q, const uint4* p, uint4* nodes, const uint4* inner, const uint4* outer, uint4* out, u32 half,
               Ext lambda, Ext r, const uint4* there) {
  bind_children(q, p, nodes, inner, outer, out, half, lambda, challenge(r, there));
}
extern "C" __global__ void __launch_bounds__(WIDTH)
    layer_bind_leaves(const uint4* q, const u32* p, uint4* nodes, const uint4* inner, const uint4* outer, uint4* out,
                      u32 half, Ext lambda, Ext r, const uint4* there) {
  bind_children(q, p, nodes, inner, outer, out, half, lambda, challenge(r, there));
}

// Binds the highest coordinate of nodes, `count` of which are left, and sums the next round.
extern "C" __global__ void __launch_bounds__(WIDTH)
    nodes_bind(uint4* nodes, const uint4* inner, const uint4* outer, uint4* out, u32 stride, u32 count, Ext r_,
               const uint4* there) {
  const Factor r = factor(challenge(r_, there));
  auto bound = [=](u32 place) -> Node {
    const Node low = load(nodes, stride, place), high = load(nodes, stride, place + count);
    const Node node = {mix(low.p0, high.p0, r), mix(low.q1, high.q1, r), mix(low.q0, high.q0, r),
                       mix(low.last, high.last, r)};
    store(nodes, stride, place, node);
    return node;
  };
  sum_pairs(inner, outer, count / 2 / WIDTH, out, [=](u32 place, Node& low, Node& high) {
    low = bound(place);
    high = bound(place + count / 2);
  });
}

// The first `count` nodes, one after the other.
extern "C" __global__ void __launch_bounds__(256) nodes_gather(const uint4* nodes, u32 stride, u32 count, uint4* out) {
  const u32 place = thread();
  if (place >= 4 * count) return;
  out[place] = nodes[(u64)(place % 4) * stride + place / 4];
}

KERNELS(leaves_fill, leaves_add, leaves_add_narrow, leaves_add_bytes, leaves_subtract, layer_above, layer_above_leaves, weights,
        layer_first, layer_first_leaves, layer_bind, layer_bind_leaves, nodes_bind, nodes_gather)
