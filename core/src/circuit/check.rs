//! What makes a circuit acceptable: every column is bounded by lookups, and no relation can wrap.
//!
//! Relations hold modulo `P`. They hold as integers if, from the proven ranges alone, `|value| < P`
//! (rule U). This is checked here, by prover and verifier alike, for every relation of every program.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{
    Circuit, ColumnId, Component, Content, Form, Indicator, Interval, Kind, Product, Relation, Rows, Shape,
    Tree,
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
        magnitude: i128,
        /// Largest bound that is safe.
        limit: i128,
    },
    /// There is too much of something.
    #[error("the program has {1} {0}, more than a proof can have; split the model or use fewer rows")]
    TooLarge(&'static str, u64),
    /// A declared range does not follow from lookups.
    #[error("column {0} is not bounded by its lookups")]
    Unbounded(String),
}

/// Interval arithmetic without overflow.
#[derive(Clone, Copy)]
struct Wide {
    low: i128,
    high: i128,
}

impl Wide {
    fn times(self, c: i64) -> Self {
        let (a, b) = (self.low.saturating_mul(i128::from(c)), self.high.saturating_mul(i128::from(c)));
        Self { low: a.min(b), high: a.max(b) }
    }

    fn plus(self, other: Self) -> Self {
        Self { low: self.low.saturating_add(other.low), high: self.high.saturating_add(other.high) }
    }

    fn magnitude(self) -> i128 {
        self.low.saturating_abs().max(self.high.saturating_abs())
    }
}

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

impl Circuit {
    /// Checks shapes, ranges and rule U. [`Circuit::new`] has done so.
    pub fn check(&self) -> Result<(), CircuitError> {
        self.affordable()?;
        let lookups: u64 = self.lookups.iter().map(|l| l.shape.size() as u64).sum();
        let rows: u64 = self.tables.iter().map(|t| 1u64 << t.bits).sum();
        if lookups + rows > limits::LOOKUPS {
            return Err(CircuitError::TooLarge("lookups and table rows", lookups + rows));
        }
        for (what, count) in [
            ("relations", self.relations.len()),
            ("products", self.relations.iter().map(|r| r.value.products.len()).sum()),
            ("wirings", self.wirings.len()),
            ("gathers", self.gathers.len()),
            ("picks", self.picks.len()),
            ("lists", self.lists.len()),
        ] {
            if count > limits::PARTS {
                return Err(CircuitError::TooLarge(what, count as u64));
            }
        }
        for lookup in &self.lookups {
            for form in &lookup.forms {
                self.readable(form, lookup.shape)?;
            }
        }
        for relation in &self.relations {
            self.no_wrap(relation)?;
        }
        self.listed()?;
        self.bounded()
    }

    /// Gathers and picks name rows and channels that exist.
    fn listed(&self) -> Result<(), CircuitError> {
        let bad = |what: &str| Err(CircuitError::Malformed(format!("{what}: shapes or lists do not fit")));
        // A verifier weighs the entries of a list wherever it is used.
        let mut entries: u64 = self.lists.iter().map(|list| u64::from(list.len)).sum();
        let forms = self.relations.iter().map(|r| (&r.value.form, r.shape));
        let looked_up = self.lookups.iter().flat_map(|l| l.forms.iter().map(|form| (form, l.shape)));
        for (form, shape) in forms.chain(looked_up) {
            let below = form.indicators.iter().filter(|(_, set)| matches!(set, Indicator::Below { .. }));
            entries += below.count() as u64 * u64::from(shape.rows);
        }
        for gather in &self.gathers {
            let output = self.column(gather.output).shape;
            entries += u64::from(output.rows) * gather.source.len() as u64;
            let mut next = 0u32;
            for &(first, source) in &gather.source {
                let shape = self.column(source).shape;
                if first != next || shape.cols != output.cols {
                    return bad("gather");
                }
                next = next.saturating_add(shape.rows);
            }
            let fits = match &gather.rows {
                Rows::Listed(list) => {
                    self.lists.get(*list).is_some_and(|l| l.len == output.rows && l.limit <= next)
                }
                Rows::Given(rows) => {
                    rows.len() as u64 == u64::from(output.rows) && rows.iter().all(|&row| row < next)
                }
            };
            if !fits {
                return bad("gather");
            }
        }
        for pick in &self.picks {
            entries += u64::from(pick.rows);
            let mut next = 0u32;
            for (first, terms) in &pick.blocks {
                let Some(shape) = terms.first().map(|&(_, column)| self.column(column).shape) else {
                    return bad("pick");
                };
                let alike = terms.iter().all(|&(_, column)| self.column(column).shape == shape);
                if *first != next || !alike || shape.rows != pick.rows {
                    return bad("pick");
                }
                next = next.saturating_add(shape.cols);
            }
            if !self.lists.get(pick.list).is_some_and(|l| l.len == pick.rows && l.limit <= next) {
                return bad("pick");
            }
        }
        if entries > limits::WEIGHED {
            return Err(CircuitError::TooLarge("entries of lists", entries));
        }
        Ok(())
    }

