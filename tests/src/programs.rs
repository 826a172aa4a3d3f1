//! Small integer programs for tests, each with its numbers and one input on which it has a result.

use circlet_core::decoder::{Decoder, Extent, HeadScale, Layer, Linear, Matrix};
use circlet_core::encoder::{self, Encoder};
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

/// A value like a sigmoid's: between 0 and 127, and 64 at zero.
fn sigmoid(x: i64) -> i64 {
    64 + 63 * x / (x.abs() + 100)
}

/// `20 -> 13` channels in three rows: 20 is split into blocks, 13 is not. Inputs that match the signs of the
/// weights leave the table's domain.
pub fn matmul() -> Case {
    let mut b = ProgramBuilder::new("matmul");
    let x = b.input(3, 20, 127);
    let clamp = b.clamp(11, 127);
    let y = b.linear(x, 13, 31, 5, clamp);
    b.finish(&[y])
}

/// Both sides of a matrix product split into blocks: `20 -> 37` channels in five rows.
pub fn matmul_blocks() -> Case {
    let mut b = ProgramBuilder::new("matmul_blocks");
    let x = b.input(5, 20, 127);
    let clamp = b.clamp(12, 127);
    let y = b.linear(x, 37, 15, 5, clamp);
    b.finish(&[y])
}

/// Powers of two only, without bias.
pub fn matmul_pow2() -> Case {
    let mut b = ProgramBuilder::new("matmul_pow2");
    let x = b.input(4, 16, 127);
    let clamp = b.clamp(12, 127);
    let w = b.constant(8, 16, 31);
    let y = b.matmul(x, Factor::Weight(w), None, 6, clamp);
    b.finish(&[y])
}

/// Three layers `64 -> 44 -> 10 -> 10` with the activation in the table.
pub fn mlp() -> Case {
    let mut b = ProgramBuilder::new("mlp");
    let x = b.input(2, 64, 127);
    let relu = b.table("relu", 13, |x| x.clamp(0, 127));
    let clamp = b.clamp(13, 127);
    let hidden = b.linear(x, 44, 15, 6, relu);
    let hidden = b.linear(hidden, 10, 15, 6, relu);
    let y = b.linear(hidden, 10, 15, 4, clamp);
    b.finish(&[y])
}

/// A product of two activations, `3 x 7` times `7 x 20`.
pub fn product() -> Case {
    let mut b = ProgramBuilder::new("product");
    let (x, z) = (b.input(3, 7, 127), b.input(7, 20, 63));
    let clamp = b.clamp(12, 127);
    let y = b.matmul(x, Factor::Tensor(z), None, 5, clamp);
    b.finish(&[y])
}

/// A sum of two scales.
pub fn add() -> Case {
    let mut b = ProgramBuilder::new("add");
    let (p, q) = (b.input(3, 11, 500), b.input(3, 11, 127));
    let clamp = b.clamp(11, 400);
    let y = b.add((p, 0), (q, 3), 1, clamp);
    b.finish(&[y])
}

/// A product entry by entry.
pub fn mul() -> Case {
    let mut b = ProgramBuilder::new("mul");
    let (p, q) = (b.input(5, 6, 127), b.input(5, 6, 127));
    let clamp = b.clamp(10, 127);
    let y = b.mul(p, q, 5, clamp);
    b.finish(&[y])
}

/// A scale and offset per channel.
pub fn affine() -> Case {
    let mut b = ProgramBuilder::new("affine");
    let x = b.input(3, 21, 127);
    let clamp = b.clamp(11, 127);
    let y = b.affine(x, 63, 4, clamp);
    b.finish(&[y])
}

/// A table that is not zero at zero, so that padding is not zero either, and a product that reads it.
pub fn map() -> Case {
    let mut b = ProgramBuilder::new("map");
    let x = b.input(3, 11, 511);
    let table = b.table("sigmoid", 10, sigmoid);
    let clamp = b.clamp(11, 127);
    let y = b.map(x, table);
    let z = b.linear(y, 5, 15, 5, clamp);
    b.finish(&[y, z])
}

/// LayerNorm of 20 channels, in two blocks. Row 1 is constant, row 2 alternates between the bounds.
pub fn layernorm() -> Case {
    let mut b = ProgramBuilder::new("layernorm");
    let x = b.input(3, 20, 8191);
    let clamp = b.clamp(13, 4000);
    let y = b.layernorm(x, 5, 10, clamp);
    let (program, data, mut inputs) = b.finish(&[y]);
    for c in 0..20 {
        inputs[0][20 + c] = 77;
        inputs[0][40 + c] = if c % 2 == 0 { 8191 } else { -8191 };
    }
    (program, data, inputs)
}

