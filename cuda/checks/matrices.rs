//! Sums of matrices that lie in columns.

use std::sync::Arc;

use circlet_core::field::{M31, QM31};
use circlet_cuda::columns::Cell::{Byte, Half, Word};
use circlet_cuda::sums::Element;
use circlet_cuda::{Error, Machine};

use super::{element, elements, filled};

/// Sums over the rows of matrices, in one part and in several.
pub fn over_rows(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let log = 13;
    let (columns, all) = filled(machine, &[Byte, Byte, Half, Word, Word], log)?;
    let all = all.concat();
    let cell = |at: usize| M31::reduce(all[at].into());
    let given = |all: &[(Element, QM31)]| all.iter().map(|x| x.0).collect::<Vec<_>>();
    for (first, count, rows, width) in [
        (0, 1, 1, 4),
        (8, 3, 7, 4),
        (12, 1, 100, 64),
        (1 << 12, 1, 32, 256),
        ((2 << 13) + 256, 5, 3, 8),
        (3 << 13, 1, 8, 2048),
        ((3 << 13) + 4, 1, 300, 16),
    ] {
        let cells = first..first + count * rows * width;
        assert!(columns.alike(&cells));
        let by_row = elements(rows, 4);
        let over_rows = columns.over_rows(cells, width, &given(&by_row))?;
        assert_eq!(over_rows.len(), count * width);
        for (k, sum) in over_rows.into_iter().enumerate() {
            let begin = first + k / width * rows * width + k % width;
            let expected = by_row.iter().enumerate().map(|(t, w)| w.1 * cell(begin + t * width)).sum();
            assert_eq!(element(sum), expected, "column {k} of {count} matrices of {rows} rows, {width} wide");
        }
    }
    assert!(columns.over_rows(0..0, 4, &given(&elements(3, 1)))?.is_empty());
    assert!(!columns.alike(&(0..(2 << 13) + 1)) && !columns.alike(&(0..6 << 13)));
    Ok(())
}
