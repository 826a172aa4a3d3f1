//! One model per key, also where a root may have several codewords near it.
//!
//! Up to the unique-decoding radius the root of the fixed tree names one set of columns. Beyond it (Johnson
//! regime and conjectures) a dishonest key maker's root could be close to several, and each proof could use
//! another. So those keys also hold the value of the stacked fixed columns at a point that is derived from the
//! root, and every proof shows that its columns take it.

use alloc::vec::Vec;

use crate::circuit::{ColumnId, Columns, Tree};
use crate::claims::{At, Part, Reading, Terms};
use crate::field::QM31;
use crate::hash::Trees;
use crate::merkle::cap_root;
use crate::stacking::{Places, Stacking};
use crate::transcript::{Label, Transcript};

/// The domain separator of the transcript from which the point is drawn.
pub const DOMAIN: &[u8] = b"circlet/1/pin";

/// The point of a root: one coordinate for each variable of the fixed tree's vector, whatever else is committed to. The
/// transcript is a new one of [`DOMAIN`].
pub fn point<T: Trees>(
    transcript: &mut dyn Transcript<Digest = T::Digest>,
    stacking: &Stacking,
    fixed_cap: &[T::Digest],
) -> Vec<QM31> {
    transcript.absorb_digest(Label::Key, &cap_root::<T>(fixed_cap));
    let [fixed, ..] = stacking.matrix_columns;
    let variables = stacking.log_rows + fixed.next_power_of_two().trailing_zeros();
    transcript.challenges(Label::PinPoint, variables as usize)
}

/// The fixed columns with the place of each in the stacked vector of their tree.
fn places<'a>(
    columns: &'a Columns,
    stacking: &'a Stacking,
    point: &'a [QM31],
) -> impl Iterator<Item = (ColumnId, QM31)> + 'a {
    let mut places = Places::new(stacking, point);
    let fixed = columns.ids().filter(|&id| columns.tree(id) == Tree::Fixed);
    fixed.map(move |id| (id, places.of(columns, id)))
}

/// The claim that the fixed columns take the key's value at the point.
pub fn terms(columns: &Columns, stacking: &Stacking, claim: u32, point: &[QM31], terms: &mut impl Terms) {
    for (id, place) in places(columns, stacking, point) {
        let shape = columns.shape(id);
        let rows = [Part::new(shape.log_rows(), At::Pin(shape.log_cols()))];
        let cols = [Part::new(shape.log_cols(), At::Pin(0))];
        let (rows, cols) = (Reading::parts(&rows), Reading::parts(&cols));
        terms.add(columns, claim, place, &[(1, id)], rows, cols);
    }
}

/// The value at the point, given each fixed column's own value at the coordinates that lie inside it.
pub fn value(
    columns: &Columns,
    stacking: &Stacking,
    point: &[QM31],
    mut column_at: impl FnMut(ColumnId, &[QM31]) -> QM31,
) -> QM31 {
    places(columns, stacking, point)
        .map(|(id, place)| {
            let log = columns.shape(id).log_size() as usize;
            place * column_at(id, point.get(..log).unwrap_or_default())
        })
        .sum()
}
