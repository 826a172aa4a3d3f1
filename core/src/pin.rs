//! One model per key, also where a root may have several codewords near it.
//!
//! Up to the unique-decoding radius the root of the fixed tree names one set of columns. Beyond it (Johnson
//! regime and conjectures) a dishonest key maker's root could be close to several, and each proof could use
//! another. So those keys also hold the value of the stacked fixed columns at a point that is derived from the
//! root, and every proof shows that its columns take it.

use alloc::vec::Vec;

use crate::circuit::{Circuit, ColumnId, Tree};
use crate::claims::{Claims, Slice};
use crate::field::QM31;
use crate::hash::HashSuite;
use crate::merkle::cap_root;
use crate::protocol::Protocol;
use crate::transcript::{Label, Transcript};

const DOMAIN: &[u8] = b"circlet/1/pin";

/// The point of a root: one coordinate for each variable of the fixed tree's vector, whatever else is committed to.
pub fn point<S: HashSuite>(protocol: &Protocol, fixed_cap: &[S::Digest]) -> Vec<QM31> {
    let mut transcript = S::Transcript::new(DOMAIN);
    transcript.absorb_digest(Label::Key, &cap_root::<S>(fixed_cap));
    let columns = protocol.stacking.matrix_columns[0].next_power_of_two().trailing_zeros();
    let variables = protocol.stacking.log_rows + columns;
    transcript.challenges(Label::PinPoint, variables as usize)
}

/// The fixed columns with the place of each in the stacked vector of their tree.
fn places<'a>(
    circuit: &'a Circuit,
    protocol: &'a Protocol,
    point: &'a [QM31],
) -> impl Iterator<Item = (ColumnId, QM31)> + 'a {
    let columns = (0u32..).map(ColumnId).zip(&circuit.columns);
    let places = protocol.stacking.places(circuit, point);
    columns
        .zip(places)
        .filter(|((_, column), _)| column.tree() == Tree::Fixed)
        .map(|((id, _), place)| (id, place))
}

/// The claim that the fixed columns take `value` at the point.
pub fn claim(protocol: &Protocol, point: &[QM31], value: QM31, claims: &mut Claims) {
    let circuit = &protocol.circuit;
    claims.begin(value);
    let known = claims.point(point);
    for (id, place) in places(circuit, protocol, point) {
        let shape = circuit.column(id).shape;
        let rows = claims.eq(Slice { point: known, from: shape.log_cols() }, shape.log_rows());
        let cols = claims.eq(Slice { point: known, from: 0 }, shape.log_cols());
        claims.add(place, id, rows, cols);
    }
}

/// The value at the point, given each fixed column's own value at the coordinates that lie inside it.
pub fn value(
    protocol: &Protocol,
    point: &[QM31],
    mut column_at: impl FnMut(ColumnId, &[QM31]) -> QM31,
) -> QM31 {
    places(&protocol.circuit, protocol, point)
        .map(|(id, place)| {
            let log = protocol.circuit.column(id).shape.log_size() as usize;
            place * column_at(id, point.get(..log).unwrap_or_default())
        })
        .sum()
}
