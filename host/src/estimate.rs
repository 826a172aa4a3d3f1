//! What a proof will take, before anything is run: proof size, memory and time.
//!
//! The proof size is exact but for the number of Merkle nodes that queries share, of which this is the
//! expectation. Memory adds up the tables that are alive at the prover's peak. Times are counts of the work in
//! each stage times the measured [`COSTS`] of one core.

use circlet_core::circuit::{Column, Shape, Tree, Value};
use circlet_core::protocol::Protocol;
use circlet_core::stacking::FoldSchedule;

use crate::backend::matrix::at_once;
use crate::backend::merkle::DROPPED;

mod model;

pub use model::{MODEL_COSTS, ModelCosts, ModelTimes, model_times};

const ELEMENT: u64 = 16;
const DIGEST: u64 = 32;
const NONCE: u64 = 8;

/// Seconds of one core for one unit of work, measured on virtual cores of a server with AVX-512.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// One slot of a codeword.
    pub encode: f64,
    /// The same in memory that has been used before.
    pub encode_again: f64,
    /// One slot of the domain, when a key is made.
    pub domain: f64,
    /// One compression of a tree.
    pub compression: f64,
    /// One product of two integers in the executor.
    pub multiply: f64,
    /// One leaf of the fraction tree.
    pub fraction: f64,
    /// One cell of an operand in the sumcheck of products.
    pub operand: f64,
    /// One cell of the fixed tree in the opening: its columns are large and regular.
    pub opening_fixed: f64,
    /// One cell of the witness tree in the opening.
    pub opening_witness: f64,
    /// One slot of the folded codeword.
    pub fold: f64,
    /// One nonce.
    pub nonce: f64,
    /// One compression of the verifier, who hashes one at a time.
    pub verify_hash: f64,
    /// One element of the transcript.
    pub verify_element: f64,
}

/// The table that times are computed from. `circlet bench --llm MODEL.circlet --threads 1 --json`, on a machine that
/// does nothing else, prints for every number of layers and positions the seconds of each stage, the units of work
/// and what this table makes of them; these were fitted to 1, 5, 15 and 30 layers of a model of 135 million weights at
/// 1, 8, 32 and 128 positions, on two threads.
pub const COSTS: Costs = Costs {
    encode: 16.0e-9,
    encode_again: 4.5e-9,
    domain: 60.0e-9,
    compression: 18.0e-9,
    multiply: 0.13e-9,
    fraction: 90.0e-9,
    operand: 2.5e-9,
    opening_fixed: 4.6e-9,
    opening_witness: 10.5e-9,
    fold: 125.0e-9,
    nonce: 12.0e-9,
    verify_hash: 400.0e-9,
    verify_element: 1.3e-6,
};

/// What one of the commitments holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeSize {
    /// Columns of the circuit.
    pub columns: usize,
    /// Their cells, with padding.
    pub cells: u64,
    /// Columns of the matrix that is encoded.
    pub matrix_columns: u64,
}

/// Seconds on the wall for each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Committing to the weights.
    pub weights: f64,
    /// Running the program.
    pub execute: f64,
    /// Committing to the trace.
    pub commit: f64,
    /// Lookups.
    pub lookup: f64,
    /// Relations.
    pub relation: f64,
    /// Opening, proof of work included.
    pub opening: f64,
    /// Verification (one thread).
    pub verify: f64,
}

impl Times {
    /// Proving, from the inputs to the proof, with the weights committed.
    pub fn prove(&self) -> f64 {
        self.execute + self.commit + self.lookup + self.relation + self.opening
    }
}

/// What a program will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The commitment to weights and tables.
    pub fixed: TreeSize,
    /// The commitment in every proof.
    pub witness: TreeSize,
    /// Rows of all matrices, as a power of two.
    pub log_rows: u32,
    /// Lookups, padding included.
    pub lookups: u64,
    /// Rows of all tables.
    pub table_rows: u64,
    /// The fraction tree has `2^fraction_log` leaves.
    pub fraction_log: u32,
    /// Relations.
    pub relations: usize,
    /// Cells of all operands of products.
    pub operand_cells: u64,
    /// Products of integers in one run.
    pub multiplications: u64,
    /// Expected length of a proof.
    pub proof_bytes: u64,
    /// The prover's peak.
    pub memory_bytes: u64,
    /// The same with nothing kept of the commitment to weights but its tree (see [`crate::keys::Keep`]), and the weights
    /// as columns not counted.
    pub lean_bytes: u64,
    /// What the weights as columns take.
    pub column_bytes: u64,
    /// Times then.
    pub lean_times: Times,
    /// The peak while the weights of a program are committed to.
    pub key_bytes: u64,
    /// The same where only the verifying key is wanted, beside the columns (see [`crate::keys::Columns`]).
    pub key_alone_bytes: u64,
    /// Times with the number of threads that the estimate was made for.
    pub times: Times,
}

