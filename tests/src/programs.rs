//! Small integer programs for tests, each with its numbers and one input on which it has a result.

mod cases;
mod models;

pub use cases::*;
pub use models::{DecoderShape, decoder, encoder, prompt, random_decoder};

use circlet_core::program::{
    Attention, Constant, ConstantId, Data, Factor, HeadNorm, LayerNorm, List, ListId, Op, Prefix, Program,
    Projection, Requantize, RmsNorm, Rotation, Rows, Source, Table, TableId, Tensor, TensorId, Visible, WIDE,
};

/// A program, its numbers, and its inputs.
pub type Case = (Program, Data, Vec<Vec<i32>>);

/// SplitMix64: deterministic numbers for tests.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }

    /// A number of `-bound..=bound`.
    pub fn symmetric(&mut self, bound: i64) -> i32 {
        (self.below(2 * bound as u64 + 1) as i64 - bound) as i32
    }
}

/// Writes programs briefly: every method adds an op (or what an op needs) and returns its result.
#[derive(Clone, Debug)]
pub struct ProgramBuilder {
    /// The program so far, without outputs.
    pub program: Program,
    /// Its numbers so far.
    pub data: Data,
    /// Source of all random numbers.
    pub random: Random,
}

impl ProgramBuilder {
    /// An empty program.
    pub fn new(name: &str) -> Self {
        let program = Program {
            name: String::from(name),
            tensors: Vec::new(),
            constants: Vec::new(),
            tables: Vec::new(),
            ops: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            lists: Vec::new(),
        };
        let seed = name.bytes().fold(1u64, |h, b| h.wrapping_mul(0x100_0000_01b3) ^ u64::from(b));
        Self { program, data: Data::default(), random: Random(seed) }
    }

    /// A tensor that no op produces yet.
    pub fn tensor(&mut self, rows: u32, cols: u32, bound: i64) -> TensorId {
        let id = self.program.tensors.len() as u32;
        self.program.tensors.push(Tensor { name: format!("t{id}"), rows, cols, bound, fraction_bits: 0 });
        TensorId(id)
    }

    /// An input.
    pub fn input(&mut self, rows: u32, cols: u32, bound: i64) -> TensorId {
        let id = self.tensor(rows, cols, bound);
        self.program.inputs.push(id);
        id
    }

    /// A constant with the given entries.
    pub fn constant_of(&mut self, rows: u32, cols: u32, entries: Vec<i32>) -> ConstantId {
        assert_eq!(entries.len(), (rows * cols) as usize);
        let id = self.program.constants.len() as u32;
        let bound = entries.iter().map(|&v| i64::from(v).abs()).max().unwrap_or(0);
        let l1 = |row: &[i32]| row.iter().map(|&v| i64::from(v).abs()).sum();
        let row_l1 = entries.chunks(cols as usize).map(l1).max().unwrap_or(0);
        self.program.constants.push(Constant { name: format!("c{id}"), rows, cols, bound, row_l1 });
        self.data.constants.push(entries);
        ConstantId(id)
    }

    /// A constant with random entries other than zero.
    pub fn constant(&mut self, rows: u32, cols: u32, bound: i64) -> ConstantId {
        let entries = (0..rows * cols)
            .map(|_| match self.random.symmetric(bound) {
                0 => 1,
                v => v,
            })
            .collect();
        self.constant_of(rows, cols, entries)
    }

    /// The table of a function.
    pub fn table(&mut self, name: &str, bits: u8, f: impl Fn(i64) -> i64) -> TableId {
        let half = 1i64 << (bits - 1);
        let values: Vec<i32> = (-half..half).map(|x| f(x) as i32).collect();
        let bound = values.iter().map(|&v| i64::from(v).abs()).max().unwrap_or(0);
        self.program.tables.push(Table { name: String::from(name), bits, bound });
        self.data.tables.push(values);
        TableId(self.program.tables.len() as u32 - 1)
    }

    /// The table that clamps to `-bound..=bound`.
    pub fn clamp(&mut self, bits: u8, bound: i64) -> TableId {
        self.table("clamp", bits, move |x| x.clamp(-bound, bound))
    }

    fn image(&self, table: TableId) -> i64 {
        self.program.tables[table.0 as usize].bound
    }

    fn extents(&self, x: TensorId) -> (u32, u32) {
        let tensor = &self.program.tensors[x.0 as usize];
        (tensor.rows, tensor.cols)
    }

