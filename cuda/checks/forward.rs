//! Products with weights, against their definition.

use std::sync::Arc;

use circlet_core::field::M31;
use circlet_cuda::columns::{Cell, Columns};
use circlet_cuda::forward::{PIECE, Room, Weights};
use circlet_cuda::{Error, Machine};

use super::words;

/// Numbers up to the least and the greatest that there are, these among them.
fn numbers(count: usize, least: i32, seed: u32) -> Vec<i32> {
    let number = |(i, word): (usize, u32)| match i % 11 {
        3 => least,
        5 => -least - 1,
        _ => (word as i32) % -least,
    };
    words(count, seed).into_iter().enumerate().map(number).collect()
}

/// Columns of these cells, and the integers in them.
fn filled(machine: &Arc<dyn Machine>, cells: &[Cell], log: u32) -> Result<(Columns, Vec<i32>), Error> {
    let mut columns = Columns::new(machine, cells, log)?;
    let mut all = Vec::new();
    for (column, &cell) in cells.iter().enumerate() {
        let least = if cell == Cell::Byte { i8::MIN.into() } else { i16::MIN.into() };
        let own = numbers(1 << log, least, column as u32);
        let elements: Vec<u32> = own.iter().map(|&x| M31::from_i64(x.into()).value()).collect();
        let Some(packed) = cell.pack(&elements) else { panic!("numbers that are too large") };
        columns.write(column, &packed)?;
        all.extend(own);
    }
    Ok((columns, all))
}

/// Of bytes and of halves: few positions and many, in tiles that are full and that are not, and in parts; rows in one column
/// and across several, with cells between them, and fewer of them than sums.
pub fn forward(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    use Cell::{Byte, Half, Word};
    let log = 13;
    let (columns, all) = filled(machine, &[Byte, Byte, Byte, Half, Half, Half, Word], log)?;
    assert_eq!(columns.kind(&(0..3 << log)), Some(Byte));
    assert_eq!(columns.kind(&(3 << log..6 << log)), Some(Half));
    assert_eq!(columns.kind(&((6 << log) + 5..7 << log)), Some(Word));
    assert_eq!(columns.kind(&(0..(3 << log) + 1)), None);
    // Of both kinds rows, weights of each, cells from one to the next, and sums.
    for (k, (rows, len, pitch, width)) in [
        (1, 1, 16, 1),
        (5, 13, 16, 8),
        (130, 77, 128, 256),
        (64, 128, 128, 64),
        (9, 2049, 2064, 9),
        (47, 300, 304, 50),
        (3, 1024, 1024, 4),
    ]
    .into_iter()
    .enumerate()
    {
        for part in [0..3 << log, 3 << log..6 << log] {
            // At an end of the columns of their kind.
            let first = if k % 2 == 0 { part.start } else { part.end - rows * pitch };
            let weights = Weights { first, rows, len, pitch };
            assert!(weights.are_aligned());
            let padded = weights.padded();
            for positions in [1, 2, 3, 4, 5, 8, 9, 31, 33, 70] {
                let a = numbers(positions * len, i16::MIN.into(), k as u32);
                let mut given = vec![0; positions * padded];
                for (given, a) in given.chunks_mut(padded).zip(a.chunks(len)) {
                    given.iter_mut().zip(a).for_each(|(given, &a)| *given = a as i16);
                }
                let mut room = Room::new(machine, given.len(), positions * width)?;
                room.write(&given)?;
                room.forward(&columns, &weights, positions, width)?;
                let mut found = vec![7; positions * width];
                room.read(&mut found)?;
                for (t, sums) in found.chunks(width).enumerate() {
                    for (n, &sum) in sums.iter().enumerate() {
                        let own = &all[first + n * pitch..][..len];
                        let products = a[t * len..][..len].iter().zip(own).map(|(a, b)| a.wrapping_mul(*b));
                        let expected = if n < rows { products.fold(0, i32::wrapping_add) } else { 0 };
                        assert_eq!(
                            sum as i32, expected,
                            "{weights:?}, sum {n} of position {t} of {positions}"
                        );
                    }
                }
            }
        }
    }
    for wrong in [
        Weights { first: 8, rows: 1, len: 16, pitch: 16 },
        Weights { first: 0, rows: 1, len: 17, pitch: 16 },
        Weights { first: 0, rows: 1, len: PIECE, pitch: 24 },
    ] {
        assert!(!wrong.are_aligned());
    }
    Ok(())
}
