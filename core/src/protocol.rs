//! Everything about a proof that the key fixes: shapes, orders, counts. Prover and verifier both start here.

use alloc::format;

use crate::circuit::{
    Check, Checked, Circuit, CircuitError, Columns, Declared, Gather, Looked, Pick, Reader, Relation, Shape,
    Sizes, Source, Tree, Wiring,
};
use crate::claims::Numbers;
use crate::code::Domain;
use crate::key::VerifyingKey;
use crate::limits;
use crate::lookup::Leaves;
use crate::profile::{Profile, Regime};
#[cfg(feature = "execute")]
use crate::program::Program;
use crate::relations::{Extent, Operands, Reduction, read};
use crate::security;
use crate::stacking::{FoldSchedule, MIN_LOG_ROWS, Stacking};
use crate::wiring::{public_degree, wiring_degree};

/// The domain separator of all transcripts.
pub const DOMAIN: &[u8] = b"circlet/1";

/// The protocol for one circuit under one profile, without the parts of the circuit.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Security parameters.
    pub profile: Profile,
    /// What the parts of the circuit speak of.
    pub declared: Declared,
    /// Where columns lie.
    pub stacking: Stacking,
    /// Where fractions lie.
    pub leaves: Leaves,
    /// The sumcheck of all products.
    pub extent: Extent,
    /// Number of relations.
    pub relations: u32,
    /// Claims of each sort.
    pub numbers: Numbers,
    /// How the opening folds.
    pub schedule: FoldSchedule,
    /// The domain of the codewords.
    pub domain: Domain,
    /// Operands of the op that has most.
    pub widest: u32,
    /// Lookups of each size.
    pub lookup_sizes: Sizes,
    /// Cells of all lookups.
    lookups: u64,
    /// The degree of wirings and public tensors in their challenge.
    wiring_degree: u64,
}

/// Measures a circuit and checks it.
#[derive(Default)]
struct Measure {
    check: Check,
    lookups: Sizes,
    operands: Operands,
    widest: u32,
    extent: Extent,
    relations: u32,
    numbers: Numbers,
    wiring_degree: u64,
}

impl Reader for Measure {
    fn op(&mut self) {
        self.widest = self.widest.max(self.operands.op().count() as u32);
    }

    fn lookup(&mut self, declared: &Declared, lookup: Looked<'_>) {
        self.check.take_lookup(declared, lookup);
        self.lookups.push(lookup.shape.log_size());
    }

    fn relation(&mut self, declared: &Declared, relation: &Relation) {
        self.check.take_relation(declared, relation);
        self.extent.cover(relation.shape);
        for product in &relation.value.products {
            let (meeting, operands) = read(product);
            self.extent.bind(&meeting);
            for operand in &operands {
                self.operands.number(operand);
            }
        }
        self.relations += 1;
    }

    fn wiring(&mut self, declared: &Declared, wiring: Wiring) {
        self.check.take_wiring(declared, &wiring);
        self.wiring_degree = self.wiring_degree.max(wiring_degree(&wiring));
        self.numbers.wirings += 1;
    }

    fn gather(&mut self, declared: &Declared, gather: Gather) {
        self.check.take_gather(declared, &gather);
        // Gathers and picks are read at the relations' point.
        self.extent.cover(declared.columns.shape(gather.output));
        self.numbers.gathers += 1;
    }

    fn pick(&mut self, declared: &Declared, pick: Pick) {
        self.check.take_pick(declared, &pick);
        self.extent.cover(Shape { rows: pick.rows, cols: 1 });
        self.numbers.picks += 1;
    }
}

impl Outline {
    /// The outline for a key, or why its program is refused.
    pub fn of_key(key: &VerifyingKey) -> Checked<Self> {
        Self::with_rows(&key.program, *key.profile.profile(), key.log_rows.into())
    }

    /// The outline with matrices of `2^log_rows` rows.
    pub fn with_rows(source: &dyn Source, profile: Profile, log_rows: u32) -> Checked<Self> {
        if !(MIN_LOG_ROWS..=profile.max_log_rows).contains(&log_rows) {
            return Err(CircuitError::Malformed(format!("matrices of 2^{log_rows} rows")).into());
        }
        Self::build(source, profile, |columns| Stacking::with_rows(columns, log_rows))
    }

    /// The outline with matrices for which proofs are smallest.
    pub fn new(source: &dyn Source, profile: Profile) -> Checked<Self> {
        Self::build(source, profile, |columns| Stacking::new(columns, &profile))
    }

    fn build(
        source: &dyn Source,
        profile: Profile,
        stacking: impl Fn(&Columns) -> Stacking,
    ) -> Checked<Self> {
        let mut measure = Measure::default();
        let declared = source.read(Columns::default(), &mut measure)?;
        measure.op();
        let Measure { check, lookups, operands, widest, extent, relations, mut numbers, mut wiring_degree } =
            measure;
        check.finish(&declared)?;
        let columns = &declared.columns;
        let pinned = profile.regime != Regime::UniqueDecoding;
        if pinned && (columns.has(Tree::State) || columns.has(Tree::Past)) {
            return Err(CircuitError::Profile(profile.name).into());
        }
        let stacking = stacking(columns);
        if stacking.log_columns > limits::LOG_MATRIX_COLUMNS {
            let log_rows = stacking.log_rows;
            return Err(
                CircuitError::Malformed(format!("matrices of 2^{log_rows} rows are too narrow")).into()
            );
        }
        let publics = || declared.inputs.iter().chain(&declared.outputs);
        numbers.operands = operands.count();
        numbers.publics = publics().count() as u32;
        numbers.pins = pinned.into();
        wiring_degree = publics().map(public_degree).fold(wiring_degree, u64::max);
        Ok(Self {
            profile,
            leaves: Leaves::new(&lookups, &declared.tables),
            schedule: FoldSchedule::new(stacking.log_rows),
            domain: Domain::new(stacking.log_rows + profile.log_blowup),
            stacking,
            extent,
            relations,
            numbers,
            widest,
            lookups: lookups.cells(),
            lookup_sizes: lookups,
            wiring_degree,
            declared,
        })
    }

