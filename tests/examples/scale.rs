//! Times the stages of a program of the size of a small language model: `cargo run --release -p circlet-tests
//! --example scale -- 30 32` for thirty layers and 32 rows.

use std::sync::Arc;
use std::time::Instant;

use circlet::backend::contract::over_rows;
use circlet::execute::{Cells, Fixed, execute_with};
use circlet_core::circuit::{Circuit, ColumnId, Content, Shape};
use circlet_core::field::QM31;
use circlet_core::program::{Factor, Program, TensorId};
use circlet_tests::programs::{Case, ProgramBuilder};

/// Layers of matrices `576 x 576`, `192 x 576` twice, `576 x 576`, `1536 x 576` twice and `576 x 1536`.
fn model(layers: usize, rows: u32, vocabulary: u32) -> Case {
    let mut b = ProgramBuilder::new("scale");
    let mut x = b.input(rows, 576, 127);
    let clamp = b.clamp(12, 127);
    let linear = |b: &mut ProgramBuilder, x: TensorId, cols: u32, rows: u32| {
        let entries = (0..rows * cols).map(|_| b.random.symmetric(127)).collect();
        let w = b.constant_of(cols, rows, entries);
        b.matmul(x, Factor::Weight(w), None, 10, clamp)
    };
    for _ in 0..layers {
        let q = linear(&mut b, x, 576, 576);
        let (_k, _v) = (linear(&mut b, x, 192, 576), linear(&mut b, x, 192, 576));
        let o = linear(&mut b, q, 576, 576);
        x = b.add((x, 0), (o, 0), 1, clamp);
        let (gate, up) = (linear(&mut b, x, 1536, 576), linear(&mut b, x, 1536, 576));
        let h = b.mul(gate, up, 6, clamp);
        let down = linear(&mut b, h, 576, 1536);
        x = b.add((x, 0), (down, 0), 1, clamp);
    }
    let y = linear(&mut b, x, vocabulary, 576);
    b.finish(&[y])
}

fn main() {
    let argument = |i: usize, other: u32| std::env::args().nth(i).map_or(other, |a| a.parse().unwrap());
    let (layers, rows, vocabulary) = (argument(1, 30), argument(2, 32), argument(3, 49_152));
    let (program, data, inputs): (Program, _, _) = model(layers as usize, rows, vocabulary);
    let start = Instant::now();
    let circuit = Circuit::new(&program).unwrap();
    let lookups: usize = circuit.lookups.iter().map(|l| l.shape.size()).sum();
    println!("circuit {:?}, {} columns, {lookups} lookups", start.elapsed(), circuit.columns.len());
    let start = Instant::now();
    let fixed = Arc::new(Fixed::new(&circuit, &program, &data));
    println!("fixed columns {:?}", start.elapsed());
    for _ in 0..4 {
        let (start, cpu) = (Instant::now(), cpu());
        execute_with(&circuit, fixed.clone(), &data.tables, &inputs, &[]).unwrap();
        println!("execute {:?}, {:.3} CPU seconds", start.elapsed(), self::cpu() - cpu);
    }
    let matrices: Vec<(ColumnId, Shape)> = (0..)
        .map(ColumnId)
        .zip(&circuit.columns)
        .filter(|(_, c)| matches!(c.content, Content::Constant { .. }))
        .map(|(id, c)| (id, c.shape))
        .collect();
    for _ in 0..4 {
        let (start, cpu) = (Instant::now(), cpu());
        let sums: Vec<Vec<QM31>> = matrices
            .iter()
            .map(|&(id, shape)| {
                let weights = vec![QM31::HALF; 1 << shape.log_rows()];
                match fixed.cells(id) {
                    Cells::Narrow(cells) => over_rows(cells, 1 << shape.log_cols(), &weights),
                    Cells::Wide(cells) => over_rows(cells, 1 << shape.log_cols(), &weights),
                }
            })
            .collect();
        let (time, used) = (start.elapsed(), self::cpu() - cpu);
        println!("contract {} matrices {time:?}, {used:.3} CPU seconds", sums.len());
    }
}

/// CPU seconds of the process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
