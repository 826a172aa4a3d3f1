use alloc::vec::Vec;

use super::*;

/// Values that sit on the edges of the field and of its signed range.
const EDGES: [u32; 9] = [0, 1, 2, 3, P / 2, P / 2 + 1, 1 << 30, P - 2, P - 1];

fn elements() -> impl Iterator<Item = QM31> {
    (0..40u32).map(|i| {
        let limb = |k: u32| {
            let mixed = (i * 4 + k).wrapping_mul(2_654_435_761) >> 1;
            M31::reduce(u64::from(if i < 9 { EDGES[((i + k) % 9) as usize] } else { mixed }))
        };
        QM31::from_coordinates([limb(0), limb(1), limb(2), limb(3)])
    })
}

#[test]
fn only_canonical_words_decode() {
    for value in EDGES {
        assert_eq!(M31::new(value).map(M31::value), Ok(value));
    }
    for value in [P, P + 1, u32::MAX] {
        assert_eq!(M31::new(value), Err(NonCanonical(value)));
    }
}

#[test]
fn base_arithmetic_is_integer_arithmetic_mod_p() {
    let p = u64::from(P);
    for a in EDGES {
        for b in EDGES {
            let (x, y) = (M31::new(a).unwrap(), M31::new(b).unwrap());
            let (a, b) = (u64::from(a), u64::from(b));
            assert_eq!(u64::from((x + y).value()), (a + b) % p);
            assert_eq!(u64::from((x - y).value()), (a + p - b) % p);
            assert_eq!(u64::from((x * y).value()), a * b % p);
        }
        let x = M31::new(a).unwrap();
        assert_eq!(M31::from_i64(i64::from(x.signed())), x);
        assert!(i64::from(x.signed()).abs() <= i64::from(P / 2));
        assert_eq!((-x).value(), (P - a) % P);
    }
    for value in [0, 1, -1, i64::from(P), -i64::from(P), -2 * i64::from(P), 1 - i64::from(P), i64::MAX] {
        assert_eq!(i64::from(M31::from_i64(value).value()), value.rem_euclid(i64::from(P)));
    }
    for value in [u64::MAX, p * p, p * p - 1, 1 << 62, (1 << 62) - 1, (1 << 63) + 5] {
        assert_eq!(u64::from(M31::reduce(value).value()), value % p);
    }
    assert_eq!(M31::from_i64(i64::MIN).value(), P - ((1u64 << 63) % p) as u32);
}

#[test]
fn extension_is_a_field() {
    let all: Vec<QM31> = elements().collect();
    for &a in &all {
        if a != QM31::ZERO {
            assert_eq!(a * a.inverse().unwrap(), QM31::ONE);
        }
        for &b in &all {
            assert_eq!(a * b, b * a);
            assert_eq!((a + b) - b, a);
            for &c in all.iter().step_by(7) {
                assert_eq!(a * (b + c), a * b + a * c);
                assert_eq!((a * b) * c, a * (b * c));
            }
        }
    }
    assert_eq!(QM31::ZERO.inverse(), None);
    assert_eq!(QM31::HALF.double(), QM31::ONE);
}

#[test]
fn inverses_and_dots_are_those_of_the_definition() {
    for value in EDGES.into_iter().chain((1..500).map(|i| i * 4_294_967 % P)) {
        let x = M31::new(value).unwrap();
        assert_eq!(x.inverse(), (value != 0).then(|| x.pow(P - 2)));
    }
    let weights: Vec<QM31> = elements().collect();
    let cells: Vec<M31> = elements().map(|x| x.coordinates()[1]).collect();
    for n in [0, 1, 3, 4, 5, 39, 40] {
        let expected = weights.iter().zip(&cells[..n]).map(|(&w, &c)| w * c).sum();
        assert_eq!(QM31::dot(&weights, &cells[..n]), expected);
    }
    let greatest = M31::new(P - 1).unwrap();
    let all = QM31::from_coordinates([greatest; 4]);
    assert_eq!(QM31::dot(&[all; 8], &[greatest; 8]), QM31::from_i64(8) * all * greatest);
}

#[test]
fn u_squared_is_two_plus_i() {
    let unit = |k: usize| {
        let mut c = [M31::ZERO; 4];
        c[k] = M31::ONE;
        QM31::from_coordinates(c)
    };
    let (i, u) = (unit(1), unit(2));
    assert_eq!(i * i, -QM31::ONE);
    assert_eq!(u * u, QM31::ONE.double() + i);
    assert_eq!(u * i, unit(3));
}
