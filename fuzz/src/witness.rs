//! Cheating provers at work: changes of cells of an honest witness, after which everything that follows is computed
//! honestly and proven. A naive checker of traces says whether the verifier should accept.

use std::cell::OnceCell;

use arbitrary::{Arbitrary, Unstructured};
use circlet::prove::statement;
use circlet_core::circuit::ColumnId;
use circlet_core::field::M31;
use circlet_tests::attack::Change;
use circlet_tests::cheat::{Bench, TOY};
use circlet_tests::programs;
use circlet_tests::satisfied::{Cells, constraint_violations, provable_violations, witness_cells};

/// A number is added to a cell, which is one modulo those that there are.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Lie {
    cell: u16,
    delta: i32,
}

/// A program with the cells that its prover chooses.
struct Game {
    bench: Bench,
    cells: Vec<(ColumnId, usize)>,
}

/// The first byte chooses the program, the others are lies.
pub fn witness(data: &[u8]) {
    thread_local! {
        static GAMES: OnceCell<[Game; 3]> = const { OnceCell::new() };
    }
    let mut input = Unstructured::new(data);
    let Ok(first) = input.arbitrary::<u8>() else { return };
    let lies = input.arbitrary_iter().into_iter().flatten().map_while(Result::ok);
    let lies: Vec<Lie> = lies.take(4).collect();
    GAMES.with(|games| {
        let cases = || [programs::single_row(), programs::layernorm_tiny(), programs::rewire()];
        let games = games.get_or_init(|| cases().map(Game::new));
        games[usize::from(first) % games.len()].play(&lies);
    });
}

impl Game {
    fn new(case: programs::Case) -> Self {
        let bench = Bench::new(case, TOY);
        let cells = witness_cells(bench.key.circuit());
        Self { bench, cells }
    }

    fn play(&self, lies: &[Lie]) {
        let Self { bench, cells } = self;
        let change = |lie: &Lie| {
            let (column, cell) = cells[usize::from(lie.cell) % cells.len()];
            Change { column, cell, delta: lie.delta.into() }
        };
        let changes: Vec<Change> = lies.iter().map(change).collect();
        let mut trace = bench.changed(&changes);
        // What is proven are numbers modulo P.
        for cell in trace.columns.iter_mut().flatten() {
            *cell = M31::from_i64(i64::from(*cell)).signed();
        }
        let circuit = bench.key.circuit();
        let same_inputs = statement(&bench.key, &trace).inputs == bench.statement.inputs;
        let noticed = !provable_violations(circuit, &trace).is_empty();
        let mut everywhere = constraint_violations(circuit, &trace, Cells::All);
        everywhere.retain(|violation| !violation.starts_with("integers only"));

        let verdict = bench.judge(&trace);
        if noticed || !same_inputs {
            assert!(verdict.is_err(), "a false witness is accepted: {changes:?}");
        } else if everywhere.is_empty() {
            assert_eq!(verdict, Ok(()), "a true witness is rejected: {changes:?}");
        }
    }
}
