use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;

mod made;

use super::*;
use crate::program::{Constant, Factor, LayerNorm, Op, Requantize, Table, Tensor, TensorId};

const CLAMP: Requantize = Requantize { shift: 5, table: TableId(0) };

fn tensor(rows: u32, cols: u32, bound: i64) -> Tensor {
    Tensor { name: "t".to_owned(), rows, cols, bound, fraction_bits: 0 }
}

fn constant(rows: u32, cols: u32, bound: i64, row_l1: i64) -> Constant {
    Constant { name: "c".to_owned(), rows, cols, bound, row_l1 }
}

/// `3 x 20 -> 3 x 13`, a transpose of the result, a LayerNorm, a table and a product of activations.
pub(crate) fn program() -> Program {
    let (t, c) = (TensorId, ConstantId);
    Program {
        name: "p".to_owned(),
        tensors: vec![
            tensor(3, 20, 127),
            tensor(3, 13, 127),
            tensor(13, 3, 127),
            tensor(3, 13, 127),
            tensor(3, 13, 127),
            tensor(7, 13, 127),
            tensor(7, 7, 127),
            tensor(13, 7, 127),
        ],
        constants: vec![
            constant(13, 20, 31, 620),
            constant(1, 13, 1000, 13_000),
            constant(1, 13, 63, 63 * 13),
            constant(7, 13, 31, 31 * 13),
        ],
        tables: vec![Table { name: "clamp".to_owned(), bits: 12, bound: 127 }],
        ops: vec![
            Op::MatMul {
                x: t(0),
                factor: Factor::Weight(c(0)),
                bias: Some(c(1)),
                requantize: CLAMP,
                y: t(1),
            },
            Op::Rewire { x: t(1), dims: vec![3, 13], permutation: vec![1, 0], y: t(2) },
            Op::LayerNorm { x: t(1), params: norm(), y: t(3) },
            Op::Map { x: t(3), table: TableId(0), y: t(4) },
            Op::Rewire { x: t(5), dims: vec![7, 13], permutation: vec![1, 0], y: t(7) },
            Op::MatMul { x: t(5), factor: Factor::Tensor(t(7)), bias: None, requantize: CLAMP, y: t(6) },
        ],
        inputs: vec![t(0), t(5)],
        outputs: vec![t(4), t(6)],
        lists: vec![],
    }
}

fn norm() -> LayerNorm {
    LayerNorm {
        epsilon: 5,
        numerator: 3_700_000,
        shift: 10,
        gamma: ConstantId(2),
        beta: ConstantId(1),
        requantize: Requantize { shift: 7, table: TableId(0) },
    }
}

/// A program's circuit, or why it has none.
pub fn spelled(program: &Program) -> Result<Circuit, CircuitError> {
    Circuit::new(program).map_err(|error| *error)
}

/// What is wrong with a circuit.
fn checked(circuit: &Circuit) -> Result<(), CircuitError> {
    circuit.check().map_err(|error| *error)
}

fn change(f: impl FnOnce(&mut Program)) -> Result<Circuit, CircuitError> {
    let mut changed = program();
    f(&mut changed);
    spelled(&changed)
}