/// LayerNorm of 64 channels, one block.
pub fn layernorm_wide() -> Case {
    let mut b = ProgramBuilder::new("layernorm_wide");
    let x = b.input(2, 64, 8191);
    let clamp = b.clamp(13, 4000);
    let y = b.layernorm(x, 1, 10, clamp);
    b.finish(&[y])
}

/// LayerNorm of 2 channels in one row: the smallest circuit with all its gadgets.
pub fn layernorm_tiny() -> Case {
    let mut b = ProgramBuilder::new("layernorm_tiny");
    let x = b.input(1, 2, 8191);
    let clamp = b.clamp(10, 500);
    let y = b.layernorm(x, 40, 5, clamp);
    b.finish(&[y])
}

/// LayerNorm of 13 channels, in a single padded block.
pub fn layernorm_padded() -> Case {
    let mut b = ProgramBuilder::new("layernorm_padded");
    let x = b.input(3, 13, 8191);
    let clamp = b.clamp(13, 4000);
    let y = b.layernorm(x, 9, 10, clamp);
    b.finish(&[y])
}

/// A transpose of three axes and a reshape, neither of powers of two.
pub fn rewire() -> Case {
    let mut b = ProgramBuilder::new("rewire");
    let x = b.input(3, 20, 127);
    // 3 x (4 x 5) -> 5 x (3 x 4) -> 20 rows of 3.
    let y = b.rewire(x, &[3, 4, 5], &[2, 0, 1], 12);
    let z = b.rewire(y, &[5, 12], &[0, 1], 3);
    let t = b.rewire(z, &[20, 3], &[1, 0], 20);
    b.finish(&[y, z, t])
}

/// Every op in one graph, tensors used twice.
pub fn residual() -> Case {
    let mut b = ProgramBuilder::new("residual");
    let x = b.input(7, 20, 127);
    let clamp = b.clamp(12, 127);
    let sigmoid = b.table("sigmoid", 10, sigmoid);
    let norm = b.clamp(13, 127);
    let n = b.layernorm(x, 3, 6, norm);
    let gate = b.map(n, sigmoid);
    let a = b.affine(n, 31, 4, clamp);
    let m = b.mul(a, gate, 6, clamp);
    let h = b.linear(m, 20, 15, 6, clamp);
    let r = b.add((x, 0), (h, 1), 1, clamp);
    let k = b.linear(r, 13, 15, 6, clamp);
    let transposed = b.rewire(k, &[7, 13], &[1, 0], 7);
    let scores = b.matmul(k, Factor::Tensor(transposed), None, 8, clamp);
    let y = b.matmul(scores, Factor::Tensor(r), None, 7, clamp);
    let y = b.add((y, 0), (x, 0), 0, clamp);
    b.finish(&[y, gate])
}

/// Rounding by no bits: no remainder column.
pub fn no_shift() -> Case {
    let mut b = ProgramBuilder::new("no_shift");
    let x = b.input(3, 5, 7);
    let clamp = b.clamp(10, 127);
    let y = b.linear(x, 6, 3, 0, clamp);
    let z = b.add((y, 0), (y, 0), 0, clamp);
    b.finish(&[y, z])
}

/// One row.
pub fn single_row() -> Case {
    let mut b = ProgramBuilder::new("single_row");
    let x = b.input(1, 7, 127);
    let clamp = b.clamp(11, 127);
    let y = b.linear(x, 5, 15, 5, clamp);
    let z = b.affine(y, 15, 3, clamp);
    let w = b.layernorm(z, 2, 5, clamp);
    b.finish(&[w])
}

/// One column, and LayerNorm of one channel.
pub fn single_column() -> Case {
    let mut b = ProgramBuilder::new("single_column");
    let x = b.input(5, 1, 127);
    let clamp = b.clamp(11, 127);
    let y = b.linear(x, 1, 15, 3, clamp);
    let z = b.layernorm(y, 2, 5, clamp);
    let m = b.mul(y, z, 5, clamp);
    let t = b.rewire(m, &[5, 1], &[1, 0], 5);
    let s = b.matmul(y, Factor::Tensor(t), None, 6, clamp);
    b.finish(&[s])
}

/// Centred rows of a wide tensor, in two blocks of which one is padded, with an offset.
pub fn center() -> Case {
    let mut b = ProgramBuilder::new("center");
    let x = b.input(3, 11, 4000);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 5, 0);
    let w = b.center(w, Some(9000));
    let y = b.rms_norm(w, 50, 9, clamp);
    b.finish(&[y])
}

