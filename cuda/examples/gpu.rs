//! Kernels on a GPU, for `scripts/gpu-check`: `gpu [INDEX,...] [checks]` checks every one against its definition, and copies between
//! these GPUs; then it measures those that take most time, beside what the GPU's memory or arithmetic would allow at most.

#[path = "../checks/mod.rs"]
mod checks;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use circlet_core::hash::blake2s::{self, initial_state};
use circlet_core::pow::{self, MAX_BITS};
use circlet_cuda::columns::{Cell, Columns, Slot, Slots};
use circlet_cuda::driver::{Gpu, Info, devices};
use circlet_cuda::encode::Code;
use circlet_cuda::fold::{ARITY, Tables, Twiddles, Word};
use circlet_cuda::forward::{Room, Weights};
use circlet_cuda::fractions::{LAST, Leaves, Sumcheck};
use circlet_cuda::merkle::{DIGEST, Rows, parents_into};
use circlet_cuda::pow::{Puzzle, Search};
use circlet_cuda::products::{Cells, Entries, Products, Table, Term};
use circlet_cuda::stack::{Join, Side, Stack};
use circlet_cuda::sums::Element;
use circlet_cuda::transcript::{LANES, Permutation, Sponge};
use circlet_cuda::{Buffer, Error, Machine};

use checks::transcript::constants;

/// Launches of each kind that are measured, after as many that are not.
const RUNS: u32 = 20;

/// Operations of a Blake2s compression on the busier of the two pipes that each quarter of a multiprocessor has, which take 16
/// threads' in a cycle each: logic, shifts, and half of the additions.
const COMPRESSION: f64 = 812.0;

/// The same of a search for a nonce, which needs one word of the digest and of whose message most words are zero.
const NONCE: f64 = 700.0;

/// The same of a permutation of Poseidon2, as it is written: half of its additions, and all else but the products.
const PERMUTATION: f64 = 2720.0;

/// A seed for which none of the first `2^28` nonces has [`MAX_BITS`] bits.
const SEED: [u32; DIGEST] = [0; DIGEST];

/// A line of the table.
struct Row {
    kernel: String,
    seconds: f64,
    /// What was done in a second, and of what.
    rate: f64,
    unit: &'static str,
    /// What could be.
    most: f64,
}

/// Mean seconds of a launch.
fn seconds(machine: &Arc<dyn Machine>, mut launch: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    for _ in 0..RUNS {
        launch()?;
    }
    machine.synchronize()?;
    let begin = Instant::now();
    for _ in 0..RUNS {
        launch()?;
    }
    machine.synchronize()?;
    Ok(begin.elapsed().as_secs_f64() / f64::from(RUNS))
}

/// Mean seconds of what is done once to each of some things.
fn seconds_each<T>(
    machine: &Arc<dyn Machine>,
    mut make: impl FnMut() -> Result<T, Error>,
    mut run: impl FnMut(T) -> Result<T, Error>,
) -> Result<f64, Error> {
    let mut seconds = 0.0;
    for measured in [false, true].into_iter().flat_map(|measured| (0..RUNS).map(move |_| measured)) {
        let thing = make()?;
        machine.synchronize()?;
        let begin = Instant::now();
        let thing = run(thing)?;
        machine.synchronize()?;
        if measured {
            seconds += begin.elapsed().as_secs_f64();
        }
        drop(thing);
    }
    Ok(seconds / f64::from(RUNS))
}

/// Canonical words.
fn filled(machine: &Arc<dyn Machine>, words: usize) -> Result<Buffer, Error> {
    let mut buffer = Buffer::new(machine, words)?;
    let part: Vec<u32> = (0..1u32 << 16).map(|i| i.wrapping_mul(0x9e37_79b9) >> 2).collect();
    for first in (0..words).step_by(part.len()) {
        buffer.write(first, &part[..part.len().min(words - first)])?;
    }
    Ok(buffer)
}

/// What is drawn in every round.
const CHALLENGE: Element = [3, 5, 7, 11];

