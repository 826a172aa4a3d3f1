//! The sumcheck of the relations on an emulated GPU: the same rounds as on the processor.

use std::ops::Range;
use std::sync::Arc;

use circlet::backend::device::{Device, Error};
use circlet::backend::field::pack_all;
use circlet::backend::gpu::matrix::Later;
use circlet::backend::gpu::products::{Cells, Entries, is_base, reserved};
use circlet::backend::gpu::split::Split;
use circlet::backend::gpu::thresholds::LEAST;
use circlet::backend::products::Coefficients;
use circlet::backend::relations::Sumcheck;
use circlet::backend::table::Table;
use circlet_core::circuit::{Kind, Tree};
use circlet_core::field::{M31, P, QM31};
use circlet_core::poly::powers;
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Protocol;
use circlet_core::relations::{Meeting, Point, Term};
use circlet_cuda::Machine;
use circlet_cuda::columns::{Cell, Columns};
use circlet_cuda::emulated::Emulator;
use circlet_tests::programs;

use super::{ENOUGH, emulator};

/// A number for each number.
fn word(seed: usize) -> u64 {
    let z = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 7
}

fn elements(count: usize, seed: usize) -> Vec<QM31> {
    let element =
        |k| QM31::from_coordinates([0, 1, 2, 3].map(|c| M31::reduce(word((seed * 7 + c) << 20 | k))));
    (0..count).map(element).collect()
}

/// Where an operand is.
#[derive(Clone, Copy)]
enum Of {
    /// Columns of the matrix, from a cell on, flipped.
    Cells(usize, u32),
    /// Numbers.
    Base,
    Extension,
}

/// Products of some operands, each with its variables, and how they meet.
struct Mixture {
    operands: Vec<(u32, Of)>,
    all: Vec<Term>,
    point: Point,
    rounds: u32,
}

/// Log of the rows of the matrix, and its columns.
const LOG_ROWS: u32 = 14;
const CELLS: [Cell; 6] = [Cell::Byte, Cell::Half, Cell::Half, Cell::Word, Cell::Word, Cell::Word];

impl Mixture {
    fn new(operands: &[(u32, Of)], terms: &[(Kind, u32, u32, usize, usize)]) -> Self {
        let terms: Vec<Term> = terms
            .iter()
            .enumerate()
            .map(|(i, &(kind, low, len, a, b))| {
                let variables = operands[a].0;
                let high_len = match kind {
                    Kind::FromHeads { .. } => (1 << (variables - low)) - 1,
                    _ => 1,
                };
                let meeting = Meeting { kind, variables, low, len, high_len, inner: i as u32 % 2 };
                Term { relation: i, coefficient: i as i64 - 3, meeting, a, b }
            })
            .collect();
        let [rows, cols] = [1, 2].map(|seed| elements(24, seed));
        let point = Point { rows, cols, gammas: powers(elements(1, 3)[0], terms.len()) };
        // One variable more than any has.
        let rounds = 1 + operands.iter().map(|operand| operand.0).max().unwrap_or(0);
        Self { operands: operands.to_vec(), all: terms, point, rounds }
    }

    /// All sizes round the least, with and without weights, of all that operands can be, which several have.
    fn mixed() -> Self {
        let mix = Kind::Mix { group: 0 };
        let (at, one) = (1 << LOG_ROWS, LEAST.products + 1);
        let operands = [
            (one, Of::Cells(4 * at, 0)),
            (one, Of::Base),
            (one, Of::Extension),
            (LEAST.products, Of::Cells(0, 0)),
            (LEAST.products, Of::Cells(at, 1 << 5)),
            (LEAST.products, Of::Cells(3 * at, 1)),
            (LEAST.products, Of::Extension),
            (LEAST.products, Of::Base),
            (LEAST.products - 1, Of::Cells(3 * at, 0)),
            (LEAST.products - 1, Of::Base),
            (LEAST.last_products, Of::Extension),
            (3, Of::Extension),
            (1, Of::Extension),
            (0, Of::Extension),
            (one, Of::Cells(at, 1 << 14)),
        ];
        let terms = [
            (Kind::Entrywise, 8, 0, 0, 1),
            (Kind::Entrywise, 8, 0, 0, 14),
            (Kind::RowDot, 9, 500, 0, 0),
            (Kind::Contract, one, 1 << one, 2, 1),
            (Kind::Contract, one, (1 << one) - 77, 2, 2),
            (Kind::Entrywise, 5, 0, 3, 4),
            (Kind::Entrywise, 5, 0, 5, 7),
            (Kind::RowDot, 5, 31, 4, 4),
            (mix, 7, 100, 6, 3),
            (Kind::FromHeads { tokens: 0 }, 10, 1000, 6, 6),
            (Kind::ContractTransposed, LEAST.products, 1 << LEAST.products, 5, 7),
            (Kind::Entrywise, 8, 0, 8, 9),
            (Kind::RowDot, 9, 500, 8, 8),
            (Kind::Contract, LEAST.last_products, 1 << LEAST.last_products, 10, 10),
            (Kind::Contract, 3, 5, 11, 11),
            (Kind::Contract, 1, 2, 12, 12),
            (Kind::Contract, 0, 1, 13, 13),
        ];
        Self::new(&operands, &terms)
    }

