//! How commitment and opening scale: the weight shapes of a language model of 135 million parameters, with a
//! chain of matrix products on 32 rows of activations.
//!
//! `cargo run --release -p circlet --example opening_scale -- [layers] [vocabulary] [profile]`; all of it are 30
//! layers and a vocabulary of 49152. Prints wall and CPU seconds of each stage and the peak of memory so far.

use std::fs;
use std::time::Instant;

use circlet::execute::execute;
use circlet::keys::ProvingKey;
use circlet::prove::adversary::Honest;
use circlet::prove::{prove_trace, statement};
use circlet_core::hash::blake2s;
use circlet_core::hash::suite::Blake2sBlake2s;
use circlet_core::profile::ProfileId;
use circlet_core::program::{
    Constant, ConstantId, Data, Factor, Op, Program, Requantize, Table, TableId, Tensor, TensorId,
};
use circlet_core::protocol::Protocol;
use cpu_time::ProcessTime;
use tracing::span;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

type Suite = Blake2sBlake2s;

/// Rows of activations.
const ROWS: u32 = 32;
/// Width of the model.
const WIDTH: u32 = 576;

/// What `/proc` says about memory, in MiB.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().unwrap_or(0) / 1024
}

/// A stage that is being measured.
struct Clock {
    name: String,
    wall: Instant,
    cpu: ProcessTime,
}

impl Clock {
    fn start(name: &str) -> Self {
        Self { name: name.to_owned(), wall: Instant::now(), cpu: ProcessTime::now() }
    }

    fn stop(self) {
        println!(
            "{:24} {:8.3} s wall {:8.3} s CPU   {:5} MiB now, {:5} MiB peak",
            self.name,
            self.wall.elapsed().as_secs_f64(),
            self.cpu.elapsed().as_secs_f64(),
            memory("VmRSS"),
            memory("VmHWM"),
        );
    }
}

/// Prints each span when it ends.
struct Stages;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Stages {
    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        // Spans of other crates have no name.
        if let Some(span) = context.span(id).filter(|span| !span.name().is_empty()) {
            let indent = "  ".repeat(span.scope().count());
            span.extensions_mut().insert(Clock::start(&format!("{indent}{}", span.name())));
        }
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        let clock = context.span(id).and_then(|span| span.extensions_mut().remove::<Clock>());
        if let Some(clock) = clock {
            clock.stop();
        }
    }
}

/// A program of matrix products.
struct Model {
    program: Program,
    data: Data,
    state: u64,
}

impl Model {
    fn new() -> Self {
        let program = Program {
            name: String::from("scale"),
            tensors: Vec::new(),
            constants: Vec::new(),
            tables: vec![Table { name: String::from("clamp"), bits: 12, bound: 127 }],
            ops: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let clamp = (-2048..2048).map(|x: i32| x.clamp(-127, 127)).collect();
        Self { program, data: Data { constants: Vec::new(), tables: vec![clamp] }, state: 1 }
    }

    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 29)
    }

    fn tensor(&mut self, cols: u32) -> TensorId {
        let id = self.program.tensors.len() as u32;
        let name = format!("t{id}");
        self.program.tensors.push(Tensor { name, rows: ROWS, cols, bound: 127, fraction_bits: 0 });
        TensorId(id)
    }

    /// A product with a matrix of small random weights.
    fn product(&mut self, x: TensorId, out: u32) -> TensorId {
        let inner = self.program.tensors[x.0 as usize].cols;
        let mut cells = Vec::with_capacity((out * inner) as usize);
        while cells.len() < (out * inner) as usize {
            let bytes = self.word().to_le_bytes();
            cells.extend(bytes.iter().map(|b| i32::from(b % 15) - 7));
        }
        cells.truncate((out * inner) as usize);
        let row_l1 = cells.chunks(inner as usize).map(|row| row.iter().map(|v| i64::from(v.abs())).sum());
        let row_l1 = row_l1.max().unwrap_or(0);
        let id = self.program.constants.len() as u32;
        let name = format!("w{id}");
        self.program.constants.push(Constant { name, rows: out, cols: inner, bound: 7, row_l1 });
        self.data.constants.push(cells);
        let y = self.tensor(out);
        let requantize = Requantize { shift: 10, table: TableId(0) };
        let factor = Factor::Weight(ConstantId(id));
        self.program.ops.push(Op::MatMul { x, factor, bias: None, requantize, y });
        y
    }

    fn layers(&mut self, layers: u32, vocabulary: u32) -> Vec<Vec<i32>> {
        let mut x = self.tensor(WIDTH);
        self.program.inputs.push(x);
        for _ in 0..layers {
            for narrow in [192, 192] {
                self.product(x, narrow);
            }
            for out in [576, 576, 1536] {
                x = self.product(x, out);
            }
            self.product(x, 576);
            // The gate next to the 1536 above: another matrix of its shape.
            x = self.product(x, 576);
        }
        let logits = if vocabulary > 0 { self.product(x, vocabulary) } else { x };
        self.program.outputs.push(logits);
        let cells = (0..ROWS * WIDTH).map(|_| (self.word() % 255) as i32 - 127).collect();
        vec![cells]
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u32| arguments.get(i).map_or(default, |a| a.parse().expect("a number"));
    let (layers, vocabulary) = (number(0, 30), number(1, 49152));
    let profile = arguments
        .get(2)
        .map_or(ProfileId::P100U, |name| ProfileId::from_name(name).expect("the name of a profile"));
    let subscriber = tracing_subscriber::registry().with(Stages);
    tracing::subscriber::set_global_default(subscriber).expect("the first subscriber");

    let clock = Clock::start("program");
    let mut model = Model::new();
    let inputs = model.layers(layers, vocabulary);
    let Model { program, data, .. } = model;
    let protocol = Protocol::new(&program, *profile.profile()).expect("a sound program");
    clock.stop();
    let stacking = &protocol.stacking;
    println!(
        "{} columns, {} terms in relations; 2^{} rows, {:?} matrix columns",
        protocol.circuit.columns.len(),
        protocol.reduction.terms.len(),
        stacking.log_rows,
        stacking.matrix_columns,
    );

    let clock = Clock::start("key");
    let key = ProvingKey::<Suite>::build(program, data, protocol, &mut Honest);
    clock.stop();
    let clock = Clock::start("execute");
    let trace = execute(key.circuit(), &key.verifying.program, &key.data, &inputs).expect("a result");
    clock.stop();
    let statement = statement(&key, &trace);
    let clock = Clock::start("prove");
    let proof = prove_trace(&key, &trace, &statement, &mut Honest);
    clock.stop();
    println!("proof: {} bytes, digest {:02x?}", proof.len(), &blake2s::hash(blake2s::DIGEST, &proof)[..8]);
    let clock = Clock::start("verify");
    circlet_verifier::verify(&key.verifying, &statement, &proof).expect("a true statement");
    clock.stop();
}