fn bind(mut sumcheck: Sumcheck<'_>) -> Result<Sumcheck<'_>, Error> {
    sumcheck.bind(CHALLENGE)?;
    Ok(sumcheck)
}

fn all_rounds(mut sumcheck: Sumcheck<'_>) -> Result<Sumcheck<'_>, Error> {
    sumcheck.first()?;
    sumcheck.sums()?;
    while sumcheck.count() > LAST {
        sumcheck.bind(CHALLENGE)?;
        sumcheck.sums()?;
    }
    Ok(sumcheck)
}

/// Layers of the lookups, rounds over tables, and folds of words, in bytes that are read and written.
fn sumchecks(machine: &Arc<dyn Machine>, bandwidth: f64) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let mut row = |kernel: String, bytes: f64, seconds: f64| {
        rows.push(Row { kernel, seconds, rate: bytes / seconds, unit: "B/s", most: bandwidth });
    };
    for log in [20, 24] {
        let all = f64::from(1 << log);
        let mut leaves = Leaves::new(machine, log)?;
        leaves.fill(0, 1 << log, 1, CHALLENGE)?;
        let leaves = leaves.finish();
        let above = seconds(machine, || leaves.above().map(drop))?;
        row(format!("layer above 2^{log} leaves"), 36.0 * all, above);
        let point = vec![CHALLENGE; log as usize - 1];
        let begin = || Sumcheck::new(&leaves, CHALLENGE, &point, None);
        let sumcheck = begin()?;
        row(format!("first round, 2^{log} leaves"), 20.0 * all, seconds(machine, || sumcheck.first())?);
        drop(sumcheck);
        row(format!("second round, 2^{log} leaves"), 36.0 * all, seconds_each(machine, begin, bind)?);
        let bound = || begin().and_then(bind);
        row(format!("third round, 2^{log} leaves"), 24.0 * all, seconds_each(machine, bound, bind)?);
        row(format!("all rounds, 2^{log} leaves"), 104.0 * all, seconds_each(machine, begin, all_rounds)?);
        // The same rounds without the processor.
        let sponge = Sponge { constants: constants(), state: [1; LANES], absorbed: [2; 8], drawn: [3; 8] };
        let coordinates = vec![[CHALLENGE; 2]; (log - 1 - LAST.ilog2()) as usize];
        let run = |sumcheck: Option<Sumcheck<'_>>| {
            sumcheck.map(|sumcheck| sumcheck.run(&sponge, CHALLENGE, &coordinates)).transpose()?;
            Ok(None)
        };
        let there = seconds_each(machine, || begin().map(Some), run)?;
        row(format!("all rounds and challenges, 2^{log} leaves"), 104.0 * all, there);

        let begin = || Tables::new(machine, [filled(machine, 4 << log)?, filled(machine, 4 << log)?]);
        let tables = begin()?;
        row(
            format!("first round, tables of 2^{log}"),
            32.0 * all,
            seconds(machine, || tables.first().map(drop))?,
        );
        drop(tables);
        let bind = |mut tables: Tables| tables.bind(CHALLENGE).map(|_| tables);
        row(format!("second round, tables of 2^{log}"), 48.0 * all, seconds_each(machine, begin, bind)?);

        let inverses = vec![1; 1 << (log - 1)];
        let twiddles = Twiddles::new(machine, log, [&inverses[..]; ARITY as usize].into_iter())?;
        let word = Word::of_codewords(machine, &filled(machine, 4 << log)?)?;
        let fold = || word.fold(&twiddles, [[CHALLENGE; 2]; ARITY as usize]).map(drop);
        // Elements, what they become, and coordinates of 15 pairs for every 16.
        row(format!("fold of 2^{log} by 16"), (16.0 + 1.0 + 60.0 / 16.0) * all, seconds(machine, fold)?);
    }
    Ok(rows)
}