    /// So many terms of the least size.
    fn alike(count: usize) -> Self {
        let operands = vec![(LEAST.products, Of::Base); count];
        let terms: Vec<_> = (0..count).map(|k| (Kind::Entrywise, 6, 0, k, (k + 1) % count)).collect();
        Self::new(&operands, &terms)
    }

    fn values(&self, operand: usize, cells: &[i32]) -> Table {
        let (variables, of) = self.operands[operand];
        let count = 1usize << variables;
        match of {
            Of::Cells(first, flip) => {
                let entries: Vec<i32> = (0..count).map(|k| cells[first + (k ^ flip as usize)]).collect();
                Table::of_base(pack_all(&entries))
            }
            Of::Base => {
                let entries = (0..count).map(|k| M31::reduce(word(operand << 25 | k)).signed());
                Table::of_base(pack_all(&entries.collect::<Vec<_>>()))
            }
            Of::Extension => Table::new(elements(count, operand + 10)),
        }
    }

    /// The claim, all rounds, and the values of operands.
    fn prove(&self, device: &Device, columns: &Columns, cells: &[i32]) -> Result<Said, Error> {
        let entries: Vec<Entries<'_>> = self
            .operands
            .iter()
            .map(|&(variables, of)| match of {
                Of::Cells(first, flip) => {
                    let cells = Cells::new(columns, first..first + (1 << variables), flip);
                    Entries::Cells(cells.expect("cells that are alike"))
                }
                Of::Base => Entries::Base,
                Of::Extension => Entries::Extension,
            })
            .collect();
        let read = |operand| Ok(self.values(operand, cells));
        let mut sumcheck = Sumcheck::new(device, (&self.all, self.rounds), &self.point, &entries, read)?;
        let (claim, mut rounds) = (sumcheck.total(), Vec::new());
        for (variable, r) in (0..self.rounds).rev().zip(elements(self.rounds as usize, 4)) {
            rounds.push(sumcheck.round(variable)?);
            sumcheck.bind(variable, r)?;
        }
        Ok((claim, rounds, sumcheck.values()))
    }
}

type Said = (QM31, Vec<Coefficients>, Vec<QM31>);

/// A matrix on a machine, and its cells.
fn matrix(emulator: &Arc<Emulator>) -> (Columns, Vec<i32>) {
    let machine: Arc<dyn Machine> = emulator.clone();
    let mut columns = Columns::new(&machine, &CELLS, LOG_ROWS).unwrap();
    let mut all = Vec::new();
    for (column, cell) in CELLS.into_iter().enumerate() {
        let bits = [7, 15, 30][cell as usize];
        let cells = (0..1 << LOG_ROWS).map(|k| (word(column << 24 | k) >> 10) as i32 % (1 << bits));
        let cells: Vec<i32> =
            cells.enumerate().map(|(k, cell)| if k % 3 == 0 { -cell } else { cell }).collect();
        let mut words: Vec<u32> = cells.iter().map(|&cell| M31::from_i64(cell.into()).value()).collect();
        if cell == Cell::Word {
            words.iter_mut().filter(|word| **word == 0).for_each(|word| *word = P);
        }
        columns.write(column, &cell.pack(&words).unwrap()).unwrap();
        all.extend(cells);
    }
    (columns, all)
}

/// How often kernels of these names were launched since so many launches.
fn launches(emulator: &Emulator, since: usize) -> [usize; 4] {
    let launched = emulator.launched().split_off(since);
    let count = |kernel: &str| launched.iter().filter(|&&launched| launched == kernel).count();
    ["products_sum", "products_round", "products_total", "products_bind"].map(count)
}

