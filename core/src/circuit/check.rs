//! What makes a circuit acceptable: every column is bounded by lookups, and no relation can wrap.
//!
//! Relations hold modulo `P`. They hold as integers if, from the proven ranges alone, `|value| < P`
//! (rule U). This is checked here, by prover and verifier alike, for every relation of every program but those few that
//! their op wants modulo `P` only.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::interval::Wide;
use super::{
    ColumnId, Component, Declared, Form, Gather, Indicator, Interval, Kind, Looked, Pick, Product, Reader,
    Relation, Rows, Shape, Tree, Wiring,
};
use crate::field::P;
use crate::limits;

/// Why a program has no circuit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CircuitError {
    /// The program is not well formed.
    #[error("malformed program: {0}")]
    Malformed(String),
    /// An op cannot be proven as it stands.
    #[error("{op}: {reason}")]
    Refused {
        /// Name and index of the op.
        op: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Values of an identity could wrap modulo `P`.
    #[error(
        "{relation}: values may reach {magnitude}, and the field holds integers only up to {limit}; \
         use fewer bits for its weights or activations"
    )]
    MayWrap {
        /// Name of the relation (starts with the op's name and index).
        relation: String,
        /// Bound that follows from the proven ranges.
        magnitude: u64,
        /// Largest bound that is safe.
        limit: u64,
    },
    /// There is too much of something.
    #[error("the program has {1} {0}, more than a proof can have; split the model or use fewer rows")]
    TooLarge(&'static str, u64),
    /// The profile does not fix what a commitment holds from one proof to the next.
    #[error(
        "keys and values cannot be carried from proof to proof under the profile {0}, in which a commitment may \
         stand for several lists of numbers; compile the model for p100-u"
    )]
    Profile(&'static str),
    /// A declared range does not follow from lookups.
    #[error("column {0} is not bounded by its lookups")]
    Unbounded(String),
}

/// What a circuit has, unless it cannot be accepted. The error is a pointer, for results are handed through many functions.
pub type Checked<T> = Result<T, Box<CircuitError>>;

/// The exponent of a power of two.
fn power(n: u32) -> Option<u32> {
    n.is_power_of_two().then(|| n.trailing_zeros())
}

/// Whether the rows of `a` and of the relation are those of the product's heads, and those of `b` of groups
/// that include the heads'.
fn heads(product: &Product, shape: Shape, group: u32) -> bool {
    let Product { a_shape, b_shape, groups, .. } = product;
    let heads = groups.len() as u64;
    let log = u64::from(heads.max(1).trailing_zeros());
    let available = b_shape.rows >> group.min(31);
    heads.is_power_of_two()
        && a_shape.rows == shape.rows
        && u64::from(shape.log_rows()) >= log
        && b_shape.rows == available << group.min(31)
        && groups.iter().all(|&g| g < available)
}

/// A set of columns.
#[derive(Clone, Debug, Default)]
struct Set(Vec<u32>);

