//! Function tables, each once.

use std::collections::BTreeMap;

use circlet_core::program::{Table, TableId};

use super::{ACTIVATION, HEAD};
use crate::llm::Activation;

/// What identifies a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Clamp(u8, i64),
    Activation(u8, u8, i32),
    Exponential(i64),
}

/// A table with its values.
type Entry = (Table, Vec<i32>);

/// All tables so far.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    known: BTreeMap<Kind, TableId>,
    all: Vec<Entry>,
}

impl Tables {
    fn add(&mut self, kind: Kind, name: String, bits: u8, f: impl Fn(i64) -> i64) -> TableId {
        if let Some(&id) = self.known.get(&kind) {
            return id;
        }
        let half = 1i64 << (bits - 1);
        let values: Vec<i32> = (-half..half).map(|x| f(x) as i32).collect();
        let bound = values.iter().map(|&v| i64::from(v).abs()).max().unwrap_or(0);
        let id = TableId(self.all.len() as u32);
        self.all.push((Table { name, bits, bound }, values));
        self.known.insert(kind, id);
        id
    }

    /// `clamp(x, -bound, bound)`.
    pub fn clamp(&mut self, bits: u8, bound: i64) -> TableId {
        let name = format!("clamp {bits} bits to {bound}");
        self.add(Kind::Clamp(bits, bound), name, bits, |x| x.clamp(-bound, bound))
    }

    /// A nonlinearity whose argument and value have `fraction` bits.
    pub fn activation(&mut self, activation: Activation, bits: u8, fraction: i32) -> TableId {
        let scale = 2f64.powi(fraction);
        let f = |x: f64| match activation {
            Activation::Silu => x / (1.0 + libm::exp(-x)),
            Activation::GeluErf => x / 2.0 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                x / 2.0 * (1.0 + libm::tanh(inner))
            }
        };
        let name = format!("{activation:?} {bits} bits, {fraction} of fraction");
        self.add(Kind::Activation(activation as u8, bits, fraction), name, bits, |x| {
            ((f(x as f64 / scale) * scale).round_ties_even() as i64).clamp(-ACTIVATION, ACTIVATION)
        })
    }

    /// Exponentials of distances with six fraction bits, for every power of two of rows up to `positions`: as
    /// large as the sum over all positions allows.
    pub fn exponentials(&mut self, positions: u32) -> Vec<(u32, TableId)> {
        let rows = (0..=positions.trailing_zeros()).map(|log| 1u32 << log);
        let mut all: Vec<(u32, TableId)> = Vec::new();
        for rows in rows {
            // Four times the sum of all weights times the bound of values stays below 2^31.
            let most = (((1i64 << 29) - (1 << 21)) / ((i64::from(rows) + 1) * (HEAD + 1))).min(4095);
            let table = self.add(Kind::Exponential(most), format!("exp to {most}"), 10, |x| {
                let distance = (x + (1 << 9)) as f64 / 64.0;
                (most as f64 * libm::exp(-distance)).round_ties_even() as i64
            });
            if all.last().is_some_and(|last| last.1 == table) {
                all.pop();
            }
            all.push((rows, table));
        }
        all
    }

    /// Tables and their values.
    pub fn finish(self) -> (Vec<Table>, Vec<Vec<i32>>) {
        self.all.into_iter().unzip()
    }
}
