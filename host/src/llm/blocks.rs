//! Number formats of stored weights, and how they become floats.
//!
//! A row is a sequence of blocks; a block of `weights()` numbers takes `bytes()` bytes. With `d`, `m` half-precision
//! factors, `q` small integers and `s` the scale of a group of a block:
//!
//! | format | weight |
//! |---|---|
//! | Q8_0, Q4_0, Q5_0 | `d q` |
//! | Q4_1, Q5_1 | `d q + m` |
//! | Q4_K, Q5_K | `(d s) q - m s'` |
//! | Q6_K | `(d s) q` |
//!
//! Products and sums are rounded to `f32` in this order, so that every reader of a file gets the same bits.

/// Number format of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an IEEE single.
    BF16,
    /// 32 weights of 4 bits, one scale.
    Q4_0,
    /// 32 weights of 4 bits, scale and minimum.
    Q4_1,
    /// 32 weights of 5 bits, one scale.
    Q5_0,
    /// 32 weights of 5 bits, scale and minimum.
    Q5_1,
    /// 32 weights of 8 bits, one scale.
    Q8_0,
    /// 256 weights of 4 bits, 8 groups with scale and minimum of 6 bits.
    Q4K,
    /// 256 weights of 5 bits, 8 groups with scale and minimum of 6 bits.
    Q5K,
    /// 256 weights of 6 bits, 16 groups with a scale of 8 bits.
    Q6K,
}

impl Block {
    /// All formats.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Number of weights in a block.
    pub fn weights(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Number of bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Number of bytes of `weights` weights, or `None` if they are no whole blocks or too many.
    pub fn size(self, weights: usize) -> Option<usize> {
        if !weights.is_multiple_of(self.weights()) {
            return None;
        }
        (weights / self.weights()).checked_mul(self.bytes())
    }

    /// Dequantizes whole blocks. `bytes.len()` must be `size(out.len())`.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(self.size(out.len()), Some(bytes.len()), "not whole blocks");
        let blocks = bytes.chunks_exact(self.bytes()).zip(out.chunks_exact_mut(self.weights()));
        match self {
            Self::F32 => blocks.for_each(|(b, o)| o[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Self::F16 => blocks.for_each(|(b, o)| o[0] = half(b, 0)),
            Self::BF16 => blocks.for_each(|(b, o)| o[0] = f32::from_le_bytes([0, 0, b[0], b[1]])),
            Self::Q8_0 => blocks.for_each(|(b, o)| {
                let d = half(b, 0);
                o.iter_mut().zip(&b[2..]).for_each(|(o, &q)| *o = d * f32::from(q as i8));
            }),
            Self::Q4_0 => blocks.for_each(|(b, o)| {
                let d = half(b, 0);
                nibbles(&b[2..], o, |q, _| d * (q as f32 - 8.0));
            }),
            Self::Q4_1 => blocks.for_each(|(b, o)| {
                let (d, m) = (half(b, 0), half(b, 2));
                nibbles(&b[4..], o, |q, _| d * q as f32 + m);
            }),
            Self::Q5_0 => blocks.for_each(|(b, o)| {
                let (d, high) = (half(b, 0), u32::from_le_bytes([b[2], b[3], b[4], b[5]]));
                nibbles(&b[6..], o, |q, i| d * ((q | (high >> i & 1) << 4) as f32 - 16.0));
            }),
            Self::Q5_1 => blocks.for_each(|(b, o)| {
                let (d, m) = (half(b, 0), half(b, 2));
                let high = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
                nibbles(&b[8..], o, |q, i| d * (q | (high >> i & 1) << 4) as f32 + m);
            }),
            Self::Q4K => blocks.for_each(|(b, o)| groups(b, &b[16..], None, o)),
            Self::Q5K => blocks.for_each(|(b, o)| groups(b, &b[48..], Some(&b[16..48]), o)),
            Self::Q6K => blocks.for_each(|(b, o)| six_bits(b, o)),
        }
    }
}

/// Half precision at a byte offset.
fn half(bytes: &[u8], at: usize) -> f32 {
    let bits = u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (sign, exponent, fraction) = ((bits & 0x8000) << 16, bits >> 10 & 31, bits & 0x3ff);
    match exponent {
        // Subnormal: fraction * 2^-24, exactly.
        0 => f32::from_bits(sign | (fraction as f32 * f32::from_bits(103 << 23)).to_bits()),
        31 => f32::from_bits(sign | 0xff << 23 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// 32 weights in 16 bytes: low nibbles first, then high ones.
fn nibbles(bytes: &[u8], out: &mut [f32], weight: impl Fn(u32, usize) -> f32) {
    let (low, high) = out.split_at_mut(16);
    for (i, &b) in bytes[..16].iter().enumerate() {
        low[i] = weight(u32::from(b & 15), i);
        high[i] = weight(u32::from(b >> 4), i + 16);
    }
}

/// Scale and minimum of group `j` of 8, six bits each, packed into 12 bytes.
fn scale_min(s: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// Q4_K and Q5_K: 8 groups of 32; two neighbours share 32 bytes, fifth bits stand in `high`.
fn groups(block: &[u8], low: &[u8], high: Option<&[u8]>, out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min(&block[4..16], j);
        let (scale, min) = (d * scale, m * min);
        let bytes = &low[j / 2 * 32..][..32];
        for (i, o) in out.iter_mut().enumerate() {
            let q = if j % 2 == 0 { bytes[i] & 15 } else { bytes[i] >> 4 };
            let fifth = high.map_or(0, |h| (h[i] >> j & 1) << 4);
            *o = scale * f32::from(q | fifth) - min;
        }
    }
}

/// Q6_K: two halves of 128; four groups of 32 share 64 bytes of low and 32 bytes of high bits.
fn six_bits(block: &[u8], out: &mut [f32]) {
    let d = half(block, 208);
    for (n, out) in out.chunks_exact_mut(128).enumerate() {
        let (low, high) = (&block[n * 64..][..64], &block[128 + n * 32..][..32]);
        let scales = &block[192 + n * 8..][..8];
        for (i, o) in out.iter_mut().enumerate() {
            let (group, l) = (i / 32, i % 32);
            let four = low[i % 64] >> (group / 2 * 4) & 15;
            let two = high[l] >> (2 * group) & 3;
            let scale = d * f32::from(scales[i / 16] as i8);
            *o = scale * (f32::from(four | two << 4) - 32.0);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