/// Estimates what a protocol will take with this number of threads.
pub fn estimate(protocol: &Protocol, threads: usize) -> Estimate {
    let trees = Tree::ALL.map(|tree| tree_size(protocol, tree));
    let [fixed, witness, ..] = trees;
    let multiplications = multiplications(protocol);
    let sizes = protocol.sizes();
    let times = times(protocol, trees, multiplications, threads);
    Estimate {
        fixed,
        witness,
        log_rows: protocol.stacking.log_rows,
        lookups: sizes.lookups,
        table_rows: sizes.table_rows,
        fraction_log: protocol.leaves.depth,
        relations: protocol.circuit.relations.len(),
        operand_cells: operand_cells(protocol),
        multiplications,
        proof_bytes: proof_bytes(protocol),
        memory_bytes: (BASELINE + prove_bytes(protocol, 0) + kept_bytes(protocol)).max(key_bytes(protocol)),
        lean_bytes: lean_bytes(protocol, threads),
        column_bytes: column_bytes(protocol),
        lean_times: lean_times(protocol, times, trees, threads),
        key_bytes: key_bytes(protocol),
        key_alone_bytes: key_alone_bytes(protocol, threads),
        times,
    }
}

fn tree_size(protocol: &Protocol, tree: Tree) -> TreeSize {
    let columns = || protocol.circuit.columns.iter().filter(|column| column.tree() == tree);
    TreeSize {
        columns: columns().count(),
        cells: columns().map(|column| column.shape.size() as u64).sum(),
        matrix_columns: protocol.stacking.matrix_columns[tree.index()] as u64,
    }
}

/// The expected number of distinct values among `q` draws of `2^log`.
fn distinct(q: f64, log: u32) -> f64 {
    let n = libm::exp2(f64::from(log));
    -n * libm::expm1(q * libm::log1p(-1.0 / n.max(1.0 + 1e-9)))
}

/// The expected number of digests in the multiproof of `q` random leaves.
fn siblings(q: f64, height: u32, cap_log: u32) -> f64 {
    (cap_log..height).map(|log| 2.0 * distinct(q, log) - distinct(q, log + 1)).sum()
}

/// Leaves and digests that queries open: `(leaf elements, digests)`.
fn opened(protocol: &Protocol) -> (f64, f64) {
    let q = f64::from(protocol.profile.queries);
    let height = protocol.codeword_log();
    let widths = protocol.stacking.matrix_columns.iter().sum::<usize>() as f64;
    let mut elements = distinct(q, height) * widths;
    let trees = protocol.stacking.matrix_columns.iter().filter(|&&columns| columns > 0).count();
    let mut digests = trees as f64 * siblings(q, height, protocol.cap_log(height));
    for layer in 0..protocol.schedule.layers {
        let height = protocol.fold_height(layer);
        elements += distinct(q, height) * f64::from(4 << FoldSchedule::ARITY_LOG);
        digests += siblings(q, height, protocol.cap_log(height));
    }
    (elements, digests)
}

/// Elements of the challenge field that are sent before the queries.
fn sent(protocol: &Protocol) -> u64 {
    let depth = u64::from(protocol.leaves.depth);
    let lookup = 1 + depth * depth.saturating_sub(1) / 2 * 2 + depth * 4;
    let relation = 1 + u64::from(protocol.reduction.rounds) * 3 + protocol.reduction.operands.len() as u64;
    let rounds = u64::from(protocol.stacking.stack_variables() + protocol.stacking.log_rows);
    lookup + relation + 2 * rounds + (1 << protocol.schedule.last)
}

fn proof_bytes(protocol: &Protocol) -> u64 {
    let profile = &protocol.profile;
    let folds = protocol.schedule.layers * FoldSchedule::ARITY_LOG;
    let cap = |height| 1u64 << protocol.cap_log(height);
    // Those of the witness and of the state; that of a past state is in an earlier proof.
    let sent_caps = 1 + u64::from(protocol.circuit.has(Tree::State));
    let caps = sent_caps * cap(protocol.codeword_log())
        + (0..protocol.schedule.layers).map(|layer| cap(protocol.fold_height(layer))).sum::<u64>();
    let nonces = [
        (1, profile.g_lookup),
        (protocol.stacking.stack_variables(), profile.g_stack),
        (folds, profile.g_fold),
        (1, profile.pow_bits),
    ];
    let nonces: u64 = nonces.iter().filter(|(_, bits)| *bits > 0).map(|(n, _)| u64::from(*n)).sum();
    let (elements, digests) = opened(protocol);
    let answers = 4.0 * elements + DIGEST as f64 * digests;
    caps * DIGEST + sent(protocol) * ELEMENT + nonces * NONCE + answers.round() as u64
}