/// Centred rows of 64 channels, as they are.
pub fn center_plain() -> Case {
    let mut b = ProgramBuilder::new("center_plain");
    let x = b.input(2, 64, 2000);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 3, 0);
    let w = b.center(w, None);
    let y = b.rms_norm(w, 1, 9, clamp);
    b.finish(&[y])
}

/// Means of five, of one and of all of eight rows of 20 channels.
pub fn mean() -> Case {
    let mut b = ProgramBuilder::new("mean");
    let x = b.input(8, 20, 500);
    let y = b.mean(x, 5);
    let z = b.mean(x, 1);
    let w = b.mean(x, 8);
    b.finish(&[y, z, w])
}

/// All programs of this module.
pub fn all() -> Vec<Case> {
    vec![
        matmul(),
        matmul_blocks(),
        matmul_pow2(),
        mlp(),
        product(),
        add(),
        mul(),
        affine(),
        map(),
        layernorm(),
        layernorm_wide(),
        layernorm_tiny(),
        layernorm_padded(),
        rewire(),
        residual(),
        no_shift(),
        single_row(),
        single_column(),
        center(),
        center_plain(),
        mean(),
    ]
}

/// Sizes and options of a random decoder.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub struct DecoderShape {
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: u32,
    /// Groups of heads that share keys and values.
    pub groups: u32,
    /// Channels of a head.
    pub channels: u32,
    /// Channels of the residual sum.
    pub width: u32,
    /// Channels of the feed-forward block.
    pub ffn: u32,
    /// Number of tokens.
    pub vocab: u32,
    /// Whether there is a constant first token.
    pub prefix: bool,
    /// Whether queries and keys are normalized.
    pub norms: bool,
    /// Whether all projections have biases, or only keys.
    pub biases: bool,
    /// The bit in which the channels of a pair differ.
    pub pair: u8,
    /// Whether the head is the embedding.
    pub tied: bool,
}

/// A small decoder with random weights: all its constants and tables, in the order of its programs.
pub fn decoder(layers: usize, heads: u32, groups: u32, prefix: bool) -> (Decoder, Data) {
    random_decoder(&DecoderShape {
        layers,
        heads,
        groups,
        channels: 8,
        width: 24,
        ffn: 40,
        vocab: 48,
        prefix,
        norms: false,
        biases: false,
        pair: 2,
        tied: false,
    })
}

/// A decoder of any small shape.
pub fn random_decoder(shape: &DecoderShape) -> (Decoder, Data) {
    let DecoderShape { width, ffn, heads, groups, channels, vocab, .. } = *shape;
    let mut b = ProgramBuilder::new("decoder");
    let clamp14 = b.clamp(16, 8191);
    let clamp13 = b.clamp(16, 4095);
    let score = b.clamp(16, 15_000);
    let silu = b.table("silu", 14, |x| {
        let v = x as f64 / 256.0;
        (v / (1.0 + (-v).exp()) * 256.0).round() as i64
    });
    let exponential = |most: f64| {
        move |x: i64| {
            let distance = (x + (1 << 9)) as f64 / 64.0;
            (most * (-distance).exp()).round() as i64
        }
    };
    let near = b.table("exp", 10, exponential(3900.0));
    let far = b.table("exp.long", 10, exponential(2000.0));
    let Random(seed) = b.random;
    let mut random = Random(seed);
    let to = |shift: u8, table: TableId| Requantize { shift, table };
    let matrix = |bound: i64, cols: u32| Matrix { bound, row_l1: bound * i64::from(cols) };
    // Normalized values have a root mean square of about 512.
    let norm = rms_norm(width, 200, 9, clamp14);
    let head_norm =
        HeadScale { norm: rms_norm(channels, 7, 9, clamp13), gain: 700, requantize: to(9, clamp13) };
    let head_norm = shape.norms.then_some(head_norm);
    let bias = |bound: i64| shape.biases.then_some(bound);
    let layer = Layer {
        attention_norm: norm,
        query: Linear { matrix: matrix(300, width), bias: bias(100_000), requantize: to(9, clamp13) },
        query_norm: head_norm,
        query_rotated: to(14, clamp13),
        key: Linear { matrix: matrix(300, width), bias: Some(90_000), requantize: to(9, clamp13) },
        key_norm: head_norm,
        key_rotated: to(14, clamp13),
        value: Linear { matrix: matrix(300, width), bias: bias(80_000), requantize: to(9, clamp13) },
        score: to(14, score),
        output: matrix(300, heads * channels),
        output_shift: 10,
        ffn_norm: norm,
        gate: Linear { matrix: matrix(200, width), bias: bias(50_000), requantize: to(10, silu) },
        up: Linear { matrix: matrix(200, width), bias: bias(50_000), requantize: to(10, clamp14) },
        product: to(8, clamp14),
        down: matrix(200, ffn),
        down_shift: 10,
    };
    let decoder = Decoder {
        name: String::from("random"),
        vocab,
        width,
        ffn,
        heads,
        groups,
        channels,
        positions: 64,
        pair: shape.pair,
        angle: 1 << 14,
        prefix: shape.prefix.then_some(3),
        pad: 0,
        embedding: matrix(900, width),
        embedding_align: (0, 1),
        layers: vec![layer; shape.layers],
        final_norm: norm,
        final_gain: Some((2000, to(10, clamp14))),
        head: (!shape.tied).then_some(matrix(500, width)),
        tables: b.program.tables,
        exponentials: vec![(16, near), (64, far)],
    };
    let program = decoder.program(Extent { rows: 4, first: 0, generated: 1 });
    let constants = program.constants.iter().map(|constant| {
        let cols = constant.cols;
        let cell = |i: u32, random: &mut Random| match constant.name.as_str() {
            "cos" => angle(i / cols, i % cols, shape.pair, channels).0,
            "sin" => angle(i / cols, i % cols, shape.pair, channels).1,
            _ => random.symmetric(constant.bound),
        };
        (0..constant.rows * cols).map(|i| cell(i, &mut random)).collect()
    });
    let data = Data { constants: constants.collect(), tables: b.data.tables };
    (decoder, data)
}