fn bind_products(mut products: Products<'_>) -> Result<Products<'_>, Error> {
    products.bind(CHALLENGE)?;
    Ok(products)
}

/// Rounds of the relations over entrywise products of columns, in bytes that are read and written: weights are little.
fn relations(machine: &Arc<dyn Machine>, bandwidth: f64) -> Result<Vec<Row>, Error> {
    let (log, low, count) = (20, 12, 16);
    let columns = Columns::of(machine, filled(machine, count << log)?, log);
    let all = (count << log) as f64;
    let begin = || {
        let cells = |k: usize| Cells::new(&columns, k << log..(k + 1) << log, 0);
        let table = |entries, variables| Table { entries, variables };
        let mut tables: Vec<Table<'_>> =
            (0..count).filter_map(cells).map(|cells| table(Entries::Cells(cells), 0..log)).collect();
        tables.extend([low..log, 0..low].map(|variables| table(Entries::Extension, variables)));
        let weights = Some([count, count + 1]);
        let term = |k| Term { variables: log, tables: [2 * k, 2 * k + 1], weights, factor: CHALLENGE };
        let mut products = Products::new(machine, tables, &(0..count / 2).map(term).collect::<Vec<_>>())?;
        products.write(count, &vec![CHALLENGE; 1 << (log - low)])?;
        products.write(count + 1, &vec![CHALLENGE; 1 << low])?;
        Ok(products)
    };
    let mut rows = Vec::new();
    let mut row = |kernel: &str, bytes: f64, seconds: f64| {
        let kernel = format!("{kernel} of {} products of 2^{log}", count / 2);
        rows.push(Row { kernel, seconds, rate: bytes / seconds, unit: "B/s", most: bandwidth });
    };
    let products = begin()?;
    row("sums", 4.0 * all, seconds(machine, || products.sums().map(drop))?);
    row("first round", 4.0 * all, seconds(machine, || products.round().map(drop))?);
    row("first binding", 12.0 * all, seconds_each(machine, begin, bind_products)?);
    let products = bind_products(products)?;
    row("second round", 8.0 * all, seconds(machine, || products.round().map(drop))?);
    drop(products);
    row("second binding", 12.0 * all, seconds_each(machine, || bind_products(begin()?), bind_products)?);
    Ok(rows)
}

/// Large copies: they are those of memory, however many threads copy at once, and whatever becomes of it afterwards.
fn copies(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    const MANY: usize = 1 << 20;
    let words = |count: usize, seed: u32| -> Vec<u32> {
        (0..count as u32).map(|i| (i ^ seed).wrapping_mul(0x9e37_79b9)).collect()
    };
    let there_and_back = |count: usize, seed: u32| {
        let mut buffer = Buffer::new(machine, count + 7)?;
        let mut found = vec![0; count];
        for first in [0, 7] {
            let expected = words(count, seed + first as u32);
            let mut given = expected.clone();
            buffer.write(first, &given)?;
            given.fill(seed);
            buffer.read(first, &mut found)?;
            assert!(found == expected, "a copy of {count} words");
        }
        Ok(())
    };
    for count in [1, MANY - 1, MANY, MANY + 1, 2 * MANY, 9 * MANY + 5, 40 * MANY + 1] {
        there_and_back(count, 3)?;
        std::thread::scope(|scope| {
            let threads = [5, 6, 7].map(|seed| scope.spawn(move || there_and_back(count, seed)));
            threads.into_iter().try_for_each(|thread| thread.join().expect("a copy"))
        })?;
    }
    Ok(())
}

/// Bytes in a second that go to a GPU and come from it, in copies of as many as a column has.
fn rates(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    for log in [20, 22, 24] {
        let mut words = vec![1; 1 << log];
        let mut buffer = Buffer::new(machine, words.len())?;
        let to = seconds(machine, || buffer.write(0, &words))?;
        let from = seconds(machine, || buffer.read(0, &mut words))?;
        let bytes = f64::from(4 << log);
        println!("copies of 2^{log} words: {:.2e} B/s to it, {:.2e} B/s from it", bytes / to, bytes / from);
    }
    Ok(())
}

/// A search in which threads try several nonces each finds the one that the definition finds.
fn search(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    const BITS: u32 = 24;
    let expected = pow::search(&[0; 32], BITS);
    let puzzle =
        Puzzle { begin: initial_state(blake2s::WORK), seed: SEED, bits: BITS, mask: pow::mask(BITS) };
    let found = Search::new(machine)?.smallest(&puzzle, 0, 1 << 28)?;
    assert_eq!(found, expected);
    Ok(())
}

/// Searches for a nonce that is not there: of as many nonces as work of 20 bits takes, and of many.
fn work(machine: &Arc<dyn Machine>, lanes: f64) -> Result<Vec<Row>, Error> {
    let begin = initial_state(blake2s::WORK);
    let puzzle = Puzzle { begin, seed: SEED, bits: MAX_BITS, mask: pow::mask(MAX_BITS) };
    let mut search = Search::new(machine)?;
    let mut rows = Vec::new();
    for log in [20, 28] {
        let seconds = seconds(machine, || {
            let found = search.smallest(&puzzle, 0, 1 << log)?;
            assert_eq!(found, None, "a nonce that is not there");
            Ok(())
        })?;
        rows.push(Row {
            kernel: format!("work, 2^{log} nonces"),
            seconds,
            rate: f64::from(1 << log) / seconds,
            unit: "nonces/s",
            most: lanes / NONCE,
        });
    }
    Ok(rows)
}

/// Permutations of Poseidon2.
fn permutations(machine: &Arc<dyn Machine>, lanes: f64) -> Result<Row, Error> {
    const LOG: u32 = 22;
    let permutation = Permutation::new(machine, &constants())?;
    let mut states = filled(machine, LANES << LOG)?;
    let seconds = seconds(machine, || permutation.permute(&mut states))?;
    Ok(Row {
        kernel: format!("Poseidon2, 2^{LOG} states"),
        seconds,
        rate: f64::from(1 << LOG) / seconds,
        unit: "states/s",
        most: lanes / PERMUTATION,
    })
}

/// What the opening does with a matrix, in bytes that are read.
fn matrices(machine: &Arc<dyn Machine>, bandwidth: f64) -> Result<Vec<Row>, Error> {
    const LOG_RUN: u32 = 6;
    let (log, count) = (18, 256);
    let columns = Columns::of(machine, filled(machine, count << log)?, log);
    let bytes = 4.0 * (count << log) as f64;
    let mut rows = Vec::new();
    let mut row = |kernel: String, seconds: f64| {
        rows.push(Row { kernel, seconds, rate: bytes / seconds, unit: "B/s", most: bandwidth });
    };
    for each in [1, 3] {
        let tiles = 1u32 << (log - LOG_RUN - 4);
        let slots: Vec<Slot> =
            (0..tiles * each).map(|k| Slot { tile: k / each, pattern: k % each, step: 0 }).collect();
        let slots = Slots::new(
            machine,
            LOG_RUN,
            &vec![CHALLENGE; (each as usize) << LOG_RUN],
            tiles as usize,
            &slots,
        )?;
        let contract = || columns.contract(&slots, 0..count).map(drop);
        row(
            format!("contraction of {count} x 2^{log} with {each} slots a tile"),
            seconds(machine, contract)?,
        );
    }
    let weights = vec![CHALLENGE; count];
    row(
        format!("combination of {count} x 2^{log}"),
        seconds(machine, || columns.combine(&weights, None).map(drop))?,
    );
    let weights = vec![CHALLENGE; (count << log) >> 12];
    row(
        format!("sums over {} rows of 2^12", weights.len()),
        seconds(machine, || columns.over_rows(0..count << log, 1 << 12, &weights).map(drop))?,
    );
    drop(columns);
    let (pairs, slots) = (64, 1 << 13);
    let mut stack = Stack::new(machine, 2 * pairs, slots)?;
    let alone = |column| Side { column, with: None };
    let meet = |k| Join { a: alone(k), b: Some(alone(k + pairs as u32)) };
    let joins: Vec<Join> = (0..pairs as u32).map(meet).collect();
    let seconds = seconds(machine, || stack.join(&joins).map(drop))?;
    let bytes = Stack::memory(2 * pairs, slots) as f64;
    rows.push(Row {
        kernel: format!("round over {pairs} pairs of columns of 2^13 slots"),
        seconds,
        rate: bytes / seconds,
        unit: "B/s",
        most: bandwidth,
    });
    Ok(rows)
}

/// Products with weights that are more than caches hold: at few positions in bytes of weights, each of which is read once; at
/// many in multiplications, of which an instruction does four of eight bits each, so that two are needed for four activations of
/// sixteen bits with bytes, and one for each with halves.
fn products(machine: &Arc<dyn Machine>, bandwidth: f64, lanes: f64) -> Result<Vec<Row>, Error> {
    let (log, len) = (20, 1 << 14);
    let mut rows = Vec::new();
    for (cell, name, bytes, at_once) in [(Cell::Byte, "bytes", 1, 2.0), (Cell::Half, "halves", 2, 1.0)] {
        // What they are changes no time.
        let columns = Columns::new(machine, &vec![cell; 256 / bytes], log)?;
        let weights = Weights { first: 0, rows: ((256 / bytes) << log) / len, len, pitch: len };
        for positions in [1, 2, 4, 8, 32, 128] {
            let mut room = Room::new(machine, positions * len, positions * weights.rows)?;
            room.write(&vec![0x1234; positions * len])?;
            let forward = || room.forward(&columns, &weights, positions, weights.rows);
            let seconds = seconds(machine, forward)?;
            let multiplications = (positions * weights.rows * len) as f64;
            let (done, unit, most) = if positions <= 8 {
                ((256 << 20) as f64, "B/s", bandwidth)
            } else {
                (multiplications, "multiplications/s", at_once * lanes)
            };
            rows.push(Row {
                kernel: format!("{positions} x {len} by {} rows of {name}", weights.rows),
                seconds,
                rate: done / seconds,
                unit,
                most,
            });
        }
    }
    Ok(rows)
}

fn measure(machine: &Arc<dyn Machine>, info: &Info) -> Result<Vec<Row>, Error> {
    let mut rows = sumchecks(machine, info.bandwidth as f64)?;
    rows.extend(matrices(machine, info.bandwidth as f64)?);
    rows.extend(relations(machine, info.bandwidth as f64)?);
    let bandwidth = info.bandwidth as f64;
    let lanes = f64::from(info.multiprocessors) * 64.0 * f64::from(info.clock) * 1000.0;
    rows.extend(products(machine, bandwidth, lanes)?);
    for (log, blowup, count) in [(14, 2, 64), (18, 2, 16), (22, 2, 1), (24, 0, 1)] {
        let all = log + blowup;
        // What the twiddles are changes no time.
        let code = Code::new(machine, log, all, &vec![1; Code::twiddles(log, all)])?;
        let messages = filled(machine, count << log)?;
        let mut codewords = Buffer::new(machine, count << all)?;
        let seconds = seconds(machine, || code.encode_into(&messages, &mut codewords))?;
        // The first pass reads messages.
        let written = 4.0 * (count << all) as f64;
        let bytes = written * (2 * code.passes() - 1) as f64 + 4.0 * (count << log) as f64;
        rows.push(Row {
            kernel: format!("encode {count} x 2^{log} -> 2^{all}"),
            seconds,
            rate: bytes / seconds,
            unit: "B/s",
            most: bandwidth,
        });
    }
    for (columns, log) in [(16, 20), (64, 20)] {
        let cells = filled(machine, columns << log)?;
        let begin = initial_state(blake2s::LEAF);
        let seconds =
            seconds(machine, || Rows::new(machine, 1 << log, columns, begin)?.absorb(&cells, columns))?;
        rows.push(Row {
            kernel: format!("leaves 2^{log} of {columns} columns"),
            seconds,
            rate: ((columns / 16) << log) as f64 / seconds,
            unit: "compressions/s",
            most: lanes / COMPRESSION,
        });
    }
    let word = Word::of_codewords(machine, &filled(machine, 4 << 24)?)?;
    let seconds_of_rows = seconds(machine, || word.leaves(initial_state(blake2s::LEAF)).map(drop))?;
    rows.push(Row {
        kernel: "leaves 2^20 of a word".into(),
        seconds: seconds_of_rows,
        rate: f64::from(4 << 20) / seconds_of_rows,
        unit: "compressions/s",
        most: lanes / COMPRESSION,
    });
    let level = filled(machine, DIGEST << 22)?;
    let mut above = Buffer::new(machine, DIGEST << 21)?;
    let begin = initial_state(blake2s::NODE);
    let seconds = seconds(machine, || parents_into(machine, &level, begin, &mut above))?;
    rows.push(Row {
        kernel: "parents 2^21".into(),
        seconds,
        rate: f64::from(1 << 21) / seconds,
        unit: "compressions/s",
        most: lanes / COMPRESSION,
    });
    rows.extend(work(machine, lanes)?);
    rows.push(permutations(machine, lanes)?);
    Ok(rows)
}

/// Copies from one GPU to another are those of memory.
fn copies_between(machines: &[Arc<dyn Machine>]) -> Result<(), Error> {
    let words: Vec<u32> = (0..(1 << 24) + 5).collect();
    for from in machines {
        let mut given = Buffer::new(from, words.len())?;
        given.write(0, &words)?;
        for to in machines {
            let mut taken = Buffer::new(to, words.len() + 3)?;
            let begin = Instant::now();
            taken.receive(7, &given, 4, words.len() - 4)?;
            let seconds = begin.elapsed().as_secs_f64();
            let mut found = vec![0; words.len() - 4];
            taken.read(7, &mut found)?;
            assert!(found == words[4..], "a copy from {} to {}", from.describe(), to.describe());
            let rate = (4 * found.len()) as f64 / seconds;
            println!("a first copy from {} to {}: {rate:.2e} B/s", from.describe(), to.describe());
        }
    }
    Ok(())
}

fn run(indices: &[usize], checks_alone: bool) -> Result<(), Error> {
    let index = indices[0];
    let info =
        devices()?.into_iter().nth(index).ok_or_else(|| Error::None(format!("there is no cuda:{index}")))?;
    println!("{info}: {} multiprocessors, {:.2e} B/s", info.multiprocessors, info.bandwidth as f64);
    let machine: Arc<dyn Machine> = Arc::new(Gpu::open(index)?);
    for (name, check) in checks::CHECKS {
        check(&machine)?;
        println!("{name}: as defined");
    }
    let others = indices[1..].iter().map(|&other| Ok(Arc::new(Gpu::open(other)?) as Arc<dyn Machine>));
    let all: Result<Vec<_>, Error> = [Ok(machine.clone())].into_iter().chain(others).collect();
    copies_between(&all?)?;
    search(&machine)?;
    copies(&machine)?;
    println!("copies: as those of memory");
    if checks_alone {
        return Ok(());
    }
    rates(&machine)?;
    println!("| kernel | ms | rate | of the floor |\n|---|---|---|---|");
    for Row { kernel, seconds, rate, unit, most } in measure(&machine, &info)? {
        println!("| {kernel} | {:.4} | {rate:.3e} {unit} | {:.0} % |", 1e3 * seconds, 100.0 * rate / most);
    }
    Ok(())
}

fn main() -> ExitCode {
    let list = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let Some(indices) = list.split(',').map(|index| index.parse().ok()).collect::<Option<Vec<usize>>>()
    else {
        eprintln!("error: {list} is no list of GPUs, such as 0 or 0,1");
        return ExitCode::from(2);
    };
    let checks_alone = std::env::args().nth(2).is_some_and(|part| part == "checks");
    match run(&indices, checks_alone) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