    fn like(&mut self, x: TensorId, table: TableId) -> TensorId {
        let ((rows, cols), bound) = (self.extents(x), self.image(table));
        self.tensor(rows, cols, bound)
    }

    /// `requantize(x * factor + bias)`.
    pub fn matmul(
        &mut self,
        x: TensorId,
        factor: Factor,
        bias: Option<ConstantId>,
        shift: u8,
        table: TableId,
    ) -> TensorId {
        let cols = match factor {
            Factor::Weight(w) => self.program.constants[w.0 as usize].rows,
            Factor::Tensor(z) => self.extents(z).1,
        };
        let y = self.tensor(self.extents(x).0, cols, self.image(table));
        self.program.ops.push(Op::MatMul { x, factor, bias, requantize: Requantize { shift, table }, y });
        y
    }

    /// A [`matmul`](Self::matmul) with random weights and bias.
    pub fn linear(&mut self, x: TensorId, cols: u32, weight: i64, shift: u8, table: TableId) -> TensorId {
        let w = self.constant(cols, self.extents(x).1, weight);
        let bias = self.constant(1, cols, 1 << shift.max(1));
        self.matmul(x, Factor::Weight(w), Some(bias), shift, table)
    }

    /// `requantize(2^i a + 2^j b)`.
    pub fn add(&mut self, a: (TensorId, u8), b: (TensorId, u8), shift: u8, table: TableId) -> TensorId {
        let y = self.like(a.0, table);
        let requantize = Requantize { shift, table };
        self.program.ops.push(Op::Add { a: a.0, a_shift: a.1, b: b.0, b_shift: b.1, requantize, y });
        y
    }

    /// `requantize(a b)`.
    pub fn mul(&mut self, a: TensorId, b: TensorId, shift: u8, table: TableId) -> TensorId {
        let y = self.like(a, table);
        self.program.ops.push(Op::Mul { a, b, requantize: Requantize { shift, table }, y });
        y
    }

    /// `requantize(x scale + offset)` with random scale and offset.
    pub fn affine(&mut self, x: TensorId, bound: i64, shift: u8, table: TableId) -> TensorId {
        let (y, cols) = (self.like(x, table), self.extents(x).1);
        let (scale, offset) = (self.constant(1, cols, bound), self.constant(1, cols, 1 << shift.max(1)));
        self.program.ops.push(Op::Affine { x, scale, offset, requantize: Requantize { shift, table }, y });
        y
    }

    /// `table[x]`.
    pub fn map(&mut self, x: TensorId, table: TableId) -> TensorId {
        let y = self.like(x, table);
        self.program.ops.push(Op::Map { x, table, y });
        y
    }

    /// Layer normalization to `fraction` bits with random `gamma` (at most 63) and `beta`; the result has the
    /// scale of `gamma n / 128`.
    pub fn layernorm(&mut self, x: TensorId, epsilon: u32, fraction: u8, table: TableId) -> TensorId {
        let (y, cols) = (self.like(x, table), self.extents(x).1);
        let (gamma, beta) = (self.constant(1, cols, 63), self.constant(1, cols, 1000));
        let shift = 10;
        let scale = f64::from(1u32 << (fraction + shift));
        let params = LayerNorm {
            epsilon,
            numerator: (f64::from(cols).sqrt() * scale) as u32,
            shift,
            gamma,
            beta,
            requantize: Requantize { shift: 7, table },
        };
        self.program.ops.push(Op::LayerNorm { x, params, y });
        y
    }

    /// The entries of `x` as an array of `dims`, its axes permuted, as a matrix of `cols` columns.
    pub fn rewire(&mut self, x: TensorId, dims: &[u32], permutation: &[u8], cols: u32) -> TensorId {
        let ((rows, width), bound) = (self.extents(x), self.program.tensors[x.0 as usize].bound);
        let y = self.tensor(rows * width / cols, cols, bound);
        let (dims, permutation) = (dims.to_vec(), permutation.to_vec());
        self.program.ops.push(Op::Rewire { x, dims, permutation, y });
        y
    }

    /// A public list of indices.
    pub fn list(&mut self, len: u32, limit: u32) -> ListId {
        self.program.lists.push(List { name: String::from("list"), len, limit });
        ListId(self.program.lists.len() as u32 - 1)
    }

