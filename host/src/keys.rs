//! Key generation: committing to a program's numbers.

use std::sync::Arc;

use circlet_core::circuit::{Circuit, CircuitError, ColumnId, Shape, Tree as Which};
use circlet_core::key::VerifyingKey;
use circlet_core::pin;
use circlet_core::poly::eq_table;
use circlet_core::profile::ProfileId;
use circlet_core::program::{Data, Program};
use circlet_core::protocol::Protocol;
use circlet_core::security::{Report, SizeError, analyse, meets_target};

use crate::backend::encode::Encoder;
use crate::backend::merkle::BulkHash;
use crate::execute::Fixed;
use crate::prove::adversary::{Adversary, Honest};
use crate::prove::commit::Commitment;
use crate::prove::opening::Twiddles;

/// Why there is no key for a program.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The program is refused.
    #[error(transparent)]
    Circuit(#[from] CircuitError),
    /// The numbers do not have the shapes and bounds that the program declares.
    #[error("{0}")]
    Data(String),
    /// There is no sound protocol of this size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The profile does not reach its target for a program of this size.
    #[error(
        "profile {name} reaches only {bits:.1} of its {target} bits for a program of this size; take another"
    )]
    Security {
        /// The profile.
        name: &'static str,
        /// Bits it reaches.
        bits: f64,
        /// Bits it promises.
        target: u32,
    },
}

/// Everything the prover keeps: the program, its numbers and their commitment.
pub struct ProvingKey<S: BulkHash> {
    /// What verifiers hold.
    pub verifying: VerifyingKey,
    /// Its digest.
    pub digest: [u8; 32],
    /// The numbers.
    pub data: Arc<Data>,
    /// Constants and tables as columns.
    pub columns: Arc<Fixed>,
    /// What the key fixes.
    pub protocol: Protocol,
    /// The commitment to the numbers.
    pub fixed: Arc<Commitment<S>>,
    /// Encodes columns.
    pub encoder: Arc<Encoder>,
    /// Folds codewords.
    pub twiddles: Arc<Twiddles>,
}

impl<S: BulkHash> ProvingKey<S> {
    /// Commits to a program.
    pub fn new(program: Program, data: impl Into<Arc<Data>>, profile: ProfileId) -> Result<Self, KeyError> {
        let data = data.into();
        check_data(&program, &data)?;
        let protocol = Protocol::new(&program, *profile.profile())?;
        secure(&protocol)?;
        Ok(Self::build(program, data, protocol, &mut Honest))
    }

    /// The same key for another protocol over its fixed columns.
    #[must_use]
    pub fn with_protocol(&self, protocol: Protocol) -> Self {
        Self {
            digest: self.digest,
            verifying: self.verifying.clone(),
            data: self.data.clone(),
            columns: Arc::new(self.columns.of_family(&self.protocol.circuit, &protocol.circuit)),
            protocol,
            fixed: self.fixed.clone(),
            encoder: self.encoder.clone(),
            twiddles: self.twiddles.clone(),
        }
    }

