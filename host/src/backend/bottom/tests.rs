//! The layers over computed leaves, message by message against the definition.

use super::*;
use crate::backend::field::LANES;
use crate::backend::fractions::tests::{naive, sample};
use crate::backend::fractions::{LayerSumcheck, parents};
use crate::backend::leaves::{Counts, Numbers, Term};
use circlet_core::lookup::merge;
use circlet_core::poly::{bind_high, evaluate};

/// A block: log of its size, its columns, and whether it is a table.
type Shape = (u32, usize, bool);

/// Numbers of all sizes and signs.
fn numbers(len: usize, seed: u64) -> Vec<i32> {
    let edges = [0, 1, -1, i32::MAX, i32::MIN, 1 << 15];
    (0..len as u64)
        .map(|i| {
            let word = (i + seed * 77 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if word >> 60 == 0 { edges[(word >> 50) as usize % 6] } else { (word >> (20 + i % 20)) as i32 }
        })
        .collect()
}

/// Runs both layers over these blocks, and `rest` leaves behind them.
fn check(blocks: &[Shape], rest: usize) {
    let used: usize = blocks.iter().map(|b| 1 << b.0).sum::<usize>() + rest;
    let depth = used.next_power_of_two().trailing_zeros() as usize;
    let columns: Vec<Vec<Vec<i32>>> = (0u64..)
        .zip(blocks)
        .map(|(k, block)| (0..=block.1 as u64).map(|c| numbers(1 << block.0, 10 * k + c)).collect())
        .collect();
    let factors = sample(64, 11);
    let (mut leaves, mut p, mut q) = (Leaves::new(depth as u32), Vec::new(), Vec::new());
    for (k, (&(log, count, table), columns)) in blocks.iter().zip(&columns).enumerate() {
        let counts = table.then_some(columns[count].as_slice());
        let narrow: Vec<Vec<i16>> =
            columns.iter().map(|column| column.iter().map(|&x| x as i16).collect()).collect();
        let at = |c: usize, i: usize| match c {
            1 => i64::from(narrow[c][i]),
            _ => i64::from(columns[c][i]),
        };
        for i in 0..1 << log {
            p.push(counts.map_or(QM31::ONE, |counts| -QM31::from_i64(counts[i].into())));
            q.push((0..count).fold(factors[k], |sum, c| sum + factors[k + c + 1] * QM31::from_i64(at(c, i))));
        }
        // The second column is a narrow one, the third a form.
        let terms = (0..count).map(|c| {
            let column = match c {
                0 => Numbers::Wide(&columns[c]),
                1 => Numbers::Narrow(Box::leak(narrow[c].clone().into_boxed_slice())),
                _ => Numbers::of_form(&columns[c].iter().map(|&x| i64::from(x)).collect::<Vec<_>>()),
            };
            Term::new(factors[k + c + 1], column)
        });
        leaves.push(factors[k], terms.collect(), counts.map(Counts::from), 1 << log);
    }
    if rest > 0 {
        let (rest_p, rest_q) = (sample(rest, 21), sample(rest, 22));
        p.extend(&rest_p);
        q.extend(&rest_q);
        leaves.push_given(rest_p, rest_q);
    }
    p.resize(1 << depth, QM31::ZERO);
    q.resize(1 << depth, QM31::ONE);
    assert_eq!(leaves.stored().elements(), [p.clone(), q.clone()]);
    if !leaves.are_many() {
        return;
    }

    let sum = |i: usize, j: usize| (p[i] * q[j] + p[j] * q[i], q[i] * q[j]);
    let half = 1 << (depth - 1);
    let (above_p, above_q): (Vec<_>, Vec<_>) = (0..half).map(|i| sum(i, i + half)).unzip();
    let above = Above(&leaves);
    let expected = parents(&crate::backend::fractions::Fractions::new(above_p.clone(), above_q.clone()));
    assert_eq!(parents(&above).elements(), expected.elements());

    let lambda = sample(1, 5)[0];
    let point = sample(depth - 1, 3);
    let mut start = QM31::ZERO;
    for (p, q, lowest) in [(&above_p, &above_q, false), (&p, &q, true)] {
        let half = p.len() / 2;
        let mut children = [p[..half].to_vec(), p[half..].to_vec(), q[..half].to_vec(), q[half..].to_vec()];
        let point = &point[..half.trailing_zeros() as usize];
        let first = naive(&children, lambda, &point[..point.len() - 1], QM31::ZERO);
        if lowest {
            assert_eq!(start, first);
        }
        let ends = if lowest {
            let mut fast = LeafSumcheck::new(&leaves, lambda, start, point, Workspace::default());
            for j in (0..point.len()).rev() {
                compare(fast.round(), &mut children, lambda, &point[..j], point[j]);
                fast.bind(point[j], &point[..j.saturating_sub(1)]);
            }
            fast.finish().0
        } else {
            let mut fast = LayerSumcheck::new(&above, lambda, first, point, Workspace::default());
            for j in (0..point.len()).rev() {
                compare(fast.round(), &mut children, lambda, &point[..j], point[j]);
                fast.bind(point[j], &point[..j.saturating_sub(1)]);
            }
            fast.finish().0
        };
        assert_eq!(ends.to_vec(), children.map(|child| child[0]).to_vec());
        let top = sample(1, 8)[0];
        let at = [point, &[top]].concat();
        assert_eq!(merge(ends, top), (evaluate(p, &at), evaluate(q, &at)));
        start = ends[0] + lambda * ends[2];
    }
}

/// Compares a round with the definition and binds.
fn compare(found: Sums, children: &mut [Vec<QM31>; 4], lambda: QM31, below: &[QM31], r: QM31) {
    let [t0, t1, tm] = [QM31::ZERO, QM31::ONE, -QM31::ONE].map(|x| naive(children, lambda, below, x));
    // (t(1) + t(-1)) / 2 - t(0)
    assert_eq!(found, (t0, (t1 + tm) * QM31::HALF - t0));
    for child in children {
        bind_high(child, r);
    }
}

#[test]
fn blocks_of_all_shapes() {
    let lookups = |log, components| (log, components, false);
    let table = |log, components| (log, components, true);
    // Small trees are stored.
    check(&[], 2);
    check(&[], 3);
    check(&[], 17);
    check(&[lookups(4, 1)], 2);
    check(&[lookups(6, 2), table(4, 2)], 8 + 4);
    // Just large enough; a table to the left and to the right; a last vector that is not full.
    check(&[lookups(7, 1), table(4, 1)], 0);
    check(&[table(7, 1), lookups(4, 1)], 1);
    check(&[table(7, 2), table(7, 3)], 0);
    check(&[table(8, 1)], 9);
    check(&[lookups(8, 3), table(7, 2), lookups(5, 1)], 16 + 3);
    // Runs that end at and between halves.
    for log in 5..10 {
        check(&[lookups(10, 1), lookups(9, 2), table(log, 1), lookups(4, 3)], 6);
        check(&[lookups(11, 1), table(log, 2), table(log, 1), lookups(4, 1)], 0);
        check(&[table(10, 1), lookups(log, 1), table(log, 2), table(4, 1)], 5);
    }
    // Several tiles, one and more lookups for each, full and with few leaves in the right half.
    check(&[lookups(13, 1), table(4, 1)], 0);
    check(&[lookups(13, 1), lookups(11, 2), table(9, 1), lookups(4, 1)], 15);
    check(&[lookups(12, 2), lookups(12, 1), lookups(12, 1), lookups(11, 3), table(10, 2), table(10, 1)], 0);
}

#[test]
fn only_lookups_and_only_tables() {
    for log in 5..12 {
        check(&[(log, 1, false), (log - 1, 2, false), (log - 1, 1, false)], 0);
        check(&[(log, 1, true), (log - 1, 2, true), (4, 1, true)], LANES - 1);
    }
}