impl Set {
    fn insert(&mut self, id: ColumnId) {
        let (word, bit) = (id.0 as usize / 32, id.0 % 32);
        if word >= self.0.len() && (id.0 as usize) < limits::PARTS {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    fn contains(&self, id: ColumnId) -> bool {
        self.0.get(id.0 as usize / 32).is_some_and(|word| word >> (id.0 % 32) & 1 == 1)
    }
}

/// Checks shapes, ranges and rule U, part by part. The first fault is kept.
#[derive(Clone, Debug, Default)]
pub struct Check {
    fault: Option<Box<CircuitError>>,
    /// Cells of all lookups.
    lookups: u64,
    relations: usize,
    products: usize,
    wirings: usize,
    gathers: usize,
    picks: usize,
    /// Entries of lists, wherever they are used: a verifier weighs every one.
    entries: u64,
    /// Entries of those axes of wirings that have several digits.
    weighed: u64,
    /// Columns whose numbers are proven to be no less than declared, and no greater.
    proven: [Set; 2],
}

impl Reader for Check {
    fn lookup(&mut self, declared: &Declared, lookup: Looked<'_>) {
        self.take_lookup(declared, lookup);
    }

    fn relation(&mut self, declared: &Declared, relation: &Relation) {
        self.take_relation(declared, relation);
    }

    fn wiring(&mut self, declared: &Declared, wiring: Wiring) {
        self.take_wiring(declared, &wiring);
    }

    fn gather(&mut self, declared: &Declared, gather: Gather) {
        self.take_gather(declared, &gather);
    }

    fn pick(&mut self, declared: &Declared, pick: Pick) {
        self.take_pick(declared, &pick);
    }
}

impl Check {
    fn note(&mut self, result: Checked<()>) {
        if self.fault.is_none() {
            self.fault = result.err();
        }
    }

    /// Checks a lookup.
    pub fn take_lookup(&mut self, declared: &Declared, lookup: Looked<'_>) {
        self.lookups = self.lookups.saturating_add(lookup.shape.cells());
        for form in lookup.forms {
            self.note(readable(declared, form, lookup.shape));
            self.count_below(form, lookup.shape);
        }
        let Some(table) = declared.tables.get(lookup.table as usize) else {
            return self.note(Err(CircuitError::Malformed(String::from("a lookup in no table")).into()));
        };
        for (form, component) in lookup.forms.iter().zip(&table.components) {
            let &[(sign @ (1 | -1), id)] = form.terms.as_slice() else { continue };
            if !form.indicators.is_empty() || declared.columns.shape(id) != lookup.shape {
                continue;
            }
            let size = 1i64 << table.bits.min(62);
            let (low, high) = match *component {
                Component::Index { low } => (low, low + size - 1),
                Component::Unit { .. } => (0, 1),
                Component::Signed => (1 - size / 2, size / 2 - 1),
                Component::Magnitude => (0, size / 2 - 1),
                Component::First(values) => {
                    let bound = declared.columns.bound(values);
                    (bound.low.min(0), bound.high.max(0))
                }
                Component::Column(values) => {
                    let bound = declared.columns.bound(values);
                    (bound.low, bound.high)
                }
            };
            let (low, high) = (low - form.constant, high - form.constant);
            let (low, high) = if sign == 1 { (low, high) } else { (-high, -low) };
            self.prove(declared, id, Interval { low, high });
        }
    }

    /// Checks a relation.
    pub fn take_relation(&mut self, declared: &Declared, relation: &Relation) {
        self.relations += 1;
        self.products += relation.value.products.len();
        self.count_below(&relation.value.form, relation.shape);
        self.note(no_wrap(declared, relation));
    }

    /// Checks a wiring.
    pub fn take_wiring(&mut self, declared: &Declared, wiring: &Wiring) {
        self.wirings += 1;
        let axes = wiring.from.iter().chain(&wiring.to).flat_map(|p| [&p.rows, &p.cols]);
        for axis in axes.filter(|axis| axis.digits.len() > 1) {
            let entries = axis.digits.iter().map(|d| u64::from(d.len)).fold(1, u64::saturating_mul);
            self.weighed = self.weighed.saturating_add(entries);
        }
        let all = Interval { low: i64::MAX, high: i64::MIN };
        let range = wiring.from.iter().map(|p| declared.columns.bound(p.column)).fold(all, Interval::around);
        for placement in &wiring.to {
            self.prove(declared, placement.column, range);
        }
    }

    /// Checks a gather: it names rows that exist.
    pub fn take_gather(&mut self, declared: &Declared, gather: &Gather) {
        self.gathers += 1;
        let columns = &declared.columns;
        let output = columns.shape(gather.output);
        self.entries =
            self.entries.saturating_add(u64::from(output.rows).saturating_mul(gather.source.len() as u64));
        let (mut next, mut fits) = (0u32, true);
        for &(first, source) in &gather.source {
            let shape = columns.shape(source);
            fits &= first == next && shape.cols == output.cols;
            next = next.saturating_add(shape.rows);
        }
        fits &= match &gather.rows {
            Rows::Listed(list) => {
                declared.lists.get(*list).is_some_and(|l| l.len == output.rows && l.limit <= next)
            }
            Rows::Given(rows) => {
                rows.len() as u64 == u64::from(output.rows) && rows.iter().all(|&row| row < next)
            }
        };
        if !fits {
            self.misfit("gather");
        }
        let all = Interval { low: i64::MAX, high: i64::MIN };
        let range =
            gather.source.iter().map(|&(_, source)| columns.bound(source)).fold(all, Interval::around);
        self.prove(declared, gather.output, range);
    }

    /// Checks a pick: it names channels that exist.
    pub fn take_pick(&mut self, declared: &Declared, pick: &Pick) {
        self.picks += 1;
        self.entries = self.entries.saturating_add(pick.rows.into());
        let (mut next, mut fits) = (0u32, true);
        for (first, terms) in &pick.blocks {
            let shape = terms.first().map(|&(_, column)| declared.columns.shape(column));
            let alike = |&(_, column): &(i64, ColumnId)| Some(declared.columns.shape(column)) == shape;
            fits &= *first == next && terms.iter().all(alike);
            fits &= shape.is_some_and(|shape| shape.rows == pick.rows);
            next = next.saturating_add(shape.map_or(0, |shape| shape.cols));
        }
        fits &= declared.lists.get(pick.list).is_some_and(|l| l.len == pick.rows && l.limit <= next);
        if !fits {
            self.misfit("pick");
        }
    }

    fn misfit(&mut self, what: &str) {
        self.note(Err(CircuitError::Malformed(format!("{what}: shapes or lists do not fit")).into()));
    }

    fn count_below(&mut self, form: &Form, shape: Shape) {
        let below = form.indicators.iter().filter(|(_, set)| matches!(set, Indicator::Below { .. }));
        let entries = (below.count() as u64).saturating_mul(shape.rows.into());
        self.entries = self.entries.saturating_add(entries);
    }

    /// A column lies in a range, as far as residues tell: they are integers in a window of `P` of them, here the
    /// symmetric one, and a range that reaches out of it proves nothing here.
    fn prove(&mut self, declared: &Declared, id: ColumnId, range: Interval) {
        let window = i64::from(P) / 2;
        if range.low < -window || range.high > window {
            return;
        }
        let declared = declared.columns.bound(id);
        let [low, high] = &mut self.proven;
        if range.low >= declared.low {
            low.insert(id);
        }
        if range.high <= declared.high {
            high.insert(id);
        }
    }

    /// Checks what can be said only of the whole.
    pub fn finish(mut self, declared: &Declared) -> Checked<()> {
        self.sized(declared)?;
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        self.bounded(declared)
    }

    /// Sizes stay where indices fit 32 bits and a verifier's work is small.
    fn sized(&self, declared: &Declared) -> Checked<()> {
        let (columns, cells) = (declared.columns.len(), declared.columns.cells());
        if columns > limits::PARTS || cells > limits::CELLS {
            return Err(
                CircuitError::Malformed(format!("{columns} columns with {cells} cells: too large")).into()
            );
        }
        if self.weighed > limits::WEIGHED {
            return Err(CircuitError::TooLarge("entries of wirings", self.weighed).into());
        }
        let rows = declared.tables.iter().map(|t| 1u64.checked_shl(t.bits).unwrap_or(u64::MAX));
        let lookups = rows.fold(self.lookups, u64::saturating_add);
        if lookups > limits::LOOKUPS {
            return Err(CircuitError::TooLarge("lookups and table rows", lookups).into());
        }
        for (what, count) in [
            ("relations", self.relations),
            ("products", self.products),
            ("wirings", self.wirings),
            ("gathers", self.gathers),
            ("picks", self.picks),
            ("lists", declared.lists.len()),
        ] {
            if count > limits::PARTS {
                return Err(CircuitError::TooLarge(what, count as u64).into());
            }
        }
        let listed = declared.lists.iter().map(|list| u64::from(list.len));
        let entries = listed.fold(self.entries, u64::saturating_add);
        if entries > limits::WEIGHED {
            return Err(CircuitError::TooLarge("entries of lists", entries).into());
        }
        Ok(())
    }

    /// The range that lookups prove for each trace column must lie inside its declared one. Public tensors
    /// are bounded by the statement, wired ones by their source; a count by the number of all lookups.
    fn bounded(mut self, declared: &Declared) -> Checked<()> {
        for input in &declared.inputs {
            for placement in &input.cells {
                self.prove(declared, placement.column, Interval::symmetric(input.bound));
            }
        }
        for table in &declared.tables {
            for set in &mut self.proven {
                set.insert(table.multiplicity);
            }
        }
        for id in declared.columns.ids() {
            // A past column is one that an earlier proof has bounded.
            let trusted = matches!(declared.columns.tree(id), Tree::Fixed | Tree::Past);
            let bounded = trusted || self.proven.iter().all(|set| set.contains(id));
            if !bounded {
                return Err(CircuitError::Unbounded(String::from(declared.name(id))).into());
            }
        }
        Ok(())
    }
}

/// Every column of the form has the extents of the shape, or one entry on an axis.
fn readable(declared: &Declared, form: &Form, shape: Shape) -> Checked<()> {
    for &(_, id) in &form.terms {
        let own = declared.columns.shape(id);
        let fits = |own: u32, all: u32| own == all || own.is_power_of_two();
        if !fits(own.rows, shape.rows) || !fits(own.cols, shape.cols) {
            return Err(CircuitError::Malformed(format!(
                "column {} read over another shape",
                declared.name(id)
            ))
            .into());
        }
    }
    for &(_, indicator) in &form.indicators {
        let known = match indicator {
            Indicator::Future { log, past } => {
                // The positions of all rows that are not padding exist.
                shape.log_rows() >= log && u64::from(past) < 1 << shape.log_cols()
            }
            Indicator::Beyond { cols } => u64::from(cols) <= 1 << shape.log_cols(),
            Indicator::Below { list, .. } => declared.lists.get(list).is_some_and(|l| l.len == shape.rows),
        };
        if !known {
            return Err(CircuitError::Malformed(String::from("an indicator over another shape")).into());
        }
    }
    Ok(())
}

fn interval(declared: &Declared, form: &Form) -> Wide {
    let mut sum = Wide { low: form.constant, high: form.constant };
    for &(c, id) in &form.terms {
        sum = sum.plus(Wide::from(declared.columns.bound(id)).times(c));
    }
    for &(c, _) in &form.indicators {
        sum = sum.plus(Wide { low: 0, high: 1 }.times(c));
    }
    sum
}

fn product(declared: &Declared, relation: &Relation, product: &Product) -> Checked<Wide> {
    let Product { kind, a, b, a_shape, b_shape, .. } = product;
    readable(declared, a, *a_shape)?;
    readable(declared, b, *b_shape)?;
    let shape = relation.shape;
    let matches = match *kind {
        Kind::Entrywise => *a_shape == shape && *b_shape == shape,
        Kind::RowDot => a_shape == b_shape && a_shape.rows == shape.rows && shape.cols == 1,
        Kind::Contract => {
            a_shape.cols == b_shape.cols && a_shape.rows == shape.rows && b_shape.rows == shape.cols
        }
        Kind::ContractTransposed => {
            a_shape.cols == b_shape.rows && a_shape.rows == shape.rows && b_shape.cols == shape.cols
        }
        Kind::ToHeads { channels } => {
            // A head has `T = a_shape.rows` rows and `C = shape.cols` channels, both powers of two.
            a_shape.cols == b_shape.cols
                && power(shape.cols) == Some(channels)
                && a_shape.rows.is_power_of_two()
                && u64::from(shape.rows) * u64::from(shape.cols)
                    == u64::from(b_shape.rows) * u64::from(a_shape.rows)
        }
        Kind::FromHeads { tokens } => {
            power(shape.rows) == Some(tokens)
                && power(a_shape.cols).is_some()
                && b_shape.rows == shape.cols
                && u64::from(a_shape.rows) * u64::from(a_shape.cols)
                    == u64::from(b_shape.cols) * u64::from(shape.rows)
        }
        Kind::Scores { group } => {
            heads(product, shape, group) && a_shape.cols == b_shape.cols && power(shape.cols) == Some(group)
        }
        Kind::Mix { group } => {
            heads(product, shape, group) && shape.cols == b_shape.cols && power(a_shape.cols) == Some(group)
        }
    };
    let headed = matches!(kind, Kind::Scores { .. } | Kind::Mix { .. });
    let plain = [a, b].iter().all(|form| form.indicators.is_empty());
    let flipped = product.flip.is_none_or(|bit| {
        *kind == Kind::Entrywise && a_shape.cols.is_power_of_two() && bit < a_shape.log_cols()
    });
    if !matches || !plain || !flipped || headed == product.groups.is_empty() {
        return Err(CircuitError::Malformed(format!("{}: operand shapes", relation.name)).into());
    }
    let (x, y) = (interval(declared, a), interval(declared, b));
    let mut one = x.product(y);
    if a == b
        && a_shape == b_shape
        && product.flip.is_none()
        && matches!(kind, Kind::Entrywise | Kind::RowDot)
    {
        // A square.
        one.low = one.low.max(0);
    }
    let mut all = one.times(i64::from(product.summands()));
    if let Some(bound) = product.bound {
        all = all.within(bound);
    }
    Ok(all.times(product.coefficient))
}

fn no_wrap(declared: &Declared, relation: &Relation) -> Checked<()> {
    let value = &relation.value;
    readable(declared, &value.form, relation.shape)?;
    let mut total = interval(declared, &value.form);
    for sum in &value.sums {
        let shape = declared.columns.shape(sum.column);
        if relation.shape.cols != 1 || shape.rows != relation.shape.rows {
            return Err(CircuitError::Malformed(format!("{}: row sum shape", relation.name)).into());
        }
        let cell = Wide::from(declared.columns.bound(sum.column));
        total = total.plus(cell.times(shape.cols.into()).times(sum.coefficient));
    }
    let mut products = Wide { low: 0, high: 0 };
    for one in &value.products {
        products = products.plus(product(declared, relation, one)?);
    }
    if let Some(bound) = value.bound {
        products = products.within(bound);
    }
    total = total.plus(products);
    let limit = u64::from(P) - 1;
    if !relation.modular && total.magnitude() > limit {
        return Err(CircuitError::MayWrap {
            relation: relation.name.clone(),
            magnitude: total.magnitude(),
            limit,
        }
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_a_circuit_can_have() {
        let mut set = Set::default();
        let last = limits::PARTS as u32 - 1;
        for id in [0, 31, 32, last, last + 1, u32::MAX] {
            assert!(!set.contains(ColumnId(id)));
            set.insert(ColumnId(id));
            assert_eq!(set.contains(ColumnId(id)), id <= last, "{id}");
        }
        assert!(!set.contains(ColumnId(1)));
    }
}