    /// The key of another program over the same constants and tables, in the same order: nothing is committed to
    /// anew.
    pub fn sibling(&self, program: Program) -> Result<Self, KeyError> {
        let protocol = Protocol::with_rows(&program, self.protocol.profile, self.protocol.stacking.log_rows)?;
        secure(&protocol)?;
        let fixed = |protocol: &Protocol| -> Vec<(u64, Shape)> {
            let columns = protocol.circuit.columns.iter().enumerate();
            let fixed = columns.filter(|(_, column)| column.tree() == Which::Fixed);
            fixed
                .map(|(i, c)| (protocol.stacking.offset_in_tree(ColumnId(i as u32)) as u64, c.shape))
                .collect()
        };
        if fixed(&protocol) != fixed(&self.protocol) {
            return Err(KeyError::Data(format!("{}: another layout of the weights", program.name)));
        }
        let verifying = VerifyingKey { program, ..self.verifying.clone() };
        Ok(Self { digest: verifying.digest(), verifying, ..self.with_protocol(protocol) })
    }
    /// The key without the checks of its maker: for tests of what a verifier does with a bad one.
    pub fn build(
        program: Program,
        data: impl Into<Arc<Data>>,
        protocol: Protocol,
        adversary: &mut dyn Adversary,
    ) -> Self {
        let data = data.into();
        let encoder = Encoder::new(protocol.stacking.log_rows, protocol.profile.log_blowup);
        let columns = Arc::new(Fixed::new(&protocol.circuit, &program, &data));
        let cells = (0..protocol.circuit.columns.len() as u32)
            .map(ColumnId)
            .filter(|&id| protocol.circuit.column(id).tree() == Which::Fixed)
            .map(|id| (id, columns.cells(id)));
        let fixed = Commitment::new(&protocol, &encoder, Which::Fixed, cells, adversary);
        let pin = protocol.pinned().then(|| {
            let point = pin::point::<S>(&protocol, fixed.tree.cap());
            let value = pin::value(&protocol, &point, |id, at| {
                let (offset, weights) = (protocol.stacking.offset_in_tree(id), eq_table(at));
                fixed.cells(offset, weights.len()).zip(weights).map(|(cell, w)| w * cell).sum()
            });
            value.coordinates()
        });
        let verifying = VerifyingKey {
            program,
            profile: protocol.profile.id,
            log_rows: protocol.stacking.log_rows as u8,
            suite: S::ID,
            fixed_cap: fixed.tree.cap().iter().map(S::digest_to_bytes).collect(),
            pin,
        };
        let twiddles = Twiddles::new(&protocol).into();
        let (fixed, encoder) = (fixed.into(), encoder.into());
        Self { digest: verifying.digest(), verifying, data, columns, protocol, fixed, encoder, twiddles }
    }

    /// The circuit.
    pub fn circuit(&self) -> &Circuit {
        &self.protocol.circuit
    }
}

/// Refuses protocols that do not reach what their profile promises.
fn secure(protocol: &Protocol) -> Result<(), KeyError> {
    let report = security(protocol)?;
    if meets_target(&report) {
        return Ok(());
    }
    let profile = &protocol.profile;
    Err(KeyError::Security { name: profile.name, bits: report.bits, target: profile.target_bits })
}

/// The security of a protocol, source by source.
pub fn security(protocol: &Protocol) -> Result<Report, SizeError> {
    analyse(&protocol.profile, &protocol.sizes())
}

/// The numbers have the declared shapes and stay within the declared bounds.
fn check_data(program: &Program, data: &Data) -> Result<(), KeyError> {
    let error = |name: &str, what: &str| Err(KeyError::Data(format!("{name}: {what}")));
    if data.constants.len() != program.constants.len() || data.tables.len() != program.tables.len() {
        return error(&program.name, "the number of constants or tables is not the program's");
    }
    for (constant, cells) in program.constants.iter().zip(&data.constants) {
        if cells.len() as u64 != u64::from(constant.rows) * u64::from(constant.cols) {
            return error(&constant.name, "wrong number of entries");
        }
        for row in cells.chunks(constant.cols as usize) {
            if row.iter().any(|&v| i64::from(v).abs() > constant.bound) {
                return error(&constant.name, "an entry is beyond the declared bound");
            }
            if row.iter().map(|&v| i64::from(v).abs()).sum::<i64>() > constant.row_l1 {
                return error(&constant.name, "a row's L1 norm is beyond the declared one");
            }
        }
    }
    for (table, values) in program.tables.iter().zip(&data.tables) {
        if values.len() as u64 != 1u64.checked_shl(table.bits.into()).unwrap_or(0) {
            return error(&table.name, "wrong number of values");
        }
        if values.iter().any(|&v| i64::from(v).abs() > table.bound) {
            return error(&table.name, "a value is beyond the declared bound");
        }
    }
    Ok(())
}