/// What making the key takes in memory: the numbers as they are read, and what is kept of them.
fn key_bytes(protocol: &Protocol) -> u64 {
    let numbers = fixed_columns(protocol).map(|c| 4 * c.shape.size() as u64).sum::<u64>();
    BASELINE + numbers + kept_bytes(protocol)
}

/// What making a verifying key takes: some columns of the matrix, the state of every row's hash and the digests that
/// come of it, and coordinates.
fn key_alone_bytes(protocol: &Protocol, threads: usize) -> u64 {
    let states = DIGEST * slots(protocol);
    let group = group(protocol, threads) * ((1 << protocol.stacking.log_rows) + slots(protocol));
    BASELINE + states + group.max(states) + 3 * 4 * slots(protocol)
}

/// Bytes of a row of those columns of the fixed tree's matrix that are made at once.
fn group(protocol: &Protocol, threads: usize) -> u64 {
    4 * at_once(threads).min(protocol.stacking.matrix_columns[Tree::Fixed.index()]) as u64
}

/// The digests of a tree that are kept.
fn tree_bytes(protocol: &Protocol) -> u64 {
    (2 * DIGEST * slots(protocol)) >> DROPPED
}

/// What a key takes: the numbers as columns of two or four bytes, their matrix, codewords and tree, and coordinates.
fn kept_bytes(protocol: &Protocol) -> u64 {
    column_bytes(protocol) + committed(protocol, Tree::Fixed) + 3 * 4 * slots(protocol)
}

/// What the columns of the fixed tree take, in two or four bytes a cell.
fn column_bytes(protocol: &Protocol) -> u64 {
    let width = |c: &Column| {
        let narrow = c.bound.low >= i16::MIN.into() && c.bound.high <= i16::MAX.into();
        if narrow { 2 } else { 4 }
    };
    fixed_columns(protocol).map(|c| width(c) * c.shape.size() as u64).sum()
}

fn fixed_columns(protocol: &Protocol) -> impl Iterator<Item = &Column> {
    protocol.circuit.columns.iter().filter(|column| column.tree() == Tree::Fixed)
}

/// Slots of a codeword.
fn slots(protocol: &Protocol) -> u64 {
    1 << protocol.codeword_log()
}

/// The matrix of a tree, its codewords and its digests.
fn committed(protocol: &Protocol, tree: Tree) -> u64 {
    let columns = protocol.stacking.matrix_columns[tree.index()] as u64;
    let rows = 1 << protocol.stacking.log_rows;
    if columns == 0 {
        return 0;
    }
    4 * columns * (rows + slots(protocol)) + tree_bytes(protocol)
}

/// What proving takes where nothing but the tree is kept of the weights, the columns not counted.
fn lean_bytes(protocol: &Protocol, threads: usize) -> u64 {
    let kept = tree_bytes(protocol) + 3 * 4 * slots(protocol);
    let prove = BASELINE + kept + prove_bytes(protocol, group(protocol, threads));
    prove.max(key_alone_bytes(protocol, threads))
}

/// What the prover holds when it holds the most, the key excepted: the trace and its commitment, and what one stage
/// needs. The opening makes so many bytes of a row of the weights' matrix anew.
fn prove_bytes(protocol: &Protocol, made: u64) -> u64 {
    let (rows, slots) = (1u64 << protocol.stacking.log_rows, slots(protocol));
    let filled = protocol.circuit.columns.iter().filter(|column| column.tree() != Tree::Fixed);
    let trace: u64 = filled.map(|column| 4 * column.shape.size() as u64).sum();
    // Leaves: numerators in the base field, and denominators. The layers that are kept above them, from the second on,
    // have half as many nodes as the leaves with those that are missing.
    let leaves = protocol.leaves.used;
    let lookup = (4 + ELEMENT) * leaves + ((2 * ELEMENT) << protocol.leaves.depth.saturating_sub(1));
    let operand = |o: &circlet_core::relations::Held| ELEMENT << o.operand().variables();
    let widest =
        protocol.circuit.relations.iter().map(|r| 8 * r.shape.size() as u64).max().unwrap_or_default();
    let relation = protocol.reduction.operands.iter().map(operand).sum::<u64>() + widest;
    // Contracted columns with their weights, what is left of the message, and the folded codeword; in the end the leaves
    // of the folded codewords.
    let cells = protocol.stacking.matrix_columns.iter().sum::<usize>() as u64 * rows;
    let opening = CONTRACTED * cells + 2 * ELEMENT * rows + 3 * ELEMENT * slots + made * rows;
    let opening = opening.max(2 * ELEMENT * slots + made * (rows + slots));
    let stage = lookup.max(relation).max(opening);
    let trees = [Tree::Witness, Tree::State, Tree::Past].map(|tree| committed(protocol, tree));
    trace + trees.iter().sum::<u64>() + stage
}