    /// Sizes stay where indices fit 32 bits and a verifier's work is small.
    fn affordable(&self) -> Result<(), CircuitError> {
        let cells: u64 = self.columns.iter().map(|c| 1u64 << c.shape.log_size().min(40)).sum();
        let axes =
            self.wirings.iter().flat_map(|w| w.from.iter().chain(&w.to)).flat_map(|p| [&p.rows, &p.cols]);
        let weighed: u64 = axes
            .filter(|axis| axis.digits.len() > 1)
            .map(|axis| axis.digits.iter().map(|d| u64::from(d.len)).fold(1, u64::saturating_mul))
            .fold(0, u64::saturating_add);
        let columns = self.columns.len();
        if columns > limits::PARTS || cells > limits::CELLS || weighed > limits::WEIGHED {
            return Err(CircuitError::Malformed(format!(
                "{columns} columns with {cells} cells, {weighed} entries of wirings to weigh: too large"
            )));
        }
        Ok(())
    }

    /// Every column of the form has the extents of the shape, or one entry on an axis.
    fn readable(&self, form: &Form, shape: Shape) -> Result<(), CircuitError> {
        for &(_, id) in &form.terms {
            let column = self.column(id);
            let fits = |own: u32, all: u32| own == all || own.is_power_of_two();
            if !fits(column.shape.rows, shape.rows) || !fits(column.shape.cols, shape.cols) {
                return Err(CircuitError::Malformed(format!(
                    "column {} read over another shape",
                    column.name
                )));
            }
        }
        for &(_, indicator) in &form.indicators {
            let known = match indicator {
                Indicator::Future { log } => shape.log_cols() == log && shape.log_rows() >= log,
                Indicator::Beyond { cols } => u64::from(cols) <= 1 << shape.log_cols(),
                Indicator::Below { list, .. } => self.lists.get(list).is_some_and(|l| l.len == shape.rows),
            };
            if !known {
                return Err(CircuitError::Malformed(format!("{indicator:?} over another shape")));
            }
        }
        Ok(())
    }

    fn interval(&self, form: &Form) -> Wide {
        let mut sum = Wide { low: i128::from(form.constant), high: i128::from(form.constant) };
        for &(c, id) in &form.terms {
            let Interval { low, high } = self.column(id).bound;
            sum = sum.plus(Wide { low: low.into(), high: high.into() }.times(c));
        }
        for &(c, _) in &form.indicators {
            sum = sum.plus(Wide { low: 0, high: 1 }.times(c));
        }
        sum
    }

