//! Key generation: committing to a program's numbers.

use std::sync::Arc;

use circlet_core::circuit::{Circuit, CircuitError, ColumnId, Shape, Tree as Which};
use circlet_core::field::{M31, QM31};
use circlet_core::key::VerifyingKey;
use circlet_core::pin;
use circlet_core::poly::eq_table;
use circlet_core::profile::ProfileId;
use circlet_core::program::{Data, Program};
use circlet_core::protocol::{Outline, Protocol};
use circlet_core::security::{Report, SizeError, analyse, meets_target};
use circlet_core::transcript::Transcript;
use rayon::prelude::*;

use crate::backend::device::{self, Device};
use crate::backend::encode::Encoder;
use crate::backend::gpu::forward::Resident;
use crate::backend::matrix::Matrix;
use crate::backend::merkle::BulkHash;
use crate::execute::{Cells, Fixed};
use crate::numbers::Source;
use crate::prove::adversary::{Adversary, Honest};
use crate::prove::commit::Commitment;
use crate::prove::opening::Twiddles;

/// Why there is no key for a program.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The program is refused.
    #[error(transparent)]
    Circuit(#[from] Box<CircuitError>),
    /// The numbers do not have the shapes and bounds that the program declares.
    #[error("{0}")]
    Data(String),
    /// There is no sound protocol of this size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The device has failed.
    #[error(transparent)]
    Device(#[from] device::Error),
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
    /// Constants and tables as columns, which the device holds too if it is a GPU with room for them.
    pub columns: Arc<Fixed>,
    /// What the key fixes.
    pub protocol: Protocol,
    /// The commitment to the numbers.
    pub fixed: Arc<Commitment<S>>,
    /// What computes the heavy forms.
    pub device: Device,
    /// Encodes columns.
    pub encoder: Arc<Encoder>,
    /// Folds codewords.
    pub twiddles: Arc<Twiddles>,
}

impl<S: BulkHash> ProvingKey<S> {
    /// Commits to a program.
    pub fn new(program: Program, data: impl Into<Arc<Data>>, profile: ProfileId) -> Result<Self, KeyError> {
        Self::on(&Device::Cpu, program, data, profile)
    }

    /// Commits to a program on a device, which proofs under the key use too.
    pub fn on(
        device: &Device,
        program: Program,
        data: impl Into<Arc<Data>>,
        profile: ProfileId,
    ) -> Result<Self, KeyError> {
        let data = data.into();
        check(&program, &*data)?;
        let protocol = Protocol::new(&program, *profile.profile())?;
        secure(&protocol)?;
        Ok(Self::build(device, program, data, protocol, &mut Honest)?)
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
            device: self.device.clone(),
            encoder: self.encoder.clone(),
            twiddles: self.twiddles.clone(),
        }
    }

    /// The key of another program over the same constants and tables, in the same order, given what verifies its proofs:
    /// nothing is committed to anew.
    pub fn sibling(&self, verifying: VerifyingKey) -> Result<Self, KeyError> {
        let program = &verifying.program;
        let protocol = Protocol::with_rows(program, self.protocol.profile, self.protocol.stacking.log_rows)?;
        secure(&protocol)?;
        let fixed = |protocol: &Protocol| -> Vec<(u64, Shape)> {
            let columns = protocol.circuit.columns.iter().enumerate();
            let fixed = columns.filter(|(_, column)| column.tree() == Which::Fixed);
            fixed
                .map(|(i, c)| {
                    (
                        protocol.stacking.offset_in_tree(&protocol.declared.columns, ColumnId(i as u32)),
                        c.shape,
                    )
                })
                .collect()
        };
        if fixed(&protocol) != fixed(&self.protocol) {
            return Err(KeyError::Data(format!("{}: another layout of the weights", program.name)));
        }
        Ok(Self { digest: verifying.digest(), verifying, ..self.with_protocol(protocol) })
    }

    /// The key without the checks of its maker: for tests of what a verifier does with a bad one.
    pub fn build(
        device: &Device,
        program: Program,
        data: impl Into<Arc<Data>>,
        protocol: Protocol,
        adversary: &mut dyn Adversary,
    ) -> Result<Self, device::Error> {
        let data = data.into();
        let columns = Fixed::new(&protocol.circuit, &program, &*data).into();
        Self::commit(device, program, data, columns, protocol, adversary)
    }

    /// Commits to a program's columns, see [`Columns`]. The key has no constants beside them.
    pub fn of_columns(device: &Device, columns: Columns, keep: Keep) -> Result<Self, KeyError> {
        let Columns { program, tables, columns, protocol } = columns;
        secure(&protocol)?;
        let data = Data { constants: Vec::new(), tables }.into();
        Ok(match keep {
            Keep::Codewords => Self::commit(device, program, data, columns, protocol, &mut Honest)?,
            Keep::Tree => {
                let encoder = encoder(&protocol, device)?;
                let fixed = Commitment::made(&protocol, &encoder, columns.clone())?;
                Self::with_commitment(device, program, data, columns, protocol, encoder, fixed)?
            }
        })
    }

    fn commit(
        device: &Device,
        program: Program,
        data: Arc<Data>,
        columns: Arc<Fixed>,
        protocol: Protocol,
        adversary: &mut dyn Adversary,
    ) -> Result<Self, device::Error> {
        let encoder = encoder(&protocol, device)?;
        let ids = (0..).map(ColumnId).zip(&protocol.circuit.columns);
        let ids = ids.filter(|(_, column)| column.tree() == Which::Fixed);
        let cells = ids.map(|(id, _)| (id, columns.cells(id)));
        let fixed = Commitment::new(&protocol, &encoder, Which::Fixed, cells, adversary)?;
        Self::with_commitment(device, program, data, columns, protocol, encoder, fixed)
    }

    fn with_commitment(
        device: &Device,
        program: Program,
        data: Arc<Data>,
        columns: Arc<Fixed>,
        protocol: Protocol,
        encoder: Encoder,
        fixed: Commitment<S>,
    ) -> Result<Self, device::Error> {
        let verifying = verifying::<S>(program, &protocol, &columns, fixed.tree.cap());
        let twiddles = Twiddles::new(&protocol, device)?.into();
        let columns = match &fixed.matrix {
            Matrix::OnGpu(matrix) => Arc::new(columns.on_gpu(&protocol, Resident::new(matrix.clone()))),
            Matrix::Kept { .. } | Matrix::Made { .. } => columns,
        };
        let (fixed, encoder, device) = (fixed.into(), encoder.into(), device.clone());
        let digest = verifying.digest();
        Ok(Self { verifying, digest, data, columns, protocol, fixed, device, encoder, twiddles })
    }

    /// The circuit.
    pub fn circuit(&self) -> &Circuit {
        &self.protocol.circuit
    }
}

