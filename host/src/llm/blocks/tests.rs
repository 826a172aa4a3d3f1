use super::*;

/// Bits `from..from + count` of a block, lowest first.
fn bits(block: &[u8], from: usize, count: usize) -> u32 {
    (0..count).map(|i| u32::from(block[(from + i) / 8] >> ((from + i) % 8) & 1) << i).sum()
}

/// A half by its definition, in exact arithmetic.
fn slow_half(bits: u32) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = ((bits >> 10 & 31) as i32, f64::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// Scale or minimum (`which` 0 or 1) of group `j`: the low four or six bits, and two more from elsewhere.
fn slow_scale(block: &[u8], which: usize, j: usize) -> f64 {
    let byte = |k: usize| 32 + 8 * k;
    f64::from(if j < 4 {
        bits(block, byte(j + 4 * which), 6)
    } else {
        bits(block, byte(j + 4) + 4 * which, 4) + 16 * bits(block, byte(j - 4 + 4 * which) + 6, 2)
    })
}

/// Weight `i` of a block, from the bits that belong to it, in double precision.
fn slow(format: Block, block: &[u8], i: usize) -> f64 {
    let half_at = |byte: usize| slow_half(bits(block, 8 * byte, 16));
    // Where the nibble of weight `i` is: in a block of 32, or in a group of 64 of a larger one.
    let nibble = |first: usize| f64::from(bits(block, 8 * (first + i % 16) + 4 * (i / 16), 4));
    let wide =
        |first: usize| f64::from(bits(block, 8 * (first + i / 64 * 32 + i % 32) + 4 * (i / 32 % 2), 4));
    let fifth = |first: usize| f64::from(16 * bits(block, 8 * first + i, 1));
    match format {
        Block::F32 => f64::from(f32::from_bits(bits(block, 0, 32))),
        Block::F16 => half_at(0),
        Block::BF16 => f64::from(f32::from_bits(bits(block, 0, 16) << 16)),
        Block::Q4_0 => half_at(0) * (nibble(2) - 8.0),
        Block::Q4_1 => half_at(0) * nibble(4) + half_at(2),
        Block::Q5_0 => half_at(0) * (nibble(6) + fifth(2) - 16.0),
        Block::Q5_1 => half_at(0) * (nibble(8) + fifth(4)) + half_at(2),
        Block::Q8_0 => half_at(0) * f64::from(bits(block, 8 * (2 + i), 8) as u8 as i8),
        Block::Q4K => {
            half_at(0) * slow_scale(block, 0, i / 32) * wide(16) - half_at(2) * slow_scale(block, 1, i / 32)
        }
        Block::Q5K => {
            let q = wide(48) + f64::from(16 * bits(block, 8 * (16 + i % 32) + i / 32, 1));
            half_at(0) * slow_scale(block, 0, i / 32) * q - half_at(2) * slow_scale(block, 1, i / 32)
        }
        Block::Q6K => {
            let (half, j) = (i / 128, i % 128);
            let low = bits(block, 8 * (64 * half + j % 64) + 4 * (j / 64), 4);
            let high = bits(block, 8 * (128 + 32 * half + j % 32) + 2 * (j / 32), 2);
            let scale = f64::from(bits(block, 8 * (192 + i / 16), 8) as u8 as i8);
            half_at(208) * scale * (f64::from(low + 16 * high) - 32.0)
        }
    }
}

/// Where the halves of a block are; of a float, the half of it with the exponent.
fn scales(format: Block) -> &'static [usize] {
    match format {
        Block::F32 => &[2],
        Block::F16 | Block::BF16 | Block::Q4_0 | Block::Q5_0 | Block::Q8_0 => &[0],
        Block::Q4_1 | Block::Q5_1 | Block::Q4K | Block::Q5K => &[0, 2],
        Block::Q6K => &[208],
    }
}

/// Pseudo-random blocks with finite scales.
pub(in crate::llm) fn sample(format: Block, count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut bytes = vec![0; count * format.bytes()];
    for byte in &mut bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    for block in bytes.chunks_exact_mut(format.bytes()) {
        for &at in scales(format) {
            block[at + 1] &= 0xbf;
        }
    }
    bytes
}

#[test]
fn every_format_agrees_with_its_definition() {
    for format in Block::ALL {
        let bytes = sample(format, 40);
        let mut out = vec![0.0; 40 * format.weights()];
        format.dequantize(&bytes, &mut out);
        for (b, block) in bytes.chunks_exact(format.bytes()).enumerate() {
            for i in 0..format.weights() {
                let (fast, slow) = (f64::from(out[b * format.weights() + i]), slow(format, block, i));
                // A product and a sum in single precision, whose terms may cancel.
                let bound = match format.weights() {
                    1 => 0.0,
                    32 => 256.0 * 2f64.powi(-23),
                    _ => 128.0 * 32.0 * 2f64.powi(-23),
                };
                let bound =
                    bound * scales(format).iter().map(|&s| f64::from(half(block, s).abs())).sum::<f64>();
                assert!(
                    (fast - slow).abs() <= bound,
                    "{format:?} block {b} weight {i}: {fast} is not {slow}"
                );
            }
        }
    }
}

/// The bits of the dequantizer in `gguf` 0.19 (PyPI), as FNV-1a of the little-endian floats.
#[test]
fn same_bits_as_the_python_reader() {
    let golden = [
        (Block::F16, 0x8166_0273_beb4_78e9),
        (Block::BF16, 0xd7a0_3f5b_fa0f_7001),
        (Block::Q4_0, 0x25d6_8a8d_4f19_efa5),
        (Block::Q4_1, 0x6d2a_fc87_1453_a12f),
        (Block::Q5_0, 0x066b_fb3b_b959_5f64),
        (Block::Q5_1, 0x011a_350e_a341_f1ec),
        (Block::Q8_0, 0xfc85_ce30_c51d_bcc5),
        (Block::Q4K, 0xb85e_8353_eb28_10b6),
        (Block::Q5K, 0x8fe8_237c_2626_ffeb),
        (Block::Q6K, 0x5fae_3d58_bf3b_9444_u64),
    ];
    for (format, golden) in golden {
        let count = if format.weights() == 1 { 256 } else { 8 };
        let mut out = vec![0.0; count * format.weights()];
        format.dequantize(&sample(format, count), &mut out);
        let bytes = out.iter().flat_map(|x| x.to_le_bytes());
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        assert_eq!(hash, golden, "{format:?}");
    }
}

#[test]
fn halves_are_exact() {
    for bits in 0..=u16::MAX {
        let (fast, slow) = (f64::from(half(&bits.to_le_bytes(), 0)), slow_half(bits.into()));
        assert!(fast.to_bits() == slow.to_bits() || fast.is_nan() && slow.is_nan(), "{bits:#x}");
    }
}

#[test]
fn sizes() {
    assert_eq!(Block::Q4_1.size(64), Some(40));
    assert_eq!(Block::Q4K.size(255), None);
    assert_eq!(Block::F32.size(usize::MAX), None);
}
