//! Everything about a proof that the key fixes: shapes, orders, counts. Prover and verifier both start here.

use alloc::format;

use crate::circuit::{Circuit, CircuitError, LookupTable, Tree};
use crate::code::Domain;
use crate::key::VerifyingKey;
use crate::limits;
use crate::lookup::Leaves;
use crate::profile::{Profile, Regime};
use crate::program::Program;
use crate::relations::Reduction;
use crate::security::Sizes;
use crate::stacking::{FoldSchedule, MIN_LOG_ROWS, Stacking};

/// The domain separator of all transcripts.
pub const DOMAIN: &[u8] = b"circlet/1";

/// The protocol for one program under one profile.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Security parameters.
    pub profile: Profile,
    /// The program, spelled out.
    pub circuit: Circuit,
    /// Where columns lie.
    pub stacking: Stacking,
    /// Where fractions lie.
    pub leaves: Leaves,
    /// The products.
    pub reduction: Reduction,
    /// How the opening folds.
    pub schedule: FoldSchedule,
    /// The domain of the codewords.
    pub domain: Domain,
}

impl Protocol {
    /// Derives the protocol, or says why the program is refused.
    pub fn new(program: &Program, profile: Profile) -> Result<Self, CircuitError> {
        let circuit = Circuit::new(program)?;
        let stacking = Stacking::new(&circuit, &profile);
        Ok(Self::build(circuit, stacking, profile))
    }

    /// The protocol with matrices of `2^log_rows` rows.
    pub fn with_rows(program: &Program, profile: Profile, log_rows: u32) -> Result<Self, CircuitError> {
        Self::of_circuit(Circuit::new(program)?, profile, log_rows)
    }

    /// The protocol for a circuit that has been checked.
    pub fn of_circuit(circuit: Circuit, profile: Profile, log_rows: u32) -> Result<Self, CircuitError> {
        if profile.regime != Regime::UniqueDecoding && (circuit.has(Tree::State) || circuit.has(Tree::Past)) {
            return Err(CircuitError::Profile(profile.name));
        }
        if !(MIN_LOG_ROWS..=profile.max_log_rows).contains(&log_rows) {
            return Err(CircuitError::Malformed(format!("matrices of 2^{log_rows} rows")));
        }
        let stacking = Stacking::with_rows(&circuit, log_rows);
        if stacking.log_columns > limits::LOG_MATRIX_COLUMNS {
            return Err(CircuitError::Malformed(format!("matrices of 2^{log_rows} rows are too narrow")));
        }
        Ok(Self::build(circuit, stacking, profile))
    }

    fn build(circuit: Circuit, stacking: Stacking, profile: Profile) -> Self {
        let leaves = Leaves::new(&circuit);
        let reduction = Reduction::new(&circuit);
        let schedule = FoldSchedule::new(stacking.log_rows);
        let domain = Domain::new(stacking.log_rows + profile.log_blowup);
        Self { profile, circuit, stacking, leaves, reduction, schedule, domain }
    }

    /// The protocol of a key, for verifiers: without the steps of the executor.
    pub fn of_key(key: &VerifyingKey) -> Result<Self, CircuitError> {
        let circuit = Circuit::without_steps(&key.program)?;
        Self::of_circuit(circuit, *key.profile.profile(), key.log_rows.into())
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
    pub fn sizes(&self) -> Sizes {
        let circuit = &self.circuit;
        let claims = 3
            + usize::from(self.pinned())
            + self.reduction.operands.len()
            + circuit.wirings.len()
            + circuit.gathers.len()
            + circuit.picks.len()
            + circuit.inputs.len()
            + circuit.outputs.len();
        Sizes {
            log_rows: self.stacking.log_rows,
            columns_log: self.stacking.stack_variables(),
            lookups: circuit.lookups.iter().map(|l| l.shape.size() as u64).sum(),
            table_rows: circuit.tables.iter().map(|t| 1u64 << t.bits).sum(),
            // The tag counts as a component.
            tuple_width: 1 + circuit.tables.iter().map(tuple_width).max().unwrap_or(0),
            gkr_log: self.leaves.depth,
            relations: circuit.relations.len() as u32,
            relation_point_vars: self.reduction.row_variables + self.reduction.col_variables,
            relation_rounds: self.reduction.rounds,
            relation_degree: crate::relations::DEGREE as u32,
            evaluations: self.reduction.operands.len() as u32,
            claims: claims as u32,
            wiring_degree: crate::wiring::degree(circuit),
            transcript_bits: Sizes::POSEIDON2_BITS,
            merkle_bits: Sizes::BLAKE2S_BITS,
        }
    }
}

fn tuple_width(table: &LookupTable) -> u32 {
    table.components.len() as u32
}