    /// Rows by index.
    pub fn gather(&mut self, source: Source, rows: Rows) -> TensorId {
        let (cols, bound) = match source {
            Source::Constant(id) => {
                let constant = &self.program.constants[id.0 as usize];
                (constant.cols, constant.bound)
            }
            Source::Tensor(id) => (self.extents(id).1, self.program.tensors[id.0 as usize].bound),
        };
        let len = match &rows {
            Rows::Listed(list) => self.program.lists[list.0 as usize].len,
            Rows::Given(rows) => rows.len() as u32,
        };
        let y = self.tensor(len, cols, bound);
        self.program.ops.push(Op::Gather { source, rows, y });
        y
    }

    /// `base + floor((2^left x + half) / 2^right)`.
    pub fn widen(&mut self, base: Option<TensorId>, x: TensorId, left: u8, right: u8) -> TensorId {
        let (rows, cols) = self.extents(x);
        let y = self.tensor(rows, cols, WIDE);
        self.program.ops.push(Op::Widen { base, x, left, right, y });
        y
    }

    /// `base + floor((x weight^T + bias + half) / 2^shift)` with random weights and bias.
    pub fn linear_add(
        &mut self,
        base: Option<TensorId>,
        x: TensorId,
        (cols, bound): (u32, i64),
        bias: Option<i64>,
        shift: u8,
    ) -> TensorId {
        let (rows, inner) = self.extents(x);
        let weight = self.constant(cols, inner, bound);
        let bias = bias.map(|bound| self.constant(1, cols, bound));
        let y = self.tensor(rows, cols, WIDE);
        self.program.ops.push(Op::MatMulAdd { base, x, weight, bias, shift, y });
        y
    }

    /// Root-mean-square normalization: the result has a root mean square of `2^fraction`.
    pub fn rms_norm(&mut self, x: TensorId, epsilon: u32, fraction: u8, table: TableId) -> TensorId {
        let (y, cols) = (self.like(x, table), self.extents(x).1);
        let params = rms_norm(cols, epsilon, fraction, table);
        self.program.ops.push(Op::RmsNorm { x, params, y });
        y
    }

    /// `x + offset` less its mean in every row, with a random offset up to this bound, if any.
    pub fn center(&mut self, x: TensorId, offset: Option<i64>) -> TensorId {
        let (rows, cols) = self.extents(x);
        let offset = offset.map(|bound| self.constant(1, cols, bound));
        let y = self.tensor(rows, cols, WIDE);
        self.program.ops.push(Op::Center { x, offset, y });
        y
    }

    /// The mean of the first rows.
    pub fn mean(&mut self, x: TensorId, len: u32) -> TensorId {
        let (cols, bound) = (self.extents(x).1, self.program.tensors[x.0 as usize].bound);
        let y = self.tensor(1, cols, bound);
        self.program.ops.push(Op::Mean { x, len, y });
        y
    }

    /// The best channel of `x weight^T` for every row, with random weights.
    pub fn arg_max(&mut self, x: TensorId, channels: u32, bound: i64) -> ListId {
        let (rows, inner) = self.extents(x);
        let weight = self.constant(channels, inner, bound);
        let list = self.list(rows, channels);
        self.program.ops.push(Op::ArgMax { x, weight, list });
        list
    }