/// What is kept of a commitment to weights while there is a key to prove with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The weights as a matrix, its codewords and the tree: proofs take the least time.
    Codewords,
    /// The tree alone, for programs that are large for the memory there is: every proof encodes the weights again. The
    /// proofs are the same.
    Tree,
}

/// A program whose numbers are columns.
pub struct Columns {
    /// The program.
    pub program: Program,
    /// Values of its tables.
    pub tables: Vec<Vec<i32>>,
    /// Its constants and tables, which have been checked (see [`check`]).
    pub columns: Arc<Fixed>,
    /// The protocol for it.
    pub protocol: Protocol,
}

impl Columns {
    /// The verifying key alone, for which neither codewords nor a tree need be kept: it takes little memory however
    /// large the program is.
    pub fn verifying_key<S: BulkHash>(self, device: &Device) -> Result<VerifyingKey, KeyError> {
        let Self { program, columns, protocol, .. } = self;
        secure(&protocol)?;
        let encoder = encoder(&protocol, device)?;
        let fixed = Commitment::<S>::made(&protocol, &encoder, columns.clone())?;
        Ok(verifying::<S>(program, &protocol, &columns, fixed.tree.cap()))
    }
}

/// What encodes the columns of a protocol.
fn encoder(protocol: &Protocol, device: &Device) -> Result<Encoder, device::Error> {
    Encoder::new(protocol.stacking.log_rows, protocol.profile.log_blowup, device)
}