    fn product(&self, relation: &Relation, product: &Product) -> Result<Wide, CircuitError> {
        let Product { kind, a, b, a_shape, b_shape, .. } = product;
        self.readable(a, *a_shape)?;
        self.readable(b, *b_shape)?;
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
                heads(product, shape, group)
                    && a_shape.cols == b_shape.cols
                    && power(shape.cols) == Some(group)
            }
            Kind::Mix { group } => {
                heads(product, shape, group)
                    && shape.cols == b_shape.cols
                    && power(a_shape.cols) == Some(group)
            }
        };
        let headed = matches!(kind, Kind::Scores { .. } | Kind::Mix { .. });
        let plain = [a, b].iter().all(|form| form.indicators.is_empty());
        let flipped = product.flip.is_none_or(|bit| {
            *kind == Kind::Entrywise && a_shape.cols.is_power_of_two() && bit < a_shape.log_cols()
        });
        if !matches || !plain || !flipped || headed == product.groups.is_empty() {
            return Err(CircuitError::Malformed(format!("{}: operand shapes", relation.name)));
        }
        let (x, y) = (self.interval(a), self.interval(b));
        let corners = [(x.low, y.low), (x.low, y.high), (x.high, y.low), (x.high, y.high)]
            .map(|(x, y)| x.saturating_mul(y));
        let mut one = Wide { low: corners[0], high: corners[0] };
        for corner in corners {
            one = Wide { low: one.low.min(corner), high: one.high.max(corner) };
        }
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
            all = Wide { low: all.low.max(-i128::from(bound)), high: all.high.min(bound.into()) };
        }
        Ok(all.times(product.coefficient))
    }

    fn no_wrap(&self, relation: &Relation) -> Result<(), CircuitError> {
        let value = &relation.value;
        self.readable(&value.form, relation.shape)?;
        let mut total = self.interval(&value.form);
        for sum in &value.sums {
            let column = self.column(sum.column);
            if relation.shape.cols != 1 || column.shape.rows != relation.shape.rows {
                return Err(CircuitError::Malformed(format!("{}: row sum shape", relation.name)));
            }
            let cell = Wide { low: column.bound.low.into(), high: column.bound.high.into() };
            total = total.plus(cell.times(column.shape.cols.into()).times(sum.coefficient));
        }
        let mut products = Wide { low: 0, high: 0 };
        for product in &value.products {
            products = products.plus(self.product(relation, product)?);
        }
        if let Some(bound) = value.bound {
            let bound = i128::from(bound);
            products = Wide { low: products.low.max(-bound), high: products.high.min(bound) };
        }
        total = total.plus(products);
        let limit = i128::from(P) - 1;
        if total.magnitude() > limit {
            return Err(CircuitError::MayWrap {
                relation: relation.name.clone(),
                magnitude: total.magnitude(),
                limit,
            });
        }
        Ok(())
    }

    /// The range that lookups prove for each trace column must lie inside its declared one. Public tensors
    /// are bounded by the statement, wired ones by their source.
    fn bounded(&self) -> Result<(), CircuitError> {
        const ALL: Interval = Interval { low: i64::MIN, high: i64::MAX };
        let mut proven = alloc::vec![ALL; self.columns.len()];
        // A lookup proves a residue modulo P. Residues are integers in a window of P of them, here the
        // symmetric one; an interval that reaches out of it proves nothing here.
        let window = i64::from(P) / 2;
        let narrow = |slot: &mut Interval, low: i64, high: i64| {
            if low >= -window && high <= window {
                *slot = Interval { low: slot.low.max(low), high: slot.high.min(high) };
            }
        };
        for lookup in &self.lookups {
            let table = &self.tables[lookup.table as usize];
            for (form, component) in lookup.forms.iter().zip(&table.components) {
                let [(sign @ (1 | -1), id)] = form.terms[..] else { continue };
                if !form.indicators.is_empty() {
                    continue;
                }
                if self.column(id).shape != lookup.shape {
                    continue;
                }
                let (low, high) = match *component {
                    Component::Index { low } => (low, low + (1 << table.bits) - 1),
                    Component::Unit { .. } => (0, 1),
                    Component::Signed => (1 - (1 << table.bits) / 2, (1 << table.bits) / 2 - 1),
                    Component::Magnitude => (0, (1 << table.bits) / 2 - 1),
                    Component::First(values) => {
                        let bound = self.column(values).bound;
                        (bound.low.min(0), bound.high.max(0))
                    }
                    Component::Column(values) => {
                        let bound = self.column(values).bound;
                        (bound.low, bound.high)
                    }
                };
                let (low, high) = (low - form.constant, high - form.constant);
                let (low, high) = if sign == 1 { (low, high) } else { (-high, -low) };
                narrow(&mut proven[id.0 as usize], low, high);
            }
        }
        for input in &self.inputs {
            for placement in &input.cells {
                narrow(&mut proven[placement.column.0 as usize], -input.bound, input.bound);
            }
        }
        for wiring in &self.wirings {
            let sources: Vec<ColumnId> = wiring.from.iter().map(|p| p.column).collect();
            let (low, high) = sources
                .iter()
                .map(|&id| self.column(id).bound)
                .fold((i64::MAX, i64::MIN), |(low, high), bound| (low.min(bound.low), high.max(bound.high)));
            for placement in &wiring.to {
                narrow(&mut proven[placement.column.0 as usize], low, high);
            }
        }
        for gather in &self.gathers {
            let mut low = i64::MAX;
            let mut high = i64::MIN;
            for &(_, source) in &gather.source {
                let bound = self.column(source).bound;
                (low, high) = (low.min(bound.low), high.max(bound.high));
            }
            narrow(&mut proven[gather.output.0 as usize], low, high);
        }
        for (column, proven) in self.columns.iter().zip(proven) {
            let trusted = column.tree() == Tree::Fixed || matches!(column.content, Content::Multiplicity(_));
            if !trusted && (proven.low < column.bound.low || proven.high > column.bound.high) {
                return Err(CircuitError::Unbounded(column.name.clone()));
            }
        }
        Ok(())
    }
}
