mod decoding;
mod encoding;

use alloc::borrow::ToOwned;
use alloc::vec;

use crate::circuit::tests::spelled;
use crate::circuit::{Circuit, CircuitError};
use crate::program::{
    Constant, ConstantId, LayerNorm, Op, Program, Requantize, Table, TableId, Tensor, TensorId,
};

const PARAMS: LayerNorm = LayerNorm {
    epsilon: 1,
    numerator: 1 << 23,
    shift: 10,
    gamma: ConstantId(0),
    beta: ConstantId(1),
    requantize: Requantize { shift: 7, table: TableId(0) },
};

/// LayerNorm of `rows x cols` entries up to `bound`.
fn layernorm(cols: u32, bound: i64, params: LayerNorm) -> Result<Circuit, CircuitError> {
    let tensor = |bound| Tensor { name: "t".to_owned(), rows: 3, cols, bound, fraction_bits: 0 };
    let constant = |bound| Constant { name: "c".to_owned(), rows: 1, cols, bound, row_l1: 1 << 30 };
    spelled(&Program {
        name: "norm".to_owned(),
        tensors: vec![tensor(bound), tensor(127)],
        constants: vec![constant(63), constant(1000)],
        tables: vec![Table { name: "clamp".to_owned(), bits: 13, bound: 127 }],
        ops: vec![Op::LayerNorm { x: TensorId(0), params, y: TensorId(1) }],
        inputs: vec![TensorId(0)],
        outputs: vec![TensorId(1)],
        lists: vec![],
    })
}

fn refused(result: &Result<Circuit, CircuitError>) -> bool {
    matches!(result, Err(CircuitError::Refused { op, .. }) if op == "LayerNorm.0")
}

/// All gadgets keep rule U up to the very limits of what is accepted.
#[test]
fn layernorm_is_accepted_up_to_its_limits() {
    for cols in [1, 2, 3, 13, 64, 100, 768, 4095, 4096] {
        for bound in [0, 1, 127, 8191] {
            for epsilon in [1, (1 << 24) - 1] {
                for (numerator, shift) in [(1 << 23, 10), ((1 << 27) - 1, 9), ((1 << 27) - 1, 20), (0, 0)] {
                    let small = Requantize { shift: 12, ..PARAMS.requantize };
                    let params = LayerNorm { epsilon, numerator, shift, requantize: small, ..PARAMS };
                    let result = layernorm(cols, bound, params);
                    assert!(result.is_ok(), "{cols} {bound} {params:?}: {:?}", result.map(|_| ()));
                }
            }
        }
    }
}

#[test]
fn layernorm_is_refused_beyond_its_limits() {
    assert!(refused(&layernorm(4097, 8191, PARAMS)));
    assert!(refused(&layernorm(64, 8192, PARAMS)));
    for params in [
        LayerNorm { epsilon: 0, ..PARAMS },
        LayerNorm { epsilon: 1 << 24, ..PARAMS },
        LayerNorm { numerator: 1 << 27, shift: 20, ..PARAMS },
        LayerNorm { numerator: u32::MAX, ..PARAMS },
        LayerNorm { shift: 21, ..PARAMS },
        LayerNorm { shift: 255, ..PARAMS },
        // A range check of the normalized value would need a table of 28 bits.
        LayerNorm { numerator: (1 << 27) - 1, shift: 0, ..PARAMS },
        LayerNorm { numerator: (1 << 27) - 1, shift: 7, ..PARAMS },
    ] {
        assert!(refused(&layernorm(64, 8191, params)), "{params:?}");
    }
}

/// Only blocks with padding need a copy of the operand.
#[test]
fn layernorm_copies_padded_blocks() {
    let copies = |cols| {
        let circuit = layernorm(cols, 127, PARAMS).unwrap();
        assert_eq!(
            circuit.wirings.len(),
            circuit.columns.iter().filter(|c| c.name.contains("operand")).count()
        );
        circuit.wirings.len()
    };
    assert_eq!([64, 20, 13, 19, 192].map(copies), [0, 0, 1, 1, 0]);
}