    /// Whether a tree holds any columns.
    pub fn has(&self, tree: Tree) -> bool {
        self.declared.columns.has(tree)
    }

    /// Whether a key must pin its fixed columns: everywhere but in the unique-decoding regime.
    pub fn pinned(&self) -> bool {
        self.profile.regime != Regime::UniqueDecoding
    }

    /// Log of the length of codewords.
    pub fn codeword_log(&self) -> u32 {
        self.stacking.log_rows + self.profile.log_blowup
    }

    /// Height of the tree of fold layer `k`, whose leaves hold sixteen values.
    pub fn fold_height(&self, layer: u32) -> u32 {
        self.codeword_log() - (layer + 1) * FoldSchedule::ARITY_LOG
    }

    /// Log of the number of digests in the cap of a tree of this height.
    pub fn cap_log(&self, height: u32) -> u32 {
        self.profile.cap_height.min(height)
    }

    /// What the security calculator needs to know.
    pub fn sizes(&self) -> security::Sizes {
        let tables = &self.declared.tables;
        security::Sizes {
            log_rows: self.stacking.log_rows,
            columns_log: self.stacking.stack_variables(),
            lookups: self.lookups,
            table_rows: tables.iter().map(|t| 1u64 << t.bits).sum(),
            // The tag counts as a component.
            tuple_width: 1 + tables.iter().map(|t| t.components.len() as u32).max().unwrap_or(0),
            gkr_log: self.leaves.depth,
            relations: self.relations,
            relation_point_vars: self.extent.row_variables + self.extent.col_variables,
            relation_rounds: self.extent.rounds,
            relation_degree: crate::relations::DEGREE as u32,
            evaluations: self.numbers.operands,
            claims: self.numbers.all(),
            wiring_degree: self.wiring_degree,
            transcript_bits: security::Sizes::POSEIDON2_BITS,
            merkle_bits: security::Sizes::BLAKE2S_BITS,
        }
    }
}

/// The protocol for one circuit with all parts of it, for who proves.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// What does not depend on the parts.
    pub outline: Outline,
    /// The program, spelled out.
    pub circuit: Circuit,
    /// The products.
    pub reduction: Reduction,
}

impl core::ops::Deref for Protocol {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        &self.outline
    }
}

impl Protocol {
    /// Derives the protocol, or says why the program is refused.
    #[cfg(feature = "execute")]
    pub fn new(program: &Program, profile: Profile) -> Checked<Self> {
        let circuit = Circuit::new(program)?;
        Ok(Self::build(Outline::new(&circuit, profile)?, circuit))
    }

    /// The protocol with matrices of `2^log_rows` rows.
    #[cfg(feature = "execute")]
    pub fn with_rows(program: &Program, profile: Profile, log_rows: u32) -> Checked<Self> {
        Self::of_circuit(Circuit::new(program)?, profile, log_rows)
    }

    /// The protocol for a circuit.
    pub fn of_circuit(circuit: Circuit, profile: Profile, log_rows: u32) -> Checked<Self> {
        Ok(Self::build(Outline::with_rows(&circuit, profile, log_rows)?, circuit))
    }

    fn build(outline: Outline, circuit: Circuit) -> Self {
        let reduction = Reduction::new(&circuit, outline.extent);
        Self { outline, circuit, reduction }
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::profile::P100_U;
    use crate::program::{Op, Program, Tensor, TensorId};

    /// A row of a committed matrix has at most so many columns: what a verifier reads at each position.
    #[test]
    fn matrices_are_not_too_narrow() {
        let tensor =
            || Tensor { name: "t".to_owned(), rows: 1 << 11, cols: 1 << 11, bound: 100, fraction_bits: 0 };
        let program = Program {
            name: "copy".to_owned(),
            tensors: vec![tensor(), tensor()],
            constants: vec![],
            tables: vec![],
            ops: vec![Op::Rewire {
                x: TensorId(0),
                dims: vec![1 << 11; 2],
                permutation: vec![0, 1],
                y: TensorId(1),
            }],
            inputs: vec![TensorId(0)],
            outputs: vec![TensorId(1)],
            lists: vec![],
        };
        let least = (MIN_LOG_ROWS..24).find_map(|log| Outline::with_rows(&program, P100_U, log).ok());
        let least = least.unwrap().stacking;
        assert_eq!(least.log_columns, limits::LOG_MATRIX_COLUMNS);
        let narrower = Outline::with_rows(&program, P100_U, least.log_rows - 1);
        assert!(matches!(narrower, Err(why) if why.to_string().contains("too narrow")));
    }
}