#[test]
fn rounds_are_those_of_the_processor() {
    let emulator = emulator(ENOUGH);
    let (columns, cells) = matrix(&emulator);
    let gpu = Device::Gpu(emulator.clone());
    let few = (LEAST.all_products >> LEAST.products) as usize;
    let on_gpu = |sizes: usize, rounds: Range<u32>| {
        let rounds = rounds.len();
        [sizes, rounds, rounds, rounds]
    };
    for (terms, expected) in [
        (Mixture::mixed(), on_gpu(2, LEAST.last_products..LEAST.products + 1)),
        (Mixture::alike(few - 1), on_gpu(0, 0..0)),
        (Mixture::alike(few), on_gpu(1, LEAST.last_products..LEAST.products)),
    ] {
        let since = emulator.launched().len();
        let held = emulator.used().0;
        let cpu = terms.prove(&Device::Cpu, &columns, &cells).unwrap();
        assert!(terms.prove(&gpu, &columns, &cells).unwrap() == cpu);
        assert_eq!(launches(&emulator, since), expected);
        assert_eq!(emulator.used().0, held, "memory that is not given back");
    }
}

/// Where there is no room the processor has all rounds; where there is, a fifth stays free.
#[test]
fn rounds_are_planned() {
    let terms = Mixture::alike(5);
    let mut there = [0; 2];
    for memory in (8..32).map(|k| k << 16) {
        let emulator = emulator(memory);
        let (columns, cells) = matrix(&emulator);
        let (held, _) = emulator.used();
        let cpu = terms.prove(&Device::Cpu, &columns, &cells).unwrap();
        assert!(terms.prove(&Device::Gpu(emulator.clone()), &columns, &cells).unwrap() == cpu);
        let launched = launches(&emulator, 0)[0] > 0;
        there[usize::from(launched)] += 1;
        assert!(emulator.used().1 - held <= (memory - held) / 5 * 4, "{memory} bytes");
    }
    assert!(there.iter().all(|&times| times > 3), "{there:?}");
}

/// What stays on a GPU after a commitment leaves room for these rounds, rather than to keep codewords.
#[test]
fn rounds_have_room_later() {
    let (program, ..) = programs::mlp();
    let mut protocol = Protocol::new(&program, *ProfileId::P100U.profile()).unwrap();
    assert_eq!(reserved(&protocol.reduction), 0);
    let before = [Tree::Fixed, Tree::Witness].map(|which| Later::new(&protocol, which));
    let large = LEAST.products + 10;
    let Term { a, b, .. } = protocol.reduction.terms[0];
    protocol.reduction.terms.truncate(1);
    protocol.reduction.terms[0].meeting.variables = large;
    // Cells and what they are bound to, or elements.
    let operand = |operand: usize| is_base(&protocol.reduction.operands[operand].operand());
    let bytes: u64 = [a, b].iter().map(|&k| if operand(k) { 12 << large } else { 16 << large }).sum();
    assert!(a != b && reserved(&protocol.reduction) == bytes);
    let after = [Tree::Fixed, Tree::Witness].map(|which| Later::new(&protocol, which));
    for (before, after) in before.into_iter().zip(after) {
        let split = Split::new(2);
        let needed = |later: Later| [0, 1].map(|part| later.needed(split, part));
        let better = |later: Later| [0, 1].map(|part| later.better(split, part));
        assert_eq!(needed(before), needed(after));
        // The first GPU has these rounds.
        let ([first, second], [more, same]) = (better(before), better(after));
        assert!(first < more && more >= bytes && second == same);
    }
}

/// Every launch that fails is an error that names it.
#[test]
fn rounds_fail_with_an_error() {
    let emulator = emulator(ENOUGH);
    let (columns, cells) = matrix(&emulator);
    let (gpu, terms) = (Device::Gpu(emulator.clone()), Mixture::mixed());
    let since = emulator.launched().len();
    terms.prove(&gpu, &columns, &cells).unwrap();
    for (k, kernel) in emulator.launched().split_off(since).into_iter().enumerate() {
        emulator.fail_launch(k as u64 + 1);
        match terms.prove(&gpu, &columns, &cells) {
            Err(Error::Failed { what, .. }) => assert!(what.contains(kernel), "{what}"),
            other => panic!("{other:?}"),
        }
        emulator.fail_launch(0);
    }
}
