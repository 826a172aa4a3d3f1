use alloc::vec::Vec;

use super::*;
use crate::circuit::Circuit;
use crate::circuit::tests::program;

#[test]
fn blocks_cover_channels_once() {
    for len in (1..40).chain([576, 1000, 1023, 1024, 1025, 1536, 2047, 2048, 2049, 4096, 5120]) {
        for (blocks, most) in [(split(len), u32::MAX), (split_wide(len), 1 << 10)] {
            let mut end = 0;
            for (offset, cols) in blocks {
                assert_eq!(offset, end, "{len}");
                assert!((1..=most).contains(&cols), "{len}");
                end += cols;
            }
            assert_eq!(end, len);
        }
    }
}

/// The same rectangle is the same column, any other is another, and one that leaves the constant, along one axis or both, is
/// refused.
#[test]
fn rectangles_lie_in_their_constant() {
    let (program, mut circuit) = (program(), Circuit::default());
    let mut builder = Builder::new(&program, true, Columns::default(), &mut circuit).unwrap();
    let all = Shape { rows: 13, cols: 20 };
    let mut own =
        |row, col, shape| builder.rectangle(ConstantId(0), row, col, shape).map_err(|e| e.to_string());
    let part = |rows, cols| Shape { rows, cols };
    let rectangles = [
        (0, 0, all),
        (0, 0, part(13, 16)),
        (0, 0, part(8, 20)),
        (0, 16, part(13, 4)),
        (1, 0, part(8, 20)),
        (1, 1, part(8, 4)),
        (5, 16, part(8, 4)),
    ];
    let columns: Vec<ColumnId> =
        rectangles.into_iter().map(|(row, col, s)| own(row, col, s).unwrap()).collect();
    for (i, (row, col, shape)) in rectangles.into_iter().enumerate() {
        assert_eq!(own(row, col, shape).unwrap(), columns[i]);
        assert!(!columns[..i].contains(&columns[i]));
    }
    for (row, col, shape) in [
        (1, 0, all),
        (0, 1, all),
        (1, 1, all),
        (13, 0, part(1, 1)),
        (0, 20, part(1, 1)),
        (u32::MAX, 0, part(1, 1)),
    ] {
        assert!(own(row, col, shape).unwrap_err().contains("another shape"), "{row} {col}");
    }
}
