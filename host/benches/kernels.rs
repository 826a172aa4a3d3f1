//! The prover's heavy forms, one by one: `cargo bench -p circlet --bench kernels`.
//!
//! Times are CPU seconds of the whole process, so that other load on the machine does not count.

use std::time::Duration;

use circlet::backend::encode::Encoder;
use circlet::backend::field::{B, LANES, pack_base};
use circlet::backend::fractions::{Fractions, LayerSumcheck, Workspace};
use circlet::backend::grind::grind;
use circlet::backend::merkle::Tree;
use circlet::backend::table::Table;
use circlet_core::field::{M31, QM31};
use circlet_core::hash::suite::Poseidon2Blake2s;
use cpu_time::ProcessTime;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// CPU time of the process, all threads together.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = ProcessTime;
    type Value = Duration;

    fn start(&self) -> ProcessTime {
        ProcessTime::now()
    }
    fn end(&self, start: ProcessTime) -> Duration {
        start.elapsed()
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn elements(n: usize, seed: u64) -> Vec<QM31> {
    (0..n as u64)
        .map(|i| {
            let limb = |k: u64| M31::reduce((seed * 1000 + i * 7 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            QM31::from_coordinates([limb(1), limb(2), limb(3), limb(4)])
        })
        .collect()
}

fn columns(count: usize, log: u32) -> Vec<Vec<B>> {
    (0..count as i32)
        .map(|c| {
            let cells: Vec<i32> = (0..1i32 << log).map(|i| (i * 1009 + c).wrapping_mul(77) >> 8).collect();
            cells.chunks(LANES).map(pack_base).collect()
        })
        .collect()
}

/// The whole of LogUp-GKR but its leaves and its transcript: all layers and all their sumchecks.
fn fraction_tree(leaves: Fractions, challenges: &[QM31]) -> QM31 {
    let mut workspace = Workspace::new(&leaves);
    let mut layers = vec![leaves];
    while layers[layers.len() - 1].q.len() > 2 {
        let next = layers[layers.len() - 1].parents();
        layers.push(next);
    }
    let mut last = QM31::ZERO;
    for (variables, children) in layers.into_iter().rev().enumerate() {
        let mut sumcheck = LayerSumcheck::new(&children, challenges[30], &challenges[..variables], workspace);
        for j in (0..variables).rev() {
            let (low, lead) = sumcheck.round();
            last += low + lead;
            sumcheck.bind(challenges[j], &challenges[..j.saturating_sub(1)]);
        }
        let (ends, room) = sumcheck.finish();
        (last, workspace) = (last + ends[0], room);
    }
    last
}

fn kernels(c: &mut Criterion<CpuTime>) {
    let challenges = elements(31, 9);
    let mut group = c.benchmark_group("logup-gkr");
    group.sample_size(10);
    for log in [16, 20, 22] {
        let (p, q) = (Table::of_base(columns(1, log).remove(0)), Table::new(elements(1 << log, 2)));
        group.throughput(Throughput::Elements(1 << log));
        group.bench_function(format!("2^{log} fractions"), |b| {
            let leaves = || Fractions { p: p.clone(), q: q.clone() };
            b.iter_batched(leaves, |leaves| fraction_tree(leaves, &challenges), BatchSize::LargeInput);
        });
    }
    group.finish();

    let mut group = c.benchmark_group("encode");
    group.sample_size(10);
    for (log, blowup) in [(14, 1), (14, 2), (20, 1), (20, 2)] {
        let encoder = Encoder::new(log, blowup);
        let message = columns(1, log).remove(0);
        group.throughput(Throughput::Elements(1 << log));
        group.bench_function(format!("2^{log} at rate 1/{}", 1 << blowup), |b| {
            b.iter(|| encoder.encode(&message));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("merkle");
    group.sample_size(10);
    let matrix = columns(16, 17);
    // One compression for each leaf of sixteen columns, one for each node above.
    group.throughput(Throughput::Elements(2 << 17));
    group.bench_function("2^17 rows of 16 columns (compressions)", |b| {
        b.iter(|| Tree::<Poseidon2Blake2s>::new(&matrix, 6));
    });
    group.finish();

    let mut group = c.benchmark_group("grind");
    group.sample_size(10);
    let mut seed = 0u8;
    group.bench_function("16 bits", |b| {
        b.iter(|| {
            seed = seed.wrapping_add(1);
            grind(&[seed; 32], 16)
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = kernels
}
criterion_main!(benches);