/// The name of the op that refuses, and why.
fn refusal(f: impl FnOnce(&mut Program)) -> (String, String) {
    match change(f) {
        Err(CircuitError::Refused { op, reason }) => (op, reason),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

fn malformed(f: impl FnOnce(&mut Program)) {
    let result = change(f);
    assert!(matches!(result, Err(CircuitError::Malformed(_))), "{:?}", result.map(|_| ()));
}

#[test]
fn lengths_split_into_a_power_of_two_and_a_small_rest() {
    assert_eq!(split(1), [(0, 1)]);
    assert_eq!(split(3), [(0, 2), (2, 1)]);
    assert_eq!(split(13), [(0, 13)]);
    assert_eq!(split(20), [(0, 16), (16, 4)]);
    assert_eq!(split(192), [(0, 128), (128, 64)]);
    assert_eq!(split(768), [(0, 512), (512, 256)]);
    for len in 1..3000u32 {
        let blocks = split(len);
        assert!(blocks.len() <= 2);
        assert_eq!(blocks.iter().map(|b| b.1).sum::<u32>(), len);
        let mut next = 0;
        for &(offset, cols) in &blocks {
            assert_eq!(offset, next);
            next += cols;
        }
        let padded: u32 = blocks.iter().map(|b| b.1.next_power_of_two()).sum();
        assert!(padded <= len.next_power_of_two());
        assert_eq!(blocks.len() == 2, padded < len.next_power_of_two());
    }
}

#[test]
fn the_program_that_all_others_change_is_accepted() {
    let circuit = change(|_| {}).unwrap();
    assert_eq!(circuit.check(), Ok(()));
}

#[test]
fn unknown_ids_are_refused() {
    let unknown = TensorId(99);
    let reasons = [
        refusal(|p| p.inputs[0] = unknown),
        refusal(|p| p.outputs[0] = unknown),
        refusal(|p| {
            p.ops[1] = Op::Rewire { x: unknown, dims: vec![39], permutation: vec![0], y: TensorId(2) }
        }),
        refusal(|p| p.ops[3] = Op::Map { x: TensorId(3), table: TableId(0), y: unknown }),
        refusal(|p| p.ops[3] = Op::Map { x: TensorId(3), table: TableId(1), y: TensorId(4) }),
        refusal(|p| {
            p.ops[2] = Op::LayerNorm {
                x: TensorId(1),
                params: LayerNorm { beta: ConstantId(4), ..norm() },
                y: TensorId(3),
            };
        }),
        refusal(|p| p.tables.clear()),
        refusal(|p| p.constants.truncate(1)),
    ];
    for (_, reason) in reasons {
        assert!(reason.starts_with("unknown"), "{reason}");
    }
}

#[test]
fn order_matters() {
    let (op, reason) = refusal(|p| p.ops.swap(0, 1));
    assert_eq!((op.as_str(), reason.contains("before it is produced")), ("Rewire.0", true));
    let (_, reason) = refusal(|p| p.ops.push(p.ops[3].clone()));
    assert!(reason.contains("produced twice"));
    let (_, reason) = refusal(|p| p.inputs.push(TensorId(0)));
    assert!(reason.contains("produced twice"));
    let (_, reason) = refusal(|p| p.inputs.push(TensorId(4)));
    assert!(reason.contains("produced twice"));
    let (_, reason) = refusal(|p| {
        p.ops.pop();
    });
    assert!(reason.contains("before it is produced"));
    // An op's result is not its operand, on either side of a product.
    let own = Factor::Tensor(TensorId(6));
    let (_, reason) = refusal(|p| {
        p.inputs[1] = TensorId(2);
        p.ops.drain(..5);
        p.tensors[2] = tensor(7, 7, 127);
        p.ops[0] = Op::MatMul { x: TensorId(2), factor: own, bias: None, requantize: CLAMP, y: TensorId(6) };
    });
    assert!(reason.contains("before it is produced"), "{reason}");
}

#[test]
fn shapes_must_fit() {
    for (index, cols) in [(1, 12), (0, 19), (3, 12), (4, 14), (6, 8), (7, 6)] {
        assert!(matches!(change(|p| p.tensors[index].cols = cols), Err(CircuitError::Refused { .. })));
    }
    for index in [1, 2, 3, 4, 6] {
        assert!(matches!(change(|p| p.tensors[index].rows += 1), Err(CircuitError::Refused { .. })));
    }
    for index in 0..3 {
        assert!(matches!(change(|p| p.constants[index].cols += 1), Err(CircuitError::Refused { .. })));
        assert!(matches!(change(|p| p.constants[index].cols -= 1), Err(CircuitError::Refused { .. })));
    }
    // Inner dimensions of a product of activations are one block: 5 = 4 + 1 is not.
    let (_, reason) = refusal(|p| {
        for index in [5, 7] {
            p.tensors[index] = tensor(5, 5, 127);
        }
        p.tensors[6] = tensor(5, 5, 127);
        p.ops[4] = Op::Rewire { x: TensorId(5), dims: vec![5, 5], permutation: vec![1, 0], y: TensorId(7) };
    });
    assert!(reason.contains("one block"));
}

#[test]
fn permutations_are_checked() {
    let rewire = |dims: &[u32], permutation: &[u8]| Op::Rewire {
        x: TensorId(1),
        dims: dims.to_vec(),
        permutation: permutation.to_vec(),
        y: TensorId(2),
    };
    let wrong: [(&[u32], &[u8]); 10] = [
        (&[3, 13], &[0, 0]),
        (&[3, 13], &[1]),
        (&[3, 13], &[0, 2]),
        (&[3, 13], &[0, 1, 2]),
        (&[3, 13], &[255, 0]),
        (&[3, 12], &[1, 0]),
        (&[13, 3], &[1, 0]),
        (&[0, 13], &[1, 0]),
        (&[], &[]),
        (&[u32::MAX, u32::MAX, u32::MAX], &[2, 1, 0]),
    ];
    for (dims, permutation) in wrong {
        refusal(|p| p.ops[1] = rewire(dims, permutation));
    }
    refusal(|p| p.ops[1] = rewire(&[1; 17], &[0; 17]));
    refusal(|p| p.tensors[2].bound = 126);
    for (dims, permutation) in [(&[3u32, 1, 13][..], &[2u8, 1, 0][..]), (&[39], &[0])] {
        let accepted = change(|p| p.ops[1] = rewire(dims, permutation));
        assert_eq!(accepted.is_ok(), dims.len() == 3, "a row is a suffix of the dimensions");
    }
}

#[test]
fn extents_and_bounds_are_checked() {
    for rows in [0, (1 << 24) + 1, u32::MAX] {
        malformed(|p| p.tensors[0].rows = rows);
        malformed(|p| p.tensors[0].cols = rows);
        malformed(|p| p.constants[0].rows = rows);
        malformed(|p| p.constants[0].cols = rows);
    }
    for (rows, cols) in [(1 << 24, 1), (1, 1 << 24)] {
        assert!(change(|p| p.tensors.push(tensor(rows, cols, (1 << 30) - 1))).is_ok());
        assert!(change(|p| p.constants.push(constant(rows, cols, (1 << 30) - 1, 0))).is_ok());
    }
    malformed(|p| p.tensors.push(tensor(1 << 15, (1 << 15) + 1, 1)));
    assert!(change(|p| p.tensors.push(tensor(1 << 15, 1 << 15, 1))).is_ok());
    // Constants may be larger, but not a column of theirs.
    assert!(change(|p| p.constants.push(constant(1 << 17, 1 << 15, 1, 1))).is_ok());
    malformed(|p| p.constants.push(constant(1 << 17, (1 << 15) + 1, 1, 1)));
    let weights = |rows: u32, cols: u32| {
        move |p: &mut Program| {
            p.tensors.extend([tensor(1, cols, 1), tensor(1, rows, 127)]);
            p.constants.push(constant(rows, cols, 1, 1));
            let (x, y) = (TensorId(8), TensorId(9));
            let factor = Factor::Weight(ConstantId(4));
            p.ops.push(Op::MatMul { x, factor, bias: None, requantize: CLAMP, y });
            p.inputs.push(x);
        }
    };
    assert!(change(weights(1 << 16, 1 << 14)).is_ok());
    assert!(refusal(weights(1 << 17, 1 << 14)).1.contains("a block of constant c is too large"));
    // Two blocks of rows.
    assert!(change(weights((1 << 16) + (1 << 15), 1 << 14)).is_ok());
    for bound in [-1, 1 << 30, i64::MIN, i64::MAX] {
        malformed(|p| p.tensors[1].bound = bound);
        malformed(|p| p.constants[1].bound = bound);
        malformed(|p| p.tables[0].bound = bound);
    }
    malformed(|p| p.constants[0].row_l1 = -1);
    for bits in [0, 21, 64, 255] {
        malformed(|p| p.tables[0].bits = bits);
    }
    malformed(|p| p.outputs.clear());
}

#[test]
fn shifts_are_checked() {
    let op = |shift| Op::MatMul {
        x: TensorId(0),
        factor: Factor::Weight(ConstantId(0)),
        bias: None,
        requantize: Requantize { shift, table: TableId(0) },
        y: TensorId(1),
    };
    assert!(change(|p| p.ops[0] = op(0)).is_ok());
    for shift in [25, 31, 64, 255] {
        refusal(|p| p.ops[0] = op(shift));
    }
    let add = |a_shift, b_shift| Op::Add {
        a: TensorId(3),
        a_shift,
        b: TensorId(3),
        b_shift,
        requantize: CLAMP,
        y: TensorId(4),
    };
    assert!(change(|p| p.ops[3] = add(3, 2)).is_ok());
    for (a, b) in [(31, 0), (0, 31), (255, 255)] {
        refusal(|p| p.ops[3] = add(a, b));
    }
    assert!(matches!(change(|p| p.ops[3] = add(30, 30)), Err(CircuitError::MayWrap { .. })));
}

#[test]
fn weights_that_allow_a_wrap_are_named() {
    let with = |row_l1| change(|p| p.constants[0] = constant(13, 20, 1 << 22, row_l1));
    assert!(with(1 << 22).is_ok());
    let Err(CircuitError::MayWrap { relation, magnitude, limit }) = with(1 << 25) else { panic!() };
    assert!(relation.starts_with("MatMul.0."), "{relation}");
    assert!(magnitude > limit);
    assert!(matches!(with(i64::MAX), Err(CircuitError::MayWrap { .. })));
}

/// A shift by `s` bits with a table of `b` bits: a quotient larger by `2^(31 - s)` would pass if its domain
/// had it, so the two together stay below 31 bits.
#[test]
fn shifts_and_domains_that_allow_a_wrap_are_refused() {
    let with = |bits, shift| {
        change(|p| {
            p.ops.truncate(1);
            p.inputs.truncate(1);
            p.outputs = vec![TensorId(1)];
            p.tables[0].bits = bits;
            let Op::MatMul { requantize, .. } = &mut p.ops[0] else { panic!() };
            requantize.shift = shift;
        })
    };
    assert!(with(7, 24).is_ok());
    assert!(with(11, 20).is_ok());
    assert!(matches!(with(8, 24), Err(CircuitError::MayWrap { .. })));
    assert!(matches!(with(12, 20), Err(CircuitError::MayWrap { .. })));
    assert!(matches!(with(20, 12), Err(CircuitError::MayWrap { .. })));
}

#[test]
fn a_tensor_holds_the_image_of_its_table() {
    assert!(change(|p| p.tensors[4].bound = 128).is_ok());
    for index in [1, 3, 4, 6] {
        let result = change(|p| p.tensors[index].bound = 126).map(|_| ());
        assert_eq!(result, Err(CircuitError::Unbounded("t".to_owned())), "{index}");
    }
    // Through a wiring the bound of the source counts.
    refusal(|p| p.tensors[7].bound = 126);
}

/// Random changes of an encoding, a few at a time.
pub fn mutations(bytes: &[u8], count: usize, mut each: impl FnMut(&[u8])) {
    let mut state = 1u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..count {
        let mut mutated = bytes.to_vec();
        for _ in 0..=next() % 3 {
            let at = (next() % mutated.len() as u64) as usize;
            match next() % 8 {
                0 => mutated[at] ^= 1 << (next() % 8),
                1 => mutated[at] = next() as u8,
                2 => mutated[at] = [0, 1, 127, 128, 255][(next() % 5) as usize],
                3 => mutated.truncate(at.max(1)),
                4 => mutated.insert(at, next() as u8),
                5 => {
                    mutated.remove(at);
                    mutated.push(0);
                }
                // A large number in the variable-length encoding.
                6 => {
                    let large = [255u8, 255, 255, (next() % 256) as u8, (next() % 16) as u8];
                    mutated.splice(at..=at, large);
                }
                _ => mutated[at] = mutated[at].wrapping_add(1),
            }
        }
        each(&mutated);
    }
}

/// Mutated encodings are errors or programs that are accepted or refused, quickly and in little memory.
#[test]
fn mutated_programs_do_no_harm() {
    let (mut decoded, mut accepted) = (0, 0);
    mutations(&postcard::to_allocvec(&program()).unwrap(), 60_000, |mutated| {
        let Ok(program) = postcard::from_bytes::<Program>(mutated) else { return };
        decoded += 1;
        let Ok(circuit) = spelled(&program) else { return };
        accepted += 1;
        assert!(circuit.columns.len() < 1000);
        assert!(circuit.tables.iter().all(|t| t.bits <= 24));
        assert_eq!(circuit.check(), Ok(()));
    });
    assert!(decoded > 1000 && accepted > 100, "{decoded} decoded, {accepted} accepted");
}

/// Work for a key grows with its length: operands are looked for among those of their op.
#[test]
fn products_of_one_op_share_operands_in_order_of_use() {
    let n = 3000u32;
    let mut p = program();
    p.tensors = (0..=n).map(|_| tensor(1, 1, 127)).collect();
    p.ops = (0..n)
        .map(|i| Op::Mul { a: TensorId(i / 2), b: TensorId(i / 2), requantize: CLAMP, y: TensorId(i + 1) })
        .collect();
    (p.inputs, p.outputs) = (vec![TensorId(0)], vec![TensorId(n)]);
    let reduction = crate::protocol::Protocol::new(&p, crate::profile::P100_U).unwrap().reduction;
    assert_eq!(reduction.operands.len(), n as usize);
    for (i, term) in reduction.terms.iter().enumerate() {
        assert_eq!((term.a, term.b), (i, i));
    }
}

/// Counts the relations of every op.
#[derive(Default)]
struct Ops(Vec<u32>);

impl Reader for Ops {
    fn op(&mut self) {
        self.0.push(0);
    }
    fn lookup(&mut self, _: &Declared, _: Looked<'_>) {}
    fn relation(&mut self, _: &Declared, _: &Relation) {
        *self.0.last_mut().unwrap() += 1;
    }
    fn wiring(&mut self, _: &Declared, _: Wiring) {}
    fn gather(&mut self, _: &Declared, _: Gather) {}
    fn pick(&mut self, _: &Declared, _: Pick) {}
}

/// Whether it is read from a program or from its circuit, a relation belongs to the same op: operands are numbered by them.
#[test]
fn ops_begin_where_they_do_in_the_program() {
    let program = program();
    let relations = |source: &dyn Source| {
        let mut ops = Ops::default();
        source.read(Columns::default(), &mut ops).unwrap();
        ops.0.retain(|&relations| relations > 0);
        ops.0
    };
    let ops = relations(&program);
    assert!(ops.len() > 2 && ops.iter().any(|&relations| relations > 1), "{ops:?}");
    assert_eq!(relations(&spelled(&program).unwrap()), ops);
}

/// `n` transposes of `rows x cols` numbers, one after the other.
fn transposes(n: u32, rows: u32, cols: u32) -> Program {
    let mut p = program();
    p.tensors = (0..=n).map(|_| tensor(rows * cols, 1, 127)).collect();
    let rewire = |i| Op::Rewire {
        x: TensorId(i),
        dims: vec![rows, cols],
        permutation: vec![1, 0],
        y: TensorId(i + 1),
    };
    p.ops = (0..n).map(rewire).collect();
    (p.inputs, p.outputs) = (vec![TensorId(0)], vec![TensorId(n)]);
    p
}

/// A key of a few bytes must not cost minutes: each of these transposes took the verifier four seconds.
#[test]
fn programs_beyond_all_models_are_malformed() {
    assert!(spelled(&transposes(4, 1021, 1019)).is_ok());
    let refused = |p: &Program| matches!(spelled(p), Err(CircuitError::Malformed(_)));
    for (n, rows, cols) in [(5, 1021, 1019), (1, 4093, 4091)] {
        let verdict = spelled(&transposes(n, rows, cols));
        assert!(matches!(verdict, Err(CircuitError::TooLarge("entries of wirings", _))), "{n}");
    }
    // What is read in one stretch needs no weighing.
    let mut copy = transposes(1, 1, 1);
    for tensor in &mut copy.tensors {
        tensor.rows = 1 << 23;
    }
    copy.ops[0] = Op::Rewire { x: TensorId(0), dims: vec![1 << 23], permutation: vec![0], y: TensorId(1) };
    assert!(spelled(&copy).is_ok());
    // Without any digits to weigh, but with 2^30 cells each.
    let mut copies = transposes(32, 1, 1);
    for tensor in &mut copies.tensors {
        (tensor.rows, tensor.cols) = (1 << 15, 1 << 15);
    }
    for op in &mut copies.ops {
        let Op::Rewire { dims, permutation, .. } = op else { unreachable!() };
        (*dims, *permutation) = (vec![1 << 15; 2], vec![0, 1]);
    }
    assert!(refused(&copies));
    // The padding of a single column would have 2^31 cells.
    malformed(|p| (p.tensors[0].rows, p.tensors[0].cols) = ((1 << 15) + 1, 1 << 15));
    malformed(|p| p.outputs = vec![TensorId(4); crate::limits::PARTS + 1]);
    let mut long = transposes(1 << 16, 1, 1);
    assert!(refused(&long));
    long.ops.truncate(1000);
    long.outputs = vec![TensorId(1000)];
    assert!(spelled(&long).is_ok());
}
