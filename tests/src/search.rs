//! Searches for false witnesses against which a single demand of a circuit stands.

use std::collections::{BTreeMap, BTreeSet};

use circlet::execute::Trace;
use circlet_core::circuit::{Circuit, ColumnId, Form, Int, Kind, Public, Sizes, Step, Value};
use circlet_core::lookup::Leaves;
use circlet_core::protocol::Protocol;
use circlet_core::relations::Reduction;

use crate::attack::{Change, column, replay_listed};
use crate::cheat::{Bench, LOOKUP, OPENING, TOY};
use crate::programs::Case;
use crate::satisfied::{provable_violations, witness_cells};

/// The first cell of every column that an honest prover has no choice in.
fn first_cells(circuit: &Circuit) -> Vec<(ColumnId, usize)> {
    let mut first: BTreeMap<ColumnId, usize> = BTreeMap::new();
    for (column, cell) in witness_cells(circuit) {
        first.entry(column).or_insert(cell);
    }
    first.into_iter().collect()
}

/// A single demand of a circuit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// A lookup, by index.
    Lookup(usize),
    /// A relation, by index.
    Relation(usize),
    /// A wiring, by index.
    Wiring(usize),
    /// A gather, by index.
    Gather(usize),
    /// A pick, by index.
    Pick(usize),
}

/// The demand that a violation is about.
fn demand(violation: &str) -> Demand {
    let words: Vec<&str> = violation.split(' ').collect();
    let number = |word: &str| word.parse().expect("a number");
    match words[0] {
        "lookup" => Demand::Lookup(number(words[1])),
        "relation" => Demand::Relation(number(words[words.len() - 1])),
        "wiring" => Demand::Wiring(number(words[1])),
        "gather" => Demand::Gather(number(words[1])),
        _ => Demand::Pick(number(words[1])),
    }
}

/// All demands of a circuit.
pub fn demands(circuit: &Circuit) -> Vec<Demand> {
    let lookups = (0..circuit.lookups.len()).map(Demand::Lookup);
    lookups
        .chain((0..circuit.relations.len()).map(Demand::Relation))
        .chain((0..circuit.wirings.len()).map(Demand::Wiring))
        .chain((0..circuit.gathers.len()).map(Demand::Gather))
        .chain((0..circuit.picks.len()).map(Demand::Pick))
        .collect()
}

impl Demand {
    /// What it is about: the name of a column or a relation, with the name of its op.
    pub fn name(&self, circuit: &Circuit) -> String {
        let name = |id: ColumnId| circuit.column(id).name.clone();
        match *self {
            Self::Lookup(i) => {
                let lookup = &circuit.lookups[i];
                format!(
                    "{} in {}",
                    name(lookup.forms[0].terms[0].1),
                    circuit.tables[lookup.table as usize].name
                )
            }
            Self::Relation(i) => circuit.relations[i].name.clone(),
            Self::Wiring(i) => format!("{} wired", name(circuit.wirings[i].to[0].column)),
            Self::Gather(i) => format!("{} gathered", name(circuit.gathers[i].output)),
            Self::Pick(i) => format!("{} picked", name(circuit.picks[i].blocks[0].1[0].1)),
        }
    }
}

/// The only demand that a trace violates, if there is just one and its outputs can be stated.
fn only(circuit: &Circuit, trace: &Trace) -> Option<Demand> {
    let stateable = |public: &Public| {
        trace.public(circuit, &public.cells).iter().all(|&v| i64::from(v).abs() <= public.bound)
    };
    let mut lists = circuit.lists.iter().zip(&trace.lists);
    let listed = lists.all(|(list, entries)| entries.iter().all(|&entry| entry < list.limit));
    if !circuit.outputs.iter().all(stateable) || !listed {
        return None;
    }
    let found: BTreeSet<Demand> = provable_violations(circuit, trace).iter().map(|v| demand(v)).collect();
    if found.len() == 1 { found.into_iter().next() } else { None }
}

/// Single changes that are tried.
pub const DELTAS: [i64; 18] =
    [1, -1, 2, -2, 4, 16, -16, 32, -32, 256, -256, 512, -512, 2048, -2048, 8192, -8192, 1 << 20];

/// Searches for witnesses that violate a single demand.
pub struct Search {
    /// Program, numbers and inputs.
    pub case: Case,
    /// Its lists; those that it computes are empty.
    pub lists: Vec<Vec<u32>>,
    /// Its circuit.
    pub circuit: Circuit,
    /// What the cheating prover runs.
    pub steps: Circuit,
    found: BTreeMap<Demand, Trace>,
}