/// The key of a program with this cap over its fixed columns.
fn verifying<S: BulkHash>(
    program: Program,
    protocol: &Protocol,
    columns: &Fixed,
    cap: &[S::Digest],
) -> VerifyingKey {
    let pin = protocol.pinned().then(|| {
        let point = pin::point::<S>(&mut S::Transcript::new(pin::DOMAIN), &protocol.stacking, cap);
        let value = pin::value(&protocol.declared.columns, &protocol.stacking, &point, |id, at| {
            let (cols, rows) =
                at.split_at(at.len().min(protocol.circuit.column(id).shape.log_cols() as usize));
            let (cols, rows) = (eq_table(cols), eq_table(rows));
            match columns.cells(id) {
                Cells::Narrow(cells) => evaluate(cells, &cols, &rows),
                Cells::Wide(cells) => evaluate(cells, &cols, &rows),
            }
        });
        value.coordinates()
    });
    VerifyingKey {
        program,
        profile: protocol.profile.id,
        log_rows: protocol.stacking.log_rows as u8,
        suite: S::ID,
        fixed_cap: cap.iter().map(S::digest_to_bytes).collect(),
        pin,
        member: None,
    }
}

/// A column's value at a point, whose eq tables these are.
fn evaluate<T: Copy + Into<i64> + Sync>(cells: &[T], cols: &[QM31], rows: &[QM31]) -> QM31 {
    let row = |(row, &weight): (&[T], &QM31)| -> QM31 {
        let cells = row.iter().zip(cols).map(|(&cell, &w)| w * M31::from_i64(cell.into()));
        weight * cells.sum::<QM31>()
    };
    cells.par_chunks(cols.len()).zip(rows).map(row).reduce(|| QM31::ZERO, |a, b| a + b)
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
pub fn security(outline: &Outline) -> Result<Report, SizeError> {
    analyse(&outline.profile, &outline.sizes())
}

/// Entries that are checked by one task, or one row if it has more.
const TASK: usize = 1 << 18;

/// The numbers have the declared shapes and stay within the declared bounds.
pub fn check(program: &Program, source: &impl Source) -> Result<(), KeyError> {
    let error = |name: &str, what: &str| Err(KeyError::Data(format!("{name}: {what}")));
    let tables = source.tables();
    if source.constants() != program.constants.len() || tables.len() != program.tables.len() {
        return error(&program.name, "the number of constants or tables is not the program's");
    }
    for (index, constant) in program.constants.iter().enumerate() {
        let (rows, cols) = (constant.rows as usize, constant.cols as usize);
        if source.len(index) as u64 != u64::from(constant.rows) * u64::from(constant.cols) {
            return error(&constant.name, "wrong number of entries");
        }
        let count = (TASK / cols.max(1)).max(1);
        (0..rows.div_ceil(count)).into_par_iter().try_for_each(|task| {
            let mut cells = vec![0; count.min(rows - task * count) * cols];
            source.read(index, task * count * cols, &mut cells);
            for row in cells.chunks(cols.max(1)) {
                if row.iter().any(|&v| i64::from(v).abs() > constant.bound) {
                    return error(&constant.name, "an entry is beyond the declared bound");
                }
                if row.iter().map(|&v| i64::from(v).abs()).sum::<i64>() > constant.row_l1 {
                    return error(&constant.name, "a row's L1 norm is beyond the declared one");
                }
            }
            Ok(())
        })?;
    }
    for (table, values) in program.tables.iter().zip(tables) {
        if values.len() as u64 != 1u64.checked_shl(table.bits.into()).unwrap_or(0) {
            return error(&table.name, "wrong number of values");
        }
        if values.iter().any(|&v| i64::from(v).abs() > table.bound) {
            return error(&table.name, "a value is beyond the declared bound");
        }
    }
    Ok(())
}
