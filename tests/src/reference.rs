//! An interpreter of integer programs that follows the documentation of [`circlet_core::program`] and of
//! `ops::layernorm` word by word: nested loops over 128-bit integers, no circuit, no padding.

use circlet_core::program::{
    ConstantId, Data, Factor, LayerNorm, Op, Program, Requantize, TableId, TensorId,
};

/// Row-major entries.
type Matrix = Vec<i128>;

/// Everything an op can read.
struct Machine<'a> {
    program: &'a Program,
    data: &'a Data,
    /// One matrix for each tensor that has been produced.
    tensors: Vec<Option<Matrix>>,
}

/// Runs a program: the entries of every tensor, row by row; tensors that nothing produces are empty.
///
/// Fails where the program has no result: on inputs of another number, length or range than it takes, and
/// where the argument of a table is outside its domain.
pub fn run(program: &Program, data: &Data, inputs: &[Vec<i32>]) -> Result<Vec<Vec<i32>>, String> {
    if inputs.len() != program.inputs.len() {
        return Err(format!("{} inputs", inputs.len()));
    }
    let mut machine = Machine { program, data, tensors: vec![None; program.tensors.len()] };
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
        let result = machine.op(op).map_err(|e| format!("{}: {e}", op.name()))?;
        if let Some(id) = op.result() {
            machine.tensors[id.0 as usize] = Some(result);
        }
    }
    let narrow = |v: i128| i32::try_from(v).map_err(|_| String::from("an entry needs more than 32 bits"));
    machine.tensors.into_iter().map(|t| t.unwrap_or_default().into_iter().map(narrow).collect()).collect()
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
            _ => return Err(String::from("not interpreted")),
        }
        Ok(y)
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