impl Search {
    /// Nothing is found yet.
    pub fn new(case: Case, lists: &[Vec<u32>]) -> Self {
        let circuit = Circuit::new(&case.0).expect("a program of these tests");
        Self { case, lists: lists.to_vec(), steps: circuit.clone(), circuit, found: BTreeMap::new() }
    }

    /// The run with some cells changed and all that follows recomputed.
    pub fn replay(&self, changes: &[Change]) -> Trace {
        replay_listed(&self.steps, &self.case.0, &self.case.1, (&self.case.2, &self.lists), changes)
    }

    /// The run that claims these lists.
    pub fn claimed(&mut self, lists: &[Vec<u32>], changes: &[(&str, i64)]) {
        let own = std::mem::replace(&mut self.lists, lists.to_vec());
        self.named(changes);
        self.lists = own;
    }

    /// Keeps a witness that violates a single demand.
    pub fn attempt(&mut self, trace: Trace) {
        if let Some(demand) = only(&self.circuit, &trace) {
            self.found.entry(demand).or_insert(trace);
        }
    }

    /// Demands without a witness.
    pub fn missing(&self) -> Vec<Demand> {
        demands(&self.circuit).into_iter().filter(|d| !self.found.contains_key(d)).collect()
    }

    /// One cell of each column is changed; what follows is left alone or recomputed.
    pub fn singles(&mut self) -> Vec<Change> {
        let honest = self.replay(&[]);
        let singles: Vec<Change> = first_cells(&self.circuit)
            .into_iter()
            .flat_map(|(column, cell)| DELTAS.map(|delta| Change { column, cell, delta }))
            .collect();
        for change in &singles {
            let mut poked = honest.clone();
            poked.columns[change.column.0 as usize][change.cell] += change.delta as i32;
            self.attempt(poked);
            let trace = self.replay(&[*change]);
            self.attempt(trace);
        }
        singles
    }

    /// Two cells are changed.
    pub fn pairs(&mut self, singles: &[Change]) {
        for (i, first) in singles.iter().enumerate() {
            for second in singles[i + 1..].iter().filter(|s| s.column != first.column) {
                if self.missing().is_empty() {
                    return;
                }
                let trace = self.replay(&[*first, *second]);
                self.attempt(trace);
            }
        }
    }

    /// First cells of named columns are changed.
    pub fn named(&mut self, changes: &[(&str, i64)]) {
        let changes: Vec<Change> = changes
            .iter()
            .map(|&(name, delta)| Change { column: column(&self.circuit, name), cell: 0, delta })
            .collect();
        let trace = self.replay(&changes);
        self.attempt(trace);
    }

    /// First cells of named columns are changed in the honest trace; nothing follows.
    pub fn poked(&mut self, changes: &[(&str, i32)]) {
        let mut trace = self.replay(&[]);
        for &(name, delta) in changes {
            trace.columns[column(&self.circuit, name).0 as usize][0] += delta;
        }
        self.attempt(trace);
    }

    /// Cells of named columns get these values, whatever was computed; what follows is recomputed.
    pub fn forced(&mut self, values: &[(&str, usize, i64)]) {
        let mut changes: Vec<Change> = Vec::new();
        for &(name, cell, value) in values {
            let column = column(&self.circuit, name);
            let now = self.replay(&changes).columns[column.0 as usize][cell];
            changes.push(Change { column, cell, delta: value - i64::from(now) });
        }
        let trace = self.replay(&changes);
        self.attempt(trace);
    }

    /// The honest number in the first cell of a named column.
    pub fn value(&self, name: &str) -> i64 {
        let trace = self.replay(&[]);
        trace.columns[column(&self.circuit, name).0 as usize][0].into()
    }

    /// Pairs of columns made one after the other, as limbs are: what one gains the other loses, as integers or
    /// modulo `P`; nothing follows, or all that does is recomputed.
    pub fn neighbours(&mut self, bases: &[i64]) {
        let honest = self.replay(&[]);
        let columns: Vec<(ColumnId, usize)> = first_cells(&self.circuit);
        for (i, &first) in columns.iter().enumerate() {
            for &second in columns[i + 1..].iter().take(3) {
                for &base in bases {
                    let wrap = (1i64 << 31) / base;
                    for (low, high) in [(base, -1), (-base, 1), (-1, wrap), (1, -wrap)] {
                        let change = |(column, cell), delta| Change { column, cell, delta };
                        let changes = [change(first, low), change(second, high)];
                        let mut poked = honest.clone();
                        for change in &changes {
                            poked.columns[change.column.0 as usize][change.cell] += change.delta as i32;
                        }
                        self.attempt(poked);
                    }
                }
            }
        }
    }

