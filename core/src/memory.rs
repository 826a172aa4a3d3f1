//! How much memory verifying takes: known from the key alone, before anything of a proof is read.
//!
//! A proof is read once, in order, and nothing of it is kept but caps, the points of the sumchecks, the message in clear
//! and, while queries are answered, a word and a digest for each position. The circuit is spelled out twice and not kept;
//! what is left of it are four bytes for each column. So the greatest part belongs to the key and to the program that
//! follows from it.

use crate::circuit::Tree;
use crate::key::VerifyingKey;
use crate::program::{Op, Program};
use crate::protocol::Outline;
use crate::stacking::Places;
use crate::weight::{PAIRS, STRETCHES};

/// Bytes of heap that a verifier needs, an upper bound. The stack is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The program, with its names.
    pub program: u64,
    /// What is known of every column, and where tensors and constants lie.
    pub circuit: u64,
    /// What the pass over the circuit remembers: places, weights, the operands of an op.
    pub claims: u64,
    /// Caps, points, and what queries are checked with.
    pub opening: u64,
    /// The statement of a proof.
    pub statement: u64,
}

impl MemoryPlan {
    /// All of it, with a sixteenth for the allocator.
    pub fn total(&self) -> u64 {
        let all = self.program + self.circuit + self.claims + self.opening + self.statement;
        all + all / 16
    }
}

/// Bytes of an extension element and of a digest.
const ELEMENT: u64 = 16;
const DIGEST: u64 = 32;

/// A list that grows by doubling.
fn growing(len: usize, bytes: u64) -> u64 {
    (len as u64).next_power_of_two() * bytes
}

impl VerifyingKey {
    /// The memory that verifying a proof under this key takes on a machine with pointers of `word` bytes, besides the key
    /// itself.
    pub fn memory_plan(&self, word: u64) -> crate::circuit::Checked<MemoryPlan> {
        Ok(plan(&Outline::of_key(self)?, &self.program, word))
    }
}

/// The plan for a program with its outline.
pub fn plan(outline: &Outline, program: &Program, word: u64) -> MemoryPlan {
    let list = 3 * word;
    let form = 80 + list + word;
    let columns = &outline.declared.columns;
    let named = |name: &str, bytes: u64| list + name.len() as u64 + 2 * word + bytes;

    let tensors: u64 = program.tensors.iter().map(|t| named(&t.name, 24)).sum();
    let constants: u64 = program.constants.iter().map(|c| named(&c.name, 32)).sum();
    let inner = |op: &Op| match op {
        Op::Attention { .. } => 450,
        Op::Gather { rows: crate::program::Rows::Given(rows), .. } => 4 * rows.len() as u64,
        _ => 0,
    };
    let inner: u64 = program.ops.iter().map(inner).sum();
    let tables: u64 = program.tables.iter().map(|t| named(&t.name, 16)).sum();
    // Lists have room for more than they hold.
    let slack = |len: usize, bytes: u64| growing(len, bytes) - len as u64 * bytes;
    let spine = slack(program.tensors.len(), list + 24)
        + slack(program.constants.len(), list + 32)
        + growing(program.ops.len(), 48 + word);
    let program_bytes = tensors + constants + inner + tables + spine;

    // Blocks of tensors, cuts of constants, the columns and their sorts. The first pass also has a tree of sorts, what is
    // proven of columns, and a list of columns that is copied into a larger one; the second one has what follows below.
    let fixed = columns.ids().filter(|&id| columns.tree(id) == Tree::Fixed).count();
    let circuit = (list + 64) * program.tensors.len() as u64
        + 16 * fixed as u64
        + 1024
        + 4 * columns.len() as u64
        + 1024
        + growing(columns.classes(), 32)
        + 4 * program.constants.len() as u64
        + 64 * outline.declared.tables.len() as u64;

    // Factors for each coordinate above the blocks of one size, in each tree and among the leaves.
    let variables = u64::from(outline.stacking.variables());
    let above = |variables: u64, logs: &mut dyn Iterator<Item = u32>| -> u64 {
        logs.map(|log| 2 * ELEMENT * (variables + 1).saturating_sub(log.into()) + 8 * word).sum()
    };
    let blocks: u64 =
        Tree::ALL.iter().map(|&tree| above(variables, &mut columns.sizes(tree).logs())).sum::<u64>()
            + above(outline.leaves.depth.into(), &mut outline.lookup_sizes.logs());
    let lists = outline.declared.lists.iter().map(|l| 2 * u64::from(l.len)).sum::<u64>();
    let operand = form + 2 * (36 + word) + 8 + 2 * word + 4;
    let claims = Places::RECENT as u64 * (ELEMENT + 4)
        + blocks
        + growing(outline.widest as usize, operand + ELEMENT + 8)
        // Weights of pairs of stretches, of stretches, and of lists.
        + PAIRS as u64 * (ELEMENT + 8)
        + 3 * STRETCHES as u64 * (ELEMENT + 4) / 2
        + 16 * lists
        + 16 * form;

    let cap = |height: u32| DIGEST << outline.cap_log(height);
    let trees = 4 * cap(outline.codeword_log());
    let folds: u64 = (0..outline.schedule.layers).map(|layer| cap(outline.fold_height(layer))).sum();
    let weights = ELEMENT << outline.stacking.stack_variables();
    let queries = u64::from(outline.profile.queries) * (2 * (ELEMENT + 4) + 4 * (DIGEST + 4));
    let widest = outline.stacking.matrix_columns.iter().max().copied().unwrap_or(0) as u64;
    let points = 8 * ELEMENT * variables;
    let opening =
        trees + folds + 2 * weights + queries + 4 * widest + points + (ELEMENT << outline.schedule.last) * 2;

    let first = 60 * columns.classes() as u64 + columns.len() as u64;
    let claims = claims.max(first);
    let publics = outline.declared.inputs.iter().chain(&outline.declared.outputs);
    let entries: u64 = publics.map(|p| 4 * u64::from(p.rows) * u64::from(p.cols)).sum();
    let listed: u64 = outline.declared.lists.iter().map(|l| 4 * u64::from(l.len)).sum();
    // A list grows as its entries come, and the digest is of all of them at once.
    let statement = 3 * (entries + listed);
    MemoryPlan { program: program_bytes, circuit, claims, opening, statement }
}
