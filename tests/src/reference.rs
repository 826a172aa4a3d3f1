//! An interpreter of integer programs that follows the documentation of [`circlet_core::program`] and of
//! `ops::{layernorm, rmsnorm, attention, argmax}` word by word: nested loops over 128-bit integers, no circuit,
//! no padding.

use circlet_core::program::{
    Attention, ConstantId, Data, Factor, LayerNorm, ListId, Op, Program, Projection, Requantize, RmsNorm,
    Rotation, Rows, Source, TableId, TensorId, Visible, WIDE,
};

/// Row-major entries.
type Matrix = Vec<i128>;

/// Everything an op can read.
struct Machine<'a> {
    program: &'a Program,
    data: &'a Data,
    /// One matrix for each tensor that has been produced.
    tensors: Vec<Option<Matrix>>,
    /// Lists of indices, those that are computed empty until then.
    lists: Vec<Vec<u32>>,
}

/// What a program makes of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// The entries of every tensor, row by row; tensors that nothing produces are empty.
    pub tensors: Vec<Vec<i32>>,
    /// All lists of indices.
    pub lists: Vec<Vec<u32>>,
}

/// Runs a program; lists that it computes are given empty.
///
/// Fails where the program has no result: on inputs or lists of another number, length or range than it takes,
/// where the argument of a table is outside its domain, and where a sum or a summand of a wide tensor or a root
/// has too many bits.
pub fn run(
    program: &Program,
    data: &Data,
    inputs: &[Vec<i32>],
    lists: &[Vec<u32>],
) -> Result<Results, String> {
    if inputs.len() != program.inputs.len() || lists.len() != program.lists.len() {
        return Err(format!("{} inputs, {} lists", inputs.len(), lists.len()));
    }
    for (index, (declared, list)) in program.lists.iter().zip(lists).enumerate() {
        let computes = |op: &Op| matches!(op, Op::ArgMax { list, .. } if list.0 as usize == index);
        let len = if program.ops.iter().any(computes) { 0 } else { declared.len as usize };
        if list.len() != len || list.iter().any(|&entry| entry >= declared.limit) {
            return Err(String::from("list of another length or range"));
        }
    }
    let tensors = vec![None; program.tensors.len()];
    let mut machine = Machine { program, data, tensors, lists: lists.to_vec() };
    for (&id, input) in program.inputs.iter().zip(inputs) {
        let (rows, cols) = machine.extents(id);
        let bound = i128::from(program.tensors[id.0 as usize].bound);
        let entries: Matrix = input.iter().map(|&v| i128::from(v)).collect();
        if entries.len() != rows * cols || entries.iter().any(|v| v.abs() > bound) {
            return Err(String::from("input of another length or range"));
        }
        machine.tensors[id.0 as usize] = Some(entries);
    }
    for op in &program.ops {
        if let Op::ArgMax { x, weight, list } = op {
            machine.lists[list.0 as usize] = machine.arg_max(*x, *weight, *list)?;
            continue;
        }
        let result = machine.op(op).map_err(|e| format!("{}: {e}", op.name()))?;
        if let Some(id) = op.result() {
            machine.tensors[id.0 as usize] = Some(result);
        }
    }
    let narrow = |v: i128| i32::try_from(v).map_err(|_| String::from("an entry needs more than 32 bits"));
    let tensors = machine.tensors.into_iter();
    let tensors: Result<Vec<Vec<i32>>, String> =
        tensors.map(|t| t.unwrap_or_default().into_iter().map(narrow).collect()).collect();
    Ok(Results { tensors: tensors?, lists: machine.lists })
}

/// The greatest integer at most `a / b`.
fn floor_div(a: i128, b: i128) -> i128 {
    let q = a / b;
    if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q }
}