/// A small sentence encoder with random weights: 24 channels in three heads, 48 tokens, 16 positions.
pub fn encoder(layers: usize) -> (Encoder, Data) {
    const WIDTH: u32 = 24;
    const FFN: u32 = 40;
    let mut b = ProgramBuilder::new("encoder");
    let clamp14 = b.clamp(16, 8191);
    let clamp13 = b.clamp(16, 4095);
    let score = b.clamp(16, 15_000);
    let gelu = b.table("gelu", 15, |x| {
        let v = x as f64 / 256.0;
        let inner = 0.797_884_6 * (v + 0.044_715 * v * v * v);
        ((v / 2.0 * (1.0 + inner.tanh()) * 256.0).round() as i64).clamp(-8191, 8191)
    });
    let exp = b.table("exp", 10, |x| (3900.0 * (-(x + (1 << 9)) as f64 / 64.0).exp()).round() as i64);
    let Random(seed) = b.random;
    let mut random = Random(seed);
    let to = |shift: u8, table: TableId| Requantize { shift, table };
    let matrix = |bound: i64, cols: u32| Matrix { bound, row_l1: bound * i64::from(cols) };
    let norm = |offset| encoder::Norm {
        offset,
        norm: rms_norm(WIDTH, 1, 9, clamp14),
        gain: 700,
        bias: 100_000,
        requantize: to(9, clamp14),
    };
    let linear = |bias, shift, table| Linear {
        matrix: matrix(300, WIDTH),
        bias: Some(bias),
        requantize: to(shift, table),
    };
    let layer = encoder::Layer {
        query: linear(100_000, 9, clamp13),
        key: linear(90_000, 9, clamp13),
        value: linear(80_000, 9, clamp13),
        score: to(14, score),
        output: matrix(300, WIDTH),
        output_shift: 10,
        attention_align: (1, 0),
        attention_norm: norm(Some(500)),
        up: linear(50_000, 10, gelu),
        down: matrix(200, FFN),
        down_bias: Some(50_000),
        down_shift: 9,
        output_align: (3, 2),
        output_norm: norm(None),
    };
    let encoder = Encoder {
        name: String::from("random"),
        vocab: 48,
        width: WIDTH,
        ffn: FFN,
        heads: 3,
        channels: 8,
        positions: 16,
        pad: 0,
        words: matrix(900, WIDTH),
        words_align: (0, 1),
        places: matrix(300, WIDTH),
        places_align: (1, 0),
        embedding_norm: norm(None),
        layers: vec![layer; layers],
        tables: b.program.tables,
        exponentials: vec![(16, exp)],
    };
    let program = encoder.program(1);
    let constants = program.constants.iter().map(|constant| {
        (0..constant.rows * constant.cols).map(|_| random.symmetric(constant.bound)).collect()
    });
    let data = Data { constants: constants.collect(), tables: b.data.tables };
    (encoder, data)
}

/// A text of that decoder's: the given number of prompt tokens and of tokens to come.
pub fn prompt(decoder: &Decoder, given: usize) -> Vec<u32> {
    let mut random = Random(given as u64 + 77);
    let prompt = (0..given).map(|_| random.below(u64::from(decoder.vocab)) as u32);
    decoder.prefix.into_iter().chain(prompt).collect()
}