    /// `base + attention(x)` with random weights. `x` has a root mean square of some hundreds.
    pub fn attention(&mut self, base: Option<TensorId>, x: TensorId, heads: &Heads) -> TensorId {
        let (tokens, width) = self.extents(x);
        let Heads { heads: all, groups, channels, .. } = *heads;
        let to = |shift: u8, table: TableId| Requantize { shift, table };
        let clamp = self.clamp(heads.bits, (1 << (heads.bits - 4)) - 1);
        let score = self.clamp(heads.bits, (1i64 << (heads.bits - 1)).min(15_000) - 100);
        let most = heads.most as f64;
        let exp = self.table("exp", 10, move |x: i64| {
            let distance = x + (1 << 9);
            (most * (-distance as f64 / 64.0).exp()).round() as i64
        });
        let projection = |b: &mut Self, heads_of: u32, normed: bool| Projection {
            weight: b.constant(heads_of * channels, width, 300),
            bias: heads.biases.then(|| b.constant(heads_of * channels, 1, 90_000)),
            requantize: to(9, clamp),
            norm: (normed && heads.norms).then(|| HeadNorm {
                norm: rms_norm(channels, 7, 9, clamp),
                gain: b.constant(1, channels, 700),
                requantize: to(9, clamp),
            }),
        };
        let query = projection(self, all, true);
        let key = projection(self, groups, true);
        let value = projection(self, groups, false);
        let rotation = heads.pair.map(|pair| {
            let rows = (0..=tokens).flat_map(|t| (0..channels).map(move |c| (t, c)));
            let (cos, sin) = rows.map(|(t, c)| angle(t, c, pair, channels)).unzip();
            let (cos, sin) =
                (self.constant_of(tokens + 1, channels, cos), self.constant_of(tokens + 1, channels, sin));
            Rotation { pair, cos, sin, query: to(14, clamp), key: to(14, clamp) }
        });
        let prefix = heads.prefix.then(|| Prefix {
            key: self.constant(groups, channels, 700),
            value: self.constant(groups, channels, 700),
        });
        let output = self.constant(width, all * channels, 300);
        let y = self.tensor(tokens, width, WIDE);
        let params = Attention {
            heads: all,
            groups,
            channels,
            query,
            key,
            value,
            rotation,
            prefix,
            score: to(heads.score, score),
            exp,
            visible: heads.visible,
            output,
            output_shift: 10,
        };
        self.program.ops.push(Op::Attention { base, x, params: Box::new(params), y });
        y
    }

    /// The program with these outputs, and random inputs.
    pub fn finish(mut self, outputs: &[TensorId]) -> Case {
        self.program.outputs = outputs.to_vec();
        let inputs = random_inputs(&self.program, &mut self.random);
        (self.program, self.data, inputs)
    }
}

/// What an attention has.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub struct Heads {
    /// Query heads.
    pub heads: u32,
    /// Groups of heads that share keys and values.
    pub groups: u32,
    /// Channels of a head.
    pub channels: u32,
    /// Whether queries and keys are normalized.
    pub norms: bool,
    /// Whether projections have biases.
    pub biases: bool,
    /// The bit in which the channels of a pair differ, if there is a rotation.
    pub pair: Option<u8>,
    /// Whether there is a constant first position.
    pub prefix: bool,
    /// What a position sees.
    pub visible: Visible,
    /// Bits of the tables that clamp.
    pub bits: u8,
    /// Bits that are rounded away from scores.
    pub score: u8,
    /// The exponential of zero.
    pub most: i64,
}

impl Heads {
    /// All options, in tables of 16 bits.
    pub fn new(heads: u32, groups: u32, channels: u32) -> Self {
        Self {
            heads,
            groups,
            channels,
            norms: true,
            biases: true,
            pair: Some(0),
            prefix: true,
            visible: Visible::Causal,
            bits: 16,
            score: 12,
            most: 3000,
        }
    }
}

/// Parameters of a norm whose result has a root mean square of `2^fraction`.
fn rms_norm(cols: u32, epsilon: u32, fraction: u8, table: TableId) -> RmsNorm {
    let numerator = (f64::from(cols).sqrt() * f64::from(1u32 << (fraction + 14))) as u32;
    RmsNorm { epsilon, numerator, requantize: Requantize { shift: 14, table } }
}

/// Cosine and signed sine of a channel whose partner differs in bit `pair`, at a position.
fn angle(position: u32, channel: u32, pair: u8, channels: u32) -> (i32, i32) {
    let (low, high) = (channel & ((1 << pair) - 1), channel >> (pair + 1));
    let frequency = 100f64.powf(-2.0 * f64::from(low + (high << pair)) / f64::from(channels));
    let angle = f64::from(position + 1) * frequency;
    let sign = if channel >> pair & 1 == 0 { -1.0 } else { 1.0 };
    ((16384.0 * angle.cos()).round() as i32, (16384.0 * sign * angle.sin()).round() as i32)
}

/// Uniform inputs of a program.
pub fn random_inputs(program: &Program, random: &mut Random) -> Vec<Vec<i32>> {
    inputs(program, |bound, _| random.symmetric(bound))
}

/// Inputs of a program by a function of the bound and the index of the entry.
pub fn inputs(program: &Program, mut entry: impl FnMut(i64, usize) -> i32) -> Vec<Vec<i32>> {
    let tensor = |id: &TensorId| &program.tensors[id.0 as usize];
    let all = program.inputs.iter().map(tensor);
    all.map(|t| (0..(t.rows * t.cols) as usize).map(|i| entry(t.bound, i)).collect()).collect()
}