    /// Quotients that wrap: larger by `2^31 / divisor`, with the remainder that fits.
    pub fn wrapped(&mut self) {
        let changes: Vec<Change> = (self.circuit.steps.iter())
            .filter_map(|step| match step {
                Step::Divide { divisor, quotient, .. } => Some((*quotient, (1 << 31) / divisor)),
                _ => None,
            })
            .flat_map(|(column, delta)| [-1, 1].map(|sign| Change { column, cell: 0, delta: sign * delta }))
            .collect();
        for change in changes {
            let trace = self.replay(&[change]);
            self.attempt(trace);
        }
    }

    /// Witnesses are kept for these demands only.
    pub fn keep(&mut self, kept: impl Fn(&Demand, &str) -> bool) {
        let circuit = &self.circuit;
        self.found.retain(|demand, _| kept(demand, &demand.name(circuit)));
    }

    /// Names of the demands without a witness.
    pub fn idle(&self) -> Vec<String> {
        self.missing().iter().map(|demand| demand.name(&self.circuit)).collect()
    }

    /// Every demand with a witness is proven and rejected, and accepted once the demand is forgotten.
    pub fn prove(self) {
        let mut bench = Bench::listed(self.case, &self.lists, TOY);
        for (demand, trace) in self.found {
            let expected = if matches!(demand, Demand::Lookup(_)) { LOOKUP } else { OPENING };
            assert_eq!(bench.judge(&trace), expected, "{demand:?}");
            let forgetful = without(&bench.key.protocol, &demand);
            let full = std::mem::replace(&mut bench.key.protocol, forgetful);
            assert_eq!(bench.judge(&trace), Ok(()), "{demand:?} forgotten");
            bench.key.protocol = full;
        }
    }
}

/// The protocol that would be left if a demand were forgotten.
fn without(protocol: &Protocol, demand: &Demand) -> Protocol {
    let mut circuit = protocol.circuit.clone();
    match demand {
        Demand::Lookup(i) => {
            circuit.lookups.remove(*i);
        }
        Demand::Relation(i) => {
            circuit.relations.remove(*i);
        }
        Demand::Wiring(i) => {
            circuit.wirings.remove(*i);
        }
        Demand::Gather(i) => {
            circuit.gathers.remove(*i);
        }
        Demand::Pick(i) => {
            circuit.picks.remove(*i);
        }
    }
    of_changed(protocol, circuit)
}

/// The protocol of a circuit that is another one's but for some parts, without checking it.
pub fn of_changed(protocol: &Protocol, circuit: Circuit) -> Protocol {
    let mut outline = protocol.outline.clone();
    let mut lookups = Sizes::default();
    for lookup in &circuit.lookups {
        lookups.push(lookup.shape.log_size());
    }
    outline.leaves = Leaves::new(&lookups, &circuit.tables);
    outline.relations = circuit.relations.len() as u32;
    let reduction = Reduction::new(&circuit, outline.extent);
    outline.numbers.operands = reduction.operands.len() as u32;
    outline.numbers.wirings = circuit.wirings.len() as u32;
    outline.numbers.gathers = circuit.gathers.len() as u32;
    outline.numbers.picks = circuit.picks.len() as u32;
    Protocol { outline, circuit, reduction }
}

/// Replaces the values that `squares` picks out by the digits.
fn visit(int: &mut Int, squares: &impl Fn(&Value) -> bool, digits: &Form) {
    match int {
        Int::Value(value) if squares(value) => *int = digits.clone().into(),
        Int::Value(_) => {}
        Int::Add(pair) | Int::Sub(pair) | Int::Mul(pair) | Int::Div(pair) | Int::Mod(pair) => {
            pair.iter_mut().for_each(|int| visit(int, squares, digits));
        }
        Int::Root(int) | Int::IsZero(int) => visit(int, squares, digits),
    }
}

/// Replaces the sum of squares, wherever a step reads it, by what its digits say.
pub fn trust_digits(circuit: &mut Circuit, digits: &Form) {
    let squares = |value: &Value| {
        !value.products.is_empty()
            && value.products.iter().all(|p| p.kind == Kind::RowDot && p.a == p.b && p.a.terms.len() == 2)
    };
    for step in &mut circuit.steps {
        if let Step::Set { value, .. } = step {
            visit(value, &squares, digits);
        }
    }
}
