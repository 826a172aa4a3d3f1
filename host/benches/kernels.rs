//! The prover's heavy forms, one by one: `cargo bench -p circlet --bench kernels`.
//!
//! Times are CPU seconds of the whole process, so that other load on the machine does not count.

use std::hint::black_box;
use std::time::Duration;

use circlet::backend::bottom::{Above, LeafSumcheck};
use circlet::backend::device::Device;
use circlet::backend::encode::Encoder;
use circlet::backend::field::{B, LANES, pack_base};
use circlet::backend::fractions::{LayerSumcheck, Workspace, parents};
use circlet::backend::grind::grind;
use circlet::backend::leaves::{Leaves, Numbers, Term};
use circlet::backend::merkle::Tree;
use circlet::backend::words::{self, Wide};
use circlet_core::field::{M31, QM31};
use circlet_core::hash::blake2s;
use circlet_core::hash::suite::Poseidon2Blake2s;
use cpu_time::ProcessTime;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

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

/// The whole of LogUp-GKR but its transcript: all layers and all their sumchecks. The layer above ends in
/// the same point as this one begins with, so its ends give the first message.
fn fraction_tree(leaves: &Leaves<'_>, log: usize, challenges: &[QM31]) -> QM31 {
    let above = Above(leaves);
    let mut layers = vec![parents(&above)];
    while layers.len() < log - 2 {
        let next = parents(&layers[layers.len() - 1]);
        layers.push(next);
    }
    let top = parents(&layers[layers.len() - 1]);
    let (lambda, mut room) = (challenges[30], Workspace::new(1 << log >> 6));
    let [p, q] = top.first();
    let mut start = p + lambda * q;
    macro_rules! reduce {
        ($variables:expr, $new:path, $children:expr) => {{
            let mut sumcheck = $new($children, lambda, start, &challenges[..$variables], room);
            for j in (0..$variables).rev() {
                black_box(sumcheck.round());
                sumcheck.bind(challenges[j], &challenges[..j.saturating_sub(1)]);
            }
            let (ends, next) = sumcheck.finish();
            (room, start) = (next, ends[0] + lambda * ends[2]);
        }};
    }
    for variables in 0..log - 2 {
        let children = layers.pop().unwrap();
        reduce!(variables, LayerSumcheck::new, &children);
        if layers.is_empty() {
            room = children.into_workspace();
        }
    }
    reduce!(log - 2, LayerSumcheck::new, &above);
    reduce!(log - 1, LeafSumcheck::new, leaves);
    drop(room);
    start
}

fn kernels(c: &mut Criterion<CpuTime>) {
    let challenges = elements(31, 9);
    let mut group = c.benchmark_group("logup-gkr");
    group.sample_size(10);
    for log in [16, 20, 22] {
        // Lookups of one component, and a table of a sixteenth of the rows.
        let cells: Vec<i32> = (0..1i32 << log).map(|i| (i * 1009).wrapping_mul(77) >> 8).collect();
        let (lookups, table) = cells.split_at(cells.len() / 16 * 15);
        let mut leaves = Leaves::new(log);
        let column = |cells| vec![Term::new(challenges[29], Numbers::Wide(cells))];
        leaves.push(challenges[28], column(lookups), None, lookups.len());
        leaves.push(challenges[28], column(table), Some(table.into()), table.len());
        group.throughput(Throughput::Elements(1 << log));
        group.bench_function(format!("2^{log} fractions"), |b| {
            b.iter(|| fraction_tree(&leaves, log as usize, &challenges));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("encode");
    group.sample_size(10);
    for (log, blowup) in [(14, 1), (14, 2), (20, 1), (20, 2)] {
        let encoder = Encoder::new(log, blowup, &Device::Cpu).unwrap();
        let message = columns(1, log);
        group.throughput(Throughput::Elements(1 << log));
        group.bench_function(format!("2^{log} at rate 1/{}", 1 << blowup), |b| {
            b.iter(|| encoder.encode_all(&message).unwrap());
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

    let mut group = c.benchmark_group("compress");
    group.sample_size(10);
    group.throughput(Throughput::Elements(LANES as u64));
    let lanes = |k: usize| std::array::from_fn(|lane| (k * LANES + lane) as u32);
    let mut wide: [Wide; 8] = std::array::from_fn(|k| Wide::new(lanes(k)));
    let block: [Wide; 16] = std::array::from_fn(|k| Wide::new(lanes(k + 8)));
    group.bench_function("16 hashes at once", |b| {
        b.iter(|| words::compress(&mut wide, black_box(&block), 64, false));
    });
    let mut single: [[u32; 8]; LANES] = std::array::from_fn(|_| std::array::from_fn(|k| k as u32));
    let block: [u32; 16] = std::array::from_fn(|k| k as u32);
    group.bench_function("16 hashes one after the other", |b| {
        b.iter(|| single.iter_mut().for_each(|h| blake2s::compress(h, black_box(&block), 64, false)));
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