/// Bytes for each cell in the first rounds of the opening.
const CONTRACTED: u64 = 2;

/// The program itself, its threads and allocator.
const BASELINE: u64 = 12 << 20;

fn multiplications(protocol: &Protocol) -> u64 {
    let cells = |shape: Shape| u64::from(shape.rows) * u64::from(shape.cols);
    let summands = |value: &Value| value.products.iter().map(|p| u64::from(p.summands())).sum::<u64>();
    protocol.circuit.relations.iter().map(|r| cells(r.shape) * summands(&r.value)).sum()
}

fn operand_cells(protocol: &Protocol) -> u64 {
    protocol.reduction.operands.iter().map(|o| o.operand().shape.size() as u64).sum()
}

/// Compressions of a tree over `2^log` rows of `width` elements.
fn compressions(width: u64, log: u32) -> f64 {
    (width.div_ceil(16) + 1) as f64 * libm::exp2(f64::from(log))
}

/// How much faster threads are than one; not everything runs on all of them.
fn speed(threads: usize) -> f64 {
    1.0 + 0.6 * (threads.max(1) - 1) as f64
}

fn times(protocol: &Protocol, trees: [TreeSize; 4], multiplications: u64, threads: usize) -> Times {
    let (profile, log) = (&protocol.profile, protocol.codeword_log());
    let slots = libm::exp2(f64::from(log));
    let [fixed, witness, state, past] = trees;
    let commit = |tree: TreeSize| {
        let columns = tree.matrix_columns;
        if columns == 0 {
            return 0.0;
        }
        COSTS.encode * columns as f64 * slots + COSTS.compression * compressions(columns, log)
    };
    let work = |bits: u32| if bits == 0 { 0.0 } else { COSTS.nonce * libm::exp2(f64::from(bits)) };
    let folds = protocol.schedule.layers * FoldSchedule::ARITY_LOG;
    let operands = operand_cells(protocol);
    let cells = |tree: TreeSize| (tree.matrix_columns << protocol.stacking.log_rows) as f64;
    let speed = speed(threads);
    let (elements, digests) = opened(protocol);
    Times {
        weights: COSTS.domain * slots + commit(fixed) / speed,
        execute: COSTS.multiply * multiplications as f64,
        commit: (commit(witness) + commit(state) + commit(past)) / speed,
        lookup: (COSTS.fraction * libm::exp2(f64::from(protocol.leaves.depth)) + work(profile.g_lookup))
            / speed,
        relation: COSTS.operand * operands as f64 / speed,
        opening: COSTS.fold * slots
            + (COSTS.opening_fixed * cells(fixed)
                + COSTS.opening_witness * (cells(witness) + cells(state) + cells(past))
                + work(profile.pow_bits)
                + f64::from(protocol.stacking.stack_variables()) * work(profile.g_stack)
                + f64::from(folds) * work(profile.g_fold))
                / speed,
        verify: COSTS.verify_hash * (elements / 16.0 + digests)
            + COSTS.verify_element * sent(protocol) as f64,
    }
}

/// Times where nothing is kept of the commitment to weights but its tree: they are encoded twice, but everything is
/// encoded in memory that has been used before.
fn lean_times(protocol: &Protocol, times: Times, trees: [TreeSize; 4], threads: usize) -> Times {
    let (log, speed) = (protocol.codeword_log(), speed(threads));
    let slots = libm::exp2(f64::from(log));
    let encode = |tree: TreeSize| COSTS.encode_again * tree.matrix_columns as f64 * slots;
    let commit = |tree: TreeSize| match tree.matrix_columns {
        0 => 0.0,
        columns => encode(tree) + COSTS.compression * compressions(columns, log),
    };
    let [fixed, filled @ ..] = trees;
    Times {
        weights: COSTS.domain * slots + commit(fixed) / speed,
        commit: filled.into_iter().map(commit).sum::<f64>() / speed,
        opening: times.opening + encode(fixed) / speed,
        ..times
    }
}

#[cfg(test)]
mod tests;
