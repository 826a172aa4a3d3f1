//! Limits of the ops that only sentence encoders have.

use alloc::borrow::ToOwned;
use alloc::vec;

use crate::circuit::tests::spelled;
use crate::circuit::{Circuit, CircuitError};
use crate::program::{
    Constant, ConstantId, Op, Program, Requantize, RmsNorm, Table, TableId, Tensor, TensorId, WIDE,
};

type Built = Result<Circuit, CircuitError>;

fn tensor(rows: u32, cols: u32, bound: i64) -> Tensor {
    Tensor { name: "t".to_owned(), rows, cols, bound, fraction_bits: 0 }
}

fn program(tensors: &[Tensor], ops: &[Op], output: u32) -> Program {
    Program {
        name: "p".to_owned(),
        tensors: tensors.to_vec(),
        constants: vec![],
        tables: vec![Table { name: "clamp".to_owned(), bits: 15, bound: 8191 }],
        ops: ops.to_vec(),
        inputs: vec![TensorId(0)],
        outputs: vec![TensorId(output)],
        lists: vec![],
    }
}

#[track_caller]
fn refused(result: Built, by: &str) {
    match result {
        Err(CircuitError::Refused { op, .. }) if op == by => {}
        other => panic!("{:?}", other.map(|_| ())),
    }
}

/// Multiplied into a wide tensor, centred with an offset of `(rows, cols)` entries, normalized.
fn center(cols: u32, result: u32, offset: Option<(u32, u32)>) -> Built {
    let [x, wide, centred, y] = [0, 1, 2, 3].map(TensorId);
    let params =
        RmsNorm { epsilon: 1, numerator: 1 << 20, requantize: Requantize { shift: 14, table: TableId(0) } };
    let ops = [
        Op::MatMulAdd { base: None, x, weight: ConstantId(0), bias: None, shift: 0, y: wide },
        Op::Center { x: wide, offset: offset.map(|_| ConstantId(1)), y: centred },
        Op::RmsNorm { x: centred, params, y },
    ];
    let tensors = [tensor(2, 1, 8191), tensor(2, cols, WIDE), tensor(2, result, WIDE), tensor(2, cols, 8191)];
    let mut program = program(&tensors, &ops, 3);
    let constant =
        |(rows, cols)| Constant { name: "c".to_owned(), rows, cols, bound: 1 << 20, row_l1: 1 << 40 };
    program.constants.push(Constant { bound: 31, row_l1: 31, ..constant((cols, 1)) });
    program.constants.extend(offset.map(constant));
    spelled(&program)
}

#[test]
fn centres_have_limits() {
    for cols in [1, 2, 3, 13, 384, 1024, 1100, 3999, 4000] {
        for offset in [None, Some((1, cols))] {
            assert!(center(cols, cols, offset).is_ok(), "{cols}");
        }
    }
    refused(center(4001, 4001, None), "Center.1");
    refused(center(12, 11, None), "Center.1");
    refused(center(12, 12, Some((1, 11))), "Center.1");
    refused(center(12, 12, Some((2, 12))), "Center.1");
    // A narrow tensor is not centred.
    let ops = [Op::Center { x: TensorId(0), offset: None, y: TensorId(1) }];
    let narrow = program(&[tensor(2, 4, 100), tensor(2, 4, WIDE)], &ops, 1);
    refused(spelled(&narrow), "Center.0");
    let missing = [Op::Center { x: TensorId(0), offset: Some(ConstantId(7)), y: TensorId(1) }];
    refused(spelled(&program(&[tensor(2, 4, 100), tensor(2, 4, WIDE)], &missing, 1)), "Center.0");
}

fn mean((rows, cols, bound): (u32, u32, i64), len: u32, y: (u32, u32, i64)) -> Built {
    let ops = [Op::Mean { x: TensorId(0), len, y: TensorId(1) }];
    spelled(&program(&[tensor(rows, cols, bound), tensor(y.0, y.1, y.2)], &ops, 1))
}

#[test]
fn means_have_limits() {
    for (rows, len) in [(1, 1), (2, 1), (8, 5), (8, 8), (1024, 1000)] {
        for cols in [1, 12, 13, 384] {
            assert!(mean((rows, cols, 8191), len, (1, cols, 8191)).is_ok(), "{rows} {len} {cols}");
        }
    }
    let x = (8, 12, 100);
    for len in [0, 9, u32::MAX] {
        refused(mean(x, len, (1, 12, 100)), "Mean.0");
    }
    for y in [(2, 12, 100), (1, 11, 100), (1, 12, 99)] {
        refused(mean(x, 5, y), "Mean.0");
    }
    refused(mean((6, 12, 100), 5, (1, 12, 100)), "Mean.0");
    // So large that the sum could wrap.
    let large = mean((1024, 4, 1 << 20), 1024, (1, 4, 1 << 20));
    assert!(matches!(large, Err(CircuitError::MayWrap { .. })));
}