/// The greatest integer whose square is at most `x`.
fn floor_sqrt(x: i128) -> i128 {
    let (mut low, mut high) = (0i128, 1i128 << 40);
    while high - low > 1 {
        let middle = i128::midpoint(low, high);
        if middle * middle <= x {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// `floor(a / 2^shift + 1/2)`.
fn round_shift(a: i128, shift: u8) -> i128 {
    floor_div(2 * a + (1 << shift), 2 << shift)
}

impl Machine<'_> {
    fn extents(&self, id: TensorId) -> (usize, usize) {
        let tensor = &self.program.tensors[id.0 as usize];
        (tensor.rows as usize, tensor.cols as usize)
    }

    fn tensor(&self, id: TensorId) -> Result<&Matrix, String> {
        self.tensors[id.0 as usize].as_ref().ok_or_else(|| String::from("used before it is produced"))
    }

    fn constant(&self, id: ConstantId) -> Matrix {
        self.data.constants[id.0 as usize].iter().map(|&v| i128::from(v)).collect()
    }

    fn look_up(&self, id: TableId, argument: i128) -> Result<i128, String> {
        let bits = self.program.tables[id.0 as usize].bits;
        let (low, high) = (-(1i128 << (bits - 1)), 1i128 << (bits - 1));
        if argument < low || argument >= high {
            return Err(format!("{argument} is outside the domain {low}..{high} of a table"));
        }
        Ok(i128::from(self.data.tables[id.0 as usize][(argument - low) as usize]))
    }

    fn requantize(&self, accumulator: i128, requantize: Requantize) -> Result<i128, String> {
        self.look_up(requantize.table, round_shift(accumulator, requantize.shift))
    }

    fn op(&self, op: &Op) -> Result<Matrix, String> {
        let mut y = Matrix::new();
        match op {
            Op::MatMul { x, factor, bias, requantize, .. } => {
                let ((rows, inner), x) = (self.extents(*x), self.tensor(*x)?);
                let outer = match factor {
                    Factor::Weight(w) => self.program.constants[w.0 as usize].rows as usize,
                    Factor::Tensor(z) => self.extents(*z).1,
                };
                let right = |k: usize, n: usize| -> Result<i128, String> {
                    match factor {
                        Factor::Weight(w) => Ok(i128::from(self.data.constants[w.0 as usize][n * inner + k])),
                        Factor::Tensor(z) => Ok(self.tensor(*z)?[k * outer + n]),
                    }
                };
                for t in 0..rows {
                    for n in 0..outer {
                        let mut accumulator = bias.map_or(0, |b| self.constant(b)[n]);
                        for k in 0..inner {
                            accumulator += x[t * inner + k] * right(k, n)?;
                        }
                        y.push(self.requantize(accumulator, *requantize)?);
                    }
                }
            }
            Op::Add { a, a_shift, b, b_shift, requantize, .. } => {
                for (&a, &b) in self.tensor(*a)?.iter().zip(self.tensor(*b)?) {
                    y.push(self.requantize((a << a_shift) + (b << b_shift), *requantize)?);
                }
            }
            Op::Mul { a, b, requantize, .. } => {
                for (&a, &b) in self.tensor(*a)?.iter().zip(self.tensor(*b)?) {
                    y.push(self.requantize(a * b, *requantize)?);
                }
            }
            Op::Affine { x, scale, offset, requantize, .. } => {
                let (scale, offset, cols) =
                    (self.constant(*scale), self.constant(*offset), self.extents(*x).1);
                for (i, &x) in self.tensor(*x)?.iter().enumerate() {
                    y.push(self.requantize(x * scale[i % cols] + offset[i % cols], *requantize)?);
                }
            }
            Op::Map { x, table, .. } => {
                for &x in self.tensor(*x)? {
                    y.push(self.look_up(*table, x)?);
                }
            }
            Op::LayerNorm { x, params, .. } => {
                for row in self.tensor(*x)?.chunks(self.extents(*x).1) {
                    y.extend(self.layer_norm(row, params)?);
                }
            }
            Op::Rewire { x, dims, permutation, .. } => y = rewire(self.tensor(*x)?, dims, permutation),
            Op::Gather { source, rows, .. } => {
                let (source, cols) = match source {
                    Source::Constant(id) => {
                        (self.constant(*id), self.program.constants[id.0 as usize].cols as usize)
                    }
                    Source::Tensor(id) => (self.tensor(*id)?.clone(), self.extents(*id).1),
                };
                let rows = match rows {
                    Rows::Listed(list) => &self.lists[list.0 as usize],
                    Rows::Given(rows) => rows,
                };
                for &row in rows {
                    y.extend(&source[row as usize * cols..(row as usize + 1) * cols]);
                }
            }
            Op::Widen { base, x, left, right, .. } => {
                let summands = self.tensor(*x)?.iter().map(|x| x << left).collect();
                y = self.accumulate(*base, summands, *right)?;
            }
            Op::MatMulAdd { base, x, weight, bias, shift, .. } => {
                let mut products = self.product(self.tensor(*x)?, *weight);
                let outer = self.program.constants[weight.0 as usize].rows as usize;
                if let Some(bias) = bias {
                    let bias = self.constant(*bias);
                    for (i, product) in products.iter_mut().enumerate() {
                        *product += bias[i % outer];
                    }
                }
                y = self.accumulate(*base, products, *shift)?;
            }
            Op::RmsNorm { x, params, .. } => {
                for row in self.tensor(*x)?.chunks(self.extents(*x).1) {
                    y.extend(self.rms_norm(row, params)?);
                }
            }
            Op::Attention { base, x, params, .. } => {
                let mixed = self.attention(*x, params)?;
                y = self.accumulate(*base, self.product(&mixed, params.output), params.output_shift)?;
            }
            Op::ArgMax { .. } => return Err(String::from("has no result but a list")),
            Op::Center { x, offset, .. } => {
                let cols = self.extents(*x).1;
                let offset = offset.map_or(vec![0; cols], |offset| self.constant(offset));
                for row in self.tensor(*x)?.chunks(cols) {
                    let shifted: Matrix = row.iter().zip(&offset).map(|(x, offset)| x + offset).collect();
                    let (sum, channels) = (shifted.iter().sum::<i128>(), cols as i128);
                    let mean = floor_div(2 * sum + channels, 2 * channels);
                    let wide = |v: i128| (-i128::from(WIDE)..i128::from(WIDE)).contains(&v);
                    if !wide(mean) || shifted.iter().any(|z| !wide(z - mean)) {
                        return Err(String::from("a difference of too many bits"));
                    }
                    y.extend(shifted.iter().map(|z| z - mean));
                }
            }
            Op::Mean { x, len, .. } => {
                let (cols, count) = (self.extents(*x).1, i128::from(*len));
                let x = self.tensor(*x)?;
                for c in 0..cols {
                    let sum: i128 = (0..*len as usize).map(|t| x[t * cols + c]).sum();
                    y.push(floor_div(2 * sum + count, 2 * count));
                }
            }
        }
        Ok(y)
    }

    /// `x w^T`.
    fn product(&self, x: &Matrix, weight: ConstantId) -> Matrix {
        let inner = self.program.constants[weight.0 as usize].cols as usize;
        let weight = self.constant(weight);
        let mut y = Matrix::new();
        for row in x.chunks(inner) {
            for channel in weight.chunks(inner) {
                y.push(row.iter().zip(channel).map(|(x, w)| x * w).sum());
            }
        }
        y
    }

    /// `base + floor((x + half) / 2^shift)`: a summand has at most 20 bits, and `2^shift` times it at most 30.
    fn accumulate(&self, base: Option<TensorId>, x: Matrix, shift: u8) -> Result<Matrix, String> {
        let zero = vec![0; x.len()];
        let base = base.map_or(Ok(&zero), |base| self.tensor(base))?;
        let inside = |v: i128, bound: i128| {
            if v >= -bound && v < bound { Ok(v) } else { Err(String::from("a sum of too many bits")) }
        };
        let wide = i128::from(WIDE);
        let most = wide.min(1 << (29 - i128::from(shift)));
        x.into_iter()
            .zip(base)
            .map(|(x, base)| inside(base + inside(round_shift(x, shift), most)?, wide))
            .collect()
    }

    fn rms_norm(&self, row: &[i128], params: &RmsNorm) -> Result<Matrix, String> {
        let sum = row.iter().map(|x| x * x).sum::<i128>() + i128::from(params.epsilon);
        let root = floor_sqrt(sum);
        if root >= 1 << 24 {
            return Err(String::from("a root of too many bits"));
        }
        let inverse = floor_div(i128::from(params.numerator), root);
        row.iter().map(|x| self.requantize(x * inverse, params.requantize)).collect()
    }

    /// A projection, head by head: row `h T + t` has the channels of head `h` at position `t`.
    fn projected(
        &self,
        x: &Matrix,
        tokens: usize,
        channels: usize,
        p: &Projection,
    ) -> Result<Matrix, String> {
        let all = self.product(x, p.weight);
        let outer = all.len() / tokens;
        let bias = p.bias.map(|bias| self.constant(bias));
        let mut y = Matrix::new();
        for head in 0..outer / channels {
            for t in 0..tokens {
                let mut row = Matrix::new();
                for n in head * channels..(head + 1) * channels {
                    let accumulator = all[t * outer + n] + bias.as_ref().map_or(0, |bias| bias[n]);
                    row.push(self.requantize(accumulator, p.requantize)?);
                }
                if let Some(norm) = p.norm {
                    let gain = self.constant(norm.gain);
                    let normalized = self.rms_norm(&row, &norm.norm)?;
                    let scaled = normalized.iter().zip(gain);
                    row = scaled
                        .map(|(x, g)| self.requantize(x * g, norm.requantize))
                        .collect::<Result<_, _>>()?;
                }
                y.extend(row);
            }
        }
        Ok(y)
    }

    /// Rows of heads, each turned by the angle of its position.
    fn rotated(
        &self,
        x: &Matrix,
        (tokens, channels): (usize, usize),
        rotation: &Rotation,
        requantize: Requantize,
    ) -> Result<Matrix, String> {
        let (cos, sin) = (self.constant(rotation.cos), self.constant(rotation.sin));
        let mut y = Matrix::new();
        for (i, row) in x.chunks(channels).enumerate() {
            let at = i % tokens * channels;
            for c in 0..channels {
                let partner = row[c ^ (1 << rotation.pair)];
                y.push(self.requantize(row[c] * cos[at + c] + partner * sin[at + c], requantize)?);
            }
        }
        Ok(y)
    }

    /// The mixed values of all heads, position by position.
    fn attention(&self, x: TensorId, params: &Attention) -> Result<Matrix, String> {
        let (tokens, x) = (self.extents(x).0, self.tensor(x)?);
        let (heads, groups, channels) =
            (params.heads as usize, params.groups as usize, params.channels as usize);
        let mut query = self.projected(x, tokens, channels, &params.query)?;
        let mut key = self.projected(x, tokens, channels, &params.key)?;
        let value = self.projected(x, tokens, channels, &params.value)?;
        if let Some(rotation) = &params.rotation {
            query = self.rotated(&query, (tokens, channels), rotation, rotation.query)?;
            key = self.rotated(&key, (tokens, channels), rotation, rotation.key)?;
        }
        let prefix = params.prefix.map(|p| (self.constant(p.key), self.constant(p.value)));
        // The table's values from distance zero on; behind the last one there is no weight.
        let values = &self.data.tables[params.exp.0 as usize];
        let exp = |distance: i128| -> Result<i128, String> {
            let row = usize::try_from(distance).map_err(|_| String::from("a score above the greatest"))?;
            Ok(values.get(row).map_or(0, |&v| v.into()))
        };
        let mut y = Matrix::new();
        for t in 0..tokens {
            for head in 0..heads {
                let group = head / (heads / groups);
                let q = &query[(head * tokens + t) * channels..][..channels];
                // Keys and values of all that the position sees.
                let mut seen: Vec<(&[i128], &[i128])> = Vec::new();
                if let Some((key, value)) = &prefix {
                    let at = group * channels;
                    seen.push((&key[at..at + channels], &value[at..at + channels]));
                }
                let positions = match params.visible {
                    Visible::All => tokens,
                    Visible::Causal => t + 1,
                    Visible::First(len) => len as usize,
                };
                for j in 0..positions {
                    let at = (group * tokens + j) * channels;
                    seen.push((&key[at..at + channels], &value[at..at + channels]));
                }
                let mut scores = Matrix::new();
                for (key, _) in &seen {
                    let dot = q.iter().zip(*key).map(|(q, k)| q * k).sum();
                    scores.push(self.requantize(dot, params.score)?);
                }
                let greatest = scores.iter().copied().max().unwrap_or(0);
                let weights = scores.iter().map(|z| exp(greatest - z)).collect::<Result<Matrix, _>>()?;
                let total: i128 = weights.iter().sum();
                for c in 0..channels {
                    let mixed: i128 = weights.iter().zip(&seen).map(|(e, (_, value))| e * value[c]).sum();
                    y.push(floor_div(2 * mixed + total, 2 * total));
                }
            }
        }
        Ok(y)
    }

    /// The first of the greatest channels of every row.
    fn arg_max(&self, x: TensorId, weight: ConstantId, list: ListId) -> Result<Vec<u32>, String> {
        let outer = self.program.constants[weight.0 as usize].rows as usize;
        let limit = self.program.lists[list.0 as usize].limit;
        let mut best = Vec::new();
        for row in self.product(self.tensor(x)?, weight).chunks(outer) {
            let mut first = 0;
            for n in 1..outer {
                if row[n] > row[first] {
                    first = n;
                }
            }
            if first as u32 >= limit {
                return Err(String::from("the best channel is beyond the list's limit"));
            }
            best.push(first as u32);
        }
        Ok(best)
    }

    fn layer_norm(&self, row: &[i128], params: &LayerNorm) -> Result<Matrix, String> {
        let channels = row.len() as i128;
        let (gamma, beta) = (self.constant(params.gamma), self.constant(params.beta));
        let sum: i128 = row.iter().sum();
        let mean = floor_div(2 * sum + channels, 2 * channels);
        let deviations: Matrix = row.iter().map(|x| x - mean).collect();
        let energy: i128 = deviations.iter().map(|v| v * v).sum();
        let root = floor_sqrt(energy + i128::from(params.epsilon));
        let inverse = floor_div(i128::from(params.numerator), root);
        let mut y = Matrix::new();
        for (c, v) in deviations.into_iter().enumerate() {
            let normalized = round_shift(v * inverse, params.shift);
            y.push(self.requantize(gamma[c] * normalized + beta[c], params.requantize)?);
        }
        Ok(y)
    }
}

/// Entry `j` of the result, as a multi-index, is the entry `i` of the operand with `i[permutation[k]] = j[k]`.
fn rewire(x: &Matrix, dims: &[u32], permutation: &[u8]) -> Matrix {
    let shape: Vec<usize> = permutation.iter().map(|&axis| dims[usize::from(axis)] as usize).collect();
    let mut y = Matrix::new();
    for position in 0..x.len() {
        let mut index = vec![0usize; dims.len()];
        let mut rest = position;
        for k in (0..shape.len()).rev() {
            index[usize::from(permutation[k])] = rest % shape[k];
            rest /= shape[k];
        }
        y.push(x[index.iter().zip(dims).fold(0, |at, (i, &dim)| at * dim as usize + i)]);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_up() {
        let rounded: Vec<i128> = (-6..=6).map(|a| round_shift(a, 2)).collect();
        assert_eq!(rounded, [-1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2]);
        assert_eq!(round_shift(-7, 0), -7);
    }

    #[test]
    fn roots_are_floors() {
        for x in 0..2000i128 {
            let q = floor_sqrt(x);
            assert!(q * q <= x && (q + 1) * (q + 1) > x);
        }
        assert_eq!(floor_sqrt((1 << 40) - 1), (1 << 20) - 1);
    }

    #[test]
    fn axes_are_permuted() {
        let x: Matrix = (0..6).collect();
        assert_eq!(rewire(&x, &[2, 3], &[1, 0]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(rewire(&x, &[6], &[0]), x);
        let x: Matrix = (0..24).collect();
        // y[c][a][b] = x[a][b][c].
        assert_eq!(rewire(&x, &[2, 3, 4], &[2, 0, 1])[..7], [0, 4, 8, 12, 16, 20, 1]);
    }
}
